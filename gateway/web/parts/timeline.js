// @ts-check
/**
 * A run over time: one bar for each thing that went on, waiting and working told apart. Times run from left to right over
 * the whole run; a bar that is still open grows.
 */

import { duration, now, secondsBetween } from '../core/format.js';
import { each, html } from '../core/html.js';
import { signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { icon } from './icon.js';

/** @typedef {{kind: string, title: string, attempt: number, started_at: string, ended_at: string | null, status: string, first_event: number | null, last_event: number | null, detail: string | null, error: string | null}} Group */

/** @type {Record<string, string>} */
const ICONS = { wait: 'queued', attempt: 'play', tool: 'tool', permission: 'waiting', text: 'chat', thinking: 'thinking', delivery: 'deliveries', file: 'file', log: 'system' };
/** a bar is at least this part of the width, so that it can be seen and pressed */
const NARROWEST_PERCENT = 0.6;

/**
 * @param {() => Group[]} groups oldest first
 * @param {{chosen: import('../core/signals.js').Signal<string | null>}} options `chosen`: the key of the chosen group
 */
export function timeline(groups, { chosen }) {
  const range = () => {
    // What is delivered hours later would leave no room for the run itself.
    const own = groups().filter(({ kind }) => kind !== 'delivery');
    const all = own.length ? own : groups();
    const from = Math.min(...all.map((one) => new Date(one.started_at).getTime()));
    const to = Math.max(...all.map((one) => (one.ended_at ? new Date(one.ended_at).getTime() : now())));
    return { from, span: Math.max(1, to - from) };
  };
  const place = (/** @type {Group} */ one) => {
    const { from, span } = range();
    const start = (new Date(one.started_at).getTime() - from) / span;
    const end = ((one.ended_at ? new Date(one.ended_at).getTime() : now()) - from) / span;
    const width = Math.max(NARROWEST_PERCENT, (end - start) * 100);
    return `left:${Math.min(100 - width, start * 100)}%;width:${width}%`;
  };
  const row = (/** @type {() => Group} */ read) => html`<li><button type="button" class="step" aria-pressed=${() => String(chosen() === groupKey(read()))}
    data-kind=${read().kind} data-status=${() => read().status} @click=${() => chosen.update((key) => (key === groupKey(read()) ? null : groupKey(read())))}>
    <span class="step-name">${icon(ICONS[read().kind] ?? 'more')}<span>${() => read().title}</span>${() => (read().status === 'error' ? html`<span class="step-mark">${icon('failed')}<span class="hidden-text">${t('timeline.error')}</span></span>` : null)}</span>
    <span class="step-track"><span class="step-bar" .style=${() => place(read())}></span></span>
    <span class="step-time number">${() => duration(secondsBetween(read().started_at, read().ended_at))}</span></button></li>`;
  return html`<ol class="timeline" aria-label=${t('timeline')}>${each(groups, groupKey, row)}</ol>`;
}

/** Return what tells a group from the others of its run, and stays while it goes on. @param {Group} one */
export const groupKey = (one) => `${one.kind} ${one.first_event} ${one.started_at} ${one.title}`;

/** @returns {import('../core/signals.js').Signal<string | null>} */
export const nothingChosen = () => signal(/** @type {string | null} */ (null));
