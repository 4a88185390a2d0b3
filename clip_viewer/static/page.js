/** The labelling page, from the sign-in link to the answers. */
import { ask, newKey, Refused, setToken } from "./api.js";
import { Keys } from "./keys.js";
import { agentSays, showNews, showSaved } from "./news.js";
import { Outbox } from "./outbox.js";
import { Queue } from "./queue.js";
import { Tabs } from "./tabs.js";
import { isRepeated, listenToFingers } from "./touch.js";

const RATES = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4];
const SAID = {
  left: "Left is better",
  right: "Right is better",
  tie: "Tie",
  skip: "Can’t tell",
  save: "Ranking saved",
};
const MOST_UNDOS_AT_HAND = 200;

const $ = (id) => document.getElementById(id);
const stage = $("stage");

let me, keys, outbox, queue;
let current = null; // what is on the screen: {showing, key, since, at}
let history = []; // what was answered in this sitting, to be undone
let busy = false; // an answer is being kept: a key that bounces means nothing
let rate = RATES.includes(Number(localStorage.getItem("prefrl-rate"))) ? Number(localStorage.getItem("prefrl-rate")) : 1;
let news = null;
let link = null; // the token of a sign-in link, until it is used
const shownForTexts = { differences: false, lengths: false };

function setState(state, title = "", text = "", button = null) {
  document.body.dataset.state = state;
  $("notice-title").textContent = title;
  $("notice-text").textContent = text;
  $("notice-button").hidden = !button;
  if (button) [$("notice-button").textContent, $("notice-button").onclick] = button;
}

function setBusy(on) {
  busy = on;
  document.body.dataset.busy = on ? "yes" : "no";
}

/** Says what was just done, for a moment. */
function say(text, isBad = false) {
  $("said").textContent = text;
  $("said").className = isBad ? "bad" : "";
}

/** Puts a showing on the screen; `performance` has from the key to here. */
function show(showing) {
  current = { showing, key: newKey(), since: performance.now(), at: Date.now() };
  Object.assign(document.body.dataset, { media: showing.media, kind: showing.task.kind });
  Object.assign(stage.dataset, { task: showing.task.id, order: showing.task.order });
  setState("showing");
  showing.show(rate);
  showing.differences(shownForTexts.differences);
  showing.lengths(shownForTexts.lengths);
  // The second of two callbacks comes after the first picture was painted.
  const painted = () => performance.mark("prefrl:shown", { detail: showing.task.id });
  requestAnimationFrame(() => requestAnimationFrame(painted));
  drawTools();
}

function showNext() {
  const showing = queue.take();
  if (showing) show(showing);
  else {
    current = null;
    delete stage.dataset.task;
    sayEmpty();
  }
  queue.topUp();
}

function sayEmpty() {
  if (!["showing", "empty", "loading"].includes(document.body.dataset.state)) return;
  if (current) return;
  if (!news) return setState("loading", "One moment …", "The first pairs are on their way.");
  const { queue: counts } = news;
  if (counts.waiting > counts.ready) {
    return setState("empty", "Almost there", "The next clips are being drawn; they appear by themselves.");
  }
  const more = news.finished
    ? "The training is finished. Thank you!"
    : `Right now: ${agentSays(news)}. New pairs appear here by themselves.`;
  setState("empty", "Nothing to compare", more);
}

/** One answer: the next pair at once, while the browser keeps it and the server is told. */
async function answer(action) {
  if (!current || busy) return;
  const { showing, key, since, at } = current;
  const { task, ranking } = showing;
  if ((action === "save") !== (Boolean(ranking) && action !== "skip") && action !== "skip") return;
  if (action === "save" && !ranking.done) return say("Put all of them in an order first.", true);
  performance.mark("prefrl:key", { detail: task.id });
  setBusy(true);
  const common = {
    submission_key: key,
    task: task.id,
    order: task.order,
    shown_at: at,
    client_ms: Math.round(performance.now() - since),
    rubric_ver: me.rubric_ver,
  };
  const event = ranking
    ? { kind: "ranking", ranks: action === "skip" ? null : ranking.ranks, ...common }
    : { kind: "answer", answer: action, ...common };
  const kept = [outbox.add(event)];
  if (showing.gold && !ranking && action !== "skip") kept.push(addGold(task, action));
  history.push({ showing, key });
  if (history.length > MOST_UNDOS_AT_HAND) history.shift().showing.element.remove();
  queue.noteAnswered(showing);
  showing.hide();
  say(`${SAID[action]}  ✓`);
  showNext();
  try {
    await Promise.all(kept);
  } catch (error) {
    bringBack();
    say(`This browser could not keep the answer (${error?.message}). Make room, and answer again.`, true);
  }
  setBusy(false);
}

