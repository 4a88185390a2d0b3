/** The page of whoever runs the study: how it goes, how good the labels are, who takes part. */
import { ask, Refused, setToken } from "./api.js";
import { drawLine, shareBar } from "./charts.js";
import { agentSays } from "./news.js";
import { roundInWords } from "./round.js";
import { drawStandings } from "./standings.js";
import { language, number as whole, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const POLL = 5_000;
const LEAST_FOR_A_BIAS = 30;

function make(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

const drawn = new Map();

/** Draws only what has changed: a focus or a pointer on the rest stays where it is. */
function draw(name, content, how) {
  const now = JSON.stringify(content);
  if (drawn.get(name) === now) return;
  drawn.set(name, now);
  how(content);
}

const number = (value, digits = 0) =>
  value === null ? "–" : value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (value) => (value === null ? "–" : `${(value * 100).toFixed(0)} %`);

function facts(place, rows) {
  place.replaceChildren(
    ...rows.map(([name, value, className = ""]) => {
      const row = make("div");
      row.append(make("dt", name), make("dd", value, className));
      return row;
    }),
  );
}

function shareCell(share) {
  const cell = make("td");
  if (share === null || share.value === null) {
    cell.textContent = "–";
    return cell;
  }
  cell.title = say("people.share", { low: percent(share.low), high: percent(share.high), n: share.n });
  cell.append(percent(share.value), shareBar(share));
  return cell;
}

/** What of a person's figures is unlikely to be chance, in words. */
function oddities(person) {
  const found = [];
  const { left_share: left, self_consistency: same, gold_error: wrong } = person;
  const enough = left?.n >= LEAST_FOR_A_BIAS;
  if (enough && left.low > 0.5) found.push(say("odd.left"));
  if (enough && left.high < 0.5) found.push(say("odd.right"));
  if (same?.value != null && same.high < 0.8) found.push(say("odd.inconsistent"));
  if (wrong?.value != null && wrong.low > 0.1) found.push(say("odd.wrong"));
  if (person.fast_share?.value != null && person.fast_share.low > 0.2) found.push(say("odd.unseen"));
  return found.join("; ");
}

function drawPeople(people) {
  const body = $("people").tBodies[0];
  if (people.length === 0) {
    const row = make("tr");
    const cell = make("td", say("people.none"));
    cell.colSpan = 11;
    row.append(cell);
    return body.replaceChildren(row);
  }
  body.replaceChildren(
    ...people.map((person) => {
      const row = make("tr");
      const name = make("th", person.annotator);
      name.scope = "row";
      row.append(
        name,
        make("td", whole(person.labels)),
        make("td", number(person.per_hour)),
        make("td", number(person.median_seconds, 1)),
        ...["fast_share", "left_share", "tie_rate", "skip_rate", "self_consistency", "gold_error"].map((share) =>
          shareCell(person[share] ?? null),
        ),
        make("td", oddities(person), "look"),
      );
      return row;
    }),
  );
}

function drawAgreement({ pairs, percent: share, krippendorff_alpha: alpha, gwet_ac1: ac1, with_people }) {
  facts($("agreement"), [
    [say("agreement.pairs"), whole(pairs)],
    [say("agreement.same"), percent(share.value)],
    [say("agreement.alpha"), number(alpha, 2)],
    [say("agreement.ac1"), number(ac1, 2)],
    ...Object.entries(with_people).map(([name, { value, n }]) => [
      say("agreement.with", { name }),
      say("agreement.share", { share: percent(value), n }),
    ]),
  ]);
  $("agreement-says").textContent =
    pairs === 0 ? say("agreement.none") : say("agreement.says");
}

/** A flag or a note, with the way to what it is about. */
function flagged({ query_id, annotator, why }) {
  const row = make("li");
  const link = make("a", query_id);
  link.href = `./#flagged=${encodeURIComponent(query_id)}`;
  row.append(link, say(why ? "flags.why" : "flags.by", { name: annotator, why }));
  return row;
}

function drawAbout(list, marks, none) {
  list.replaceChildren(...(marks.length ? marks.map(flagged) : [make("li", say(none), "small")]));
}

function drawStatistics(statistics, news) {
  const { agreement } = statistics;
  facts($("headline"), [
    [say("study.labels"), whole(statistics.labels)],
    [say("study.waiting"), whole(news.queue.waiting)],
    [say("study.here"), whole(news.people)],
    [say("study.same"), percent(agreement.percent.value)],
    [say("study.agent"), agentSays(news), "words"],
    ...news.agent.troubles.map((text) => [say("study.trouble"), text, "words"]),
  ]);
  $("return").hidden = news.agent.phase === "none"; // nothing learns, so nothing gets better
  const steps = (value) => say("agent.steps", { n: value });
  draw("curve", news.curve, (points) =>
    drawLine($("curve"), points, { title: say("study.return.short"), x: steps, none: say("study.return.none") }),
  );
  const time = { hour: "2-digit", minute: "2-digit" };
  draw("labels", statistics.labels_over_time, (points) =>
    drawLine($("labels"), points, {
      title: say("study.labels"),
      x: (seconds) => new Date(seconds * 1000).toLocaleTimeString(language, time),
      none: say("study.over-time.none"),
      fromZero: true,
    }),
  );
  draw("people", statistics.people, drawPeople);
  drawAgreement(agreement);
  drawAbout($("flags"), statistics.flags, "flags.none");
  drawAbout($("notes"), statistics.notes, "notes.none");
}

/** Changes something about a person, and shows what came of it. */
function change(method, name, what = "") {
  ask(method, `/api/people/${encodeURIComponent(name)}${what}`).then(
    refresh,
    (error) => ($("connection").textContent = error.message),
  );
}

/** How somebody's first round goes, and a button to let them go on without it. */
function firstRound({ annotator: name, revoked, first_round: round }) {
  const says = make("span", roundInWords(round), `round ${round.state}`);
  if (revoked || ["passed", "admitted"].includes(round.state)) return [says];
  const button = make("button", say("round.admit"));
  button.type = "button";
  button.setAttribute("aria-label", say("round.admit.whom", { name }));
  button.onclick = () => change("POST", name, "/admit");
  return [says, button];
}

function drawInvited(people) {
  $("invited").replaceChildren(
    ...people.map((person) => {
      const row = make("li");
      const seen = say(`invited.${person.revoked ? "revoked" : person.here ? "here" : "away"}`);
      row.append(make("strong", person.annotator), make("span", say("invited.person", { role: say(`invited.${person.role}`), seen }), "small"));
      if (person.role !== "owner" && !person.revoked) {
        const button = make("button", say("invited.shut-out"));
        button.type = "button";
        button.setAttribute("aria-label", say("invited.shut-out.whom", { name: person.annotator }));
        button.onclick = () => change("DELETE", person.annotator);
        row.append(button);
      }
      if (person.first_round) row.append(...firstRound(person));
      return row;
    }),
  );
}

$("invite").addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = $("link");
  place.hidden = false;
  try {
    const { link } = await ask("POST", "/api/people", { annotator: $("name").value });
    place.querySelector("code").textContent = link;
    place.querySelector("button").hidden = false;
    place.querySelector("button").onclick = (event) => {
      // Browsers give the clipboard to safe origins alone; elsewhere the link is selected.
      if (navigator.clipboard) navigator.clipboard.writeText(link);
      else getSelection().selectAllChildren(place.querySelector("code"));
      event.target.textContent = say(navigator.clipboard ? "invited.copied" : "invited.selected");
    };
    place.querySelector("button").textContent = say("invited.copy");
    $("name").value = "";
    refresh();
  } catch (error) {
    place.querySelector("code").textContent = error.message;
    place.querySelector("button").hidden = true;
  }
});

