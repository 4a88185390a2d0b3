/** What the page says of what was just done, for a moment. */
import { nameOf } from "./sides.js";

const HOW = { slightly: " slightly", clearly: " clearly" };
const SLIGHTLY = { "left-slightly": "left", "right-slightly": "right" };
const OF_DIGITS = ["left", "left-slightly", "right-slightly", "right"];

/** Actions that say how much better a side is, beside those of the sides themselves. */
export const DEGREES = Object.keys(SLIGHTLY);

/**
 * What an action or a key from 1 to 4 means where it is asked how much better a side is.
 * @returns {[string, string] | null} The side, and "slightly" or "clearly".
 */
export function degreeOf(action, digit) {
  const meant = OF_DIGITS[digit - 1] ?? action;
  if (meant in SLIGHTLY) return [SLIGHTLY[meant], "slightly"];
  return meant === "left" || meant === "right" ? [meant, "clearly"] : null;
}

function isBetter(side, strength) {
  return `${nameOf(side)} is${HOW[strength] ?? ""} better`;
}

/** By what was answered. */
export const SAID = {
  left: (strength) => isBetter("left", strength),
  right: (strength) => isBetter("right", strength),
  tie: () => "Tie",
  skip: () => "Can’t tell",
  save: () => "Ranking saved",
};
export const UNORDERED = "Put all of them in an order first.";
export const NOT_SEEN = "Not yet: that was too fast to have been seen.";
export const CHANGE = "You answered this before. A new answer replaces that one.";
export const UNDONE = "Taken back. Answer anew.";
