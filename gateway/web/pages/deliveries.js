// @ts-check
/** What was sent to webhooks and chats, what waits to be sent, and dead letters; each with its attempts. */

import { can, get, newKey, post } from '../core/api.js';
import { duration, exact, short } from '../core/format.js';
import { html } from '../core/html.js';
import { liveList } from '../core/list.js';
import { loadOnChanges } from '../core/reload.js';
import { go, link } from '../core/router.js';
import { effect, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, copy, copyableId, empty, failed, loading, statusName, time } from '../parts/basics.js';
import { icon } from '../parts/icon.js';
import { searchField } from '../parts/search_field.js';
import { segments } from '../parts/segments.js';
import { table } from '../parts/table.js';
import { say } from '../parts/toast.js';

export const title = () => t('deliveries.title');
export const styles = ['deliveries'];
const PAGE = 100;
const COUNT_PAUSE_MS = 1000;
const LOAD_PAUSE_MS = 500;
const STATUSES = ['dead', 'pending', 'sending', 'delivered'];
const COLUMNS = /** @type {const} */ (['status', 'kind', 'address', 'attempt', 'created', 'next']);

/** @param {{params: Record<string, string>, query: import('../core/signals.js').Signal<URLSearchParams>}} place */
export function page({ params, query }) {
  return params.id ? details(params.id) : all(query);
}

/** @param {import('../core/signals.js').Signal<URLSearchParams>} query */
function all(query) {
  const read = () => ({ status: query().get('status') ?? '', text: query().get('text') ?? '' });
  const change = (/** @type {Record<string, string>} */ changes) => go(link('/deliveries', { ...untracked(read), ...changes }), { replace: true });
  const counts = signal(/** @type {import('../api.js').Counted | null} */ (null));
  const count = async () => {
    const { text } = untracked(read);
    const found = await get('/api/deliveries/counts', { text }).catch(() => null);
    if (text === untracked(read).text) counts.set(found);
  };
  loadOnChanges(['delivery'], count, COUNT_PAUSE_MS);
  effect(() => (read(), void count()));
  const label = (/** @type {string} */ status) => (status ? () => `${statusName(status)} ${counts() ? short(counts()?.[/** @type {'dead'} */ (status)] ?? 0) : ''}` : t('deliveries.all'));
  return html`<div class="stack"><div class="line deliveries-choose">${segments(t('deliveries.which'), ['', ...STATUSES].map((status) => [status, label(status)]), () => read().status, (status) => change({ status }))}
      ${searchField(t('deliveries.find'), () => read().text, (text) => change({ text }))}</div>
    ${() => {
      const { status, text } = read();
      return untracked(() => list(status, text));
    }}</div>`;
}

/** @param {string} status @param {string} text */
function list(status, text) {
  const selected = signal(/** @type {Set<string>} */ (new Set()));
  const found = liveList({
    topics: ['delivery'],
    keyOf: (one) => one.id,
    load: async (cursor) => {
      const { deliveries, next_cursor: next } = await get('/api/deliveries', { status, text, limit: PAGE, cursor });
      return { rows: deliveries, next };
    },
    loadOne: async (id) => {
      const { delivery } = await get(`/api/deliveries/${id}`);
      return status && delivery.status !== status ? null : delivery;
    },
  });
  const rows = table({
    label: t('deliveries.title'),
    kind: 'deliveries-table',
    columns: COLUMNS.map((name) => ({ name, label: t(`deliveries.column.${name}`) })),
    rows: found.rows,
    keyOf: (one) => one.id,
    open: (one) => go(link(`/deliveries/${one.id}`)),
    cell,
    selected: can('write') && status === 'dead' ? selected : undefined,
    loadMore: found.loadMore,
  });
  return html`${sendAgain(selected)}${() => {
    if (found.state() === 'loading') return loading(8);
    if (found.state() === 'failed') return failed(found.error(), found.reload);
    if (found.rows().length > 0) return null;
    if (text) return empty('search', t('deliveries.none'));
    return status === 'dead' ? empty('ok', t('deliveries.no.dead')) : empty('deliveries', t('deliveries.empty'), { command: 'gateway tasks add "…" --webhook https://…' });
  }}<div class="live-data" ?hidden=${() => found.rows().length === 0}>${rows}</div>`;
}

