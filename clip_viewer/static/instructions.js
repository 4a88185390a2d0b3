/** The instructions, as whoever runs the study wrote them, and how to answer on this device. */
import { ask } from "./api.js";

const READ = "prefrl-read";

/** @param {string} version @returns {boolean} Whether they were read in this browser. */
export function isRead(version) {
  return localStorage.getItem(READ) === version;
}

/** @returns {Promise<string | null>} The version that was read to its end; null if they are open. */
export async function showInstructions() {
  const dialog = document.getElementById("instructions");
  if (dialog.open) return null;
  const { html, rubric_ver } = await ask("GET", "/api/instructions");
  // Sanitised by the server: no scripts, no pictures.
  document.getElementById("instructions-text").innerHTML = html;
  document.getElementById("instructions-close").onclick = () => dialog.close();
  document.body.dataset.dialog = "instructions";
  dialog.showModal();
  dialog.scrollTop = 0; // the button at its end has the focus
  await new Promise((closed) => (dialog.onclose = closed));
  localStorage.setItem(READ, rubric_ver);
  document.body.dataset.dialog = "";
  return rubric_ver;
}
