/** Fingers: a swipe to a side means that side; across, it is a tie or "can't tell". */

const SHORTEST = 60;

/**
 * @param {HTMLElement} stage Where fingers count.
 * @param {(action: string) => void} act
 * @param {() => {left?: string, right?: string, up?: string, down?: string}} swipes What a swipe
 *   means on what is shown now; the style sheet leaves it to us with touch-action.
 */
export function listenToFingers(stage, act, swipes) {
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    const counts = event.isPrimary && event.pointerType !== "mouse" && !event.target.closest(".time");
    from = counts ? event : null;
  });
  stage.addEventListener("pointercancel", () => (from = null));
  stage.addEventListener("pointerup", (event) => {
    if (!from || event.pointerId !== from.pointerId) return;
    const [right, down] = [event.clientX - from.clientX, event.clientY - from.clientY];
    from = null;
    const [far, near] = [Math.abs(right), Math.abs(down)].sort((a, b) => b - a);
    if (far < SHORTEST) return;
    swallowClick(stage);
    if (far < 1.5 * near) return;
    const sideways = Math.abs(right) === far;
    const action = swipes()[sideways ? (right > 0 ? "right" : "left") : down > 0 ? "down" : "up"];
    if (action) act(action);
  });
}

/** @param {MouseEvent} event @returns {boolean} Whether it is the second click of a double one. */
export function isRepeated(event) {
  return event.detail > 1; // a button that is pressed by a key says 0
}

/**
 * @param {(action: string) => void} act What all buttons do that name an action.
 * @param {string[]} once Actions that the second half of a double click does not mean: it would
 *   answer the next pair unseen.
 * @param {HTMLElement} stage Where who presses one of those with the keyboard reads on.
 */
export function listenToButtons(act, once, stage) {
  document.querySelectorAll("[data-action]").forEach((button) => {
    const { action } = button.dataset;
    button.addEventListener("click", (event) => {
      if (!(once.includes(action) && isRepeated(event))) act(action);
      // At the top; else Enter would press it again.
      if (event.detail === 0 && once.includes(action)) stage.focus({ preventScroll: true });
      else button.blur();
    });
  });
}

/** The click that a browser makes of the end of a swipe is no tap. */
function swallowClick(stage) {
  const swallow = (event) => {
    event.stopPropagation();
    event.preventDefault();
  };
  stage.addEventListener("click", swallow, { capture: true, once: true });
  setTimeout(() => stage.removeEventListener("click", swallow, { capture: true }), 50);
}
