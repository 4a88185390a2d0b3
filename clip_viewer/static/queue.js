/** The next showings, ready before they are needed. */
import { ask } from "./api.js";
import { Showing } from "./showing.js";
import { isStacked } from "./sides.js";

const READY = 4;
const POLL = 2_000;
const POLL_EMPTY = 500; // with nothing on the screen, or for a while with nothing to come after it
const EAGER = 20_000; // that while, from the newest pair on
const POLL_UNSEEN = 10_000; // of a tab that is hidden: it leases nothing
const HEARTBEAT = 20_000; // of leases
const REMEMBERED = 12;
const FIRST_REST = 5_000;
const LONGEST_REST = 180_000;
const MOST_RESTING = 32;

/** How large one of two films is shown here, in the screen's own pixels: they are drawn at that size. */
function sideInPixels(stage) {
  const film = stage.querySelector(".showing.shown video");
  const [wide, high] = film
    ? [film.clientWidth, film.clientHeight]
    : isStacked()
      ? [stage.clientWidth, stage.clientHeight / 2]
      : [stage.clientWidth / 2, stage.clientHeight];
  return Math.max(0, Math.min(4096, Math.round(Math.min(wide, high) * devicePixelRatio)));
}

/** Asks for tasks, loads them, and hands them out one by one. */
export class Queue {
  #stage;
  #outbox;
  #tabs;
  #act;
  #listeners;
  #ready = [];
  #loading = new Map();
  #answered = [];
  #failed = new Map(); // what did not load: how often, and until when it rests
  #asking = null;
  #askedAt = 0;
  #tookAt = 0;
  #timer = 0;
  #number = 0;
  #kept;

  /**
   * @param {HTMLElement} stage Where showings are laid out.
   * @param {import("./outbox.js").Outbox} outbox What waits in there must not be shown again.
   * @param {import("./tabs.js").Tabs} tabs What other tabs have must not be shown here.
   * @param {(action: string) => void} act For clicks and taps on a side.
   * @param {{filled: () => void, progress: (news: object) => void, failed: (error: Error) => void}} listeners
   * @param {import("./offline.js").KeptPairs} kept For when the server is away.
   */
  constructor(stage, outbox, tabs, act, listeners, kept) {
    this.#kept = kept;
    this.#stage = stage;
    this.#outbox = outbox;
    this.#tabs = tabs;
    this.#act = act;
    this.#listeners = listeners;
    addEventListener("pagehide", () => this.release());
    document.addEventListener("visibilitychange", () => document.hidden || this.fill());
  }

  /** The task on the screen, if any. */
  current = null;

  /** @returns {Showing | null} The next one that is ready. */
  take() {
    this.current = this.#ready.shift() ?? null;
    this.#tookAt = performance.now();
    this.#tabs.tell(this.#have());
    return this.current;
  }

  /** Whether there is one that loads. */
  get isLoading() {
    return this.#loading.size > 0;
  }

  /** Whether another tab of this person has some. */
  get isInOtherTab() {
    return this.#tabs.others().length > 0;
  }

