/** What the page says while there is nothing on it to compare: what is true, and what to do. */
import { at } from "./api.js";
import { agentSays } from "./news.js";
import { roundWhyEmpty } from "./round.js";
import { say } from "./words.js";

/** What goes on until the first pair comes, and about when that is. */
function first({ doing, seconds }) {
  const rounded = seconds === null ? 0 : seconds < 20 ? Math.ceil(seconds) : 10 * Math.ceil(seconds / 10);
  const when = rounded === 0 ? say("first.by-itself") : say("first.seconds", { n: rounded });
  return `${say(`first.${doing}`)} ${when}`;
}

/**
 * @param {object | null} news What the server said last.
 * @param {{isAway: boolean, nKept: number, isLoading: boolean, isInOtherTab: boolean}} here
 *   Whether the server does not answer, how many answers wait to be sent, whether something is being
 *   loaded, and whether another tab of this person has pairs.
 * @returns {[string, string]} A title and a text.
 */
export function whyEmpty(news, { isAway, nKept, isLoading, isInOtherTab }) {
  const kept = nKept ? say("kept.until-back", { n: nKept }) : "";
  if (news?.agent.phase === "finished") {
    const text = say(isAway ? "notice.finished.away" : "notice.finished.asks");
    return [say("notice.finished"), `${text} ${kept || say("notice.close")}`];
  }
  if (isAway) return [say("notice.away"), `${say("notice.away.text")} ${kept}`];
  const round = roundWhyEmpty(news?.first_round, isInOtherTab);
  if (round) return round;
  if (news?.agent.first) return [say("notice.starting"), first(news.agent.first)];
  if (!news || isLoading) return [say("notice.moment"), say("notice.next")];
  const { queue, agent } = news;
  if (queue.ready > 0 && isInOtherTab) return [say("notice.other-tab"), say("notice.other-tab.text")];
  if (queue.ready > 0) return [say("notice.others"), say("notice.others.text")];
  if (queue.waiting > 0) return [say("notice.drawing"), say("notice.drawing.text")];
  return {
    none: () => [say("notice.all"), say("notice.all.text")],
    starting: () => [say("notice.starting"), say("notice.starting.text")],
    training: () => [say("notice.for-now"), say("notice.for-now.text", { agent: agentSays(news) })],
    stopped: () => [say("notice.all"), say("notice.all.stopped")],
  }[agent.phase]();
}

/**
 * Why somebody has to sign in.
 * @param {string | null} study Which study this page, or this browser before, was of.
 * @returns {Promise<[string, string] | null>} A title and a text if another one is served now.
 */
export async function isOtherStudy(study) {
  const there = await fetch(at("/healthz")).then((reply) => reply.json(), () => null);
  if (!study || !there?.study || there.study === study) return null;
  return [say("notice.other-study"), say("notice.other-study.text")];
}
