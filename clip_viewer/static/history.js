/** What was answered, to be taken back: in this sitting, and before this page was opened. */
import { lastAnswered } from "./answered.js";
import { say } from "./screen.js";
import { say as word } from "./words.js";

const MOST_AT_HAND = 200;
const SECONDS_TO_SEND = 5;

/** The answers of this page, the newest last. */
export class History {
  #queue;
  #outbox;
  #answered = [];

  /** @param {import("./queue.js").Queue} queue @param {import("./outbox.js").Outbox} outbox */
  constructor(queue, outbox) {
    this.#queue = queue;
    this.#outbox = outbox;
  }

  /**
   * @param {import("./showing.js").Showing} showing What was answered.
   * @param {string} key Of the answer.
   * @param {string} [replaces] Key of an answer that this one replaces.
   */
  add(showing, key, replaces) {
    this.#answered = [...this.#answered.filter((one) => one.key !== replaces), { showing, key }];
    if (this.#answered.length > MOST_AT_HAND) this.#answered.shift().showing.element.remove();
  }

  /** @returns {Promise<{showing: object, key: string} | null>} The last one; null, having said why, if there is none. */
  async last() {
    return this.#answered.at(-1) ?? (await this.#lastStored());
  }

  /** @returns {import("./showing.js").Showing} The last one, which is not answered any more. */
  take() {
    return this.#answered.pop().showing;
  }

  async #lastStored() {
    try {
      if (!(await this.#outbox.isEmpty(SECONDS_TO_SEND))) throw new TypeError("answers wait");
      const last = await lastAnswered();
      if (!last) return say(word("said.nothing-to-undo")) ?? null;
      const showing = await this.#queue.again(last.task);
      Object.assign(showing, { gold: last.gold, note: last.note });
      this.add(showing, last.submission_key);
      return this.#answered.at(-1);
    } catch {
      say(word("said.undo-later"), true);
      return null;
    }
  }
}
