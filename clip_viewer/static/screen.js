/** What the page shows around a pair: its state, a notice, and a word on what was just done. */

const $ = (id) => document.getElementById(id);

/**
 * @param {string} state Of the page, for its style and for whoever looks.
 * @param {string} [title] Of the notice that stands where a pair would.
 * @param {string} [text] Of the notice.
 * @param {[string, () => void] | null} [button] What it says, and what it does.
 */
export function setState(state, title = "", text = "", button = null) {
  document.body.dataset.state = state;
  $("notice-title").textContent = title;
  $("notice-text").textContent = text;
  $("notice-button").hidden = !button;
  if (button) [$("notice-button").textContent, $("notice-button").onclick] = button;
}

/** @param {boolean} on Whether an answer is being kept: a key that bounces means nothing then. */
export function setBusy(on) {
  document.body.dataset.busy = on ? "yes" : "no";
}

export function isBusy() {
  return document.body.dataset.busy === "yes";
}

/** Says what was just done, for a moment. */
export function say(text, isBad = false) {
  $("said").textContent = text;
  $("said").className = isBad ? "bad" : "";
}

/** @returns {boolean} Whether what had the focus is no longer there to have it. */
export function isWithoutFocus() {
  const { activeElement: here } = document;
  return !here || here === document.body || Boolean(here.closest("[inert]"));
}