/** Puts what was answered last on the screen again. */
function bringBack() {
  const { showing } = history.pop();
  if (current) {
    current.showing.hide();
    queue.putBack(current.showing);
  }
  queue.noteUndone(showing);
  show(showing);
}

function addGold(task, action) {
  const { id, order } = task;
  return outbox.add({ kind: "gold", submission_key: newKey(), task: id, order, answer: action });
}

/** Brings the pair before back, and takes its answer away. */
async function undo() {
  if (busy) return;
  if (current?.showing.ranking?.unpick()) return;
  const last = history.at(-1);
  if (!last) return say("There is nothing to undo in this sitting.");
  setBusy(true);
  try {
    await outbox.add({ kind: "undo", submission_key: newKey(), undoes: last.key });
    if (last.showing.gold) await addGold(last.showing.task, "none");
  } catch (error) {
    setBusy(false);
    return say(`This browser could not keep that (${error?.message}). Make room, and undo again.`, true);
  }
  bringBack();
  say("Taken back. Answer anew.");
  setBusy(false);
}

function changeRate(by) {
  const i = Math.max(0, Math.min(RATES.length - 1, RATES.indexOf(rate) + by));
  rate = RATES[i];
  localStorage.setItem("prefrl-rate", String(rate));
  current?.showing.films?.setRate(rate);
  drawTools();
}

function flag() {
  const { showing } = current;
  showing.flagged = !showing.flagged;
  const event = { kind: "flag", submission_key: newKey(), task: showing.task.id };
  outbox.add({ ...event, raised: showing.flagged });
  say(showing.flagged ? "Flagged for whoever runs the study." : "Not flagged any more.");
  drawTools();
}

function gold() {
  if (me.role !== "owner" || current.showing.ranking) return;
  current.showing.gold = !current.showing.gold;
  say(current.showing.gold ? "Gold: your answer to this pair will be taken as right." : "Not gold.");
  drawTools();
}

function forTexts(what) {
  shownForTexts[what] = !shownForTexts[what];
  current.showing[what](shownForTexts[what]);
  drawTools();
}

/** Does what a key, a button or a finger asks for. */
function act(action, digit) {
  if (action === "help") return openInstructions();
  if (action === "undo") return undo();
  if (document.body.dataset.state !== "showing" || !current) return;
  const { ranking, films } = current.showing;
  if (ranking && digit) return ranking.pick(digit);
  if (action in SAID) return answer(action);
  if (action === "together") return ranking?.together();
  if (action === "flag") return flag();
  if (action === "gold") return gold();
  if (action === "differences" || action === "lengths") return forTexts(action);
  if (!films) return;
  if (action === "pause") films.toggle();
  if (action === "restart") films.restart();
  if (action === "slower") changeRate(-1);
  if (action === "faster") changeRate(1);
  if (action === "back") films.step(-1);
  if (action === "forward") films.step(1);
  drawTools();
}

function drawTools() {
  for (const button of document.querySelectorAll("footer [data-action]")) {
    const key = button.querySelector("kbd");
    if (key) key.textContent = keys.label(button.dataset.action);
  }
  const showing = current?.showing;
  const press = (action, on) =>
    document.querySelector(`footer [data-action="${action}"]`).setAttribute("aria-pressed", String(on));
  press("flag", Boolean(showing?.flagged));
  press("gold", Boolean(showing?.gold));
  press("differences", shownForTexts.differences);
  press("lengths", shownForTexts.lengths);
  const pause = document.querySelector('footer [data-action="pause"] span');
  pause.textContent = showing?.films?.paused ? "Go on" : "Pause";
  $("speed").textContent = `${rate}×`;
  document.querySelector('footer [data-action="save"]').disabled = !showing?.ranking?.done;
}

