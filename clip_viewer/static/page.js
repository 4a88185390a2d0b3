/** The labelling page, from the sign-in link to the answers. */
import { openAnswered } from "./answered.js";
import { ask, newKey, Refused, setToken } from "./api.js";
import { Attention } from "./attention.js";
import { answerEvent, flagEvent, goldEvent, undoEvent } from "./events.js";
import { askNote, askWhy, marksSay } from "./flagging.js";
import { History } from "./history.js";
import { isRead, showInstructions } from "./instructions.js";
import { Keys } from "./keys.js";
import { showGoal, showNews, showSaved } from "./news.js";
import { forgetWho, keepPage, KeptPairs, rememberWho, waitForServer, whoWasHere } from "./offline.js";
import { Outbox } from "./outbox.js";
import { Queue } from "./queue.js";
import { changeRate, rateNow } from "./rate.js";
import { roundNews } from "./round.js";
import { CHANGE, DEGREES, degreeOf, NOT_SEEN, SAID, UNDONE, UNORDERED } from "./said.js";
import { isBusy, isWithoutFocus, say, setBusy, setState } from "./screen.js";
import { hasLink, signIn } from "./session.js";
import { isOtherStudy, whyEmpty } from "./states.js";
import { Tabs } from "./tabs.js";
import { drawTools as drawToolsOf } from "./tools.js";
import { listenToButtons, listenToFingers } from "./touch.js";
import { say as word } from "./words.js";

const SHORTEST_LOOK = 250; // milliseconds before a pair takes an answer: nobody sees it sooner
const SECONDS_TO_SEND = 5;
const SECONDS_UNTIL_SURE = 3; // what the server counts may be older than the last answer
const STUDY = `prefrl-study${location.pathname.slice(1)}`; // which was labelled at this address last

const $ = (id) => document.getElementById(id);
const stage = $("stage");

let me, keys, outbox, queue, history, attention;
let current = null; // what is on the screen: {showing, key, since, at, takes}
let rate = rateNow();
let news = null;
let nShown = 0; // in this sitting
let isAway = false; // the server does not answer
let emptySince = 0;
let isOver = false; // the training ended while this page was open, and the person was not told yet
const shownForTexts = { differences: false, lengths: false };

/**
 * Puts a showing on the screen; `performance` has from the key to here.
 * @param {string} [replaces] The key of one's answer to it, which a new one replaces.
 */
function show(showing, replaces) {
  current = { showing, key: newKey(), since: performance.now(), at: Date.now(), replaces };
  if (replaces) document.body.dataset.replaces = "yes";
  else delete document.body.dataset.replaces;
  Object.assign(document.body.dataset, { media: showing.media, kind: showing.task.kind });
  Object.assign(stage.dataset, { task: showing.task.id, order: showing.task.order });
  setState("showing");
  showing.show(rate);
  showing.differences(shownForTexts.differences);
  showing.lengths(shownForTexts.lengths);
  document.body.dataset.takes = "no";
  const shown = current;
  // The second of two callbacks comes after the first picture was painted.
  const painted = () => {
    performance.mark("prefrl:shown", { detail: showing.task.id });
    setTimeout(() => takeAnswers(shown), SHORTEST_LOOK);
  };
  requestAnimationFrame(() => requestAnimationFrame(painted));
  nShown += 1;
  $("shown-says").textContent = showing.inWords(nShown);
  // What had the focus went with the pair before: reading goes on at the top of this one.
  if (!document.querySelector("dialog[open]") && isWithoutFocus()) stage.focus({ preventScroll: true });
  drawTools();
}

/** From now on what is shown may be answered. */
function takeAnswers(shown) {
  shown.takes = true;
  if (shown !== current) return;
  document.body.dataset.takes = "yes";
  if ($("said").textContent === NOT_SEEN) say("");
}

function showNext() {
  const showing = queue.take();
  attention.note(Boolean(showing));
  if (showing) show(showing);
  else {
    current = null;
    delete document.body.dataset.replaces;
    emptySince = performance.now();
    delete stage.dataset.task;
    sayEmpty();
  }
  queue.topUp();
}

function sayEmpty() {
  if (current || !["showing", "empty", "loading"].includes(document.body.dataset.state)) return;
  const isLoading = queue.isLoading || performance.now() - emptySince < SECONDS_UNTIL_SURE * 1000;
  const { isInOtherTab } = queue;
  const [title, text] = whyEmpty(news, { isAway, nKept: outbox.waiting, isLoading, isInOtherTab });
  setState(news || isAway ? "empty" : "loading", title, text);
}

/** The training has ended while there is something on the screen: that teaches it nothing more. */
function sayOver() {
  isOver = false;
  putAside();
  current = null;
  const [title] = whyEmpty(news, {});
  const goOn = () => {
    setState("empty");
    showNext();
  };
  setState("over", title, word("notice.finished.over"), [word("notice.finished.go-on"), goOn]);
}