  /**
   * @param {object} task To be shown now, whatever is next.
   * @returns {Promise<Showing>} When it is loaded.
   */
  async again(task) {
    const showing = new Showing(task);
    const loading = showing.prepare(this.#act);
    this.#stage.append(showing.element);
    try {
      await loading;
    } catch (error) {
      showing.element.remove();
      throw error;
    }
    this.#ready = this.#ready.filter((other) => other.task.id !== task.id);
    return showing;
  }

  /** @param {Showing} showing Comes next, before all others. */
  putBack(showing) {
    showing.number = -this.#number++; // before all others
    this.#ready.unshift(showing);
  }

  /** @param {Showing} showing Was answered: not to be shown again for now. */
  noteAnswered(showing) {
    const { id } = showing.task;
    this.#answered = [...this.#answered.filter((other) => other !== id), id].slice(-REMEMBERED);
    this.#kept.remove(id);
  }

  /** @param {Showing} showing Is back on the screen, without an answer. */
  noteUndone(showing) {
    this.#kept.add([showing.task]);
    this.#answered = this.#answered.filter((id) => id !== showing.task.id);
    this.noteShown(showing);
  }

  /** @param {Showing} showing Is on the screen, whether it has an answer or not. */
  noteShown(showing) {
    this.current = showing;
    this.#tabs.tell(this.#have());
  }

  /** Asks for more if there is room; one request at a time. */
  fill() {
    this.#asking ??= this.#tabs.alone(() => this.#ask()).finally(() => {
      this.#asking = null;
      this.#askedAt = performance.now();
      this.#goOn();
    });
    return this.#asking;
  }

  /** Asks again soon, at least how it is going: a server that stops waits until it has told that. */
  #goOn() {
    clearTimeout(this.#timer);
    const go = () => (this.#isDue() ? this.fill() : this.#look());
    const isNew = performance.now() - this.#tookAt < EAGER;
    const isEmpty = this.#ready.length + this.#loading.size === 0 && (isNew || !this.current);
    this.#timer = setTimeout(go, document.hidden ? POLL_UNSEEN : isEmpty ? POLL_EMPTY : POLL);
  }

  /** Whether it is time to ask for more, or to keep what is here. */
  #isDue() {
    return !document.hidden && (this.#isShort() || performance.now() - this.#askedAt > HEARTBEAT);
  }

  async #look() {
    try {
      this.#listeners.progress(await ask("GET", "/api/progress"));
    } catch (error) {
      this.#listeners.failed(error);
    }
    this.#goOn();
  }

  /** Loads what was fetched before, as the server is away and gives nothing new. */
  async restore() {
    await this.#tabs.forgetEnded();
    const gone = new Set([...this.#answered, ...this.#tabs.others(), ...(await this.#outbox.tasks())]);
    for (const task of this.#kept.all()) if (!gone.has(task.id)) this.#load(task);
    this.#tabs.tell(this.#have());
  }

  /** Asks for more as soon as fewer are ready than the page likes. */
  topUp() {
    if (this.#ready.length + this.#loading.size < READY - 1) this.fill();
  }

  /** Gives back what is not answered; nobody is here any more. */
  release() {
    const tasks = this.#have();
    this.#tabs.leave();
    ask("POST", "/api/release", { tasks }, { keepalive: true }).catch(() => {});
  }

  #isShort() {
    return this.#ready.length + this.#loading.size < READY - 1;
  }

  #have() {
    const here = [this.current, ...this.#ready].filter(Boolean).map(({ task }) => task.id);
    return [...new Set([...here, ...this.#loading.keys(), ...this.#resting()])];
  }

  /** What did not load of late: as long as the server is told that it is here, others come. */
  #resting() {
    const now = performance.now();
    const resting = [...this.#failed].filter(([, { until }]) => until > now);
    return resting.map(([id]) => id).slice(-MOST_RESTING);
  }

  /** A server that was away is back soon, a film that is broken stays so: it rests longer each time. */
  #rest(id) {
    const times = (this.#failed.get(id)?.times ?? 0) + 1;
    const rest = Math.min(FIRST_REST * 4 ** (times - 1), LONGEST_REST);
    this.#failed.delete(id); // the newest is last
    this.#failed.set(id, { times, until: performance.now() + rest });
  }

  async #ask() {
    const n = Math.max(0, READY - this.#ready.length - this.#loading.size);
    const shown = this.current?.task.id ?? null;
    await this.#tabs.forgetEnded();
    try {
      // The other tabs first: what they answer meanwhile waits in the outbox.
      const have = [...this.#have(), ...this.#tabs.others()];
      const told = [...new Set([...have, ...(await this.#outbox.tasks())])].slice(0, 64);
      const pixels = sideInPixels(this.#stage);
      const { tasks, progress } = await ask("POST", "/api/tasks", { n, have: told, shown, pixels });
      this.#listeners.progress(progress);
      const here = [...this.#have(), ...this.#answered, ...this.#tabs.others()];
      const not = new Set([...here, ...(await this.#outbox.tasks())]);
      for (const task of tasks) if (!not.has(task.id)) this.#load(task);
      this.#tabs.tell(this.#have());
    } catch (error) {
      this.#listeners.failed(error);
    }
  }

  async #load(task) {
    const showing = new Showing(task);
    showing.number = this.#number++;
    const loading = showing.prepare(this.#act);
    this.#loading.set(task.id, showing);
    this.#stage.append(showing.element);
    try {
      await loading;
      // The most urgent first, in whatever order they were loaded.
      this.#ready.push(showing);
      this.#ready.sort((a, b) => a.number - b.number);
      this.#failed.delete(task.id);
      this.#kept.add([task]);
    } catch {
      // A pair that cannot be shown is nobody's fault here: it comes again with its lease.
      showing.element.remove();
      this.#rest(task.id);
    } finally {
      this.#loading.delete(task.id);
    }
    this.#listeners.filled();
  }
}
