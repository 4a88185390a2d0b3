/** How it is going, in the header: one's own work, the queue, the agent and its learning curve. */
import { has, number, say } from "./words.js";

const NO_AGENT = ["none", "starting", "stopped", "finished"];

function put(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

/** @param {object} news What the server says of the progress. */
export function showNews(news) {
  put("today", number(news.mine.today));
  put("per-hour", news.mine.per_hour === null ? "–" : number(news.mine.per_hour));
  put("waiting", number(news.queue.waiting));
  showDone(news);
  put("agent-says", agentSays(news));
  drawCurve(news.curve);
}

/** How many of all comparisons are answered, and how long the rest takes at one's own pace. */
function showDone({ budget, queue: { answered }, mine: { per_hour: pace }, first_round: round }) {
  if (round?.state === "asked") {
    document.getElementById("done-row").hidden = false;
    put("done", say("top.done", { done: round.answered, all: round.wanted }));
    return put("done-of", say("top.first-round"));
  }
  const isKnown = budget !== null && answered <= budget; // else there are answers from elsewhere
  document.getElementById("done-row").hidden = !isKnown;
  if (!isKnown) return;
  put("done", say("top.done", { done: answered, all: budget }));
  const minutes = pace === null ? 0 : Math.ceil((60 * (budget - answered)) / pace);
  put("done-of", minutes ? say("top.to-go", { n: minutes }) : say("top.answered"));
}

/** @param {string | null} goal What the agent should do, above what is compared and in the instructions. */
export function showGoal(goal) {
  for (const place of document.querySelectorAll(".goal")) {
    place.textContent = goal ?? "";
    place.hidden = !goal;
  }
}

/** @param {object} news @returns {string} What the agent is doing, in a few words. */
export function agentSays({ agent }) {
  if (NO_AGENT.includes(agent.phase)) return say(`agent.${agent.phase}`);
  if (agent.waits) return say("agent.waits");
  // What a process says of itself; a new word of its own is shown as it is.
  const known = `agent.state.${agent.state}`;
  const state = say("agent.does", { state: has(known) ? say(known) : agent.state });
  const steps = agent.env_steps === null ? "" : say("agent.steps", { n: agent.env_steps });
  const result = agent.return === null ? "" : say("agent.return", { n: agent.return });
  return [state, steps, result].filter(Boolean).join(", ");
}

function drawCurve(points) {
  const line = document.querySelector("#curve polyline");
  if (points.length < 2) return line.setAttribute("points", "");
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [x0, x1, y0, y1] = [xs[0], xs.at(-1), Math.min(...ys), Math.max(...ys)];
  const place = ([x, y]) =>
    `${(((x - x0) / (x1 - x0 || 1)) * 88 + 1).toFixed(1)},${(22 - ((y - y0) / (y1 - y0 || 1)) * 20).toFixed(1)}`;
  line.setAttribute("points", points.map(place).join(" "));
}

/**
 * Says how the answers are doing that were given here.
 * @param {string} how "saved", "saving", "offline" or "refused".
 * @param {number} n How many are on their way.
 */
export function showSaved(how, n) {
  document.body.dataset.outbox = String(n);
  const element = document.getElementById("saved");
  element.dataset.how = how;
  const says = {
    saved: say("saved"),
    saving: n ? say("saved.saving", { n }) : say("saved"),
    offline: n ? say("saved.kept", { n }) : say("saved.offline"),
  };
  put("saved-says", says[how]);
}
