// @ts-check
/** One turn of a conversation: what a person said, what the agent did and answered, and what it took. */

import { can, newKey, post } from '../core/api.js';
import { cost, duration, secondsBetween, short, shortId } from '../core/format.js';
import { each, html, only } from '../core/html.js';
import { link } from '../core/router.js';
import { computed, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, complain, copy, fileLink, time } from '../parts/basics.js';
import { icon } from '../parts/icon.js';
import { prose } from '../parts/markdown.js';
import { answered, permissionCard } from '../parts/permission.js';
import { loadEvents, makeAnswer } from './answer.js';
import { FINAL } from './turns.js';

/** characters of a tool's arguments in its row */
const MOST_ARGUMENTS = 160;
const ULID = /\b[0-9A-HJKMNP-TV-Z]{26}\b/g;

/** @typedef {import('./turns.js').Turn} Turn */

/**
 * @param {() => Turn} read
 * @param {(text: string) => void} edit puts a text into the composer
 */
export function turnView(read, edit) {
  const task = () => read().task;
  const hasTask = computed(() => task() !== null);
  const isQueued = computed(() => ['queued', 'held'].includes(task()?.status));
  const isLive = computed(() => hasTask() && !FINAL.includes(task().status));
  // What was at work when it came onto the page stays as it grew there.
  const answer = computed(() => read().answer);
  const input = computed(() => task()?.input ?? '');
  const messages = computed(() => read().messages);
  const markup = computed(() => read().html);
  const content = () => {
    const live = answer();
    if (live) return html`${() => asked(input(), untracked(task).attachments, untracked(read).at, edit, untracked(task).source)}${pieces(live)}`;
    if (messages().length) return messages().map((one) => said(one, edit, untracked(task)?.source));
    return fromTask(untracked(task), markup(), untracked(read).at, edit);
  };
  return html`<article class="turn" data-run=${read().id} data-state=${() => task()?.status ?? null} aria-busy=${() => (isLive() ? 'true' : null)}>
    ${content}${() => hasTask() && untracked(() => footer(task, read, isQueued, isLive))}</article>`;
}

/** @param {any} one a message of the transcript @param {(text: string) => void} edit @param {string} [source] */
function said(one, edit, source) {
  if (one.role === 'user') return asked(one.content, one.files, one.at, edit, source);
  return html`<div class="answer">${one.html ? html`<div class="prose">${prose(one.html)}</div>` : html`<p class="plain-text">${one.content}</p>`}${files(one.files)}</div>`;
}

/** A turn of a run that is not in the transcript. @param {any} task @param {string | null} markup @param {number} at @param {(text: string) => void} edit */
function fromTask(task, markup, at, edit) {
  const answer = markup ? html`<div class="prose">${prose(markup)}</div>` : task.result ? html`<p class="plain-text">${task.result}</p>` : null;
  return html`${asked(task.input, task.attachments, at, edit, task.source)}<div class="answer">${answer}${files(task.files)}</div>`;
}

/** What a person said. @param {string} text @param {any[]} attached @param {string | number} at @param {(text: string) => void} edit @param {string} [source] */
function asked(text, attached, at, edit, source) {
  const isForeign = source && source !== 'task' && source !== 'message';
  return html`<div class="asked"><div class="bubble">${text ? html`<p class="plain-text">${text}</p>` : null}${files(attached)}</div>
    <div class="asked-line muted">${isForeign ? html`<span class="tag">${source}</span>` : null}${time(at)}
    ${button(t('copy'), () => copy(text), { kind: 'plain', icon: 'copy', iconOnly: true })}
    ${can('write') && text ? button(t('chat.edit'), () => edit(text), { kind: 'plain', icon: 'edit', iconOnly: true }) : null}</div></div>`;
}

/** @param {any[]} all */
const files = (all) => (all?.length ? html`<div class="line files">${all.map(fileLink)}</div>` : null);

/** What the agent does, in the order of its events. @param {import('./answer.js').Answer} answer @param {boolean} [onlySteps] leaves out the text */
function pieces(answer, onlySteps = false) {
  const shown = () => answer.pieces().filter(({ kind }) => !onlySteps || kind !== 'text');
  return html`<div class=${onlySteps ? 'earlier-steps' : 'answer'}>${each(shown, ({ key }) => key, (read) => piece(read()))}</div>`;
}

/** @param {import('./answer.js').Piece} one */
function piece(one) {
  if (one.kind === 'text') return one.growing.element;
  if (one.kind === 'thinking') {
    return html`<details class="step-row"><summary>${icon('thinking')}<span class="step-title">${() => (one.isDone() ? t('chat.thought') : t('chat.thinking'))}</span>${icon('next')}</summary>
      <div class="thought">${one.growing.element}</div></details>`;
  }
  if (one.kind === 'tool') return toolRow(one);
  if (one.kind === 'permission') {
    return html`<div>${() => (one.request().answer ? html`<div class="given">${icon(one.request().answer === 'deny' ? 'cancelled' : 'check')}<span>${one.request().action}</span>${answered(one.request())}</div>` : permissionCard(() => one.request()))}</div>`;
  }
  if (one.kind === 'file') return html`<div class="files">${fileLink(one.data)}</div>`;
  if (one.kind === 'again') return html`<p class="remark muted">${icon('retry')}<span>${one.data.reason ? t('chat.again.why', { n: one.data.attempt, why: one.data.reason }) : t('chat.again', { n: one.data.attempt })}</span></p>`;
  return html`<p class="remark" data-level=${one.data.level}>${icon('waiting')}<span>${one.data.message}</span></p>`;
}

