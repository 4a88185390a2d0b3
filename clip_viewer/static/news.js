/** How it is going, in the header: one's own work, the queue, the agent and its learning curve. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const NO_AGENT = {
  none: "nothing learns from these answers",
  starting: "the agent is starting",
  stopped: "the training has stopped",
  finished: "the training is finished",
};

function put(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

/** @param {object} news What the server says of the progress. */
export function showNews(news) {
  put("today", whole.format(news.mine.today));
  put("per-hour", news.mine.per_hour === null ? "–" : whole.format(news.mine.per_hour));
  put("waiting", whole.format(news.queue.waiting));
  showDone(news);
  put("agent-says", agentSays(news));
  drawCurve(news.curve);
}

/** How many of all comparisons are answered, and how long the rest takes at one's own pace. */
function showDone({ budget, queue: { answered }, mine: { per_hour: pace } }) {
  const isKnown = budget !== null && answered <= budget; // else there are answers from elsewhere
  document.getElementById("done-row").hidden = !isKnown;
  if (!isKnown) return;
  put("done", `${whole.format(answered)} of ${whole.format(budget)}`);
  const minutes = pace === null ? 0 : Math.ceil((60 * (budget - answered)) / pace);
  put("done-of", minutes ? `answered, about ${whole.format(minutes)} min to go` : "answered");
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
  if (agent.phase in NO_AGENT) return NO_AGENT[agent.phase];
  if (agent.waits) return "the agent waits for answers";
  const steps = agent.env_steps === null ? "" : `${whole.format(agent.env_steps)} steps`;
  const result = agent.return === null ? "" : `return ${whole.format(agent.return)}`;
  return [`agent: ${agent.state}`, steps, result].filter(Boolean).join(", ");
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
  const answers = n === 1 ? "1 answer" : `${n} answers`;
  const says = {
    saved: "Saved",
    saving: n ? `Saving ${answers} …` : "Saved",
    offline: n ? `Server away: ${answers} kept here` : "Server away",
  };
  put("saved-says", says[how]);
}
