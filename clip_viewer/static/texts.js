/** Texts side by side: their prompt, lengths and differences when asked for, scrolled together. */

import { at } from "./api.js";
import { say } from "./words.js";

const MOST_WORDS = 1500;

/**
 * Fetches a text item.
 * @param {string} media Its id.
 * @returns {Promise<{prompt: string, response: string}>}
 */
export async function fetchText(media) {
  const reply = await fetch(at(`/media/${encodeURIComponent(media)}`), { credentials: "same-origin" });
  if (!reply.ok) throw new Error(say("error.text-not-loaded"));
  const { prompt = "", response = "" } = await reply.json();
  return { prompt: String(prompt), response: String(response) };
}

/**
 * @param {string} text
 * @returns {HTMLElement} A panel with the text as it is.
 */
export function panel(text) {
  const element = document.createElement("div");
  element.className = "text";
  element.tabIndex = 0;
  element.textContent = text || say("stage.empty-text");
  return element;
}

/** @param {HTMLElement[]} panels Scrolled by the same share of their heights from now on. */
export function scrollTogether(panels) {
  let leading = null;
  for (const one of panels) {
    one.addEventListener("pointerenter", () => (leading = one));
    one.addEventListener("focus", () => (leading = one));
    one.addEventListener("scroll", () => {
      if (leading && leading !== one) return;
      const share = one.scrollTop / Math.max(1, one.scrollHeight - one.clientHeight);
      for (const other of panels) {
        if (other !== one) other.scrollTop = share * (other.scrollHeight - other.clientHeight);
      }
    });
  }
}

/** @param {HTMLElement} side @param {string} text @param {boolean} on Whether to say how long it is. */
export function showLength(side, text, on) {
  side.querySelector(".length")?.remove();
  if (!on) return;
  const length = document.createElement("span");
  const words = text.split(/\s+/).filter(Boolean).length;
  length.className = "length";
  length.textContent = say("stage.words", { n: words });
  side.append(length);
}

/**
 * Marks the words that only one of two texts has, or takes the marks away.
 * @param {HTMLElement[]} panels Two of them.
 * @param {string[]} texts
 * @param {boolean} on
 */
export function showDifferences(panels, texts, on) {
  const words = texts.map((text) => text.split(/(\s+)/));
  if (!on || words.some((list) => list.length > MOST_WORDS)) {
    panels.forEach((one, i) => (one.textContent = texts[i] || say("stage.empty-text")));
    return;
  }
  const common = inBoth(...words);
  panels.forEach((one, side) => {
    one.replaceChildren(
      ...words[side].map((word, i) => {
        if (common[side].has(i) || !word.trim()) return document.createTextNode(word);
        const mark = document.createElement("mark");
        mark.textContent = word;
        return mark;
      }),
    );
  });
}

/** Positions of a longest common subsequence, in each of two lists. */
function inBoth(left, right) {
  const wide = right.length + 1;
  const best = new Uint16Array((left.length + 1) * wide);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      best[i * wide + j] =
        left[i] === right[j]
          ? best[(i + 1) * wide + j + 1] + 1
          : Math.max(best[(i + 1) * wide + j], best[i * wide + j + 1]);
    }
  }
  const common = [new Set(), new Set()];
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    if (left[i] === right[j]) {
      common[0].add(i++);
      common[1].add(j++);
    } else if (best[(i + 1) * wide + j] >= best[i * wide + j + 1]) i++;
    else j++;
  }
  return common;
}
