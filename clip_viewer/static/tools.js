/** The tools below what is shown: which are pressed in, and what their keys are. */

import { DEGREES } from "./said.js";
import { say } from "./words.js";

/**
 * @param {import("./keys.js").Keys} keys
 * @param {import("./showing.js").Showing | undefined} showing What is on the screen.
 * @param {{rate: number, sound: boolean, differences: boolean, lengths: boolean}} chosen
 */
export function drawTools(keys, showing, { rate, ...pressed }) {
  for (const key of document.querySelectorAll("footer [data-action] kbd, kbd[data-key]")) {
    const action = key.dataset.key ?? key.closest("[data-action]").dataset.action;
    if (!DEGREES.includes(action)) key.textContent = keys.label(action);
  }
  const press = { ...pressed, flag: Boolean(showing?.flagged), note: Boolean(showing?.note), gold: Boolean(showing?.gold) };
  for (const [action, on] of Object.entries(press)) {
    document.querySelector(`footer [data-action="${action}"]`).setAttribute("aria-pressed", String(on));
  }
  const pause = document.querySelector('footer [data-action="pause"] span');
  pause.textContent = say(showing?.films?.paused ? "tool.go-on" : "tool.pause");
  document.getElementById("speed").textContent = `${rate}×`;
  document.querySelector('footer [data-action="save"]').disabled = !showing?.ranking?.done;
}
