// @ts-check
/** Times, durations, numbers and ids as people read them. */

import { onCleanup, signal } from './signals.js';

/** milliseconds since 1970 UTC by the gateway's clock, each second: what reads it is shown again. Only a visible page counts. */
export const now = signal(Date.now());
setInterval(() => !document.hidden && now.set(Date.now() + ahead), 1000);
/** milliseconds that the gateway's clock is ahead of the browser's: its times are compared with its own clock */
let ahead = 0;
/** the gateway tells its time in whole seconds, and the answer takes a while */
const SMALLEST_SKEW_MS = 2000;

/** Take the gateway's time as an answer tells it. @param {string | null} date as in the header `Date` */
export function takeServerTime(date) {
  const found = date ? Date.parse(date) + 500 - Date.now() : NaN;
  if (!(Math.abs(found - ahead) > SMALLEST_SKEW_MS)) return;
  ahead = Math.abs(found) > SMALLEST_SKEW_MS ? found : 0;
  now.set(Date.now() + ahead);
}

const LANGUAGE = 'en';
const EXACT = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: 'medium', timeStyle: 'long' });
const CLOCK = new Intl.DateTimeFormat(LANGUAGE, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const DAY = new Intl.DateTimeFormat(LANGUAGE, { weekday: 'short', day: 'numeric', month: 'short' });
const DATE = new Intl.DateTimeFormat(LANGUAGE, { day: 'numeric', month: 'short', year: 'numeric' });
const WHOLE = new Intl.NumberFormat(LANGUAGE);

/** Return a duration as the command line prints it: `3m 12s`. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))}ms`;
  if (seconds < 10) return `${seconds.toFixed(1)}s`;
  const whole = Math.floor(seconds);
  const units = /** @type {[number, string][]} */ ([[86400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']]);
  const at = units.findIndex(([size]) => whole >= size);
  const [size, unit] = units[at];
  const rest = units[at + 1] && Math.floor((whole % size) / units[at + 1][0]);
  return `${Math.floor(whole / size)}${unit}${rest ? ` ${rest}${units[at + 1][1]}` : ''}`;
}

/** Return how long ago or ahead a time is: `5m ago`, `in 2h`. @param {string | number} at @param {number} [from] */
export function relative(at, from = now()) {
  const seconds = (from - new Date(at).getTime()) / 1000;
  if (Math.abs(seconds) < 5) return 'now';
  const [span] = duration(Math.floor(Math.max(10, Math.abs(seconds)))).split(' ');
  return seconds < 0 ? `in ${span}` : `${span} ago`;
}

/** Return a time in full, with its zone. @param {string | number} at */
export const exact = (at) => EXACT.format(new Date(at));

/** Return a time of today as `14:05`, of this week as `Mon 30 Nov 14:05`. @param {string | number} at */
export function clock(at) {
  const date = new Date(at);
  if (date.toDateString() === new Date().toDateString()) return CLOCK.format(date);
  return `${Math.abs(Date.now() - date.getTime()) < 300 * 86_400_000 ? DAY.format(date) : DATE.format(date)} ${CLOCK.format(date)}`;
}

/** Return a time in a zone as `Mon 30 Nov 14:05`, in UTC if this browser does not know the zone. @param {string | number} at @param {string} zone */
export function zoned(at, zone) {
  const date = new Date(at);
  const year = Math.abs(Date.now() - date.getTime()) < 300 * 86_400_000 ? undefined : 'numeric';
  const form = /** @type {const} */ ({ weekday: 'short', day: 'numeric', month: 'short', year, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  try {
    return new Intl.DateTimeFormat(LANGUAGE, { ...form, timeZone: zone }).format(date).replaceAll(',', '');
  } catch {
    return new Intl.DateTimeFormat(LANGUAGE, { ...form, timeZone: 'UTC', timeZoneName: 'short' }).format(date).replaceAll(',', '');
  }
}

/** Return seconds between two times; up to now if the second is missing. @param {string} from @param {string | null} [to] */
export const secondsBetween = (from, to) => ((to ? new Date(to).getTime() : now()) - new Date(from).getTime()) / 1000;

/** @param {number | null | undefined} n */
export const number = (n) => (n === null || n === undefined ? '–' : WHOLE.format(n));

/** Return a large number in short: `12.4k`. @param {number} n */
export function short(n) {
  if (n < 10_000) return WHOLE.format(n);
  return n < 1e6 ? `${(n / 1e3).toFixed(n < 1e5 ? 1 : 0)}k` : `${(n / 1e6).toFixed(1)}M`;
}

/** @param {number} n */
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  const power = Math.min(4, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** power).toFixed(n / 1000 ** power < 10 ? 1 : 0)} ${['', 'kB', 'MB', 'GB', 'TB'][power]}`;
}

/** Return US dollars: `$0.0042`, `$1.20`. @param {number} dollars */
export const cost = (dollars) => `$${dollars === 0 || dollars >= 0.1 ? dollars.toFixed(2) : dollars.toPrecision(2)}`;

/** Return the end of an id, which differs most. @param {string} id */
export const shortId = (id) => id.slice(-6);

/** Return the first line of a text. @param {string} text @param {number} [most] */
export function firstLine(text, most = 200) {
  const line = text.trimStart().split('\n', 1)[0];
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** Call a function again and again, one call at a time, while the scope around this call lasts and the page is visible. @param {number} ms @param {() => unknown} act */
export function every(ms, act) {
  let isBusy = false;
  const timer = setInterval(async () => {
    if (document.hidden || isBusy) return;
    isBusy = true;
    try {
      await act();
    } finally {
      isBusy = false;
    }
  }, ms);
  onCleanup(() => clearInterval(timer));
}
