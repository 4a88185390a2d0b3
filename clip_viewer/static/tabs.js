/** What the other tabs of the same person have, so that no two of them show the same. */
import { newKey } from "./api.js";

const PLACE = "prefrl-tab";
const STALE = 120_000; // as long as the server keeps a pair for somebody

/** This tab among those of one person, each with an entry of its own in the browser's storage. */
export class Tabs {
  #all;
  #own;
  #lock;

  /** @param {string} study @param {string} annotator Whose tabs. */
  constructor(study, annotator) {
    this.#all = `${PLACE}/${study}/${annotator}/`;
    this.#own = this.#all + newKey();
    this.#lock = `prefrl-tasks/${study}`;
    // Held as long as this tab lives; the browser lets go of it however the tab ends.
    navigator.locks?.request(this.#own, () => new Promise(() => {})).catch(() => {});
  }

  /** @param {string[]} tasks What this tab has from now on. */
  tell(tasks) {
    try {
      localStorage.setItem(this.#own, JSON.stringify({ at: Date.now(), tasks }));
    } catch {
      // The storage is full: the others may show the same, which loses nothing.
    }
  }

  /** @returns {string[]} What the others have; a tab that has not said so for long has nothing. */
  others() {
    const tasks = [];
    for (const place of Object.keys(localStorage)) {
      if (!place.startsWith(`${PLACE}/`) || place === this.#own) continue;
      const told = read(place);
      if (!told) localStorage.removeItem(place);
      else if (place.startsWith(this.#all)) tasks.push(...told);
    }
    return tasks;
  }

  /** Forgets tabs that ended without a word: what crashes or is killed never calls leave(). */
  async forgetEnded() {
    // Plain HTTP has no locks, and a browser may forbid them: then entries are forgotten by their age.
    const { held, pending } = (await navigator.locks?.query().catch(() => null)) ?? {};
    if (!held || !pending) return;
    const alive = new Set([...held, ...pending].map(({ name }) => name));
    for (const place of Object.keys(localStorage)) {
      if (place.startsWith(this.#all) && !alive.has(place)) localStorage.removeItem(place);
    }
  }

  /** This tab has nothing any more. */
  leave() {
    localStorage.removeItem(this.#own);
  }

  /**
   * Does something that no other tab does at the same time. Plain HTTP has no locks: then two tabs
   * that ask in the same moment may get the same.
   * @param {() => Promise<void>} work
   */
  async alone(work) {
    await (navigator.locks ? navigator.locks.request(this.#lock, work) : work());
  }
}

/** What an entry says; null if it is stale or not ours. */
function read(place) {
  try {
    const { at, tasks } = JSON.parse(localStorage.getItem(place));
    const isFresh = Math.abs(Date.now() - at) < STALE && Array.isArray(tasks);
    return isFresh ? tasks.filter((id) => typeof id === "string") : null;
  } catch {
    return null;
  }
}
