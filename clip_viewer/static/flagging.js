/** The dialogs that ask for words: what is wrong with what is shown, and a note with the answer. */
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);

/** @returns {Promise<string | null>} What is wrong, if need be in no words; null: nothing after all. */
export function askWhy() {
  return askIn($("flagging"), "");
}

/** @param {string} before What it is so far. @returns {Promise<string | null>} The note; null: as it was. */
export function askNote(before) {
  return askIn($("noting"), before);
}

function askIn(dialog, before) {
  const words = dialog.querySelector("input");
  words.value = before;
  dialog.returnValue = "";
  dialog.querySelector("button[type=button]").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "done" ? words.value : null);
  });
}

/** @param {object[]} flags @param {object[]} notes @returns {string} What people said of a pair. */
export function marksSay(flags, notes) {
  const flagSays = ({ annotator: name, why }) => say(why ? "said.flagged-why" : "said.flagged-by", { name, why });
  const noteSays = ({ annotator: name, why }) => say("said.noted-by", { name, note: why });
  return [...flags.map(flagSays), ...notes.map(noteSays)].join("; ");
}
