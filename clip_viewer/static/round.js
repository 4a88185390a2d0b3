/** The first round of somebody new: gold pairs, until it is known that their answers count. */
import { say } from "./words.js";

/**
 * @param {object | null} round As the server has it: its state, and how much is answered.
 * @param {boolean} isInOtherTab Whether another tab of this person has pairs.
 * @returns {[string, string] | null} What the page says while nothing is on it; null: nothing of this.
 */
export function roundWhyEmpty(round, isInOtherTab) {
  if (round?.state === "failed") return [say("round.failed"), say("round.failed.text")];
  if (round?.state === "waits") return [say("round.waits"), say("round.waits.text")];
  if (round?.state !== "asked") return null;
  return isInOtherTab
    ? [say("notice.other-tab"), say("notice.other-tab.text")]
    : [say("notice.moment"), say("notice.next")];
}

/**
 * @param {object | null} before
 * @param {object | null} now
 * @returns {string | null} What is new about it.
 */
export function roundNews(before, now) {
  if (!now || now.state === before?.state) return null;
  if (now.state === "asked" && now.answered === 0) return say("round.begins", { n: now.wanted });
  const isOver = ["passed", "admitted"].includes(now.state);
  return isOver && before ? say("round.passed") : null;
}

/** @param {object} round @returns {string} For whoever runs the study. */
export function roundInWords({ state, answered, right, wanted }) {
  if (state === "waits") return say("round.owner.waits", { n: wanted });
  if (state === "asked") return say("round.owner.asked", { done: answered, all: wanted });
  return say(`round.owner.${state}`, { right, all: answered });
}
