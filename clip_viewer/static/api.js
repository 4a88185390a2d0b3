/** Requests to the server, and what can go wrong with them. */
import { language, say } from "./words.js";

let token = "";

/** Where this study's own addresses begin: one server may have several, each below a path. */
const BASE = new URL("./", document.baseURI);

/**
 * @param {string} path Of the study, such as /api/me.
 * @param {URL} [base] Of another study.
 * @returns {string} Its address.
 */
export function at(path, base = BASE) {
  return new URL(`.${path}`, base).href;
}

/** A request that was answered with a refusal. */
export class Refused extends Error {
  /**
   * @param {number} status HTTP's number for why.
   * @param {string} message One sentence.
   * @param {number} wait Seconds until it may be tried again, or 0.
   * @param {boolean} isOurs Whether our server said so, and not a proxy or another program.
   */
  constructor(status, message, wait, isOurs = false) {
    super(message);
    this.status = status;
    this.wait = wait;
    this.isOurs = isOurs;
  }

  /** Whether the same request can never work. Whatever is not known to be so may work later. */
  get isFinal() {
    return this.isOurs && [413, 415, 422].includes(this.status);
  }
}

/** @param {string} value What everything that writes must carry. */
export function setToken(value) {
  token = value;
}

/**
 * Asks the server.
 * @param {string} method
 * @param {string} path
 * @param {object} [body] Sent as JSON.
 * @param {{keepalive?: boolean, base?: URL}} [options]
 * @returns {Promise<any>} The answer's JSON; null if it has none.
 * @throws {Refused} If the server refuses; TypeError if it cannot be reached.
 */
export async function ask(method, path, body, { keepalive = false, base = BASE } = {}) {
  // Who was here while the server was away has to be let in again first.
  if (method !== "GET" && !token && path !== "/api/session") throw new TypeError(say("error.not-signed-in"));
  const headers = { "Accept-Language": language };
  if (method !== "GET") headers["X-Prefrl-Token"] = token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const reply = await fetch(at(path, base), {
    method,
    headers,
    keepalive,
    credentials: "same-origin",
    signal: keepalive ? undefined : AbortSignal.timeout(15_000),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const content = reply.status === 204 ? null : await reply.json().catch(() => null);
  if (reply.ok) return content;
  const wait = Number(reply.headers.get("Retry-After")) || 0;
  const isOurs = typeof content?.error === "string";
  const why = isOurs ? content.error : say("error.status", { status: String(reply.status) });
  throw new Refused(reply.status, why, wait, isOurs);
}

/** @returns {string} A new key; also where the browser keeps crypto.randomUUID from plain HTTP. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
