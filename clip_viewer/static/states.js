/** What the page says while there is nothing on it to compare: what is true, and what to do. */
import { at } from "./api.js";
import { agentSays } from "./news.js";

const CLOSE = "You can close this tab.";

/** @param {number} n @returns {string} What the browser keeps, to which is added where. */
export function areKept(n) {
  return n === 1 ? "1 answer is kept" : `${n} answers are kept`;
}

const FIRST = {
  beginning: "The run is being set up.",
  making: "The agent makes its environments and its nets.",
  acting: "The agent tries things out, so that there is something to compare.",
  drawing: "The first clips are being drawn.",
};

/** What goes on until the first pair comes, and about when that is. */
function first({ doing, seconds }) {
  const rounded = seconds === null ? 0 : seconds < 20 ? Math.ceil(seconds) : 10 * Math.ceil(seconds / 10);
  const when = rounded === 0 ? "by itself" : `in about ${rounded} second${rounded === 1 ? "" : "s"}`;
  return `${FIRST[doing]} The first pair comes ${when}.`;
}

/**
 * @param {object | null} news What the server said last.
 * @param {{isAway: boolean, nKept: number, isLoading: boolean, isInOtherTab: boolean}} here
 *   Whether the server does not answer, how many answers wait to be sent, whether something is being
 *   loaded, and whether another tab of this person has pairs.
 * @returns {[string, string]} A title and a text.
 */
export function whyEmpty(news, { isAway, nKept, isLoading, isInOtherTab }) {
  const kept = nKept ? `${areKept(nKept)} in this browser, and sent when the server is back.` : "";
  if (news?.agent.phase === "finished") {
    const text = isAway ? "and this page is no longer served." : "and asks for nothing more.";
    return ["Finished, thank you!", `The training has come to its end, ${text} ${kept || CLOSE}`];
  }
  if (isAway) return ["The server is away", `This page tries again by itself. ${kept}`];
  if (news?.agent.first) return ["Starting", first(news.agent.first)];
  if (!news || isLoading) return ["One moment …", "The next pairs are on their way."];
  const { queue, agent } = news;
  if (queue.ready > 0 && isInOtherTab) {
    return ["In another tab", "A tab of yours has the pairs that are left. Go on there, or close it: then they come here."];
  }
  if (queue.ready > 0) {
    return ["Somebody else has the remaining pairs", "What they leave comes here by itself."];
  }
  if (queue.waiting > 0) {
    return ["Almost there", "The next clips are being drawn; they appear by themselves."];
  }
  const soon = "New pairs appear here by themselves.";
  return {
    none: ["All answered, thank you!", `There is nothing more to compare. ${CLOSE}`],
    starting: ["Starting", `The agent is about to begin. ${soon}`],
    training: ["All answered, for now", `Right now: ${agentSays(news)}. ${soon}`],
    stopped: ["All answered, thank you!", "The training has stopped. Whoever runs the study can go on with it; then new pairs appear here."],
  }[agent.phase];
}

/**
 * Why somebody has to sign in.
 * @param {string | null} study Which study this page, or this browser before, was of.
 * @returns {Promise<[string, string] | null>} A title and a text if another one is served now.
 */
export async function isOtherStudy(study) {
  const there = await fetch(at("/healthz")).then((reply) => reply.json(), () => null);
  if (!study || !there?.study || there.study === study) return null;
  return [
    "This is another study",
    "Another run is served at this address now. To label for it, open a sign-in link of its own in this tab.",
  ];
}
