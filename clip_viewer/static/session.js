/** How a person comes in: by a link that works once, and from then on by the session it opened. */
import { ask, Refused } from "./api.js";

let link = null; // the token of a sign-in link, until it is used

/** Whether a link waits to be used: whoever it is for may be somebody else than was here last. */
export function hasLink() {
  return link !== null;
}

/**
 * Uses the link's token up, or finds the session that is there.
 * @returns {Promise<object>} Who is signed in.
 * @throws {Refused} If nobody is; TypeError if the server cannot be reached.
 */
export async function signIn() {
  const told = new URLSearchParams(location.hash.slice(1)).get("enter");
  if (told) {
    link = told;
    window.history.replaceState(null, "", location.pathname);
  }
  if (!link) return ask("GET", "/api/me");
  try {
    const entered = await ask("POST", "/api/session", { token: link });
    link = null;
    return entered;
  } catch (error) {
    // A server that is away has not used the link up: it is tried again.
    if (!(error instanceof Refused) || error.status !== 403) throw error;
    link = null;
    // Perhaps the link was opened here before: then there is a session.
    return ask("GET", "/api/me").catch(() => Promise.reject(error));
  }
}