/** What can be done with chosen dead letters. @param {import('../core/signals.js').Signal<Set<string>>} selected */
function sendAgain(selected) {
  const done = signal(-1);
  const send = async () => {
    const ids = [...selected.peek()];
    let refused = 0;
    done.set(0);
    try {
      for (const id of ids) {
        await post(`/api/deliveries/${id}/retry`).catch(() => refused++);
        done.update((n) => n + 1);
      }
    } finally {
      done.set(-1);
      selected.set(new Set());
    }
    say(t('deliveries.sent', { n: ids.length - refused }) + (refused ? ` ${t('runs.refused', { n: refused })}` : ''), refused === ids.length ? 'error' : '');
  };
  return html`${() => selected().size > 0 && html`<div class="chosen" role="region" aria-label=${t('runs.chosen', { n: selected().size })}><strong>${t('runs.chosen', { n: selected().size })}</strong>
    ${() => done() >= 0 && html`<span class="muted" role="status">${t('runs.progress', { n: done() })}</span>`}<span class="space"></span>${button(t('deliveries.again'), send, { kind: 'primary', icon: 'retry' })}</div>`}`;
}

/** @param {string} name @param {() => any} one */
function cell(name, one) {
  if (name === 'status') return () => badge(one().status);
  if (name === 'kind') return one().kind;
  if (name === 'address') return html`<a href=${link(`/deliveries/${one().id}`)}>${one().address}</a>${() => one().error && html`<span class="muted"> · ${one().error}</span>`}`;
  if (name === 'attempt') return () => one().attempt;
  if (name === 'created') return time(one().created_at);
  return () => {
    if (one().status === 'dead' && can('write')) return button(t('deliveries.again'), () => post(`/api/deliveries/${one().id}/retry`), { kind: 'plain', icon: 'retry', iconOnly: true });
    return one().next_at ? time(one().next_at) : html`<span class="muted">–</span>`;
  };
}

/** @param {string} id */
function details(id) {
  const found = signal(/** @type {{delivery: any, attempts: any[]} | null} */ (null));
  const problem = signal(/** @type {Error | null} */ (null));
  const load = () => get(`/api/deliveries/${id}`).then((answer) => (found.set(answer), problem.set(null)), (error) => problem.set(error));
  const key = newKey();
  loadOnChanges(['delivery'], load, LOAD_PAUSE_MS, (changes) => changes.some(({ ref }) => ref === id));
  load();
  const again = async () => (await post(`/api/deliveries/${id}/retry`, {}, { key: `${key}${found.peek()?.attempts.at(-1)?.number}` }), load());
  const fact = (/** @type {string} */ name, /** @type {unknown} */ value) => html`<div><dt>${t(/** @type {any} */ (`deliveries.column.${name}`))}</dt><dd>${value}</dd></div>`;
  return html`<div class="stack"><p><a href=${link('/deliveries')}>${icon('back')} ${t('deliveries.back')}</a></p>${() => {
    if (!found()) return problem() ? failed(problem(), load) : loading(3);
    const { delivery: one, attempts } = /** @type {{delivery: any, attempts: any[]}} */ (found());
    return html`<section class="panel"><header>${badge(one.status)}${copyableId(one.id)}<span class="space"></span><a class="button" href=${link(`/runs/${one.task}`)}>${icon('runs')}<span>${t('deliveries.run')}</span></a>
        ${can('write') && ['dead', 'pending'].includes(one.status) ? button(t('deliveries.again'), again, { kind: 'primary', icon: 'retry' }) : null}</header>
      <dl class="delivery-facts">${fact('kind', one.kind)}${fact('address', html`<span class="address">${one.address}</span> ${button(t('deliveries.copy'), () => copy(one.address), { kind: 'plain', icon: 'copy', iconOnly: true })}`)}
        ${fact('format', one.format)}${fact('created', time(one.created_at))}${one.next_at ? fact('next', time(one.next_at)) : null}${one.finished_at ? fact('finished', time(one.finished_at)) : null}</dl></section>
      <section class="panel"><header><h2>${t('deliveries.attempts', { n: attempts.at(-1)?.number ?? one.attempt })}</h2></header>${attempts.length === 0 ? html`<p class="muted">${t('deliveries.attempts.none')}</p>` : null}
      <ol class="attempts">${attempts.toReversed().map((attempt) => html`<li>${badge(attempt.error === null ? 'delivered' : 'failed', '')}<span class="number">${attempt.number}</span><time datetime=${attempt.at}>${exact(attempt.at)}</time>
        <span class="muted number">${attempt.seconds === null ? t('deliveries.interrupted') : duration(attempt.seconds)}</span><span>${attempt.http_status ? `HTTP ${attempt.http_status}` : ''}</span><span class="muted">${attempt.error ?? ''}</span></li>`)}</ol></section>`;
  }}</div>`;
}
