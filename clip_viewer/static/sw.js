/**
 * Keeps the page and the films of the next pairs, so that both are there while the server is not.
 * What the server says of pairs and answers is never kept here: that is asked for each time.
 */

const scope = new URL(self.registration.scope);
const PAGE = `prefrl-page ${scope.pathname}`;
const MEDIA = `prefrl-media ${scope.pathname}`;
const MOST_MEDIA = 40;
const LARGEST = 24 * 2 ** 20; // of a longer film the browser loads parts as it likes

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("message", (event) => {
  const { keep = [] } = event.data ?? {};
  event.waitUntil(Promise.allSettled(keep.map((url) => (isMedium(url) ? medium(new Request(url)) : fresh(new Request(url))))));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (isPage(request.url)) event.respondWith(fresh(request));
  else if (isMedium(request.url)) event.respondWith(medium(request));
});

/** The path below this study's own; null if it is elsewhere. */
function pathOf(url) {
  const { origin, pathname } = new URL(url);
  const isOurs = origin === scope.origin && pathname.startsWith(scope.pathname);
  return isOurs ? pathname.slice(scope.pathname.length) : null;
}

function isPage(url) {
  const path = pathOf(url);
  return path === "" || Boolean(path?.startsWith("static/"));
}

function isMedium(url) {
  return Boolean(pathOf(url)?.startsWith("media/"));
}

/** From the server, always, as long as it is there: the page must fit it. */
async function fresh(request) {
  const cache = await caches.open(PAGE);
  const url = request.url.split("#")[0]; // behind it there may be a sign-in link
  const kept = () => cache.match(url, { ignoreVary: true });
  try {
    const reply = await fetch(request);
    if (reply.ok) await cache.put(url, reply.clone());
    // A proxy whose server is away says so in its own words.
    return reply.status >= 500 ? ((await kept()) ?? reply) : reply;
  } catch (error) {
    const there = await kept();
    if (there) return there;
    throw error;
  }
}

/** Named by its content, so what is kept is right for good. */
async function medium(request) {
  const cache = await caches.open(MEDIA);
  const kept = await cache.match(request.url, { ignoreVary: true });
  if (kept) return part(kept, request.headers.get("range"));
  const reply = await fetch(request.url, { credentials: "same-origin" });
  if (!reply.ok) return reply;
  if (!(Number(reply.headers.get("content-length")) <= LARGEST)) {
    await reply.body?.cancel();
    return fetch(request);
  }
  await cache.put(request.url, reply.clone()).catch(() => {}); // there may be no room
  const names = await cache.keys();
  for (const old of names.slice(0, Math.max(0, names.length - MOST_MEDIA))) await cache.delete(old);
  return part(reply, request.headers.get("range"));
}

/** What was asked for of a film: a browser plays it in parts. */
async function part(reply, range) {
  const told = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
  if (!told) return reply;
  const film = await reply.blob();
  const first = Number(told[1]);
  const last = Math.min(told[2] === "" ? Infinity : Number(told[2]), film.size - 1);
  if (first > last) return new Response(null, { status: 416, headers: { "Content-Range": `bytes */${film.size}` } });
  return new Response(film.slice(first, last + 1), {
    status: 206,
    headers: {
      "Content-Type": reply.headers.get("content-type") ?? "",
      "Content-Range": `bytes ${first}-${last}/${film.size}`,
      "Content-Length": String(last - first + 1),
      "Accept-Ranges": "bytes",
    },
  });
}
