/** One task on the page: laid out and buffered before it is shown, and there again for an undo. */
import { Films } from "./films.js";
import { Ranking } from "./ranking.js";
import { fetchText, panel, scrollTogether, showDifferences, showLength } from "./texts.js";
import { isRepeated } from "./touch.js";

const SIDES = ["left", "right"];

/** A pair, or K items to rank. */
export class Showing {
  films = null;
  ranking = null;
  flagged = false;
  gold = false;
  number = 0; // in the order in which they are to be shown
  #texts = [];
  #panels = [];
  #sides = [];

  /** @param {object} task As the server gave it. */
  constructor(task) {
    this.task = task;
    this.element = document.createElement("div");
    this.element.className = task.media_type === "video/webm" ? "showing films" : "showing texts";
    this.element.inert = true;
  }

  /** "films" or "texts". */
  get media() {
    return this.task.media_type === "video/webm" ? "films" : "texts";
  }

  /**
   * Loads all of it.
   * @param {(action: string) => void} act Called when a side is chosen by a click or a tap.
   */
  async prepare(act) {
    const media = this.task.items.map((item) => item.media);
    let contents;
    if (this.media === "films") {
      this.films = new Films(media.map((id) => `/media/${encodeURIComponent(id)}`));
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

  /** @param {number} rate How fast films run. */
  show(rate) {
    this.element.classList.add("shown");
    this.element.inert = false;
    this.films?.start(rate);
  }

  /** Takes it off the screen; it stays ready. */
  hide() {
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
    element.setAttribute("aria-label", "Prompt");
    element.textContent = prompt;
    this.element.append(element);
  }

  #rank(contents) {
    this.ranking = new Ranking(contents);
    this.element.append(this.ranking.element);
  }

  #pair(contents, act) {
    const sides = document.createElement("div");
    sides.className = "sides";
    this.#sides = contents.map((content, i) => {
      // Texts are scrolled and read, so only films are buttons as a whole.
      const side = document.createElement(this.films ? "button" : "div");
      side.className = `side ${SIDES[i]}`;
      side.append(content);
      if (this.films) {
        side.type = "button";
        side.setAttribute("aria-label", `The clip on the ${SIDES[i]} is better`);
        side.addEventListener("click", (event) => isRepeated(event) || act(SIDES[i]));
      }
      return side;
    });
    if (!this.films) scrollTogether(this.#panels);
    sides.append(...this.#sides);
    this.element.append(sides);
  }
}
