/** A bar of time under each clip: it shows where the films are, and is clicked or dragged to go there. */
import { say } from "./words.js";

const STEPS = 1000;

/**
 * @param {import("./films.js").Films} films All on one clock: each bar moves all of them.
 * @returns {HTMLInputElement[]} One bar for each film.
 */
export function timeBars(films) {
  const bars = films.elements.map(() => {
    const bar = document.createElement("input");
    Object.assign(bar, { type: "range", className: "time", min: 0, max: STEPS, value: 0 });
    bar.setAttribute("aria-label", say("stage.time"));
    bar.addEventListener("input", () => films.hold(Number(bar.value) / STEPS));
    bar.addEventListener("change", () => {
      films.letGo();
      bar.blur(); // its arrows would take the keys that answer
    });
    return bar;
  });
  films.onTime = (share) => {
    for (const bar of bars) bar.value = String(Math.round(share * STEPS));
  };
  return bars;
}
