// @ts-check
/** What an agent does in one run, made from the events of the run: pieces of text, thoughts, tools, questions, files. */

import { get } from '../core/api.js';
import { onCleanup, signal } from '../core/signals.js';
import { growingMarkdown } from '../parts/markdown.js';

/**
 * @typedef {{key: string, kind: 'text', growing: ReturnType<typeof growingMarkdown>, isDone: import('../core/signals.js').Signal<boolean>}} AnswerPiece
 * @typedef {{key: string, kind: 'thinking', growing: ReturnType<typeof growingMarkdown>, isDone: import('../core/signals.js').Signal<boolean>}} ThoughtPiece
 * @typedef {{key: string, kind: 'tool', call: any, end: import('../core/signals.js').Signal<any>}} ToolPiece
 * @typedef {{key: string, kind: 'permission', request: import('../core/signals.js').Signal<any>}} PermissionPiece
 * @typedef {{key: string, kind: 'log', data: any}} RemarkPiece
 * @typedef {{key: string, kind: 'file', data: any}} FilePiece
 * @typedef {{key: string, kind: 'again', data: any}} AgainPiece
 * @typedef {AnswerPiece | ThoughtPiece | ToolPiece | PermissionPiece | RemarkPiece | FilePiece | AgainPiece} Piece
 */

const KINDS = ['status', 'text', 'thinking', 'tool', 'tool_end', 'permission', 'log', 'file', 'end'];
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;
const MOST_EVENTS = 1000;
/** levels of remarks that people should see */
const SHOWN_LEVELS = ['warning', 'error'];

/** @typedef {ReturnType<typeof makeAnswer>} Answer `last`: the number of the last event that was taken */

/** @param {string} run its id */
export function makeAnswer(run) {
  const pieces = signal(/** @type {Piece[]} */ ([]));
  let count = 0;
  const key = (/** @type {string} */ kind) => `${kind} ${++count}`;
  const add = (/** @type {Piece} */ piece) => pieces.update((all) => [...all, piece]);

  const endText = () => {
    const last = pieces.peek().at(-1);
    if (last?.kind !== 'text' && last?.kind !== 'thinking') return;
    last.growing.end();
    last.isDone.set(true);
  };
  const append = (/** @type {'text' | 'thinking'} */ kind, /** @type {string} */ delta) => {
    let last = pieces.peek().at(-1);
    if (last?.kind !== kind) {
      endText();
      last = /** @type {AnswerPiece | ThoughtPiece} */ ({ key: key(kind), kind, growing: growingMarkdown(), isDone: signal(false) });
      add(last);
    }
    /** @type {AnswerPiece | ThoughtPiece} */ (last).growing.append(delta);
  };
  const takePermission = (/** @type {any} */ data) => {
    const known = pieces.peek().find((one) => one.kind === 'permission' && one.request.peek().id === data.id);
    const told = { task: run, choices: [], question: null, asked_at: null, answered_by: data.by || null, reason: null, ...data, answer: data.answer || null };
    if (known?.kind === 'permission') return known.request.set({ ...known.request.peek(), ...told, question: known.request.peek().question, asked_at: known.request.peek().asked_at });
    const request = signal(told);
    endText();
    add({ key: key('permission'), kind: 'permission', request });
    // When it was asked is not in the event.
    if (!told.answer) get(`/api/tasks/${run}`).then(({ permissions }) => {
      const asked = permissions.find((/** @type {any} */ one) => one.id === data.id);
      if (asked && !request.peek().answer) request.set(asked);
    }, () => {});
  };

  /** Take an event of the run. @param {string} kind @param {any} data */
  const take = (kind, data) => {
    if (kind === 'text' || kind === 'thinking') return append(kind, data.delta);
    if (kind === 'permission') return takePermission(data);
    if (kind === 'tool_end') {
      const begun = pieces.peek().findLast((one) => one.kind === 'tool' && one.call.id === data.id);
      if (begun?.kind === 'tool') begun.end.set(data);
      return;
    }
    if (kind === 'status' && data.status === 'running' && data.attempt > 1) {
      pieces.set([]); // what a broken attempt wrote is no part of the answer
      return add({ key: key('again'), kind: 'again', data });
    }
    if (kind === 'log' && !SHOWN_LEVELS.includes(data.level)) return;
    if (!['tool', 'log', 'file', 'end'].includes(kind)) return;
    endText();
    if (kind === 'tool') add({ key: key('tool'), kind, call: data, end: signal(/** @type {any} */ (null)) });
    else if (kind !== 'end') add(/** @type {RemarkPiece | FilePiece} */ ({ key: key(kind), kind, data }));
  };
  return { run, pieces, take, last: 0, isEnded: signal(false) };
}

/**
 * Take all events of a run that were not taken yet, up to its end or that of the scope around this call. A lost
 * connection goes on where it was; while the page is hidden there is none.
 * @param {Pick<Answer, 'run' | 'take' | 'last' | 'isEnded'>} answer
 */
export function follow(answer) {
  /** @type {EventSource | null} */
  let source = null;
  let pause = FIRST_RETRY_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let retry;

  const close = () => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    if (document.hidden || answer.isEnded.peek()) return;
    const opened = new EventSource(`/api/tasks/${answer.run}/events?after=${answer.last}`);
    source = opened;
    opened.onopen = () => (pause = FIRST_RETRY_MS);
    opened.onerror = () => {
      if (opened !== source || opened.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      close();
      retry = setTimeout(open, pause);
      pause = Math.min(2 * pause, LONGEST_RETRY_MS);
    };
    for (const kind of KINDS) opened.addEventListener(kind, (event) => receive(kind, event));
  };
  const receive = (/** @type {string} */ kind, /** @type {MessageEvent} */ event) => {
    const number = Number(event.lastEventId);
    if (number <= answer.last) return;
    answer.last = number;
    answer.take(kind, JSON.parse(event.data));
    if (kind !== 'end') return;
    answer.isEnded.set(true);
    close();
  };
  document.addEventListener('visibilitychange', open);
  onCleanup(() => {
    document.removeEventListener('visibilitychange', open);
    close();
  });
  open();
}

/** Take the events of a run that has ended, as many as one answer has. @param {Answer} answer */
export async function loadEvents(answer) {
  const { events } = await get(`/api/tasks/${answer.run}/events`, { limit: MOST_EVENTS });
  for (const { id, data } of events) {
    answer.last = id;
    answer.take(data.kind, data);
  }
  answer.isEnded.set(true);
}
