/**
 * All that the pages say, in the language of whoever reads: words/LANGUAGE.json has it, with one
 * entry for each thing that is said. The server says its own sentences out of the same files.
 */

/** By the tag of the language, what it calls itself. For another one, add its file and a line here. */
export const LANGUAGES = { en: "English", de: "Deutsch" };

const CHOSEN = "prefrl-language";
const PAUSE = 1_000;

/** @param {string} tag Of a language. @returns {string} Where its words are. */
const fileOf = (tag) => new URL(`words/${tag}.json`, import.meta.url).href;

/** What was chosen on a page; else the first language of this browser that there is. */
function choose() {
  const wanted = [localStorage.getItem(CHOSEN), ...navigator.languages];
  const tags = wanted.map((tag) => tag?.split("-")[0].toLowerCase());
  return tags.find((tag) => Object.hasOwn(LANGUAGES, tag)) ?? "en";
}

/** The tag of the language of this page. */
export const language = choose();

/** The files of all languages: a page that is open can be read in each, also without the server. */
export const FILES = Object.keys(LANGUAGES).map(fileOf);

const words = await load();
const plural = new Intl.PluralRules(language);
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const PLACES = { word: "textContent", wordLabel: "ariaLabel", wordHint: "placeholder" };

document.documentElement.lang = language;
fill();

async function load() {
  for (;;) {
    try {
      const reply = await fetch(fileOf(language));
      if (reply.ok) return await reply.json();
    } catch {
      // Without words there is no page: it waits for the server.
    }
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

/** @param {number} value @returns {string} A whole number, as this language writes it. */
export function number(value) {
  return whole.format(value);
}

/** @param {string} key @returns {boolean} Whether there is something of that name to say. */
export function has(key) {
  return Object.hasOwn(words, key);
}

/**
 * @param {string} key Of what is to be said.
 * @param {Record<string, string | number>} [values] For what stands in {braces}. By the number n
 *   goes the form, if there are several.
 * @returns {string} It, in the language of this page.
 */
export function say(key, values = {}) {
  const found = words[key];
  const text = typeof found === "object" ? found[plural.select(values.n)] ?? found.other : found;
  const value = (name) => (typeof values[name] === "number" ? number(values[name]) : values[name]);
  return text.replaceAll(/\{(\w+)\}/g, (_, name) => value(name));
}

/** Puts the words into a page that only names them, and lets its reader choose another language. */
function fill() {
  for (const [name, place] of Object.entries(PLACES)) {
    const attribute = name.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`);
    for (const element of document.querySelectorAll(`[data-${attribute}]`)) {
      element[place] = say(element.dataset[name]);
    }
  }
  for (const select of document.querySelectorAll("select.language")) {
    select.append(...Object.entries(LANGUAGES).map(([tag, name]) => new Option(name, tag)));
    select.value = language;
    select.addEventListener("change", () => {
      localStorage.setItem(CHOSEN, select.value);
      location.reload();
    });
  }
}
