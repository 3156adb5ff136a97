// @ts-check
/** One conversation: its turns, what is on its way, and the field to say more. */

import { can, newKey, post } from '../core/api.js';
import { each, html, only } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { go, link } from '../core/router.js';
import { computed, effect, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, complain, empty, failed, loading } from '../parts/basics.js';
import { icon } from '../parts/icon.js';
import { addCommand } from '../parts/palette.js';
import { say } from '../parts/toast.js';
import { composer } from './composer.js';
import { addMessage, dropMessage, outbox, sendNow } from './outbox.js';
import { stickToEnd } from './scrolling.js';
import { deleteSession, renameSession, sessionTitle } from './sessions.js';
import { turnView } from './turn.js';
import { loadTurns } from './turns.js';

/** pages that are loaded to find the run that an address names */
const MOST_PAGES_BACK = 25;

/**
 * @param {string} session its key
 * @param {{agents: () => any[], run: string}} options `run` is shown first, if the address names one
 */
export function conversation(session, { agents, run }) {
  const said = loadTurns(session, () => (say(t('chat.gone')), go(link('/chat'), { replace: true })));
  const mine = computed(() => outbox().filter((one) => one.session === session));
  const isEmpty = () => said.state() === 'ready' && said.turns().length === 0 && mine().length === 0;
  const write = composer(session, (text, files) => (addMessage(session, text, files), scroll.toEnd()), { tools: stopButton(said.running) });

  const content = only(html`<div class="talk" role="log" aria-label=${t('chat.title')}>
    ${() => said.hasOlder() && html`<p class="older muted">${t('loading')}</p>`}
    ${each(said.turns, (turn) => turn.id, (read) => turnView(read, write.fill))}
    ${each(mine, (one) => one.key, (read) => sending(read, write.fill))}
    ${() => (said.state() === 'loading' && said.turns().length === 0 ? loading(4) : said.state() === 'failed' ? failed(said.error(), said.load) : isEmpty() ? empty('chat', t('chat.empty')) : null)}</div>`);
  const box = only(html`<div class="talk-box" role="region" tabindex="0" aria-label=${t('chat.messages')}>${content}</div>`);
  const scroll = stickToEnd(box, content, () => (said.hasOlder() ? said.loadOlder().catch(complain) : null));
  if (run) showRun(run, said, box, scroll.leaveEnd);
  bindKey('End', t('chat.key.end'), scroll.toEnd);

  const element = only(html`<section class="conversation" aria-label=${() => title(said.details(), said.turns()[0])}>
    ${header(session, said, agents)}${box}
    <div class="below">${() => scroll.hasNew() && html`<button type="button" class="button to-end" @click=${scroll.toEnd}>${icon('down')}${t('chat.below')}</button>`}
      ${can('write') ? write.element : html`<p class="muted read-only">${t('chat.read.only')}</p>`}</div>
    ${() => write.isOver() && html`<div class="drop-here">${icon('attach')}<span>${t('chat.drop')}</span></div>`}</section>`);
  if (can('write')) {
    write.takeDrops(element);
    if (matchMedia('(hover: hover)').matches) requestAnimationFrame(write.focus);
  }
  return element;
}

/** @param {any} details @param {import('./turns.js').Turn | undefined} first */
function title(details, first) {
  return sessionTitle(details) || first?.task?.input.split('\n', 1)[0] || t('chat.new');
}

