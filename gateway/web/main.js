// @ts-check
/** The page itself: sign-in, menu, the bar at the top, and the page that the address names. */

import { ApiError, can, get, loadMe, me, post } from './core/api.js';
import { relative } from './core/format.js';
import { html, only } from './core/html.js';
import { bindKey } from './core/keyboard.js';
import * as live from './core/live.js';
import { menuPages } from './core/menu.js';
import { loadOnChanges } from './core/reload.js';
import { address, go, link, match } from './core/router.js';
import { effect, onCleanup, scope, signal, untracked } from './core/signals.js';
import { t } from './core/text.js';
import { button, complain, failed, loading } from './parts/basics.js';
import { icon } from './parts/icon.js';
import { addCommand, openKeys, openPalette } from './parts/palette.js';

const REFRESH_ATTENTION_MS = 1000;
const heading = signal('');
/** how many things wait for a person */
const waiting = signal(0);

async function begin() {
  applyTheme(localStorage.getItem('theme') ?? '');
  const code = new URLSearchParams(location.hash.slice(1)).get('code');
  if (code) {
    history.replaceState(null, '', '/'); // before anything else can read it
    try {
      await post('/api/dashboard/sign-in', { code });
    } catch (error) {
      complain(error);
    }
  }
  await loadMe();
  if (localStorage.getItem('chat.outbox')) import('./chat/outbox.js'); // it sends what the gateway did not get yet
  effect(() => {
    const person = me();
    untracked(() => show(person ?? null));
  });
}

/** @param {import('./core/api.js').Me | null} person */
async function show(person) {
  const body = /** @type {HTMLElement} */ (document.getElementById('app'));
  if (!person) {
    for (const dialog of document.querySelectorAll('dialog')) dialog.close();
    const { signIn } = await import('./pages/sign_in.js');
    body.replaceChildren(scope(signIn)[0]);
    return;
  }
  body.replaceChildren(shell());
  live.start();
}

function shell() {
  const content = only(html`<main id="content" tabindex="-1"></main>`);
  showPages(content);
  watchAttention();
  bindKeys();
  return html`<a class="skip" href="#content" @click=${(/** @type {Event} */ event) => (event.preventDefault(), content.focus())}>${t('skip')}</a>
    <nav class="menu" aria-label=${t('menu')}>
      <a class="brand" href=${link('/')}>${icon('moon')}<span>Moongate</span></a>
      <ul>${menuPages().map(menuRow)}</ul></nav>
    <div class="frame"><header class="bar"><h1 tabindex="-1">${heading}</h1><span class="space"></span>${connection()}
      ${button(t('palette.open'), openPalette, { kind: 'plain', icon: 'search', iconOnly: true })}
      ${button(t('theme'), nextTheme, { kind: 'plain', icon: 'sun', iconOnly: true })}
      ${button(t('keys'), openKeys, { kind: 'plain', icon: 'keyboard', iconOnly: true })}${account()}</header>${content}</div>`;
}

/** @param {import('./core/router.js').PageRow} row */
function menuRow(row) {
  const isCurrent = () => [match(address())?.row].some((at) => (at?.menu ?? at?.name) === row.name);
  return html`<li><a href=${link(row.pattern)} aria-current=${() => (isCurrent() ? 'page' : null)}>${icon(row.icon ?? '')}
    <span>${t(/** @type {any} */ (`${row.name}.title`))}</span>
    ${row.name === 'now' ? () => waiting() > 0 && html`<span class="count" aria-label=${t('attention', { n: waiting() })}>${waiting()}</span>` : null}</a></li>`;
}

/** Say whether what is shown is live. */
function connection() {
  const words = () => (live.lostAt() && live.state() === 'lost' ? t('live.lost', { ago: relative(live.lostAt() ?? 0) }) : t(/** @type {any} */ (`live.${live.state()}`)));
  effect(() => (document.body.dataset.live = live.state()));
  return html`<span class="live" role="status" data-state=${live.state}><span class="dot"></span><span>${words}</span></span>`;
}

function account() {
  const leave = async () => {
    await post('/api/dashboard/sign-out');
    me.set(null);
    await new Promise((done) => setTimeout(done)); // pages end, and keep their drafts
    // Whoever signs in next in this browser must not send what this person wrote.
    for (const name of Object.keys(localStorage)) if (name.startsWith('chat.')) localStorage.removeItem(name);
  };
  return html`<details class="account"><summary aria-label=${t('account')}>${icon('user')}</summary><div class="popup">
    <p><strong>${me()?.name}</strong></p><p class="muted">${t(/** @type {any} */ (`scope.${me()?.scope}`))}</p>
    ${me()?.signed_in === 'cookie' ? button(t('sign.out'), leave, { icon: 'lock' }) : null}</div></details>`;
}

