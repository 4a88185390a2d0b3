/** Fingers: a swipe to a side or a tap on it means that side; up is a tie, down "can't tell". */

const SHORTEST = 60;

/**
 * @param {HTMLElement} stage Where fingers count.
 * @param {(action: string) => void} act
 * @param {() => {tap: boolean, vertical: boolean}} allowed What counts on what is shown now.
 */
export function listenToFingers(stage, act, allowed) {
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    from = event.isPrimary && event.pointerType !== "mouse" ? event : null;
  });
  stage.addEventListener("pointercancel", () => (from = null));
  stage.addEventListener("pointerup", (event) => {
    if (!from || event.pointerId !== from.pointerId) return;
    const [right, down] = [event.clientX - from.clientX, event.clientY - from.clientY];
    from = null;
    const { tap, vertical } = allowed();
    if (Math.max(Math.abs(right), Math.abs(down)) < SHORTEST) return;
    swallowClick(stage);
    if (tap && Math.abs(right) > 1.5 * Math.abs(down)) act(right > 0 ? "right" : "left");
    if (vertical && Math.abs(down) > 1.5 * Math.abs(right)) act(down > 0 ? "skip" : "tie");
  });
}

/** @param {MouseEvent} event @returns {boolean} Whether it is the second click of a double one. */
export function isRepeated(event) {
  return event.detail > 1; // a button that is pressed by a key says 0
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