/** One answer: the next pair at once, while the browser keeps it and the server is told. */
async function answer(action, strength = null) {
  if (!current || isBusy()) return;
  const { showing, key, replaces } = current, { task, ranking } = showing;
  if ((action === "save") !== (Boolean(ranking) && action !== "skip") && action !== "skip") return;
  if (!current.takes) return say(NOT_SEEN, true);
  if (action === "save" && !ranking.done) return say(UNORDERED, true);
  performance.mark("prefrl:key", { detail: task.id });
  setBusy(true);
  const event = answerEvent(current, action, { strength, rubric_ver: me.rubric_ver, rate });
  const kept = replaces ? [outbox.add(undoEvent(replaces))] : [];
  kept.push(outbox.add(event));
  if (showing.gold && !ranking && action !== "skip") kept.push(outbox.add(goldEvent(task, action)));
  history.add(showing, key, replaces);
  queue.noteAnswered(showing);
  showing.hide();
  say(word("said.answered", { answer: SAID[action](strength) }));
  showNext();
  try {
    await Promise.all(kept);
  } catch (error) {
    bringBack();
    say(word("said.not-kept", { why: error?.message }), true);
  }
  setBusy(false);
}

/** Puts what was answered last on the screen again. */
function bringBack() {
  const showing = history.take();
  putAside();
  queue.noteUndone(showing);
  show(showing);
}

/** Brings the pair before back, and takes its answer away. */
async function undo() {
  if (isBusy()) return;
  if (current?.showing.ranking?.unpick()) return;
  setBusy(true);
  const last = await history.last();
  if (!last) return setBusy(false);
  try {
    await outbox.add(undoEvent(last.key));
    if (last.showing.gold) await outbox.add(goldEvent(last.showing.task, "none"));
  } catch (error) {
    setBusy(false);
    return say(word("said.undo-not-kept", { why: error?.message }), true);
  }
  bringBack();
  say(UNDONE);
  setBusy(false);
}

function run(by) {
  rate = changeRate(by);
  current?.showing.films?.setRate(rate);
  drawTools();
}

/** Asks what is wrong, and tells whoever runs the study; or takes that back. */
async function flag() {
  const { showing } = current;
  if (showing.flagged) return raiseFlag(showing, false);
  const why = await askWhy();
  if (why !== null) raiseFlag(showing, true, why);
}

/** A word with the answer, which is kept together with that. */
async function note() {
  const { showing } = current;
  const words = await askNote(showing.note);
  if (words === null) return;
  showing.note = words.trim();
  say(word(showing.note ? "said.noted" : "said.not-noted"));
  drawTools();
}

function raiseFlag(showing, raised, why = "") {
  showing.flagged = raised;
  outbox.add(flagEvent(showing.task, raised, why));
  say(word(raised ? "said.flagged" : "said.not-flagged"));
  drawTools();
}

/** Opens one of one's own answers: a new one replaces it. */
async function reopen({ task, submission_key, gold, flagged, note }) {
  try {
    const showing = await queue.again(task);
    Object.assign(showing, { gold, flagged, note });
    putAside();
    queue.noteAnswered(showing); // and so it stays, if this page is left without a new answer
    queue.noteShown(showing);
    show(showing, submission_key);
    say(CHANGE);
  } catch (error) {
    say(error.message, true);
  }
}

/** Takes off the screen what is on it: it comes next, unless it was answered before. */
function putAside() {
  if (!current) return;
  const { showing, replaces } = current;
  showing.hide();
  delete document.body.dataset.replaces;
  if (!replaces) return queue.putBack(showing);
  showing.element.remove();
}

/** Shows whoever runs the study what somebody flagged. */
async function showFlagged(query) {
  try {
    const { task, flags, notes } = await ask("GET", `/api/flagged?query=${encodeURIComponent(query)}`);
    const showing = await queue.again(task);
    queue.noteShown(showing);
    show(showing);
    say(marksSay(flags, notes));
  } catch (error) {
    say(error.message, true);
  }
}

function gold() {
  if (me.role !== "owner" || current.showing.ranking) return;
  current.showing.gold = !current.showing.gold;
  say(word(current.showing.gold ? "said.gold" : "said.not-gold"));
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
  if (action === "answered") return outbox.isEmpty(SECONDS_TO_SEND).then(() => openAnswered(reopen));
  if (action === "leave" && current?.replaces) return putAside(), showNext();
  if (action === "undo") return current?.replaces ? undefined : undo();
  if (action === "sound") return say(attention.toggle()), drawTools();
  if (document.body.dataset.state !== "showing" || !current) return;
  const { ranking, films } = current.showing;
  if (ranking && digit) return ranking.pick(digit);
  const degree = me.strength && !ranking ? degreeOf(action, digit) : null;
  if (degree) return answer(...degree);
  if (action in SAID) return answer(action);
  if (action === "together") return ranking?.together();
  if (action === "flag") return flag();
  if (action === "note") return note();
  if (action === "gold") return gold();
  if (action === "differences" || action === "lengths") return forTexts(action);
  if (!films) return;
  if (action === "slower" || action === "faster") return run(action === "faster" ? 1 : -1);
  films.act(action);
  drawTools();
}