/** One line for a tool; it opens to what the tool was given and what it returned. @param {import('./answer.js').ToolPiece} one */
function toolRow({ call, end }) {
  const given = call.args === null || call.args === undefined ? '' : typeof call.args === 'string' ? call.args : JSON.stringify(call.args, null, 2);
  const short = given.replaceAll(/\s+/g, ' ').slice(0, MOST_ARGUMENTS);
  const status = () => (end() === null ? 'running' : end().is_error ? 'failed' : 'ok');
  return html`<details class="step-row" data-state=${status}><summary>${() => icon(end() === null ? 'running' : end().is_error ? 'failed' : 'tool')}
      <span class="step-title">${call.title || call.name}</span><code class="step-given">${call.title ? call.name : short}</code>
      ${() => end()?.is_error && html`<span class="hidden-text">${t('status.failed')}</span>`}
      <span class="step-took number">${() => (end()?.seconds === null || end()?.seconds === undefined ? '' : duration(end().seconds))}</span>${icon('next')}</summary>
    ${given ? html`<h3>${t('chat.tool.given')}</h3><pre tabindex="0">${given}</pre>` : null}
    ${() => end() && html`<h3>${end().is_error ? t('chat.tool.error') : t('chat.tool.output')}</h3><pre tabindex="0">${end().output || t('chat.tool.nothing')}</pre>${end().output_file ? html`<p class="muted">${t('chat.tool.file', { file: end().output_file })}</p>` : null}`}</details>`;
}

/** The state of a turn, what it took, and what can be done with it. @param {() => any} task @param {() => Turn} read @param {() => boolean} isQueued @param {() => boolean} isLive */
function footer(task, read, isQueued, isLive) {
  const id = task().id;
  const steps = earlierSteps(id);
  const hasSteps = computed(() => !read().answer && task().started_at !== null);
  const cancelKey = newKey();
  const retryKey = newKey();
  const cancel = () => post(`/api/tasks/${id}/cancel`, {}, { key: cancelKey });
  const retry = () => post(`/api/tasks/${id}/retry`, {}, { key: retryKey });
  const text = () => read().answer?.pieces.peek().filter((one) => one.kind === 'text').map((one) => one.kind === 'text' && one.growing.text()).join('\n\n')
    || read().messages.filter(({ role }) => role === 'assistant').map(({ content }) => content).join('\n\n') || task().result || '';
  return html`${() => task().error && !isLive() && html`<p class="turn-error" role="alert">${icon('failed')}<span>${task().error}</span></p>`}
    ${() => ['length', 'content_filter'].includes(task().finish) && html`<p class="remark muted">${icon('waiting')}<span>${t(/** @type {any} */ (`run.finish.${task().finish}`))}</span></p>`}
    <div class="turn-line muted">${() => {
      if (isQueued()) return html`${badge(task().status)}<span>${(task().waits?.why ?? '').replace(ULID, shortId)}</span>${can('write') ? button(t('cancel'), cancel, { kind: 'plain', icon: 'close' }) : null}`;
      if (isLive()) return html`${badge('running', task().cancel_requested ? t('run.cancelling') : t('chat.works'))}<span class="number">${() => duration(secondsBetween(task().started_at))}</span>`;
      return html`${task().status === 'succeeded' ? null : badge(task().status)}${facts(task())}
        ${task().status === 'succeeded' && button(t('chat.copy'), () => copy(text()), { kind: 'plain', icon: 'copy', iconOnly: true })}
        ${can('write') && task().status !== 'succeeded' ? button(t('chat.retry'), retry, { kind: 'plain', icon: 'retry' }) : null}`;
    }}<a class="button plain icon-only" href=${link(`/runs/${id}`)} aria-label=${t('chat.run')} title=${t('chat.run')}>${icon('runs')}</a>${() => (hasSteps() ? steps.toggle : null)}</div>
    ${() => (hasSteps() ? steps.content : null)}`;
}

/** @param {any} task */
function facts(task) {
  const { usage } = task;
  const tokens = usage.input || usage.output ? t('chat.tokens', { n: short(usage.input + usage.output) }) : '';
  return html`<span class="number">${[task.started_at ? duration(secondsBetween(task.started_at, task.finished_at)) : '', tokens, usage.cost ? cost(usage.cost) : ''].filter(Boolean).join(' · ')}</span>`;
}

/** What the agent did in an earlier turn, loaded when asked for. @param {string} id */
function earlierSteps(id) {
  const answer = makeAnswer(id);
  const isOpen = signal(false);
  const isNothing = () => answer.isEnded() && answer.pieces().every(({ kind }) => kind === 'text');
  const press = async () => {
    isOpen.update((open) => !open);
    if (isOpen.peek() && answer.last === 0) await loadEvents(answer);
  };
  const toggle = only(html`<button type="button" class="button plain" aria-expanded=${() => String(isOpen())} @click=${() => press().catch(complain)}>${icon('next')}<span>${t('chat.steps')}</span></button>`);
  const content = only(html`<div ?hidden=${() => !isOpen()}>${() => (isNothing() ? html`<p class="muted">${t('chat.steps.none')}</p>` : null)}${pieces(answer, true)}</div>`);
  return { toggle, content };
}
