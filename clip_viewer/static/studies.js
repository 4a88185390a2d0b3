/** All studies of one server: what waits for answers where, with one sign-in for all. */
import { ask, Refused, setToken } from "./api.js";
import { Outbox } from "./outbox.js";
import { signIn } from "./session.js";
import { say } from "./words.js";

const POLL = 3_000;
const $ = (id) => document.getElementById(id);
const people = (n) => say("studies.people", { n });

document.title = say("title.studies");

const rows = new Map(); // by path: what is drawn anew keeps its focus
const outboxes = new Map(); // by the study's name: what this browser keeps is sent from here, too

function make(name, className = "") {
  const element = document.createElement(name);
  element.className = className;
  return element;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function newRow() {
  const row = make("li", "study");
  const link = make("a", "name");
  const parts = ["waiting", "goal", "done", "people", "state"].map((name) => make("span", name));
  const bar = make("progress");
  bar.setAttribute("aria-hidden", "true");
  row.append(link, ...parts, bar);
  return row;
}

function draw(study) {
  const row = rows.get(study.path) ?? newRow();
  rows.set(study.path, row);
  const set = (name, text) => put(row.querySelector(`.${name}`), text);
  const link = row.querySelector("a");
  // One that another process serves is left to it: two servers would show the same pair twice.
  const address = study.elsewhere ?? study.path;
  if (address) link.setAttribute("href", address);
  else link.removeAttribute("href");
  set("name", study.title === study.name ? study.name : say("studies.name", study));
  const waits = study.waiting ? say("studies.waiting", { n: study.waiting }) : say("studies.nothing");
  set("waiting", study.phase === null ? say("studies.unreadable") : waits);
  set("goal", study.goal ?? "");
  const done = { n: study.answered, all: study.wanted };
  set("done", study.wanted === null ? say("studies.answered", done) : say("studies.answered-of", done));
  const all = people(study.people);
  set("people", study.here ? say("studies.there", { people: all, n: study.here }) : all);
  const phase = study.phase === null ? "" : say(`phase.${study.phase}`);
  set("state", study.elsewhere === null ? phase : say("studies.elsewhere"));
  row.classList.toggle("waits", study.waiting > 0);
  const bar = row.querySelector("progress");
  bar.hidden = !study.wanted;
  bar.max = study.wanted || 1;
  bar.value = study.answered;
  return row;
}

function drawAll(studies) {
  const drawn = studies.map(draw);
  const list = $("studies");
  if (drawn.some((row, i) => list.children[i] !== row) || list.children.length !== drawn.length) {
    const focused = document.activeElement;
    list.replaceChildren(...drawn);
    focused?.focus(); // a row that moves would lose it
  }
  $("none").hidden = studies.length > 0;
}

/** Sends what was answered here and did not reach the server, whichever study it is of. */
async function deliver(studies, annotator) {
  for (const { study, path, elsewhere } of studies) {
    if (!study || elsewhere !== null || outboxes.has(study)) continue;
    const outbox = new Outbox(
      study,
      annotator,
      { changed: sayKept, refused: () => {}, progress: () => {}, signedOut: () => {} },
      new URL(`.${path}`, document.baseURI),
    );
    outboxes.set(study, outbox);
    await outbox.open().catch(() => {});
  }
}

function sayKept() {
  const n = [...outboxes.values()].reduce((sum, outbox) => sum + outbox.waiting, 0);
  document.body.dataset.outbox = String(n);
  put($("kept"), n ? say("kept.being-sent", { n }) : "");
}

async function refresh(annotator) {
  try {
    const { studies } = await ask("GET", "/api/studies");
    drawAll(studies);
    deliver(studies, annotator);
    put($("connection"), "");
    document.body.dataset.state = "showing";
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return begin();
    put($("connection"), say("notice.away.line"));
  }
  setTimeout(() => refresh(annotator), POLL);
}

async function begin() {
  try {
    const me = await signIn();
    setToken(me.token);
    $("sign-in").hidden = true;
    $("study").hidden = false;
    refresh(me.annotator);
  } catch (error) {
    const isRefused = error instanceof Refused;
    document.body.dataset.state = isRefused ? "signin" : "error";
    $("sign-in").hidden = false;
    $("study").hidden = true;
    put($("sign-in"), isRefused ? error.message : say("notice.away.line"));
    if (!isRefused) setTimeout(begin, POLL);
  }
}

// A link that is opened in this very tab changes only what is behind the #.
addEventListener("hashchange", () => location.reload());
begin();
