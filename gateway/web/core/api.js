// @ts-check
/** Requests to the gateway's API. The browser adds the cookie; each write says that it comes from this page. */

import { takeServerTime } from './format.js';
import { signal } from './signals.js';

/** @typedef {import('../api.js').Me} Me */

/** who is signed in; undefined until that is known, null if nobody is @type {import('./signals.js').Signal<Me | null | undefined>} */
export const me = signal(/** @type {Me | null | undefined} */ (undefined));
const TIMEOUT_MS = 30_000;
const SCOPES = ['read', 'write', 'admin'];

/** An answer that is an error, or no answer: then `status` is 0. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Return whether the one who is signed in may do what needs a scope. @param {'read' | 'write' | 'admin'} scope */
export function can(scope) {
  return SCOPES.indexOf(me()?.scope ?? '') >= SCOPES.indexOf(scope);
}

/**
 * @typedef {{query?: Record<string, any>, body?: unknown, file?: Blob, key?: string, signal?: AbortSignal, timeout?: number}} Options
 * `key`: the Idempotency-Key; the same key never does a thing twice. `timeout` in milliseconds.
 */

/**
 * Send a request and return its JSON.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function request(method, path, { query = {}, body, file, key, signal, timeout = TIMEOUT_MS } = {}) {
  // An id of an address, such as `../tokens?`, must not make another path of it: a link may come from anyone.
  if (new URL(path, 'http://gateway').pathname !== path) throw new ApiError(404, 'NOT_FOUND', 'There is nothing at this address.');
  const set = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  /** @type {Record<string, string>} */
  const headers = { Accept: 'application/json' };
  if (method !== 'GET') {
    headers['X-Moongate-Dashboard'] = '1';
    headers['Idempotency-Key'] = key ?? newKey();
  }
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (file) headers['Content-Type'] = file.type || 'application/octet-stream';
  const limit = AbortSignal.timeout(timeout);
  let answer;
  try {
    answer = await fetch(path + (text && `?${text}`), {
      method,
      headers,
      body: file ?? (body === undefined ? undefined : JSON.stringify(body)),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      credentials: 'same-origin',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'NO_ANSWER', 'The gateway does not answer.');
  }
  takeServerTime(answer.headers.get('Date'));
  const data = await answer.json().catch(() => null);
  if (answer.ok) return data;
  if (answer.status === 401) me.set(null);
  const told = data?.error ?? {};
  throw new ApiError(answer.status, told.code ?? 'ERROR', told.message ?? `The gateway answered ${answer.status}.`);
}

/**
 * @template {string} P
 * @param {P} path
 * @param {Record<string, any>} [query]
 * @param {Options} [options]
 * @returns {Promise<import('../api.js').Answer<P>>}
 */
export const get = (path, query, options) => request('GET', path, { query, ...options });
/** @param {string} path @param {unknown} [body] @param {Options} [options] */
export const post = (path, body = {}, options) => request('POST', path, { body, ...options });
/** @param {string} path @param {unknown} body @param {Options} [options] */
export const put = (path, body, options) => request('PUT', path, { body, ...options });
/** @param {string} path @param {unknown} body @param {Options} [options] */
export const patch = (path, body, options) => request('PATCH', path, { body, ...options });
/** @param {string} path @param {Record<string, any>} [query] */
export const remove = (path, query) => request('DELETE', path, { query });

/** Return a new Idempotency-Key. `crypto.randomUUID` does not exist on a page that came by plain HTTP. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Ask who is signed in. */
export async function loadMe() {
  try {
    me.set(await get('/api/me'));
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
  }
}
