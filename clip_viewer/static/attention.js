/** Tells somebody who looks elsewhere that pairs have come: in the tab's title, and if wanted by a sound. */
import { say } from "./words.js";

const WANTED = "prefrl-sound";
const TONES = [
  [660, 0],
  [880, 0.12],
];
const SECONDS = 0.25;

/** What calls a person back. */
export class Attention {
  #title;
  #had = true; // a page that opens with pairs calls nobody
  #audio = null;

  /** @param {string} title Of the tab, while there is nothing to tell. */
  constructor(title) {
    this.#title = title;
    document.title = title;
    document.addEventListener("visibilitychange", () => document.hidden || this.#rest());
    addEventListener("focus", () => this.#rest());
  }

  /** Whether a sound is wanted. */
  get sounds() {
    return localStorage.getItem(WANTED) === "yes";
  }

  /** @returns {string} What the switch says once it is turned. */
  toggle() {
    localStorage.setItem(WANTED, this.sounds ? "no" : "yes");
    if (this.sounds) this.#play(); // a browser lets only who has pressed something hear anything
    return say(this.sounds ? "said.sound-on" : "said.sound-off");
  }

  /** @param {boolean} has Whether there is something to compare now. */
  note(has) {
    const come = has && !this.#had;
    this.#had = has;
    if (!has) this.#rest();
    if (!come) return;
    if (document.hidden || !document.hasFocus()) document.title = say("title.new-pairs", { title: this.#title });
    if (this.sounds) this.#play();
  }

  #rest() {
    document.title = this.#title;
  }

  #play() {
    this.#audio ??= new AudioContext();
    this.#audio.resume();
    const start = this.#audio.currentTime;
    for (const [pitch, after] of TONES) {
      const [tone, volume] = [this.#audio.createOscillator(), this.#audio.createGain()];
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.15, start + after);
      volume.gain.exponentialRampToValueAtTime(0.001, start + after + SECONDS);
      tone.connect(volume).connect(this.#audio.destination);
      tone.start(start + after);
      tone.stop(start + after + SECONDS);
    }
    performance.mark("prefrl:sound");
  }
}
