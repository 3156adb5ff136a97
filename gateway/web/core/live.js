// @ts-check
/**
 * The one live connection of this page: the gateway's change feed, as server-sent events.
 *
 * It goes on after the last change that was seen, so that none is lost over a restart or a closed lid. A hidden page
 * closes it. What came meanwhile is told in groups, at most one each 100 ms: a thousand changes are one group.
 */

import { ApiError, get, me } from './api.js';
import { onCleanup, signal } from './signals.js';

/** @typedef {{seq: number, topic: string, ref: string, state: string, agent: string, session: string, at: number}} Change */

const TOPICS = ['run', 'session', 'delivery', 'agent', 'schedule', 'permission', 'project'];
const GROUP_MS = 100;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;
/** a page that was away for longer loads what it shows again: the gateway keeps only so many changes */
const LONGEST_CATCH_UP_MS = 10 * 60_000;
const WATCH_MS = 10_000;
/** a connection that told nothing for so long may be dead without the browser knowing: the gateway is asked */
const LONGEST_SILENCE_MS = 30_000;
const ASK_TIMEOUT_MS = 10_000;

/** `connecting`, `live`, `lost` (it tries again), or `paused` (the page is hidden) */
export const state = signal('connecting');
/** when the connection was lost; null while there is one @type {import('./signals.js').Signal<number | null>} */
export const lostAt = signal(/** @type {number | null} */ (null));

/** @type {Set<{topics: Set<string>, take: (changes: Change[]) => void, again: () => void}>} */
const readers = new Set();
/** @type {EventSource | null} */
let source = null;
/** @type {number | null} */
let last = null;
/** @type {Change[]} */
let group = [];
let seenAt = Date.now();
let askedAt = 0;
let watchedAt = 0;
/** nothing came yet since the connection was opened */
let isFirst = true;
let retryMs = FIRST_RETRY_MS;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let retry;

/**
 * Tell changes of some topics until the scope around this call ends.
 * @param {string[]} topics
 * @param {(changes: Change[]) => void} take gets each group, oldest change first
 * @param {() => void} again is called when changes may have been missed: load what you show again
 */
export function onChanges(topics, take, again) {
  const reader = { topics: new Set(topics), take, again };
  readers.add(reader);
  onCleanup(() => readers.delete(reader));
}

/** Keep the connection open while the page is visible, until the scope around this call ends. */
export function start() {
  onCleanup(close);
  const look = () => (document.hidden ? pause() : open());
  document.addEventListener('visibilitychange', look);
  window.addEventListener('online', look);
  window.addEventListener('offline', ask);
  askedAt = watchedAt = Date.now();
  const timer = setInterval(watch, WATCH_MS);
  onCleanup(() => {
    clearInterval(timer);
    document.removeEventListener('visibilitychange', look);
    window.removeEventListener('online', look);
    window.removeEventListener('offline', ask);
  });
  look();
}

function pause() {
  close();
  state.set('paused');
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

/** Find out whether the connection is still there. */
function watch() {
  const hasSlept = Date.now() - watchedAt > 2 * WATCH_MS;
  watchedAt = Date.now();
  if (document.hidden || state.peek() !== 'live') return;
  if (hasSlept) return open(); // the computer slept: what the connection was then is no sign of what it is now
  if (Date.now() - Math.max(seenAt, askedAt) > LONGEST_SILENCE_MS) ask();
}

/** Ask the gateway whether it is there: a computer without a network may still reach one on itself. */
async function ask() {
  askedAt = Date.now();
  const asked = source;
  const answers = await isThere();
  if (source !== asked || document.hidden) return;
  if (answers) return last === null ? undefined : open();
  close();
  lose();
}

/** Return whether the gateway answers. Who is not signed in any more gets the page to sign in. */
const isThere = () => get('/api/me', {}, { timeout: ASK_TIMEOUT_MS }).then(() => true, (error) => !(error instanceof ApiError && error.status === 0));

function open() {
  if (document.hidden || !me.peek()) return;
  close();
  if (Date.now() - seenAt > LONGEST_CATCH_UP_MS) last = null;
  const opened = new EventSource(last === null ? '/api/events' : `/api/events?after=${last}`);
  source = opened;
  opened.onopen = () => {
    retryMs = FIRST_RETRY_MS;
    isFirst = true;
    state.set('live');
    lostAt.set(null);
    seenAt = Date.now();
    if (last === null) for (const reader of readers) reader.again();
  };
  opened.onerror = () => opened === source && lose();
  for (const topic of TOPICS) opened.addEventListener(topic, (event) => take(JSON.parse(event.data)));
}

function lose() {
  state.set('lost');
  if (lostAt.peek() === null) lostAt.set(Date.now());
  if (source && source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself, after `Last-Event-ID`
  close();
  isThere();
  retry = setTimeout(open, retryMs);
  retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
}

/** @param {Change} change */
function take(change) {
  if (last !== null && change.seq <= last) {
    if (!isFirst) return;
    for (const reader of readers) reader.again(); // the gateway has an older database than before
  }
  isFirst = false;
  last = change.seq;
  seenAt = Date.now();
  if (group.push(change) === 1) setTimeout(tell, GROUP_MS);
}

function tell() {
  const told = group;
  group = [];
  for (const reader of readers) {
    const wanted = told.filter((change) => reader.topics.has(change.topic));
    if (wanted.length) reader.take(wanted);
  }
}
