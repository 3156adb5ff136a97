// @ts-check
/** All runs, newest first; the filter is in the address. Chosen ones, or all that match, are cancelled or retried at once. */

import { can, get, newKey, post } from '../core/api.js';
import { duration, firstLine, now, relative, secondsBetween, short } from '../core/format.js';
import { html } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { liveList } from '../core/list.js';
import { loadOnChanges } from '../core/reload.js';
import { go, link } from '../core/router.js';
import { computed, effect, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, empty, failed, loading, statusName, time } from '../parts/basics.js';
import { confirm, openDialog } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { searchField } from '../parts/search_field.js';
import { table } from '../parts/table.js';
import { say } from '../parts/toast.js';

export const title = () => t('runs.title');
export const styles = ['runs'];
const PAGE = 100;
/** runs that one request cancels or retries: the gateway takes no more */
const MOST_AT_ONCE = 500;
const COUNT_PAUSE_MS = 1000;
const COLUMNS = /** @type {const} */ (['status', 'input', 'agent', 'source', 'created', 'took']);
const STATUSES = ['held', 'queued', 'running', 'succeeded', 'failed', 'cancelled'];
const SOURCES = ['message', 'agent', 'task', 'assign', 'background', 'cron', 'hook', 'webhook', 'openai', 'mcp'];
/** names of the address, which are those of the API; `age` stands for `since` */
const FILTERS = ['status', 'agent', 'source', 'label', 'session', 'text', 'age'];
/** milliseconds by the word in the address */
const AGES = /** @type {const} */ ({ hour: 3_600_000, day: 86_400_000, week: 7 * 86_400_000, month: 30 * 86_400_000 });

/** @typedef {Record<string, string>} Filter */

/** @param {{query: import('../core/signals.js').Signal<URLSearchParams>}} place */
export function page({ query }) {
  const read = () => /** @type {Filter} */ (Object.fromEntries(FILTERS.map((name) => [name, query().get(name) ?? '']).filter(([, value]) => value)));
  const change = (/** @type {Filter} */ changes) => go(link('/runs', { ...untracked(read), ...changes }), { replace: true });
  const agents = signal(/** @type {any[]} */ ([]));
  get('/api/agents').then((answer) => agents.set(answer.agents), () => {});
  return html`<div class="runs-page">
    <aside class="filters" aria-label=${t('runs.filter')}>${states(read, change)}<div class="fields">${fields(read, change, agents)}</div></aside>
    <section class="runs-list">${searchLine(read, change, agents)}${() => {
      const filter = read();
      return untracked(() => list(filter));
    }}</section></div>`;
}

/** @param {Filter} filter @returns {Record<string, any>} what the API is asked with */
function toQuery({ age, ...rest }) {
  const span = AGES[/** @type {keyof typeof AGES} */ (age)];
  return span ? { ...rest, since: new Date(now.peek() - span).toISOString() } : rest;
}

/** @param {() => Filter} read @param {(changes: Filter) => void} change */
function states(read, change) {
  const counts = signal(/** @type {{counts: Record<string, number>, waiting_for_person: number, exact: boolean} | null} */ (null));
  const which = computed(() => JSON.stringify({ ...read(), status: undefined }));
  const count = async () => {
    const wanted = untracked(which);
    const found = await get('/api/tasks/counts', toQuery(JSON.parse(wanted))).catch(() => null);
    if (wanted === untracked(which)) counts.set(found);
  };
  effect(() => (which(), void count()));
  loadOnChanges(['run', 'permission'], count, COUNT_PAUSE_MS);
  const shown = (/** @type {string} */ status) => {
    const found = counts();
    if (!found) return '';
    const n = status ? found.counts[status] ?? 0 : Object.values(found.counts).reduce((sum, one) => sum + one, 0);
    return short(n) + (found.exact ? '' : '+');
  };
  const row = (/** @type {string} */ status) => html`<li><button type="button" class="state" data-status=${status || null}
    aria-pressed=${() => String((read().status ?? '') === status)} @click=${() => change({ status })}>
    ${icon(status || 'runs')}<span>${status ? statusName(status) : t('runs.all')}</span><span class="number">${() => shown(status)}</span></button></li>`;
  return html`<ul class="states">${['', ...STATUSES].map(row)}</ul>`;
}

