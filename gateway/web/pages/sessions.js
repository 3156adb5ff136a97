// @ts-check
/** All sessions, the last used one first; the filter is in the address. */

import { can, get } from '../core/api.js';
import { number } from '../core/format.js';
import { html, only } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { liveList } from '../core/list.js';
import { go, link } from '../core/router.js';
import { signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, empty, failed, loading, time } from '../parts/basics.js';
import { table } from '../parts/table.js';
import { deleteSession, loadSession, loadSessions, renameSession, sessionPath, sessionTitle } from '../chat/sessions.js';

export const title = () => t('sessions.title');
export const styles = ['sessions'];
const PAGE = 100;
const TYPING_PAUSE_MS = 300;
/** names of the address, which are those of the API */
const FILTERS = ['agent', 'channel', 'q'];
/** channels that people may choose by one press; others can be typed */
const CHANNELS = ['webchat', 'telegram', 'cli', 'api', 'cron', 'task', 'openai', 'editor'];
const COLUMNS = /** @type {const} */ (['title', 'agent', 'channel', 'messages', 'used', 'actions']);

/** @typedef {Record<string, string>} Filter */

/** @param {{query: () => URLSearchParams}} place */
export function page({ query }) {
  const read = () => /** @type {Filter} */ (Object.fromEntries(FILTERS.map((name) => [name, query().get(name) ?? '']).filter(([, value]) => value)));
  const change = (/** @type {Filter} */ changes) => go(link('/sessions', { ...untracked(read), ...changes }), { replace: true });
  const agents = signal(/** @type {any[]} */ ([]));
  get('/api/agents').then((answer) => agents.set(answer.agents), () => {});
  return html`<div class="sessions-page">${filters(read, change, agents)}${() => {
    const filter = read();
    return untracked(() => list(filter, agents));
  }}</div>`;
}

/** @param {() => Filter} read @param {(changes: Filter) => void} change @param {() => any[]} agents */
function filters(read, change, agents) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const later = (/** @type {string} */ name) => (/** @type {Event} */ event) => {
    clearTimeout(timer);
    const value = /** @type {HTMLInputElement} */ (event.target).value.trim();
    timer = setTimeout(() => change({ [name]: value }), TYPING_PAUSE_MS);
  };
  const field = only(html`<input type="search" aria-label=${t('sessions.find')} placeholder=${t('sessions.find')} value=${untracked(read).q ?? ''} @input=${later('q')}>`);
  bindKey('f', t('sessions.find'), () => field.focus());
  const choose = (/** @type {Event} */ event) => change({ agent: /** @type {HTMLSelectElement} */ (event.target).value });
  return html`<div class="sessions-filter">${field}
    ${() => html`<select aria-label=${t('chat.agent')} .value=${untracked(read).agent ?? ''} @change=${choose}><option value="">${t('chat.agents.all')}</option>${agents().map((one) => html`<option value=${one.id}>${one.name}</option>`)}</select>`}
    <input type="text" list="channels" aria-label=${t('sessions.channel')} placeholder=${t('sessions.channel.any')} value=${untracked(read).channel ?? ''} spellcheck="false" autocapitalize="none" @input=${later('channel')}>
    <datalist id="channels">${CHANNELS.map((name) => html`<option value=${name}></option>`)}</datalist></div>`;
}

/** @param {Filter} filter @param {() => any[]} agents */
function list(filter, agents) {
  const sessions = liveList({
    topics: ['session', 'run'],
    keyOf: (session) => session.key,
    refOf: (change) => (change.topic === 'run' ? change.session : change.ref),
    load: (cursor) => loadSessions({ ...filter, limit: PAGE, cursor }),
    loadOne: loadSession,
  });
  const rows = table({
    label: t('sessions.title'),
    kind: 'sessions-table',
    columns: COLUMNS.map((name) => ({ name, label: name === 'actions' ? html`<span class="hidden-text">${t('sessions.column.actions')}</span>` : t(`sessions.column.${name}`) })),
    rows: sessions.rows,
    keyOf: (session) => session.key,
    open: (session) => go(link(sessionPath(session.key))),
    cell: (name, read) => cell(name, read, agents, sessions.reload),
    loadMore: sessions.loadMore,
  });
  const isFiltered = Object.keys(filter).length > 0;
  return html`${() => {
    if (sessions.state() === 'loading') return loading(8);
    if (sessions.state() === 'failed') return failed(sessions.error(), sessions.reload);
    if (sessions.rows().length > 0) return null;
    return isFiltered ? empty('filter', t('sessions.none'), { action: button(t('sessions.clear'), () => go(link('/sessions'))) })
      : empty('sessions', t('sessions.empty'), { command: 'gateway agent "Hello"' });
  }}<div class="live-data" ?hidden=${() => sessions.rows().length === 0}>${rows}</div>`;
}

/** @param {string} name @param {() => any} read @param {() => any[]} agents @param {() => Promise<void>} reload */
function cell(name, read, agents, reload) {
  const key = read().key;
  if (name === 'title') return html`<a href=${link(sessionPath(key))}>${() => sessionTitle(read()) || t('chat.untitled')}</a>${() => (read().active > 0 ? html` ${badge('running', t('sessions.busy', { n: read().active }))}` : null)}`;
  if (name === 'agent') return () => agents().find((one) => one.id === read().agentId)?.name ?? read().agentId;
  if (name === 'channel') return html`<span title=${key}>${read().channel}<span class="muted"> · ${read().chat_id}</span></span>`;
  if (name === 'messages') return () => number(read().messages);
  if (name === 'used') return () => time(read().last_activity);
  if (!can('write')) return null;
  const erase = async () => void ((await deleteSession(read())) && (await reload()));
  return html`${button(t('chat.rename'), () => renameSession(read(), reload), { kind: 'plain', icon: 'edit', iconOnly: true })}${button(t('chat.delete'), erase, { kind: 'plain', icon: 'trash', iconOnly: true })}`;
}
