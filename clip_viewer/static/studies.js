/** All studies of one server: what waits for answers where, with one sign-in for all. */
import { ask, Refused, setToken } from "./api.js";
import { Outbox } from "./outbox.js";
import { signIn } from "./session.js";
import { areKept } from "./states.js";

const POLL = 3_000;
const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const people = (n) => (n === 1 ? "1 person" : `${whole.format(n)} people`);

const PHASES = {
  none: "no agent",
  starting: "starting",
  training: "training",
  stopped: "training stopped",
  finished: "training finished",
};

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
  const say = (name, text) => put(row.querySelector(`.${name}`), text);
  const link = row.querySelector("a");
  // One that another process serves is left to it: two servers would show the same pair twice.
  const address = study.elsewhere ?? study.path;
  if (address) link.setAttribute("href", address);
  else link.removeAttribute("href");
  say("name", study.title === study.name ? study.name : `${study.title} (${study.name})`);
  say("waiting", study.phase === null ? "cannot be read" : study.waiting ? `${whole.format(study.waiting)} waiting` : "nothing waits");
  say("goal", study.goal ?? "");
  say("done", study.wanted === null ? `${whole.format(study.answered)} answered` : `${whole.format(study.answered)} of ${whole.format(study.wanted)} answered`);
  say("people", study.here ? `${people(study.people)}, ${whole.format(study.here)} there now` : people(study.people));
  say("state", study.elsewhere === null ? (PHASES[study.phase] ?? "") : "served at an address of its own");
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
  put($("kept"), n ? `${areKept(n)} in this browser; they are being sent.` : "");
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
    put($("connection"), "The server is away; this page tries again by itself.");
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
    put($("sign-in"), isRefused ? error.message : "The server is away; this page tries again by itself.");
    if (!isRefused) setTimeout(begin, POLL);
  }
}

// A link that is opened in this very tab changes only what is behind the #.
addEventListener("hashchange", () => location.reload());
begin();
