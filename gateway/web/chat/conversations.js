// @ts-check
/** The list of conversations: the last used one first, by agent, searchable. */

import { can } from '../core/api.js';
import { each, html, only } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { liveList } from '../core/list.js';
import { go, link } from '../core/router.js';
import { computed, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { button, empty, failed, loading, time } from '../parts/basics.js';
import { icon } from '../parts/icon.js';
import { loadSession, loadSessions, sessionPath, sessionTitle } from './sessions.js';

const PAGE = 50;
const TYPING_PAUSE_MS = 300;

/**
 * @param {{current: () => string, agents: () => any[]}} options `current` is the key of the one that is shown
 */
export function conversations({ current, agents }) {
  const agent = signal('');
  const text = signal('');
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const type = (/** @type {Event} */ event) => {
    clearTimeout(timer);
    const wanted = /** @type {HTMLInputElement} */ (event.target).value.trim();
    timer = setTimeout(() => text.set(wanted), TYPING_PAUSE_MS);
  };
  const field = only(html`<input type="search" aria-label=${t('chat.find')} placeholder=${t('chat.find')} @input=${type}>`);
  bindKey('f', t('chat.find'), () => field.focus());
  bindKey('[', t('chat.key.before'), () => move(-1));
  bindKey(']', t('chat.key.next'), () => move(1));
  const move = (/** @type {number} */ by) => {
    const rows = [...document.querySelectorAll('.conversations a.conversation-row')];
    const at = rows.findIndex((row) => row.getAttribute('aria-current'));
    /** @type {HTMLElement | undefined} */ (rows[at < 0 ? 0 : at + by])?.click();
  };
  return html`<nav class="conversations" aria-label=${t('chat.list')}>
    <div class="conversations-head">${can('write') ? button(t('chat.new'), () => go(link('/chat', { new: 1, agent: agent.peek() })), { kind: 'primary', icon: 'plus' }) : null}
      ${field}<select aria-label=${t('chat.agent')} @change=${(/** @type {Event} */ event) => agent.set(/** @type {HTMLSelectElement} */ (event.target).value)}>
        <option value="">${t('chat.agents.all')}</option>${() => agents().map((one) => html`<option value=${one.id}>${one.name}</option>`)}</select></div>
    ${() => {
      const wanted = { agent: agent(), q: text() };
      return untracked(() => rows(wanted, current, agents));
    }}</nav>`;
}

/** @param {{agent: string, q: string}} wanted @param {() => string} current @param {() => any[]} agents */
function rows(wanted, current, agents) {
  const list = liveList({
    topics: ['session', 'run'],
    keyOf: (session) => session.key,
    refOf: (change) => (change.topic === 'run' ? change.session : change.ref),
    load: (cursor) => loadSessions({ ...wanted, limit: PAGE, cursor }),
    loadOne: loadSession,
  });
  const sorted = computed(() => list.rows().toSorted((one, other) => (one.last_activity < other.last_activity ? 1 : -1)));
  const nameOf = (/** @type {string} */ id) => agents().find((one) => one.id === id)?.name ?? id;
  const row = (/** @type {() => any} */ read) => html`<a class="conversation-row" href=${link(sessionPath(read().key))} aria-current=${() => (current() === read().key ? 'page' : null)}>
    <span class="conversation-title">${() => sessionTitle(read()) || t('chat.untitled')}</span>
    <span class="conversation-line muted"><span>${() => nameOf(read().agentId)}${() => (read().channel === 'webchat' ? '' : ` · ${read().channel}`)}</span><span class="space"></span>
      ${() => (read().active > 0 ? html`<span data-status="running" title=${t('chat.works')}>${icon('running')}<span class="hidden-text">${t('chat.works')}</span></span>` : null)}${() => time(read().last_activity)}</span></a>`;
  const isFiltered = wanted.agent !== '' || wanted.q !== '';
  return html`<div class="conversation-rows live-data">${each(sorted, (one) => one.key, row)}
    ${() => {
      if (list.state() === 'loading') return loading(6);
      if (list.state() === 'failed') return failed(list.error(), list.reload);
      if (list.rows().length === 0) return isFiltered ? html`<p class="muted none">${t('chat.none')}</p>` : empty('chat', t('chat.list.empty'));
      return list.hasMore() && button(t('chat.more'), list.loadMore, { kind: 'plain' });
    }}</div>`;
}
