/** What the page keeps for when the server is away: itself, who is here, and the next pairs. */
import { ask, at, setToken } from "./api.js";
import { FILES } from "./words.js";

const WHO = `prefrl-me${location.pathname}`;
const PAIRS = "prefrl-pairs";
const MOST_PAIRS = 12;
const PAUSE = 2_000;

/** Has the browser keep the page. Over plain HTTP from another machine it cannot: then it does not. */
export async function keepPage() {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register(at("/sw.js"), { scope: at("/") });
    await navigator.serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name.split("#")[0]);
    tellKeeper([at("/"), ...FILES, ...loaded.filter((url) => url.startsWith(at("/static/")))]);
  } catch {
    // Without it the page is as it is: it only does not open while the server is away.
  }
}

async function tellKeeper(keep) {
  const registration = await navigator.serviceWorker?.getRegistration(at("/"));
  registration?.active?.postMessage({ keep });
}

/** @param {object} me Who is signed in; what proves it is not kept. */
export function rememberWho({ token, ...me }) {
  localStorage.setItem(WHO, JSON.stringify(me));
}

/** Whoever was here is not let in any more. */
export function forgetWho() {
  localStorage.removeItem(WHO);
}

/** @returns {object | null} Who was here last. */
export function whoWasHere() {
  return read(WHO);
}

/**
 * Asks for the proof again until the server is there.
 * @param {(me: object) => void} back Called once, when it is.
 * @param {(error: Error) => void} refused Called instead if it does not let them in.
 */
export async function waitForServer(back, refused) {
  try {
    const me = await ask("GET", "/api/me");
    setToken(me.token);
    back(me);
  } catch (error) {
    if (error.status === 401) return refused(error);
    setTimeout(() => waitForServer(back, refused), PAUSE);
  }
}

/** The pairs that were fetched and not answered, of all tabs of a person. */
export class KeptPairs {
  #place;

  /** @param {string} study @param {string} annotator Whose. */
  constructor(study, annotator) {
    this.#place = `${PAIRS}/${study}/${annotator}`;
  }

  /** @param {object[]} tasks Are ready from now on: they are the newest. */
  add(tasks) {
    const new_ = new Set(tasks.map(({ id }) => id));
    this.#write([...this.all().filter(({ id }) => !new_.has(id)), ...tasks]);
    const media = tasks.flatMap(({ items }) => items.map((item) => at(`/media/${encodeURIComponent(item.media)}`)));
    tellKeeper(media);
  }

  /** @param {string} id Was answered. */
  remove(id) {
    this.#write(this.all().filter((task) => task.id !== id));
  }

  /** @returns {object[]} The oldest first. */
  all() {
    const kept = read(this.#place);
    return Array.isArray(kept) ? kept : [];
  }

  #write(tasks) {
    try {
      localStorage.setItem(this.#place, JSON.stringify(tasks.slice(-MOST_PAIRS)));
    } catch {
      // The storage is full: then they are not there next time, which loses no answer.
    }
  }
}

function read(place) {
  try {
    return JSON.parse(localStorage.getItem(place));
  } catch {
    return null;
  }
}
