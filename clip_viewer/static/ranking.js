/**
 * K items in an order: dragged there, or picked by their numbers, the best first. What is picked is
 * on top; the one that is left over is last.
 */

import { isRepeated } from "./touch.js";
import { say } from "./words.js";

/** A list that can be ordered. */
export class Ranking {
  #cards;
  #picked = []; // groups of positions: those of a group are equal
  #list = document.createElement("ol");

  /** @param {HTMLElement[]} contents What is ranked, in the order shown first. */
  constructor(contents) {
    this.#list.className = "ranking";
    this.#cards = contents.map((content, i) => this.#card(content, i));
    this.#draw();
  }

  /** The list. */
  get element() {
    return this.#list;
  }

  /** Whether the order is complete. */
  get done() {
    return this.#picked.flat().length >= this.#cards.length - 1;
  }

  /** Rank of each item as shown first; 1 is best, equal ranks tie. */
  get ranks() {
    const groups = [...this.#picked];
    const left = this.#rest();
    if (left.length) groups.push(left);
    const ranks = new Array(this.#cards.length);
    groups.forEach((group, rank) => group.forEach((i) => (ranks[i] = rank + 1)));
    return ranks;
  }

  /** The order so far, the best first, by the items' numbers. */
  get inWords() {
    if (!this.#picked.length) return "";
    const order = this.#picked.map((group) => group.map((i) => i + 1).join(" = ")).join(", ");
    return say("rank.order", { order });
  }

  /** @param {number} number Of the item that is the next best, from 1. */
  pick(number) {
    const i = number - 1;
    if (i >= this.#cards.length || this.#picked.flat().includes(i)) return;
    this.#picked.push([i]);
    this.#draw();
  }

  /** Says that the last two that were picked are equally good, or not after all. */
  together() {
    const last = this.#picked.pop();
    if (!last) return;
    if (last.length > 1) this.#picked.push(last.slice(0, -1), last.slice(-1));
    else if (this.#picked.length) this.#picked.at(-1).push(...last);
    else this.#picked.push(last);
    this.#draw();
  }

  /** Takes the last pick back. @returns {boolean} Whether there was one. */
  unpick() {
    const last = this.#picked.pop();
    if (last?.length > 1) this.#picked.push(last.slice(0, -1));
    this.#draw();
    return last !== undefined;
  }

  #rest() {
    const picked = new Set(this.#picked.flat());
    return this.#cards.map((_, i) => i).filter((i) => !picked.has(i));
  }

  #card(content, i) {
    const card = document.createElement("li");
    const [rank, number, handle] = ["button", "kbd", "button"].map((t) => document.createElement(t));
    rank.type = "button";
    rank.className = "rank";
    rank.setAttribute("aria-label", say("rank.next", { n: i + 1 }));
    card.addEventListener("click", (event) => {
      const isText = content.contains(event.target) && content.tagName !== "VIDEO";
      // With a mouse one marks words of a text; a finger that neither scrolls nor stays picks it.
      if (isText && event.pointerType !== "touch") return;
      if (event.detail) document.activeElement?.blur(); // else Enter would press it again
      if (!handle.contains(event.target) && !isRepeated(event)) this.pick(i + 1);
    });
    number.textContent = String(i + 1);
    handle.type = "button";
    handle.className = "handle";
    handle.textContent = "⠿";
    handle.setAttribute("aria-label", say("rank.handle", { n: i + 1 }));
    handle.addEventListener("keydown", (event) => this.#byArrows(event, i));
    handle.addEventListener("pointerdown", (event) => this.#drag(event, card, i));
    if (content.classList.contains("text")) {
      content.setAttribute("role", "article");
      content.setAttribute("aria-label", say("rank.item", { n: i + 1 }));
    }
    card.append(rank, number, content, handle);
    return card;
  }

  #byArrows(event, i) {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const order = [...this.#picked.flat(), ...this.#rest()];
    this.#move(i, order.indexOf(i) + by);
    this.#cards[i].querySelector(".handle").focus();
  }

  #move(i, to) {
    const order = [...this.#picked.flat(), ...this.#rest()].filter((other) => other !== i);
    order.splice(Math.max(0, to), 0, i);
    this.#picked = order.map((one) => [one]);
    this.#draw();
  }

  #drag(event, card, i) {
    event.preventDefault();
    card.classList.add("dragged");
    const follow = (moved) => {
      const others = [...this.#list.children].filter((other) => other !== card);
      const before = others.find((other) => {
        const box = other.getBoundingClientRect();
        return moved.clientY < box.top + box.height / 2;
      });
      const at = before ? others.indexOf(before) : others.length;
      if ([...this.#list.children].indexOf(card) !== at) this.#move(i, at);
    };
    const end = () => {
      card.classList.remove("dragged");
      removeEventListener("pointermove", follow);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
    };
    // On the window: a card that changes its place in the list loses a captured pointer.
    addEventListener("pointermove", follow);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  }

  #draw() {
    const rest = this.#rest();
    const ranks = this.ranks;
    const picked = new Set(this.#picked.flat());
    [...this.#picked.flat(), ...rest].forEach((i, at) => {
      const card = this.#cards[i];
      const known = picked.has(i) || rest.length === 1;
      card.classList.toggle("picked", known);
      card.querySelector(".rank").textContent = known ? String(ranks[i]) : "–";
      // Only what has moved, so that the focus stays where it is.
      if (this.#list.children[at] !== card) {
        this.#list.insertBefore(card, this.#list.children[at] ?? null);
      }
    });
    this.#list.dispatchEvent(new Event("change", { bubbles: true }));
  }
}
