/** The ranking of one's own films or texts on the dashboard, by Bradley and Terry's model. */
import { at } from "./api.js";
import { shareBar } from "./charts.js";
import { fetchText } from "./texts.js";
import { number, say } from "./words.js";

const MOST_LETTERS = 140;
const percent = (value) => `${(value * 100).toFixed(0)} %`;

/** Loads what shows an item when it comes near the screen: of a thousand films, not all at once. */
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      target.load();
    }
  },
  { rootMargin: "200px" },
);

const previews = new Map(); // by medium: what is drawn anew keeps its picture

/** A small picture of a film, which plays while somebody points at it; or the first words of a text. */
function preview({ media, media_type: type }) {
  if (!media) return document.createElement("span");
  if (previews.has(media)) return previews.get(media);
  const element = document.createElement(type.startsWith("video/") ? "video" : "span");
  element.className = "preview";
  const source = at(`/media/${encodeURIComponent(media)}`);
  if (element.tagName === "VIDEO") {
    Object.assign(element, { muted: true, playsInline: true, loop: true, preload: "none", tabIndex: 0 });
    element.disableRemotePlayback = true;
    element.load = () => {
      element.preload = "metadata";
      element.src = source;
    };
    for (const begin of ["pointerenter", "focus"]) {
      element.addEventListener(begin, () => element.play().catch(() => {}));
    }
    for (const end of ["pointerleave", "blur"]) element.addEventListener(end, () => element.pause());
  } else {
    element.load = async () => {
      const { prompt, response } = await fetchText(media).catch(() => ({ prompt: "", response: "" }));
      const words = response.length > MOST_LETTERS ? `${response.slice(0, MOST_LETTERS)} …` : response;
      element.textContent = words;
      element.title = prompt ? `${prompt}\n\n${response}` : response;
    };
  }
  near.observe(element);
  previews.set(media, element);
  return element;
}

function cell(content, name = "td") {
  const element = document.createElement(name);
  element.append(content);
  if (name === "th") element.scope = "row";
  return element;
}

function row(standing, rank) {
  const { item, chance, low, high, wins, losses, ties } = standing;
  const element = document.createElement("tr");
  const isCompared = wins + losses + ties > 0;
  const share = cell(isCompared ? percent(chance) : "–");
  if (isCompared) {
    share.append(shareBar({ value: chance, low, high }));
    share.title = say("interval", { low: percent(low), high: percent(high) });
  }
  const shown = cell(preview(standing));
  const video = shown.querySelector("video");
  if (video) video.setAttribute("aria-label", item);
  element.append(cell(isCompared ? String(rank) : "–"), shown, cell(item, "th"), share);
  element.append(...[wins, losses, ties].map((n) => cell(number(n))));
  return element;
}

/**
 * Draws the rankings.
 * @param {HTMLElement} place A section, shown where there is something to rank.
 * @param {{groups: object[][], items: number, compared: number}} standings
 */
export function drawStandings(place, { groups, items, compared }) {
  place.hidden = items === 0;
  const bodies = groups.map((group) => {
    const body = document.createElement("tbody");
    const isCompared = ({ wins, losses, ties }) => wins + losses + ties > 0;
    const ordered = [...group.filter(isCompared), ...group.filter((one) => !isCompared(one))];
    body.append(...ordered.map((standing, i) => row(standing, i + 1)));
    return body;
  });
  const table = place.querySelector("table");
  for (const body of [...table.tBodies]) body.remove();
  table.append(...bodies);
  place.querySelector(".says").textContent =
    say("ranking.compared", { n: compared, all: items }) + (groups.length > 1 ? ` ${say("ranking.groups")}` : "");
}
