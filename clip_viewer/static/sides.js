/** How the two sides of a pair lie on this screen, and what they are called. */

/** From the left to the right, or where they lie one above the other, from the top down. */
export const SIDES = ["left", "right"];

const stacked = matchMedia("(max-width: 640px) and (orientation: portrait)"); // as in label.css
const NAMES = { left: ["Left", "Upper"], right: ["Right", "Lower"] };

/** @returns {boolean} Whether one lies above the other. */
export function isStacked() {
  return stacked.matches;
}

/** @param {"left" | "right"} side @returns {string} What it is called now. */
export function nameOf(side) {
  return NAMES[side][Number(stacked.matches)];
}

/**
 * @param {"left" | "right"} side
 * @param {string} name Of the element.
 * @returns {HTMLElement} Says what the side is called; the style sheet shows the name that fits.
 */
export function nameTag(side, name = "span") {
  const element = document.createElement(name);
  element.className = "name";
  ["beside", "stacked"].forEach((how, i) => {
    const span = document.createElement("span");
    span.className = `when-${how}`;
    span.textContent = NAMES[side][i];
    element.append(span);
  });
  return element;
}
