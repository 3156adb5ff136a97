// @ts-check
/** Words in everything that was said, with the matches marked; the search is in the address. */

import { get } from '../core/api.js';
import { each, html, only } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { go, link } from '../core/router.js';
import { effect, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { button, empty, failed, loading, time } from '../parts/basics.js';
import { sessionPath } from '../chat/sessions.js';

export const title = () => t('search.title');
export const styles = ['search'];
const PAGE = 30;
const TYPING_PAUSE_MS = 300;
const LONGEST = 500;

/** @param {{query: () => URLSearchParams}} place */
export function page({ query }) {
  const words = () => query().get('q') ?? '';
  const agent = () => query().get('agent') ?? '';
  const agents = signal(/** @type {any[]} */ ([]));
  get('/api/agents').then((answer) => agents.set(answer.agents), () => {});
  const change = (/** @type {Record<string, string>} */ changes) => go(link('/search', { q: untracked(words), agent: untracked(agent), ...changes }), { replace: true });
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const type = () => {
    clearTimeout(timer);
    timer = setTimeout(() => change({ q: field.value.trim() }), TYPING_PAUSE_MS);
  };
  const field = /** @type {HTMLInputElement} */ (only(html`<input type="search" aria-label=${t('search.words')} placeholder=${t('search.words')} maxlength=${LONGEST} @input=${type}>`));
  effect(() => {
    if (document.activeElement !== field) field.value = words();
  });
  requestAnimationFrame(() => field.focus());
  bindKey('f', t('search.words'), () => field.focus());
  const choose = (/** @type {Event} */ event) => change({ agent: /** @type {HTMLSelectElement} */ (event.target).value });
  return html`<div class="search-page"><form class="search-field" role="search" @submit=${(/** @type {Event} */ event) => (event.preventDefault(), change({ q: field.value.trim() }))}>${field}
    ${() => html`<select aria-label=${t('chat.agent')} .value=${untracked(agent)} @change=${choose}><option value="">${t('chat.agents.all')}</option>${agents().map((one) => html`<option value=${one.id}>${one.name}</option>`)}</select>`}</form>
    <p class="muted hint">${t('search.hint')}</p>${() => {
      const wanted = { q: words(), agent: agent() };
      return untracked(() => (wanted.q ? results(wanted, agents) : empty('search', t('search.empty'), { command: 'gateway sessions search "words"' })));
    }}</div>`;
}

/** @param {{q: string, agent: string}} wanted @param {() => any[]} agents */
function results(wanted, agents) {
  const found = signal(/** @type {any[]} */ ([]));
  const cursor = signal(/** @type {string | null} */ (null));
  const state = signal(/** @type {'loading' | 'ready' | 'failed'} */ ('loading'));
  const problem = signal(/** @type {Error | null} */ (null));
  const load = async () => {
    try {
      const { results: rows, next_cursor: next } = await get('/api/search', { ...wanted, limit: PAGE, cursor: cursor.peek() });
      found.update((all) => [...all, ...rows.map((/** @type {any} */ row, /** @type {number} */ n) => ({ ...row, place: all.length + n }))]);
      cursor.set(next);
      state.set('ready');
    } catch (error) {
      problem.set(/** @type {Error} */ (error));
      state.set('failed');
    }
  };
  const again = () => (state.set('loading'), load());
  load();
  return html`<ol class="found">${each(found, (one) => String(one.place), (read) => result(read(), agents))}</ol>
    <div role="status">${() => {
      if (state() === 'loading') return loading(5);
      if (state() === 'failed') return failed(problem(), again);
      if (found().length === 0) return empty('search', t('search.none'));
      return cursor() === null ? null : button(t('chat.more'), load);
    }}</div>`;
}

/** @param {any} one a FoundShown @param {() => any[]} agents */
function result(one, agents) {
  const channel = one.session.split(':')[1];
  return html`<li><a class="found-row" href=${link(sessionPath(one.session), { run: one.run_id })}><span class="found-line muted"><strong>${() => (one.role === 'user' ? t('search.you') : agents().find(({ id }) => id === one.agentId)?.name ?? one.agentId)}</strong>
    <span>${channel}</span><span class="space"></span>${time(one.at)}</span><span class="found-text">${mark(one.snippet, one.matches)}</span></a></li>`;
}

/** Return a text whose matches are marked. @param {string} text @param {string[]} matches as they are written in it */
export function mark(text, matches) {
  const wanted = [...new Set(matches)].filter(Boolean).sort((one, other) => other.length - one.length);
  if (wanted.length === 0) return [text];
  const pattern = new RegExp(`(${wanted.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)).join('|')})`, 'u');
  return text.split(new RegExp(pattern, 'gu')).map((part, n) => (n % 2 ? html`<mark>${part}</mark>` : part));
}
