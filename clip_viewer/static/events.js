/** What a person does, as the outbox keeps it and the server takes it. */
import { newKey } from "./api.js";

/**
 * @param {object} shown What is on the screen: its showing, the key of its event, and since when.
 * @param {string} action What was answered.
 * @param {{strength: string | null, rubric_ver: string, rate: number}} how How much better it is,
 *   the version of the instructions, and how fast the films ran.
 * @returns {object} One's answer, or a ranking.
 */
export function answerEvent({ showing, key, since, at }, action, { strength, rubric_ver, rate }) {
  const { task, ranking } = showing;
  const common = {
    submission_key: key,
    task: task.id,
    order: task.order,
    shown_at: at,
    client_ms: Math.round(performance.now() - since),
    rubric_ver,
    fast: showing.isUnseen(rate),
    note: showing.note,
  };
  return ranking
    ? { kind: "ranking", ranks: action === "skip" ? null : ranking.ranks, ...common }
    : { kind: "answer", answer: action, strength, ...common };
}

/** @param {string} key Of the answer that is taken back. */
export function undoEvent(key) {
  return { kind: "undo", submission_key: newKey(), undoes: key };
}

/** @param {object} task @param {string} answer To it that is sure, or "none". */
export function goldEvent({ id, order }, answer) {
  return { kind: "gold", submission_key: newKey(), task: id, order, answer };
}

/** @param {object} task @param {boolean} raised @param {string} why In the person's words. */
export function flagEvent({ id }, raised, why) {
  return { kind: "flag", submission_key: newKey(), task: id, raised, why };
}
