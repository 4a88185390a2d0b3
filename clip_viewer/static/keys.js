/** Which key does what: the defaults, one's own choice, and the dialog to choose. */
import { say } from "./words.js";

const DEFAULTS = {
  left: ["ArrowLeft", "a", "1"],
  right: ["ArrowRight", "d", "2"],
  tie: ["ArrowUp"],
  skip: ["ArrowDown"],
  save: ["Enter"],
  undo: ["Backspace", "z"],
  pause: [" "],
  restart: ["r"],
  slower: ["["],
  faster: ["]"],
  back: [","],
  forward: ["."],
  flag: ["f"],
  note: ["n"],
  sound: ["m"],
  gold: ["g"],
  differences: ["t"],
  lengths: ["l"],
  together: ["="],
  leave: ["Escape"],
  answered: ["h"],
  help: ["?"],
};

const ACTIONS = Object.keys(DEFAULTS).filter((action) => action !== "leave");

const SHOWN = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Backspace: "⌫",
  " ": say("key.space"),
  Enter: "⏎",
  Escape: say("key.escape"),
};

const SCROLL = ["ArrowUp", "ArrowDown", " "];
const KEPT = "prefrl-keys";

/** Whether a key goes up or down in a text that has the focus and is longer than its place. */
function scrolls({ key, target }) {
  const text = target.closest?.(".text, .prompt");
  return SCROLL.includes(key) && Boolean(text) && text.scrollHeight > text.clientHeight;
}

/** @param {string} key As the browser calls it. @returns {string} As people know it. */
export function shown(key) {
  return SHOWN[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}

/** Keys and what they do. */
export class Keys {
  #keys = structuredClone(DEFAULTS);
  #waitingFor = null;

  /** @param {(action: string, digit?: number) => void} act Called for each key that does something. */
  constructor(act) {
    this.#read();
    addEventListener("keydown", (event) => this.#down(event, act));
    // A button that has the focus must not take the space bar for itself.
    addEventListener("keyup", (event) => event.key === " " && this.#isFree(event) && event.preventDefault());
  }

  /** @param {string} action @returns {string} The key that does it, as people know it. */
  label(action) {
    const key = this.#keys[action]?.[0];
    return key === undefined ? "" : shown(key);
  }

  #down(event, act) {
    if (this.#waitingFor) return this.#assign(event);
    if (!this.#isFree(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = Object.keys(this.#keys).find((name) => this.#keys[name].includes(key));
    const isDigit = /^[1-9]$/.test(key);
    if (!action && !isDigit) return;
    if (scrolls(event)) return;
    // Enter on a button that has the focus presses that button.
    if (key === "Enter" && event.target.closest?.("button, a")) return;
    event.preventDefault();
    if (event.repeat) return; // a key that is held down says nothing new
    act(action ?? "", isDigit ? Number(key) : undefined);
  }

  #isFree(event) {
    const { target } = event;
    return (
      !event.ctrlKey &&
      !event.metaKey &&
      !event.altKey &&
      !document.querySelector("dialog[open]") &&
      !target.closest?.("input, textarea, select, [contenteditable]")
    );
  }

  #read() {
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(KEPT));
    } catch {
      // Whatever is there is not ours.
    }
    for (const action of Object.keys(DEFAULTS)) {
      const keys = kept?.[action];
      const areKeys = Array.isArray(keys) && keys.every((k) => typeof k === "string" && k.length < 20);
      if (areKeys) this.#keys[action] = keys.slice(0, 5);
    }
  }

  #keep() {
    localStorage.setItem(KEPT, JSON.stringify(this.#keys));
  }

  /**
   * Opens the dialog in which keys are chosen.
   * @param {() => void} changed Called after each change.
   */
  openDialog(changed) {
    const dialog = document.getElementById("keys");
    this.changed = changed;
    document.getElementById("keys-reset").onclick = () => {
      this.#keys = structuredClone(DEFAULTS);
      localStorage.removeItem(KEPT);
      this.#draw();
    };
    document.getElementById("keys-close").onclick = () => dialog.close();
    dialog.onclose = () => {
      this.#waitingFor = null;
      document.getElementById("stage").focus({ preventScroll: true }); // else Enter would open it again
    };
    this.#draw();
    dialog.showModal();
  }

  #draw() {
    const rows = ACTIONS.map((action) => {
      const name = say(`does.${action}`);
      const row = document.createElement("tr");
      const button = document.createElement("button");
      button.type = "button";
      const waits = this.#waitingFor === action;
      button.textContent = waits ? say("keys.press") : this.#keys[action].map(shown).join("  ") || say("keys.none");
      button.setAttribute("aria-label", say("keys.row", { name, keys: button.textContent }));
      button.onclick = () => {
        this.#waitingFor = action;
        this.#draw();
      };
      row.insertCell().textContent = name;
      row.insertCell().append(button);
      return row;
    });
    document.getElementById("keys-table").replaceChildren(...rows);
    this.changed?.();
  }

  #assign(event) {
    event.preventDefault();
    event.stopPropagation();
    if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    const says = document.getElementById("keys-says");
    if (event.key !== "Escape") {
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      for (const action of Object.keys(this.#keys)) {
        this.#keys[action] = this.#keys[action].filter((other) => other !== key);
      }
      this.#keys[this.#waitingFor].unshift(key);
      says.textContent = say("keys.now", { key: shown(key), name: say(`does.${this.#waitingFor}`) });
      this.#keep();
    }
    this.#waitingFor = null;
    this.#draw();
  }
}
