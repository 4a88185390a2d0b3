/**
 * Films side by side on one clock: they start together, run at one rate, wait for one another at
 * the end, and begin again together.
 */
import { say } from "./words.js";

const FRAME = 1 / 30;
const REST_AT_END = 450;
const stillness = matchMedia("(prefers-reduced-motion: reduce)"); // then they run once
const SECONDS_TO_LOAD = 20;

/** @param {HTMLVideoElement} film */
function fullyBuffered(film) {
  const { buffered, duration } = film;
  return buffered.length > 0 && buffered.end(buffered.length - 1) >= duration - 0.15;
}

/** Two or more films that are shown at the same time. */
export class Films {
  #films;
  #rate = 1;
  #wanted = false;
  #paused = false;
  #rest = 0;
  #tick = 0;
  #isHeld = false;

  /** Told at each picture where they are, as a share of the longest. @type {(share: number) => void} */
  onTime = () => {};

  /** @param {string[]} sources Addresses of the films. */
  constructor(sources) {
    this.#films = sources.map((source) => {
      const film = document.createElement("video");
      Object.assign(film, { muted: true, playsInline: true, preload: "auto", src: source });
      film.disableRemotePlayback = true;
      film.tabIndex = -1;
      return film;
    });
  }

  /** The elements, in order. */
  get elements() {
    return this.#films;
  }

  /** Seconds of the longest, at the film's own speed. */
  get duration() {
    return Math.max(...this.#films.map((film) => film.duration));
  }

  /** Whether the person has paused them. */
  get paused() {
    return this.#paused;
  }

  /** Resolves when all are in memory from the first to the last frame; rejects if one cannot be. */
  ready() {
    return Promise.all(this.#films.map((film) => this.#loaded(film)));
  }

  #loaded(film) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(say("error.film-not-loaded"))), SECONDS_TO_LOAD * 1000);
      const look = ({ type }) => {
        // Of a long film a browser loads a part, and suspends when it has enough for now.
        if (film.readyState < 4 || !(fullyBuffered(film) || type === "suspend")) return;
        clearTimeout(late);
        resolve();
      };
      for (const news of ["canplaythrough", "progress", "suspend"]) film.addEventListener(news, look);
      film.addEventListener("error", () => {
        clearTimeout(late);
        reject(new Error(say("error.film-not-played")));
      });
      film.load();
    });
  }

  /**
   * Starts them from the beginning.
   * @param {number} rate How fast; 1 is the film's own speed.
   */
  start(rate) {
    this.#rate = rate;
    this.#wanted = true;
    this.#paused = false;
    this.restart();
    cancelAnimationFrame(this.#tick);
    this.#follow();
  }

  /** Ends them, for when they are not on the screen. */
  stop() {
    this.#wanted = false;
    clearTimeout(this.#rest);
    cancelAnimationFrame(this.#tick);
    for (const film of this.#films) film.pause();
  }

  /** Goes back to the first frame, and runs if not paused. */
  restart() {
    clearTimeout(this.#rest);
    this.#rest = 0;
    for (const film of this.#films) {
      film.currentTime = 0;
      film.playbackRate = this.#rate;
    }
    if (!this.#paused) this.#play();
  }

  /** Pauses, or goes on. */
  toggle() {
    this.#paused = !this.#paused;
    if (this.#paused) for (const film of this.#films) film.pause();
    else if (this.#films.every((film) => film.ended)) this.restart();
    else this.#play(this.#films.filter((film) => !film.ended));
  }

  /** @param {number} rate How fast from now on. */
  setRate(rate) {
    this.#rate = rate;
    for (const film of this.#films) film.playbackRate = rate;
  }

  /** @param {string} action What a key or a button asks of the films. */
  act(action) {
    if (action === "pause") this.toggle();
    if (action === "restart") this.restart();
    if (action === "back") this.step(-1);
    if (action === "forward") this.step(1);
  }

  /** @param {number} frames How far to go while paused, forwards or backwards. */
  step(frames) {
    if (!this.#paused) this.toggle();
    const to = Math.max(...this.#films.map((film) => film.currentTime)) + frames * FRAME;
    // A shorter one waits at its end.
    for (const film of this.#films) {
      film.currentTime = Math.max(0, Math.min(film.duration - 0.001, to));
    }
  }

  /** @param {number} share Where to go while a bar is held: from 0, the first frame, to 1. */
  hold(share) {
    this.#isHeld = true;
    this.onTime(share);
    clearTimeout(this.#rest);
    this.#rest = 0;
    for (const film of this.#films) {
      film.pause();
      film.currentTime = Math.max(0, Math.min(film.duration - 0.001, share * this.duration));
    }
  }

  /** The bar is let go: they run on from there, if they ran before. */
  letGo() {
    this.#isHeld = false;
    if (!this.#paused) this.#play();
  }

  #play(films = this.#films) {
    for (const film of films) film.play().catch(() => {}); // stopped before it began
  }

  /** At each picture: the others follow the first, and at the end they wait for one another. */
  #follow() {
    this.#tick = requestAnimationFrame(() => this.#follow());
    if (!this.#isHeld) {
      this.onTime(Math.max(...this.#films.map((film) => film.currentTime)) / this.duration);
    }
    if (!this.#wanted || this.#paused || this.#rest || this.#isHeld) return;
    if (this.#films.every((film) => film.ended)) {
      if (stillness.matches) return;
      this.#rest = setTimeout(() => this.restart(), REST_AT_END / Math.max(1, this.#rate));
      return;
    }
    const [first, ...others] = this.#films;
    for (const film of others) {
      const ahead = film.currentTime - first.currentTime;
      if (first.ended || film.ended) {
        film.playbackRate = this.#rate; // films of one's own may differ in length: this one waits, or goes on
        continue;
      }
      if (Math.abs(ahead) > 4 * FRAME) film.currentTime = first.currentTime;
      const nudge = Math.max(-0.25, Math.min(0.25, ahead * 3));
      film.playbackRate = this.#rate * (Math.abs(ahead) < FRAME / 4 ? 1 : 1 - nudge);
    }
  }
}