/** @param {() => Filter} read @param {(changes: Filter) => void} change @param {() => any[]} agents */
function fields(read, change, agents) {
  const choose = (/** @type {string} */ name) => (/** @type {Event} */ event) => change({ [name]: /** @type {HTMLSelectElement} */ (event.target).value });
  const select = (/** @type {string} */ name, /** @type {() => [string, string][]} */ options) => {
    const present = () => read()[name] ?? '';
    // What the address has may be none of them, such as an agent that was deleted.
    const all = computed(() => (!present() || options().some(([value]) => value === present()) ? options() : [...options(), [present(), present()]]));
    return html`<label class="field"><span class="field-label">${t(/** @type {any} */ (`runs.filter.${name}`))}</span>
      ${() => html`<select .value=${present} @change=${choose(name)}><option value="">${t('runs.any')}</option>${all().map(([value, label]) => html`<option value=${value}>${label}</option>`)}</select>`}</label>`;
  };
  const text = (/** @type {string} */ name, /** @type {string} */ hint) => html`<label class="field"><span class="field-label">${t(/** @type {any} */ (`runs.filter.${name}`))}</span>
    <input type="text" placeholder=${hint} .value=${() => read()[name] ?? ''} spellcheck="false" @change=${choose(name)}></label>`;
  /** @type {[string, string][]} */
  const sources = SOURCES.map((name) => [name, name]);
  /** @type {[string, string][]} */
  const ages = Object.keys(AGES).map((name) => [name, t(/** @type {any} */ (`runs.age.${name}`))]);
  return html`${select('agent', () => agents().map((agent) => [agent.slug, agent.name]))}${select('source', () => sources)}${select('age', () => ages)}
    ${text('label', 'project=site')}${text('session', 'main:webchat:…')}`;
}

/** The field for words, and on small screens the button for the other filters. @param {() => Filter} read @param {(changes: Filter) => void} change @param {() => any[]} agents */
function searchLine(read, change, agents) {
  const input = searchField(t('runs.search'), () => read().text ?? '', (text) => change({ text }));
  bindKey('f', t('runs.search'), () => input.focus());
  const others = () => openDialog(t('runs.filter'), () => html`<div class="form">${fields(read, change, agents)}</div>`);
  const used = () => FILTERS.filter((name) => name !== 'status' && name !== 'text' && read()[name]);
  return html`<div class="runs-search">${input}<span class="only-small">${button(t('runs.filter'), others, { icon: 'filter' })}</span>
    ${() => used().map((name) => html`<button type="button" class="tag used" title=${t('runs.filter.remove')} @click=${() => change({ [name]: '' })}>
      ${t(/** @type {any} */ (`runs.filter.${name}`))}: ${name === 'age' ? t(/** @type {any} */ (`runs.age.${read()[name]}`)) : read()[name]}${icon('close')}</button>`)}</div>`;
}

/** @param {Filter} filter */
function list(filter) {
  const query = toQuery(filter);
  const selected = signal(/** @type {Set<string>} */ (new Set()));
  const runs = liveList({
    topics: ['run'],
    keyOf: (run) => run.id,
    load: async (cursor) => {
      const { tasks, next_cursor: next } = await get('/api/tasks', { ...query, limit: PAGE, cursor });
      return { rows: tasks, next };
    },
    loadOne: async (id) => {
      const { task } = await get(`/api/tasks/${id}`);
      return filter.status && task.status !== filter.status ? null : task;
    },
  });
  const rows = table({
    label: t('runs.title'),
    kind: 'runs-table',
    columns: COLUMNS.map((name) => ({ name, label: t(`runs.column.${name}`) })),
    rows: runs.rows,
    keyOf: (run) => run.id,
    open: (run) => go(link(`/runs/${run.id}`)),
    cell,
    selected: can('write') ? selected : undefined,
    loadMore: runs.loadMore,
  });
  const isFiltered = Object.keys(filter).length > 0;
  return html`${actions(selected, filter, query)}${() => {
    if (runs.state() === 'loading') return loading(10);
    if (runs.state() === 'failed') return failed(runs.error(), runs.reload);
    if (runs.rows().length > 0) return null;
    return isFiltered ? empty('filter', t('runs.none'), { action: button(t('runs.clear'), () => go(link('/runs'), { replace: true })) })
      : empty('runs', t('runs.empty'), { command: 'gateway agent "Hello"' });
  }}<div class="live-data" ?hidden=${() => runs.rows().length === 0}>${rows}</div>`;
}