let timer = 0;

async function refresh() {
  clearTimeout(timer);
  try {
    const [statistics, news, { people }, standings] = await Promise.all([
      ask("GET", "/api/statistics"),
      ask("GET", "/api/progress"),
      ask("GET", "/api/people"),
      ask("GET", "/api/standings"),
    ]);
    drawStatistics(statistics, news);
    draw("standings", standings, (told) => drawStandings($("standings"), told));
    const here = ({ active_s_ago: ago, ...person }) => ({ ...person, here: ago !== null && ago < 60 });
    draw("invited", people.map(here), drawInvited);
    $("study").hidden = false;
    $("connection").textContent = "";
    document.body.dataset.state = "showing";
  } catch (error) {
    $("connection").textContent =
      error instanceof Refused ? error.message : say("notice.away.line");
  }
  timer = setTimeout(refresh, POLL);
}

async function begin() {
  try {
    const me = await ask("GET", "/api/me");
    setToken(me.token);
    $("title").textContent = me.title;
    document.title = say("title.dashboard", { title: me.title });
    $("to-list").hidden = !me.is_one_of_many;
    $("sign-in").hidden = true;
    if (me.role !== "owner") throw new Refused(403, say("study.for-owners"), 0);
    refresh();
  } catch (error) {
    const isRefused = error instanceof Refused;
    document.body.dataset.state = isRefused ? "signin" : "error";
    $("sign-in").hidden = false;
    $("sign-in").textContent = isRefused
      ? error.message
      : say("notice.away.line");
    if (!isRefused) setTimeout(begin, POLL);
  }
}

begin();
