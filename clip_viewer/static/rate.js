/** How fast films run: a choice that the browser remembers. */

const RATES = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4];
const KEPT = "prefrl-rate";

/** @returns {number} How fast they run here; 1 is the film's own speed. */
export function rateNow() {
  const kept = Number(localStorage.getItem(KEPT));
  return RATES.includes(kept) ? kept : 1;
}

/** @param {number} by How many steps faster, or slower. @returns {number} How fast they run from now on. */
export function changeRate(by) {
  const place = RATES.indexOf(rateNow()) + by;
  const rate = RATES[Math.max(0, Math.min(RATES.length - 1, place))];
  localStorage.setItem(KEPT, String(rate));
  return rate;
}
