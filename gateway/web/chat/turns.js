// @ts-check
/**
 * A conversation: what was said, from its transcript, together with the runs that said it. A turn is one run: the
 * transcript has the words of those that have ended, the runs have their state, cost and failures, also of those that
 * wait, were cancelled or came from elsewhere.
 */

import { ApiError, get } from '../core/api.js';
import { onChanges } from '../core/live.js';
import { computed, effect, onCleanup, signal, untracked } from '../core/signals.js';
import { follow, makeAnswer } from './answer.js';
import { settle, takeRuns } from './outbox.js';

/**
 * @typedef {{id: string, at: number, task: any, messages: any[], answer: import('./answer.js').Answer | null, html: string | null}} Turn
 * `task` is null once the run was pruned; `answer` grows while the run goes on; `html` is the rendered result of a task
 * that is not in the transcript yet
 */

export const FINAL = ['succeeded', 'failed', 'cancelled'];
const PAGE = 40;
const CHANGES_PAUSE_MS = 250;
/** runs that are asked for one by one */
const MOST_SINGLE = 4;
/** pages of runs that one page of the transcript may need */
const MOST_RUN_PAGES = 5;

/** @param {string} session its key @param {() => void} gone is called when it is deleted */
export function loadTurns(session, gone) {
  const path = `/api/sessions/${encodeURIComponent(session)}`;
  const known = signal(/** @type {Map<string, Turn>} */ (new Map()));
  const details = signal(/** @type {any} */ (null));
  const state = signal(/** @type {'loading' | 'ready' | 'failed'} */ ('loading'));
  const error = signal(/** @type {Error | null} */ (null));
  const cursors = signal(/** @type {{said: string | null, ran: string | null}} */ ({ said: null, ran: null }));
  const turns = computed(() => [...known().values()].sort((one, other) => one.at - other.at || (one.id < other.id ? -1 : 1)));
  const isLive = (/** @type {any} */ task) => task && !FINAL.includes(task.status);

  /** @param {Map<string, Turn>} all @param {string} id @param {Partial<Turn>} changes */
  const put = (all, id, changes) => {
    const before = all.get(id) ?? { id, at: 0, task: null, messages: [], answer: null, html: null };
    const turn = { ...before, ...changes };
    if (isLive(turn.task)) turn.answer ??= makeAnswer(id);
    const first = turn.messages[0]?.at ?? turn.task?.created_at;
    all.set(id, { ...turn, at: new Date(first).getTime() });
  };
  /** @param {any[]} messages @param {any[]} tasks @param {boolean} [older] */
  const merge = (messages, tasks, older = false) => known.update((before) => {
    const all = new Map(before);
    /** @type {Map<string, any[]>} */
    const groups = new Map();
    for (const one of messages) {
      const id = one.run_id || nameOf(one);
      groups.set(id, [...(groups.get(id) ?? []), one]);
    }
    for (const [id, group] of groups) {
      const had = all.get(id)?.messages ?? [];
      const names = new Set(had.map(nameOf));
      const added = group.filter((one) => !names.has(nameOf(one)));
      put(all, id, { messages: added.length === 0 ? had : older ? [...added, ...had] : [...had, ...added] });
    }
    for (const task of tasks) {
      const had = all.get(task.id)?.task;
      put(all, task.id, { task: had && task.shortened ? { ...task, input: had.input, result: had.result ?? task.result } : task });
    }
    return all;
  });

  const load = async () => {
    await settle(session);
    try {
      const [said, ran] = await Promise.all([get(path, { limit: PAGE, render: 'html' }).catch(nullIfGone), get('/api/tasks', { session, limit: PAGE })]);
      details.set(said?.session ?? null);
      // Older pages that were loaded before stay, unless something is missing between.
      const isNext = said?.messages.some((/** @type {any} */ one) => known.peek().get(one.run_id)?.messages.length);
      if (!isNext) cursors.set({ said: said?.next_cursor ?? null, ran: ran.next_cursor });
      merge(said?.messages ?? [], ran.tasks);
      await completeTasks();
      state.set('ready');
      error.set(null);
    } catch (problem) {
      error.set(/** @type {Error} */ (problem));
      if (state.peek() !== 'ready') state.set('failed');
    }
  };

  /** Load in full what neither the transcript nor a list of runs shows in full. */
  const completeTasks = async () => {
    const lacking = [...known.peek().values()].filter(({ task, messages, answer, html }) => task && messages.length === 0 && (task.shortened || (task.result && !answer && html === null)));
    await Promise.all(lacking.slice(-PAGE).map(({ id }) => loadTask(id)));
  };
  const loadTask = async (/** @type {string} */ id) => {
    const found = await get(`/api/tasks/${id}`, { render: 'html' }).catch(nullIfGone);
    if (!found || found.task.session !== session) return;
    known.update((before) => {
      const all = new Map(before);
      put(all, id, { task: found.task, html: found.result_html ?? null });
      return all;
    });
  };

  const loadOlder = async () => {
    const { said, ran } = cursors.peek();
    const page = said ? await get(`${path}/history`, { limit: PAGE, cursor: said, render: 'html' }) : null;
    const oldest = page?.messages[0]?.at ?? '';
    /** @type {any[]} */
    const tasks = [];
    let next = ran;
    for (let n = 0; next && n < MOST_RUN_PAGES && (n === 0 || tasks.at(-1)?.created_at > oldest); n++) {
      const found = await get('/api/tasks', { session, limit: PAGE, cursor: next });
      tasks.push(...found.tasks);
      next = found.next_cursor;
    }
    cursors.set({ said: page?.next_cursor ?? null, ran: next });
    merge(page?.messages ?? [], tasks, true);
    await completeTasks();
  };

  /** @type {Set<string>} */
  const changed = new Set();
  let isWaiting = false;
  const takeChanged = async () => {
    await settle(session);
    const ids = [...changed];
    changed.clear();
    await (ids.length > MOST_SINGLE ? load() : Promise.all(ids.map(loadTask))).catch(() => {});
    isWaiting = false;
    if (changed.size) soon();
  };
  const soon = () => {
    if (!isWaiting) setTimeout(takeChanged, CHANGES_PAUSE_MS);
    isWaiting = true;
  };
  onChanges(['run', 'session'], (changes) => {
    for (const change of changes.filter((one) => one.session === session || one.ref === session)) {
      if (change.topic === 'run') changed.add(change.ref), soon();
      else if (change.state === 'deleted') gone();
      else load();
    }
  }, load);
  onCleanup(takeRuns(session, (task) => merge([], [task])));

  // The oldest run that has begun, and whose end was not seen yet, is followed: one connection.
  const followed = computed(() => turns().find(({ answer, task }) => answer && !answer.isEnded() && !['queued', 'held'].includes(task.status))?.answer ?? null);
  effect(() => {
    const answer = followed();
    if (answer) untracked(() => follow(answer));
  });
  load();
  return {
    turns, details, state, error, load, loadOlder,
    hasOlder: () => cursors().said !== null || cursors().ran !== null,
    /** the run that is at work */
    running: computed(() => turns().find(({ task }) => task?.status === 'running')?.task ?? null),
  };
}

/** Return what tells a message from the others of its run. @param {any} message */
const nameOf = (message) => `${message.role} ${message.at}`;

/** @param {unknown} problem @returns {null} */
function nullIfGone(problem) {
  if (problem instanceof ApiError && problem.status === 404) return null;
  throw problem;
}
