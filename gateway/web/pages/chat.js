// @ts-check
/** Conversations with agents: the list of them, and one of them or a new one. */

import { can, get, newKey } from '../core/api.js';
import { html, only } from '../core/html.js';
import { go, link } from '../core/router.js';
import { computed, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { icon } from '../parts/icon.js';
import { composer } from '../chat/composer.js';
import { conversation } from '../chat/conversation.js';
import { conversations } from '../chat/conversations.js';
import { addMessage } from '../chat/outbox.js';
import { sessionPath } from '../chat/sessions.js';

export const title = () => t('chat.title');
export const styles = ['chat', 'code'];
/** the draft of a conversation that does not exist yet */
const NEW_DRAFT = 'new';
/** the channel of conversations of this page */
const CHANNEL = 'webchat';

/** @param {{at: () => Record<string, string>, query: () => URLSearchParams}} place */
export function page({ at, query }) {
  const session = computed(() => at().session ?? '');
  const run = computed(() => query().get('run') ?? '');
  const isNew = computed(() => query().has('new'));
  const agents = signal(/** @type {any[]} */ ([]));
  get('/api/agents').then((answer) => agents.set(answer.agents), () => {});
  return html`<div class="chat-page" data-shows=${() => (session() || isNew() ? 'talk' : 'list')}>${conversations({ current: session, agents })}
    ${() => {
      const key = session();
      const first = run();
      return untracked(() => (key ? conversation(key, { agents, run: first }) : newConversation(query, agents)));
    }}</div>`;
}

/** @param {() => URLSearchParams} query @param {() => any[]} agents */
function newConversation(query, agents) {
  const chosen = signal('');
  const agent = computed(() => {
    const wanted = chosen() || query().get('agent') || '';
    return agents().find((one) => one.id === wanted || one.slug === wanted) ?? agents().find((one) => one.is_default) ?? null;
  });
  const begin = (/** @type {string} */ text, /** @type {import('../chat/outbox.js').StoredFile[]} */ files) => {
    const found = agent();
    if (!found) throw new Error(t('chat.no.agent'));
    const key = `${found.id}:${CHANNEL}:${newKey().slice(0, 20)}`;
    addMessage(key, text, files);
    go(link(sessionPath(key)));
  };
  const choose = (/** @type {Event} */ event) => chosen.set(/** @type {HTMLSelectElement} */ (event.target).value);
  const choice = html`<label class="agent-choice"><span class="hidden-text">${t('chat.agent')}</span>
    ${() => html`<select .value=${agent()?.id ?? ''} @change=${choose}>${agents().filter((one) => one.is_enabled).map((one) => html`<option value=${one.id}>${one.name}</option>`)}</select>`}</label>`;
  const write = composer(NEW_DRAFT, begin, { extra: choice });
  const element = only(html`<section class="conversation new" aria-label=${t('chat.new')}>
    <header class="conversation-head only-narrow"><a class="button plain icon-only" href=${link('/chat')} aria-label=${t('chat.back')}>${icon('back')}</a><h2>${t('chat.new')}</h2></header>
    <div class="welcome">${icon('moon')}<p class="welcome-words">${() => (agent() ? t('chat.welcome', { agent: agent().name }) : '')}</p></div>
    <div class="below">${can('write') ? write.element : html`<p class="muted read-only">${t('chat.read.only')}</p>`}</div>
    ${() => write.isOver() && html`<div class="drop-here">${icon('attach')}<span>${t('chat.drop')}</span></div>`}</section>`);
  write.takeDrops(element);
  if (matchMedia('(hover: hover)').matches) requestAnimationFrame(write.focus);
  return element;
}
