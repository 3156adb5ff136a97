// @ts-check
/** Lists that stay right while things change: pages of rows by cursor, new rows at the front, changed rows in place. */

import { ApiError } from './api.js';
import { onChanges } from './live.js';
import { onCleanup, signal } from './signals.js';

/**
 * @template T
 * @typedef {{
 *   rows: import('./signals.js').Signal<T[]>,
 *   state: import('./signals.js').Signal<'loading' | 'ready' | 'failed'>,
 *   error: import('./signals.js').Signal<Error | null>,
 *   hasMore: () => boolean,
 *   loadMore: () => Promise<void>,
 *   reload: () => Promise<void>,
 * }} LiveList
 */

/** changed rows that are asked for one by one; for more, the first page is loaded again */
const MOST_SINGLE_ROWS = 4;
const SHORTEST_PAUSE_MS = 500;
/** between two tries while the gateway does not answer */
const LONGEST_PAUSE_MS = 10_000;

/**
 * Return a list that follows the change feed until the scope around this call ends.
 * @template T
 * @param {{
 *   topics: string[],
 *   load: (cursor: string | null) => Promise<{rows: T[], next: string | null}>,
 *   keyOf: (row: T) => string,
 *   loadOne?: (key: string) => Promise<T | null>,
 *   refOf?: (change: import('./live.js').Change) => string,
 * }} options
 * `load` loads a page, the newest row first; `loadOne` one row again, null if it does not belong to the list any more;
 * `refOf` says which row a change is about; if none, an empty key. Without `loadOne`, the first page is loaded again.
 * @returns {LiveList<T>}
 */
export function liveList({ topics, load, keyOf, loadOne, refOf = (change) => change.ref }) {
  const rows = signal(/** @type {T[]} */ ([]));
  const state = signal(/** @type {'loading' | 'ready' | 'failed'} */ ('loading'));
  const error = signal(/** @type {Error | null} */ (null));
  /** @type {string | null} */
  let cursor = null;
  /** @type {Promise<void> | null} */
  let loading = null;
  /** @type {Promise<void> | null} the older rows that are on their way */
  let loadingMore = null;
  /** @type {Set<string>} */
  const changed = new Set();
  let pausing = false;
  let pauseMs = SHORTEST_PAUSE_MS;
  let isEnded = false;

  /** @param {() => Promise<void>} work one load at a time: answers must not overtake each other */
  const alone = (work) => {
    const mine = (loading ?? Promise.resolve()).then(work).then(
      () => (error.set(null), state.set('ready')),
      (/** @type {Error} */ problem) => (error.set(problem), state.set(rows.peek().length ? 'ready' : 'failed')),
    );
    loading = mine;
    return mine;
  };

  const reload = () => alone(async () => {
    const page = await load(null);
    rows.set(page.rows);
    cursor = page.next;
  });

  /** Each call while older rows are on their way is for the same ones: scrolling asks many times. */
  const loadMore = () => (loadingMore ??= cursor === null ? Promise.resolve() : alone(async () => {
    if (cursor === null) return;
    const page = await load(cursor);
    const known = new Set(rows.peek().map(keyOf));
    rows.update((all) => [...all, ...page.rows.filter((row) => !known.has(keyOf(row)))]);
    cursor = page.next;
  })).finally(() => (loadingMore = null));

  /** Load the first page again, and keep the older rows that are shown and have not changed. @param {string[]} keys of what has changed */
  const refresh = async (keys) => {
    const page = await load(null);
    const oldest = page.rows.at(-1);
    const fresh = new Set(page.rows.map(keyOf));
    const at = oldest && page.next !== null ? rows.peek().findIndex((row) => keyOf(row) === keyOf(oldest)) : -1;
    const older = at < 0 ? [] : rows.peek().slice(at + 1).filter((row) => !fresh.has(keyOf(row)));
    const stale = new Set(keys);
    const changedOlder = older.map(keyOf).filter((key) => stale.has(key));
    if (at < 0 || (changedOlder.length && !(loadOne && changedOlder.length <= MOST_SINGLE_ROWS))) {
      rows.set(page.rows);
      cursor = page.next;
      return;
    }
    rows.set([...page.rows, ...older]);
    if (loadOne) await replaceRows(changedOlder, loadOne);
  };

  const takeChanges = async () => {
    if (pausing || changed.size === 0 || isEnded) return;
    pausing = true;
    const keys = [...changed];
    changed.clear();
    const known = new Set(rows.peek().map(keyOf));
    const isFew = loadOne && keys.length <= MOST_SINGLE_ROWS && keys.every((key) => known.has(key));
    await alone(() => (isFew ? replaceRows(keys, /** @type {any} */ (loadOne)) : refresh(keys)));
    // What could not be loaded is still to be done: else old rows would be shown as if they were live.
    if (error.peek()) for (const key of keys) changed.add(key);
    pauseMs = error.peek() ? Math.min(2 * pauseMs, LONGEST_PAUSE_MS) : SHORTEST_PAUSE_MS;
    setTimeout(() => ((pausing = false), takeChanges()), pauseMs);
  };

  /** @param {string[]} keys @param {(key: string) => Promise<T | null>} loadRow */
  const replaceRows = async (keys, loadRow) => {
    const found = new Map(await Promise.all(keys.map(async (key) => /** @type {const} */ ([key, await loadRow(key).catch(nullIfGone)]))));
    rows.update((all) => all.flatMap((row) => {
      const next = found.get(keyOf(row));
      return next === undefined ? [row] : next === null ? [] : [next];
    }));
  };

  onChanges(topics, (changes) => {
    const gone = new Set(changes.filter(({ state }) => state === 'deleted').map(refOf));
    for (const ref of changes.map(refOf)) if (ref && !gone.has(ref)) changed.add(ref);
    if (gone.size) alone(async () => rows.update((all) => all.filter((row) => !gone.has(keyOf(row)))));
    takeChanges();
  }, reload);
  onCleanup(() => (isEnded = true));
  reload();
  return { rows, state, error, hasMore: () => (rows(), cursor !== null), loadMore, reload };
}

/** @param {unknown} problem @returns {null} a row that is not there any more */
function nullIfGone(problem) {
  if (problem instanceof ApiError && problem.status === 404) return null;
  throw problem;
}