/** @param {string} session @param {ReturnType<typeof loadTurns>} said @param {() => any[]} agents */
function header(session, said, agents) {
  const agent = session.split(':', 1)[0];
  const known = computed(() => said.details() ?? null);
  const choices = () => (agents().some((one) => one.id === agent) ? agents() : [{ id: agent, name: agent }, ...agents()]);
  const change = (/** @type {Event} */ event) => go(link('/chat', { new: 1, agent: /** @type {HTMLSelectElement} */ (event.target).value }));
  const erase = async () => {
    if (await deleteSession(known() ?? { key: session, title: '' })) go(link('/chat'), { replace: true });
  };
  const rename = () => renameSession(known(), said.load);
  if (can('write')) addCommand(t('chat.rename'), 'edit', () => known() && rename());
  return html`<header class="conversation-head"><a class="button plain icon-only only-narrow" href=${link('/chat')} aria-label=${t('chat.back')}>${icon('back')}</a>
    <h2>${() => title(known(), said.turns()[0])}</h2><span class="space"></span>
    ${() => known() && known().channel !== 'webchat' && html`<span class="tag">${known().channel}</span>`}
    <label class="agent-choice" title=${t('chat.agent.hint')}><span class="hidden-text">${t('chat.agent')}</span>
      ${() => html`<select .value=${agent} @change=${change} ?disabled=${!can('write')}>${choices().map((one) => html`<option value=${one.id}>${one.name}</option>`)}</select>`}</label>
    ${() => can('write') && known() && html`${button(t('chat.rename'), rename, { kind: 'plain', icon: 'edit', iconOnly: true })}${button(t('chat.delete'), erase, { kind: 'plain', icon: 'trash', iconOnly: true })}`}
    <a class="button plain icon-only" href=${link('/runs', { session })} aria-label=${t('chat.runs')} title=${t('chat.runs')}>${icon('runs')}</a></header>`;
}

/** @param {() => any} running the task at work */
function stopButton(running) {
  const id = computed(() => running()?.id ?? null);
  return () => {
    const run = id();
    if (!run || !can('write')) return null;
    const key = newKey();
    return button(t('chat.stop'), () => post(`/api/tasks/${run}/cancel`, {}, { key }), { icon: 'stop', iconOnly: true });
  };
}

/** A message that the gateway does not have yet. @param {() => import('./outbox.js').Message} read @param {(text: string) => void} edit */
function sending(read, edit) {
  const one = read();
  const takeBack = () => (dropMessage(one.key), edit(one.text));
  return html`<article class="turn sending"><div class="asked"><div class="bubble">${one.text ? html`<p class="plain-text">${one.text}</p>` : null}
      ${one.files.length ? html`<p class="muted">${one.files.map(({ name }) => name).join(', ')}</p>` : null}</div></div>
    <div class="turn-line muted">${() => {
      const { tries, refused, error } = read();
      if (refused) return html`${badge('failed', t('chat.refused'))}<span>${error}</span>${button(t('chat.edit'), takeBack, { kind: 'plain', icon: 'edit' })}${button(t('chat.drop.message'), () => dropMessage(one.key), { kind: 'plain', icon: 'trash' })}`;
      if (tries > 0) return html`${badge('waiting', t('chat.unsent'))}<span>${error}</span>${button(t('again'), sendNow, { kind: 'plain', icon: 'retry' })}`;
      return html`<span role="status">${t('chat.sending')}</span>`;
    }}</div></article>`;
}

/** Show the turn of a run, loading older ones as far as it takes. @param {string} run @param {ReturnType<typeof loadTurns>} said @param {HTMLElement} box @param {() => void} leaveEnd */
function showRun(run, said, box, leaveEnd) {
  const isDone = signal(false);
  effect(() => {
    if (said.state() !== 'ready' || isDone.peek()) return;
    isDone.set(true);
    leaveEnd();
    find().catch(complain);
  });
  const find = async () => {
    for (let n = 0; n < MOST_PAGES_BACK; n++) {
      await Promise.resolve();
      const found = box.querySelector(`[data-run="${CSS.escape(run)}"]`);
      if (found) {
        found.classList.add('found');
        return requestAnimationFrame(() => found.scrollIntoView({ block: 'start' }));
      }
      if (!said.hasOlder()) break;
      await said.loadOlder();
    }
    say(t('chat.run.gone'), 'error');
  };
}