function drawTools() {
  drawToolsOf(keys, current?.showing, { rate, sound: attention.sounds, ...shownForTexts });
}

async function openInstructions() {
  const read = await showInstructions();
  if (!read) return;
  me.rubric_ver = read;
  // The time to read them is no time of looking at the pair.
  if (current) [current.since, current.at] = [performance.now(), Date.now()];
  stage.focus();
}

function onNews(fresh) {
  const had = news?.agent.phase;
  const round = roundNews(news?.first_round, fresh.first_round);
  if (round) say(round);
  isOver ||= ["starting", "training"].includes(had) && fresh.agent.phase === "finished";
  news = fresh;
  if (isAway) outbox.tell();
  isAway = false;
  showNews(fresh);
  if (document.hidden && !current) attention.note(fresh.queue.ready > 0);
  if (isOver && current) sayOver();
  else sayEmpty();
}

function onFailure(error) {
  if (error instanceof Refused && error.status === 401) return signedOut();
  isAway = true;
  showSaved("offline", outbox.waiting);
  sayEmpty();
}

async function signedOut(why = word("notice.sign-in.text")) {
  forgetWho();
  const kept = outbox?.waiting ? ` ${word("kept.until-then", { n: outbox.waiting })}` : "";
  const other = await isOtherStudy(me?.study ?? localStorage.getItem(STUDY));
  const [title, text] = other ?? [word("notice.sign-in"), why];
  setState("signin", title, text + kept);
}

async function begin() {
  try {
    me = await signIn();
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) return signedOut(error.message);
    me = hasLink() ? null : whoWasHere();
    if (me) return goOnAlone();
    setState("error", word("notice.away"), word("notice.away.text"));
    return setTimeout(begin, 2000);
  }
  setToken(me.token);
  rememberWho(me);
  if (!(await prepare())) return;
  const flagged = new URLSearchParams(location.hash.slice(1)).get("flagged");
  if (flagged) await showFlagged(flagged);
  queue.fill();
  keepPage();
  if (!isRead(me.rubric_ver)) openInstructions();
}

/** The server is away, but who was here last goes on with what this browser has. */
async function goOnAlone() {
  if (!(await prepare())) return;
  onFailure(new TypeError("the server is away"));
  queue.restore().then(() => queue.fill()); // which fails, and goes on asking
  const back = (now) => {
    // Another study may be served here by now, or somebody else be signed in.
    if (now.study !== me.study || now.annotator !== me.annotator) return location.reload();
    me = now;
    outbox.send();
    queue.fill();
    keepPage();
  };
  waitForServer(back, () => signedOut());
}

/** Gets ready for whoever is here; false if this browser cannot keep answers. */
async function prepare() {
  localStorage.setItem(STUDY, me.study);
  attention = new Attention(word("title.label", me));
  $("title").textContent = me.title;
  showGoal(me.goal);
  $("to-dashboard").hidden = me.role !== "owner";
  Object.assign(document.body.dataset, { role: me.role, strength: me.strength ? "yes" : "no" });
  $("to-list").hidden = !me.is_one_of_many;
  outbox = new Outbox(me.study, me.annotator, {
    changed: showSaved,
    refused: (event, why) => say(word("said.refused", { why }), true),
    progress: onNews,
    signedOut,
  });
  try {
    await outbox.open();
  } catch {
    setState("error", word("notice.keeps-nothing"), word("notice.keeps-nothing.text"));
    return false;
  }
  keys = new Keys(act);
  queue = new Queue(stage, outbox, new Tabs(me.study, me.annotator), act, {
    filled: () => current || document.body.dataset.state === "over" || showNext(),
    progress: onNews,
    failed: onFailure,
  }, new KeptPairs(me.study, me.annotator));
  history = new History(queue, outbox);
  listen();
  drawTools();
  setState("loading", word("notice.moment"), word("notice.first-pairs"));
  return true;
}

function listen() {
  listenToButtons(act, [...Object.keys(SAID), ...DEGREES], stage);
  $("show-keys").addEventListener("click", () => keys.openDialog(drawTools));
  stage.addEventListener("change", () => {
    say(current?.showing.ranking?.inWords ?? "");
    drawTools();
  });
  listenToFingers(stage, act, () => current?.showing.swipes ?? {});
}

// A link that is opened in this very tab changes only what is behind the #.
addEventListener("hashchange", () => location.reload());
begin();
