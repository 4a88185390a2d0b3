/** What the page says of what was just done, for a moment. */
import { isBetter } from "./sides.js";
import { say } from "./words.js";

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

/** By what was answered. */
export const SAID = {
  left: (strength) => isBetter("left", strength),
  right: (strength) => isBetter("right", strength),
  tie: () => say("answer.tie"),
  skip: () => say("answer.skip"),
  save: () => say("said.ranked"),
};
export const UNORDERED = say("said.unordered");
export const NOT_SEEN = say("said.unseen");
export const CHANGE = say("said.change");
export const UNDONE = say("said.undone");
