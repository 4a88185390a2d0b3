/** One task on the page: laid out and buffered before it is shown, and there again for an undo. */
import { at } from "./api.js";
import { Films } from "./films.js";
import { Ranking } from "./ranking.js";
import { isStacked, nameTag, SIDES } from "./sides.js";
import { fetchText, panel, scrollTogether, showDifferences, showLength } from "./texts.js";
import { timeBars } from "./timebar.js";
import { isRepeated } from "./touch.js";
import { say } from "./words.js";

const WORDS_PER_SECOND = 15; // faster, nobody has read them
const LEAST_SECONDS = 1;

/** A pair, or K items to rank. */
export class Showing {
  films = null;
  ranking = null;
  flagged = false;
  gold = false;
  note = ""; // with the answer, in words
  number = 0; // in the order in which they are to be shown
  #seen = 0; // milliseconds that it was on the screen before
  #since = 0;
  #texts = [];
  #panels = [];
  #sides = [];

  /** @param {object} task As the server gave it. */
  constructor(task) {
    this.task = task;
    this.element = document.createElement("div");
    this.element.className = this.media === "films" ? "showing films" : "showing texts";
    this.element.inert = true;
  }

  /** "films" or "texts". */
  get media() {
    return this.task.media_type.startsWith("video/") ? "films" : "texts";
  }

  /**
   * Loads all of it.
   * @param {(action: string) => void} act Called when a side is chosen by a click or a tap.
   */
  async prepare(act) {
    const media = this.task.items.map((item) => item.media);
    let contents;
    if (this.media === "films") {
      this.films = new Films(media.map((id) => at(`/media/${encodeURIComponent(id)}`)));
      contents = this.films.elements;
    } else {
      this.#texts = await Promise.all(media.map(fetchText));
      contents = this.#panels = this.#texts.map(({ response }) => panel(response));
      this.#addPrompt(this.#texts[0].prompt);
    }
    if (this.task.kind === "ranking") this.#rank(contents);
    else this.#pair(contents, act);
    if (this.films) await this.films.ready();
  }

  /** What a swipe means: to a side that side, across a tie or "can't tell". Texts scroll down. */
  get swipes() {
    const [left, right] = SIDES;
    if (this.task.kind !== "pair") return {};
    if (this.media === "texts") return isStacked() ? {} : { left, right };
    return isStacked()
      ? { up: left, down: right, left: "skip", right: "tie" }
      : { left, right, up: "tie", down: "skip" };
  }

  /**
   * @param {number} rate How fast films run.
   * @returns {boolean} Whether it was on the screen too shortly to have been seen once.
   */
  isUnseen(rate) {
    const words = this.#texts.map(({ response }) => response.split(/\s+/).length);
    const needed = this.films
      ? this.films.duration / rate
      : Math.max(LEAST_SECONDS, words.reduce((a, b) => a + b, 0) / WORDS_PER_SECOND);
    return this.#seen + performance.now() - this.#since < 1000 * needed;
  }

  /** @param {number} rate How fast films run. */
  show(rate) {
    this.#since = performance.now();
    this.element.classList.add("shown");
    this.element.inert = false;
    this.films?.start(rate);
  }

  /** Takes it off the screen; it stays ready. */
  hide() {
    this.#seen += performance.now() - this.#since;
    this.films?.stop();
    this.element.classList.remove("shown");
    this.element.inert = true;
    for (const side of this.#sides) side.classList.remove("chosen");
  }

  /** @param {boolean} on */
  differences(on) {
    if (this.task.kind === "pair" && this.media === "texts") {
      showDifferences(this.#panels, this.#texts.map(({ response }) => response), on);
    }
  }

  /** @param {boolean} on */
  lengths(on) {
    this.#panels.forEach((one, i) => showLength(one.parentElement, this.#texts[i].response, on));
  }

  #addPrompt(prompt) {
    if (!prompt) return;
    const element = document.createElement("div");
    element.className = "prompt";
    element.tabIndex = 0;
    element.setAttribute("role", "region");
    element.setAttribute("aria-label", say("stage.prompt"));
    element.textContent = prompt;
    this.element.append(element);
  }

  #rank(contents) {
    this.ranking = new Ranking(contents);
    this.element.append(this.ranking.element);
  }

  /** @param {number} number It is the so manieth. @returns {string} What it is, for whoever does not see it. */
  inWords(number) {
    const key = `shown.${this.task.kind}.${this.media}`;
    return say(key, this.task.kind === "ranking" ? { number, n: this.task.items.length } : { n: number });
  }

  /** The name of a text and, where it is not below all, the button that says it is better. */
  #head(side, choose) {
    const head = document.createElement("header");
    const button = document.createElement("button");
    button.type = "button";
    button.append(nameTag(side, { better: true }));
    button.addEventListener("click", choose);
    head.append(nameTag(side, { tag: "h2" }), button);
    return head;
  }

  #pair(contents, act) {
    const sides = document.createElement("div");
    sides.className = "sides";
    this.#sides = contents.map((content, i) => {
      // Texts are scrolled and read, so only films are buttons as a whole.
      const side = document.createElement(this.films ? "button" : "section");
      side.className = `side ${SIDES[i]}`;
      const choose = (event) => isRepeated(event) || act(SIDES[i]);
      if (this.films) {
        side.type = "button";
        const [name, better] = [nameTag(SIDES[i]), nameTag(SIDES[i], { better: true })];
        name.ariaHidden = "true";
        better.className = "unseen";
        side.append(content, name, better);
        side.addEventListener("click", choose);
      } else {
        const head = this.#head(SIDES[i], choose);
        const name = head.querySelector("h2");
        name.id = `name-${i}-${this.task.id}`;
        side.append(head, content);
        for (const named of [side, content]) named.setAttribute("aria-labelledby", name.id);
        content.setAttribute("role", "article");
        // With a mouse one marks words; a finger that neither scrolls nor stays means the text.
        content.addEventListener("click", (event) => event.pointerType === "touch" && choose(event));
      }
      return side;
    });
    if (!this.films) scrollTogether(this.#panels);
    sides.append(...this.#sides, ...(this.films ? timeBars(this.films) : []));
    this.element.append(sides);
  }
}
