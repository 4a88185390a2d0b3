/** How the two sides of a pair lie on this screen, and what they are called. */
import { say } from "./words.js";

/** From the left to the right, or where they lie one above the other, from the top down. */
export const SIDES = ["left", "right"];

const stacked = matchMedia("(max-width: 640px) and (orientation: portrait)"); // as in label.css
const NAMES = { left: ["left", "upper"], right: ["right", "lower"] };

/** @returns {boolean} Whether one lies above the other. */
export function isStacked() {
  return stacked.matches;
}

/**
 * @param {"left" | "right"} side
 * @param {string | null} [strength] "slightly" or "clearly".
 * @returns {string} That it is better, and by how much, as it lies now.
 */
export function isBetter(side, strength) {
  return say(`side.${NAMES[side][Number(stacked.matches)]}.${strength ?? "better"}`);
}

/**
 * @param {"left" | "right"} side
 * @param {{tag?: string, better?: boolean}} [how] The element, and whether to say that it is better.
 * @returns {HTMLElement} Says what the side is called; the style sheet shows the name that fits.
 */
export function nameTag(side, { tag = "span", better = false } = {}) {
  const element = document.createElement(tag);
  element.className = better ? "" : "name";
  ["beside", "stacked"].forEach((how, i) => {
    const span = document.createElement("span");
    span.className = `when-${how}`;
    span.textContent = say(`side.${NAMES[side][i]}${better ? ".better" : ""}`);
    element.append(span);
  });
  return element;
}