/** Show the page that the address names, and again another one when the address changes. @param {HTMLElement} content */
function showPages(content) {
  let shown = '';
  /** @type {(() => void) | null} */
  let endPage = null;
  const query = signal(new URLSearchParams());
  const at = signal(/** @type {Record<string, string>} */ ({}));
  onCleanup(() => {
    shown = ''; // what is still on its way is for nobody
    endPage?.();
  });
  effect(() => {
    const found = match(address());
    if (!found) return go(link('/'), { replace: true });
    query.set(found.place.query);
    at.set(found.place.params);
    const key = JSON.stringify([found.row.name, found.row.keeps ? null : found.place.params]);
    if (key === shown) return; // the page reads what is new by itself
    shown = key;
    endPage?.();
    endPage = null;
    content.replaceChildren(loading());
    untracked(() => load(found.row.name).then((module) => {
      if (key !== shown) return;
      const [node, end] = scope(() => module.page({ params: found.place.params, at, query }));
      endPage = end;
      heading.set(module.title(found.place.params));
      document.title = `${heading.peek()} · Moongate`;
      content.replaceChildren(node);
      document.querySelector('.menu [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
      scrollTo(0, 0);
      content.focus({ preventScroll: true });
    }).catch((error) => {
      if (key !== shown) return;
      content.replaceChildren(failed(error, reload));
      if (!(error instanceof ApiError)) reportError(error);
    }));
  });
}

/** Load the module and the stylesheets of a page. @param {string} name */
async function load(name) {
  try {
    const module = await import(`./pages/${name}.js`);
    await Promise.all((module.styles ?? []).map(loadStyle));
    sessionStorage.removeItem('reloaded');
    return module;
  } catch (error) {
    if (!(error instanceof TypeError) || sessionStorage.getItem('reloaded')) throw error;
    await reload(); // after an upgrade, the files of the version that this page has are gone
    sessionStorage.setItem('reloaded', '1');
    throw error;
  }
}

/**
 * Load everything again, but only from a gateway that answers: else the browser would show an error in place of this page.
 * @throws {ApiError} it does not answer
 */
async function reload() {
  await get('/api/me');
  location.reload();
}

/** @param {string} name @returns {Promise<void>} */
function loadStyle(name) {
  const href = new URL(`./style/${name}.css`, import.meta.url).pathname;
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const sheet = Object.assign(document.createElement('link'), { rel: 'stylesheet', href });
    sheet.onload = () => resolve();
    sheet.onerror = () => reject(new TypeError(`cannot load ${href}`));
    document.head.append(sheet);
  });
}

/** Count what waits for a person; the menu and the title of the tab show it. */
function watchAttention() {
  const count = async () => {
    const [runs, deliveries] = await Promise.all([get('/api/tasks/counts'), get('/api/deliveries/counts')]).catch(() => [null, null]);
    if (runs && deliveries) waiting.set(runs.waiting_for_person + deliveries.dead);
  };
  loadOnChanges(['permission', 'delivery'], count, REFRESH_ATTENTION_MS);
  count();
  effect(() => void (document.title = `${waiting() ? `(${waiting()}) ` : ''}${heading()} · Moongate`));
}

function bindKeys() {
  bindKey('mod+k', t('palette'), openPalette, { always: true });
  bindKey('?', t('keys'), openKeys);
  bindKey('/', t('search.title'), () => go(link('/search')));
  for (const row of menuPages()) {
    const label = t(/** @type {any} */ (`${row.name}.title`));
    bindKey(`g ${MENU_KEYS[row.name]}`, label, () => go(link(row.pattern)));
  }
  if (can('write')) {
    bindKey('c', t('chat.new'), () => go(link('/chat')));
    addCommand(t('chat.new'), 'chat', () => go(link('/chat')));
  }
}

/** the second letter after `g` @type {Record<string, string>} */
const MENU_KEYS = { now: 'n', chat: 'c', runs: 'r', board: 'b', schedules: 's', deliveries: 'd', sessions: 'e', agents: 'a', usage: 'u', fleet: 'f', system: 'y' };

/** @param {string} theme `light`, `dark`, or nothing: what the system prefers */
function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function nextTheme() {
  const isDark = document.documentElement.dataset.theme === 'dark' || (!document.documentElement.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  const theme = isDark ? 'light' : 'dark';
  localStorage.setItem('theme', theme);
  applyTheme(theme);
}

begin().catch((error) => document.getElementById('app')?.replaceChildren(failed(error, () => location.reload())));