async function openInstructions() {
  const dialog = $("instructions");
  if (dialog.open) return;
  const { html, rubric_ver } = await ask("GET", "/api/instructions");
  $("instructions-text").innerHTML = html; // sanitised by the server: no scripts, no pictures
  dialog.onclose = () => {
    localStorage.setItem("prefrl-read", rubric_ver);
    me.rubric_ver = rubric_ver;
    // The time to read them is no time of looking at the pair.
    if (current) [current.since, current.at] = [performance.now(), Date.now()];
    document.body.dataset.dialog = "";
    stage.focus();
  };
  document.body.dataset.dialog = "instructions";
  dialog.showModal();
}

function onNews(fresh) {
  news = fresh;
  showNews(fresh);
  sayEmpty();
}

function signedOut(why = "Ask whoever runs the study for a new sign-in link, and open it in this browser.") {
  const kept = outbox?.waiting ? ` ${outbox.waiting} answers are kept here until then.` : "";
  setState("signin", "Please sign in", why + kept);
}

/** Uses the link's token up, or finds the session that is there. */
async function signIn() {
  const told = new URLSearchParams(location.hash.slice(1)).get("enter");
  if (told) {
    link = told;
    window.history.replaceState(null, "", location.pathname);
  }
  if (!link) return ask("GET", "/api/me");
  try {
    const entered = await ask("POST", "/api/session", { token: link });
    link = null;
    return entered;
  } catch (error) {
    // A server that is away has not used the link up: it is tried again.
    if (!(error instanceof Refused) || error.status !== 403) throw error;
    link = null;
    // Perhaps the link was opened here before: then there is a session.
    return ask("GET", "/api/me").catch(() => Promise.reject(error));
  }
}

async function begin() {
  try {
    me = await signIn();
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) return signedOut(error.message);
    setState("error", "The server is away", "This page tries again by itself.");
    return setTimeout(begin, 2000);
  }
  setToken(me.token);
  document.title = `${me.title}: which is better?`;
  $("title").textContent = me.title;
  $("to-dashboard").hidden = me.role !== "owner";
  document.body.dataset.role = me.role;
  outbox = new Outbox(me.study, me.annotator, {
    changed: showSaved,
    refused: (event, why) => say(`An answer was refused: ${why}`, true),
    progress: onNews,
    signedOut,
  });
  try {
    await outbox.open();
  } catch {
    return setState("error", "This browser keeps nothing", "Leave private browsing, so that no answer can get lost.");
  }
  keys = new Keys(act);
  queue = new Queue(stage, outbox, new Tabs(me.study, me.annotator), act, {
    filled: () => current ?? showNext(),
    progress: onNews,
    failed: (error) => {
      if (error instanceof Refused && error.status === 401) signedOut();
      else if (!current && !news) setState("error", "The server is away", "This page tries again by itself.");
    },
  });
  listen();
  setState("loading", "One moment …", "The first pairs are on their way.");
  queue.fill();
  if (localStorage.getItem("prefrl-read") !== me.rubric_ver) openInstructions();
}

function listen() {
  document.querySelectorAll("[data-action]").forEach((button) => {
    const { action } = button.dataset;
    button.addEventListener("click", (event) => {
      // The second half of a double click would answer the next pair unseen.
      if (!(action in SAID && isRepeated(event))) act(action);
      button.blur();
    });
  });
  $("show-keys").addEventListener("click", () => keys.openDialog(drawTools));
  $("instructions-close").addEventListener("click", () => $("instructions").close());
  stage.addEventListener("change", drawTools);
  listenToFingers(stage, act, () => ({
    tap: current?.showing.task.kind === "pair",
    vertical: current?.showing.media === "films" && current?.showing.task.kind === "pair",
  }));
}

begin();
