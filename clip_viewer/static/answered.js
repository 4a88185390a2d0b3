/** One's own answers: what was answered last, and the list of all, as small pictures. */
import { ask, at } from "./api.js";
import { isBetter } from "./sides.js";
import { fetchText } from "./texts.js";
import { language, say } from "./words.js";

const AT_ONCE = 24;
const LONGEST_TEXT = 90;
const SAYS = {
  left: () => isBetter("left"),
  right: () => isBetter("right"),
  tie: () => say("answer.tie"),
  skip: () => say("answer.skip"),
  ranking: () => say("mine.ranked"),
};

const $ = (id) => document.getElementById(id);

/** @returns {Promise<object | null>} One's newest answer that stands, as the server has it. */
export async function lastAnswered() {
  const { answers } = await ask("GET", "/api/answers?n=1");
  return answers[0] ?? null;
}

/**
 * Opens the list; it closes when one is chosen.
 * @param {(answered: object) => void} open Told which.
 */
export async function openAnswered(open) {
  const dialog = $("answered");
  $("answered-list").replaceChildren();
  $("answered-says").textContent = "";
  $("answered-close").onclick = () => dialog.close();
  const choose = (answered) => {
    dialog.close();
    open(answered);
  };
  $("answered-more").onclick = () => add(choose);
  dialog.onclose = () => $("answered-list").replaceChildren(); // its films give their memory back
  dialog.showModal();
  await add(choose);
}

/** Adds the next ones, the newest first. */
async function add(choose) {
  const list = $("answered-list");
  const before = list.lastElementChild?.dataset.event;
  try {
    const place = before ? `&before=${encodeURIComponent(before)}` : "";
    const { answers, more } = await ask("GET", `/api/answers?n=${AT_ONCE}${place}`);
    list.append(...answers.map((answered) => card(answered, choose)));
    $("answered-more").hidden = !more;
    $("answered-more").textContent = say("mine.more");
    $("answered-says").textContent = list.children.length ? "" : say("mine.none");
  } catch {
    $("answered-says").textContent = say("mine.away");
  }
}

function card(answered, choose) {
  const { task, answer, answered_at, flagged, event, note } = answered;
  const item = document.createElement("li");
  item.dataset.event = String(event);
  item.dataset.task = task.id;
  const button = document.createElement("button");
  button.type = "button";
  const items = document.createElement("span");
  items.className = "items";
  items.append(...task.items.map(({ media }) => small(task.media_type, media)));
  const words = document.createElement("span");
  const when = new Date(answered_at * 1000).toLocaleTimeString(language, { timeStyle: "short" });
  words.textContent = [SAYS[answer](), when, flagged && say("mine.flagged"), note && say("mine.note", { note })].filter(Boolean).join(" · ");
  if (answer === "left" || answer === "right") {
    items.children[Number(answer === "right")].classList.add("better");
  }
  button.append(items, words);
  button.addEventListener("click", () => choose(answered));
  item.append(button);
  return item;
}

/** A film's first picture, or the beginning of a text. */
function small(mediaType, media) {
  if (mediaType.startsWith("video/")) {
    const film = document.createElement("video");
    Object.assign(film, { muted: true, playsInline: true, preload: "metadata" });
    film.src = at(`/media/${encodeURIComponent(media)}#t=0.01`);
    return film;
  }
  const text = document.createElement("span");
  fetchText(media).then(
    ({ response }) => (text.textContent = response.slice(0, LONGEST_TEXT)),
    () => (text.textContent = "…"),
  );
  return text;
}
