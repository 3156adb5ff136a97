// @ts-check
/** Files that go with a message: they are stored at once, with their progress, and checked against the limits before. */

import { ApiError, get, newKey } from '../core/api.js';
import { bytes } from '../core/format.js';
import { signal } from '../core/signals.js';
import { t } from '../core/text.js';

/** @typedef {import('./outbox.js').StoredFile} StoredFile */
/**
 * @typedef {{id: string, name: string, size: number, progress: import('../core/signals.js').Signal<number>,
 *   stored: import('../core/signals.js').Signal<StoredFile | null>, error: import('../core/signals.js').Signal<string>, stop: () => void}} Upload
 * `progress` from 0 to 1
 */
/** @typedef {{size: number, message_size: number, per_message: number}} Limits in bytes */

/** @type {Promise<Limits> | null} */
let limits = null;

/** @returns {Promise<Limits>} */
export function loadLimits() {
  limits ??= get('/api/files', { limit: 1 }).then((answer) => answer.space);
  limits.catch(() => (limits = null));
  return limits;
}

/**
 * Return why files cannot go with a message; an empty text if they can.
 * @param {{name: string, size: number}[]} added @param {{size: number}[]} before @param {Limits} most
 */
export function explainRefusal(added, before, most) {
  const large = added.find((one) => one.size > most.size);
  if (large) return t('chat.file.large', { name: large.name, size: bytes(large.size), most: bytes(most.size) });
  const all = [...before, ...added];
  if (all.length > most.per_message) return t('chat.file.many', { n: most.per_message });
  const sum = all.reduce((total, one) => total + one.size, 0);
  return sum > most.message_size ? t('chat.file.together', { size: bytes(sum), most: bytes(most.message_size) }) : '';
}

/** Return a file that is stored already as what an upload looks like. @param {StoredFile} file @returns {Upload} */
export function storedUpload(file) {
  return { id: file.id, name: file.name, size: file.size, progress: signal(1), stored: signal(/** @type {StoredFile | null} */ (file)), error: signal(''), stop: () => {} };
}

/** Begin to store a file. @param {File} file @param {() => void} done @returns {Upload} */
export function upload(file, done) {
  const progress = signal(0);
  const stored = signal(/** @type {StoredFile | null} */ (null));
  const error = signal('');
  const sender = new XMLHttpRequest(); // fetch does not tell how much was sent
  sender.open('POST', `/api/files?name=${encodeURIComponent(file.name)}`);
  sender.setRequestHeader('X-Moongate-Dashboard', '1');
  sender.setRequestHeader('Idempotency-Key', newKey());
  sender.setRequestHeader('Content-Type', file.type || 'application/octet-stream');
  sender.upload.onprogress = (event) => progress.set(event.total ? event.loaded / event.total : 0);
  sender.onload = () => {
    try {
      const data = JSON.parse(sender.responseText);
      if (sender.status !== 201) throw new ApiError(sender.status, data.error.code, data.error.message);
      stored.set(data.file);
      done();
    } catch (problem) {
      error.set(problem instanceof ApiError ? problem.message : t('chat.file.failed'));
    }
  };
  sender.onerror = () => error.set(t('chat.file.failed'));
  sender.send(file);
  return { id: newKey(), name: file.name, size: file.size, progress, stored, error, stop: () => sender.abort() };
}