/** What can be done with chosen runs. @param {import('../core/signals.js').Signal<Set<string>>} selected @param {Filter} filter @param {Record<string, any>} query */
function actions(selected, filter, query) {
  const done = signal(0);
  const busy = signal(false);
  /** @type {Map<string, string>} the keys of requests whose answer did not come: the same ones are not done twice */
  const keys = new Map();
  const send = async (/** @type {string} */ text, /** @type {any} */ body) => {
    if (!keys.has(text)) keys.set(text, newKey());
    const answer = await post('/api/tasks/batch', body, { key: keys.get(text), timeout: 120_000 });
    keys.delete(text);
    return answer;
  };
  const act = async (/** @type {'cancel' | 'retry'} */ action, /** @type {boolean} */ all) => {
    const count = selected.peek().size;
    const text = all ? t(`runs.${action}.all.sure`) : t(`runs.${action}.sure`, { n: count });
    if (!(await confirm(t(`runs.${action}`), text, t(`runs.${action}`), { danger: action === 'cancel' }))) return;
    busy.set(true);
    done.set(0);
    let refused = 0;
    const ids = [...selected.peek()];
    try {
      for (let from = 0, more = true; more; from += MOST_AT_ONCE) {
        const body = { action, ...(all ? { filter: query } : { ids: ids.slice(from, from + MOST_AT_ONCE) }) };
        const answer = await send(JSON.stringify(body), body);
        done.update((n) => n + answer.changed.length);
        refused += answer.refused.length;
        more = all ? answer.more && answer.changed.length > 0 : from + MOST_AT_ONCE < ids.length;
      }
      say(t(`runs.${action}.done`, { n: done.peek() }) + (refused ? ` ${t('runs.refused', { n: refused })}` : ''), refused && !done.peek() ? 'error' : '');
      selected.set(new Set());
    } finally {
      busy.set(false);
    }
  };
  const canRetry = !filter.status || ['failed', 'cancelled'].includes(filter.status);
  const canCancel = !filter.status || ['held', 'queued', 'running'].includes(filter.status);
  return html`${() => selected().size > 0 && html`<div class="chosen" role="region" aria-label=${t('runs.chosen', { n: selected().size })}>
    <strong>${t('runs.chosen', { n: selected().size })}</strong>${() => busy() && html`<span class="muted" role="status">${t('runs.progress', { n: done() })}</span>`}<span class="space"></span>
    ${canCancel ? button(t('runs.cancel'), () => act('cancel', false), { icon: 'stop' }) : null}
    ${canRetry ? button(t('runs.retry'), () => act('retry', false), { icon: 'retry' }) : null}
    ${filter.status && canCancel ? button(t('runs.cancel.all'), () => act('cancel', true), { kind: 'danger' }) : null}
    ${filter.status && canRetry ? button(t('runs.retry.all'), () => act('retry', true)) : null}
    ${button(t('runs.none.chosen'), () => selected.set(new Set()), { kind: 'plain', icon: 'close', iconOnly: true })}</div>`}`;
}

/** @param {string} name @param {() => any} run */
function cell(name, run) {
  if (name === 'status') return () => badge(run().status);
  if (name === 'input') return html`<a href=${link(`/runs/${run().id}`)}>${firstLine(run().input)}</a>${() => run().status === 'failed' && run().error && html`<span class="muted"> · ${firstLine(run().error, 120)}</span>`}`;
  if (name === 'agent') return run().agentId;
  if (name === 'source') return run().source;
  if (name === 'created') return time(run().created_at);
  return () => {
    const { status, started_at: started, finished_at: finished, waits } = run();
    if (started) return duration(secondsBetween(started, finished));
    return status === 'queued' && waits ? html`<span class="muted" title=${waits.why}>${waits.until ? relative(waits.until) : t('runs.waits')}</span>` : '–';
  };
}
