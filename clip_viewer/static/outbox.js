/**
 * What was answered and is not yet known to be stored: kept by the browser until it is.
 *
 * An event is on disk here before the next pair is shown, is sent in order, again and again with
 * the same key, and leaves only when the server has decided about it. One tab sends at a time.
 */
import { ask, Refused } from "./api.js";

const STORE = "events";
const MOST_AT_ONCE = 20;
const LONGEST_PAUSE = 15_000;

function whenDone(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The events of one person, on their way. */
export class Outbox {
  #database;
  #study;
  #annotator;
  #listeners;
  #base;
  #waiting = 0;
  #adding = 0;
  #pause = 500;
  #sending = false;
  #more = false;
  #again = 0;

  /**
   * @param {string} study Where events go; those for another run on this address stay.
   * @param {string} annotator Whose events are sent; those of others stay.
   * @param {{changed: (how: string, n: number) => void, refused: (event: object, why: string) => void,
   *          progress: (news: object) => void, signedOut: () => void}} listeners
   * @param {URL} [base] Where the study is served, if it is not this page's own.
   */
  constructor(study, annotator, listeners, base) {
    this.#base = base;
    this.#study = study;
    this.#annotator = annotator;
    this.#listeners = listeners;
  }

  /** Opens the browser's database; what an earlier page left there is sent first. */
  async open() {
    const request = indexedDB.open("prefrl", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
    this.#database = await whenDone(request);
    addEventListener("online", () => this.send());
    await this.#count();
    this.send();
  }

  /** How many events wait. */
  get waiting() {
    return this.#waiting + this.#adding;
  }

  /**
   * Keeps an event; when this resolves, it outlives this page and this browser.
   * @param {object} event As the server takes it.
   */
  async add(event) {
    // Strict: it outlives a power cut, too. Nobody waits for the disk: the next pair is shown
    // meanwhile, and takes no answer so soon.
    const transaction = this.#database.transaction(STORE, "readwrite", { durability: "strict" });
    transaction.objectStore(STORE).add({ study: this.#study, annotator: this.#annotator, event });
    transaction.commit(); // told to the browser before this returns: a reload now changes nothing
    this.#adding += 1;
    this.tell();
    try {
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onerror = transaction.onabort = () => reject(transaction.error);
      });
      this.#waiting += 1;
    } finally {
      this.#adding -= 1;
      this.tell();
    }
    this.send();
  }

  /**
   * @param {number} seconds How long to wait.
   * @returns {Promise<boolean>} Whether all is with the server.
   */
  async isEmpty(seconds) {
    const until = performance.now() + 1000 * seconds;
    this.send();
    while (this.waiting && performance.now() < until) await new Promise((done) => setTimeout(done, 50));
    return this.waiting === 0;
  }

  /** The tasks whose answers wait. */
  async tasks() {
    return (await this.#mine()).map(([, kept]) => kept.event.task).filter(Boolean);
  }

  /** Sends what waits, until nothing does or the server is away. */
  async send() {
    clearTimeout(this.#again);
    this.#more = this.#sending; // what came while the last look found nothing is looked for again
    if (this.#sending) return;
    this.#sending = true;
    try {
      // Plain HTTP has no locks: then two tabs may send the same, which the keys make harmless.
      const all = () => this.#sendAll();
      await (navigator.locks ? navigator.locks.request(`prefrl-outbox/${this.#study}`, all) : all());
      this.#pause = 500;
      this.tell();
      this.#sending = false;
      if (this.#more) this.send();
    } catch (error) {
      this.#sending = false;
      this.#later(error);
    }
  }

  async #sendAll() {
    for (;;) {
      const kept = (await this.#mine()).slice(0, MOST_AT_ONCE);
      if (kept.length === 0) break;
      const events = kept.map(([, { event }]) => event);
      const decided = await this.#decided(events);
      decided.results.forEach((result, i) => {
        if (!result.stored) this.#listeners.refused(events[i], result.error);
      });
      const done = new Set(decided.results.map((result) => result.submission_key));
      await this.#remove(kept.filter(([, k]) => done.has(k.event.submission_key)));
      if (decided.progress) this.#listeners.progress(decided.progress);
    }
    await this.#count();
  }

  async #decided(events) {
    try {
      return await ask("POST", "/api/events", { events }, { base: this.#base });
    } catch (error) {
      if (!(error instanceof Refused) || !error.isFinal) throw error;
      if (events.length > 1) return this.#decided(events.slice(0, 1));
      // The server will never take this one: the person must know, the others must go on.
      const { submission_key } = events[0];
      return { results: [{ submission_key, stored: false, error: error.message }] };
    }
  }

  #later(error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) {
      this.#listeners.signedOut();
    } else {
      this.#listeners.changed("offline", this.waiting);
    }
    const asked = error instanceof Refused ? error.wait * 1000 : 0;
    this.#pause = Math.min(this.#pause * 1.6, LONGEST_PAUSE);
    this.#again = setTimeout(() => this.send(), Math.max(asked, this.#pause));
  }

  async #mine() {
    const store = this.#database.transaction(STORE).objectStore(STORE);
    const [keys, values] = await Promise.all([
      whenDone(store.getAllKeys()),
      whenDone(store.getAll()),
    ]);
    const isMine = ([, kept]) => kept.study === this.#study && kept.annotator === this.#annotator;
    return keys.map((key, i) => [key, values[i]]).filter(isMine);
  }

  async #remove(kept) {
    const store = this.#database.transaction(STORE, "readwrite").objectStore(STORE);
    await Promise.all(kept.map(([key]) => whenDone(store.delete(key))));
    await this.#count();
  }

  async #count() {
    this.#waiting = (await this.#mine()).length;
    this.tell();
  }

  /** Says how many wait. */
  tell() {
    this.#listeners.changed(this.waiting ? "saving" : "saved", this.waiting);
  }
}
