// @ts-check
/**
 * Messages on their way to the gateway. Each is kept in the browser, with the key that lets it count once, until the
 * gateway has answered with its run: no reload, restart or lost answer loses a word, and none asks twice.
 */

import { ApiError, newKey, post } from '../core/api.js';
import { state } from '../core/live.js';
import { effect, signal } from '../core/signals.js';
import { t } from '../core/text.js';

/** @typedef {{id: string, name: string, media_type: string, size: number}} StoredFile */
/**
 * @typedef {{key: string, session: string, text: string, files: StoredFile[], at: number, tries: number, refused?: boolean, error?: string}} Message
 * `refused`: the gateway will not take it as it is; `error` says why, or why it takes so long.
 */

const STORED = 'chat.outbox';
const MOST = 50;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;
/** another tab that has written a message sends it, unless it was closed meanwhile */
const OTHER_TAB_MS = 5000;
/** the gateway knows a key for a day; after that, the same message would be another one */
const KEY_LASTS_MS = 23 * 3_600_000;
/** after so many tries without an answer, what the gateway has is shown without waiting for one more */
const SETTLED_TRIES = 2;

/** oldest first @type {import('../core/signals.js').Signal<Message[]>} */
export const outbox = signal(read());
/** @type {Map<string, (task: any) => void>} what gets the runs of a session's messages */
const takers = new Map();
/** @type {Set<() => void>} */
const watchers = new Set();
let isSending = false;
/** @type {(() => void) | null} */
let hurry = null;

window.addEventListener('storage', (event) => {
  if (event.key !== STORED) return;
  outbox.set(read());
  setTimeout(send, OTHER_TAB_MS);
});
effect(() => state() === 'live' && sendNow()); // the gateway is back
send();

/** @returns {Message[]} */
function read() {
  try {
    const found = JSON.parse(localStorage.getItem(STORED) ?? '[]');
    return Array.isArray(found) ? found.filter((one) => typeof one?.key === 'string' && typeof one.session === 'string') : [];
  } catch {
    return [];
  }
}

/** @param {(all: Message[]) => Message[]} change */
function write(change) {
  const all = change(read()); // another tab may have changed it
  if (all.length) localStorage.setItem(STORED, JSON.stringify(all));
  else localStorage.removeItem(STORED);
  outbox.set(all);
}

/**
 * Send a message, as soon as the gateway answers.
 * @param {string} session @param {string} text @param {StoredFile[]} files
 * @throws {Error} there are too many that wait already
 */
export function addMessage(session, text, files) {
  if (read().length >= MOST) throw new Error(t('chat.full'));
  write((all) => [...all, { key: newKey(), session, text, files, at: Date.now(), tries: 0 }]);
  hurry?.();
  send();
}

/** Forget a message that the gateway does not have. @param {string} key */
export function dropMessage(key) {
  write((all) => all.filter((one) => one.key !== key));
}

/** Try the messages that wait again, now. */
export function sendNow() {
  hurry?.();
  send();
}

/** Give the runs of a session's messages to a function. @param {string} session @param {(task: any) => void} take @returns {() => void} ends it */
export function takeRuns(session, take) {
  takers.set(session, take);
  return () => takers.get(session) === take && takers.delete(session);
}

/**
 * Wait until it is known what became of a session's messages, or the gateway has not answered twice. Else a run could be
 * shown next to the message that made it.
 * @param {string} session
 */
export async function settle(session) {
  const isOpen = () => outbox.peek().some((one) => one.session === session && !one.refused && one.tries < SETTLED_TRIES);
  while (isSending && isOpen()) await new Promise((resolve) => watchers.add(() => resolve(null)));
}

async function send() {
  if (isSending) return;
  isSending = true;
  let pause = FIRST_RETRY_MS;
  try {
    for (let next = first(); next; next = first()) {
      const isDone = await attempt(next);
      for (const watcher of [...watchers]) watchers.delete(watcher), watcher();
      if (isDone) pause = FIRST_RETRY_MS;
      else {
        await Promise.race([new Promise((resolve) => setTimeout(resolve, pause)), new Promise((resolve) => (hurry = () => resolve(null)))]);
        hurry = null;
        pause = Math.min(2 * pause, LONGEST_RETRY_MS);
      }
    }
  } finally {
    isSending = false;
  }
}

function first() {
  return outbox.peek().find((one) => !one.refused);
}

/** @param {Message} message @returns {Promise<boolean>} whether the gateway has decided */
async function attempt(message) {
  if (Date.now() - message.at > KEY_LASTS_MS) {
    mark(message, { refused: true, error: t('chat.old') });
    return true;
  }
  try {
    const attachments = message.files.map(({ id }) => ({ file: id }));
    const body = { input: message.text, session: message.session, wants_files: true, ...(attachments.length && { attachments }) };
    const { task } = await post('/api/tasks', body, { key: message.key });
    takers.get(message.session)?.(task);
    dropMessage(message.key);
    return true;
  } catch (error) {
    const { status, message: why } = error instanceof ApiError ? error : new ApiError(0, 'ERROR', String(error));
    const refused = status >= 400 && status < 500 && status !== 401 && status !== 408 && status !== 429;
    mark(message, { tries: message.tries + 1, refused, error: why });
    return refused;
  }
}

/** @param {Message} message @param {Partial<Message>} changes */
function mark(message, changes) {
  write((all) => all.map((one) => (one.key === message.key ? { ...one, ...changes } : one)));
}
