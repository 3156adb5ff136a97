// @ts-check
/** The palette: every page and action by a few letters of its name; any other text is searched for. */

import { each, html } from '../core/html.js';
import { bindings, showKeys } from '../core/keyboard.js';
import { menuPages } from '../core/menu.js';
import { go, link } from '../core/router.js';
import { computed, onCleanup, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { openDialog } from './dialog.js';
import { icon } from './icon.js';

/** @typedef {{name: string, icon: string, act: () => void}} Command */

/** @type {import('../core/signals.js').Signal<Command[]>} */
const commands = signal(/** @type {Command[]} */ ([]));
const MOST_SHOWN = 12;

/** Add an action to the palette until the scope around this call ends. @param {string} name @param {string} iconName @param {() => void} act */
export function addCommand(name, iconName, act) {
  const command = { name, icon: iconName, act };
  commands.update((all) => [command, ...all]);
  onCleanup(() => commands.update((all) => all.filter((one) => one !== command)));
}

/** @returns {Command[]} */
function pageCommands() {
  return menuPages().map((row) => ({ name: t(/** @type {any} */ (`${row.name}.title`)), icon: row.icon ?? '', act: () => go(link(row.pattern)) }));
}

/** Open the palette. */
export function openPalette() {
  if (document.querySelector('dialog[open]')) return Promise.resolve(); // what is open there comes first
  return openDialog(t('palette'), (close) => {
    const text = signal('');
    const at = signal(0);
    const found = computed(() => {
      const wanted = text().trim().toLowerCase();
      const all = [...commands(), ...pageCommands()].filter(({ name }) => matches(name.toLowerCase(), wanted));
      const search = { name: t('palette.search', { text: text().trim() }), icon: 'search', act: () => go(link('/search', { q: text.peek().trim() })) };
      return wanted ? [...all.slice(0, MOST_SHOWN), search] : all.slice(0, MOST_SHOWN);
    });
    const choose = (/** @type {Command} */ command) => (close(), command.act());
    const press = (/** @type {KeyboardEvent} */ event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) at.update((n) => (n + step + found().length) % found().length);
      else if (event.key === 'Enter' && !event.isComposing) choose(found()[at.peek()]);
      else return;
      event.preventDefault();
    };
    return html`<div class="palette"><input type="search" autofocus role="combobox" aria-expanded="true" aria-controls="palette-list"
      aria-activedescendant=${() => `palette-${at()}`} aria-label=${t('palette')} placeholder=${t('palette.hint')}
      @input=${(/** @type {Event} */ event) => (text.set(/** @type {HTMLInputElement} */ (event.target).value), at.set(0))} @keydown=${press}>
      <ul id="palette-list" role="listbox" aria-label=${t('palette')}>${each(() => found().map((command, n) => ({ command, n })), ({ command, n }) => `${n} ${command.name}`, (row) =>
        html`<li role="option" id=${`palette-${row().n}`} aria-selected=${() => String(at() === row().n)} @click=${() => choose(row().command)}>${icon(row().command.icon)}${row().command.name}</li>`)}</ul></div>`;
  });
}

/** Return whether the letters are in a name in this order. @param {string} name @param {string} letters */
export function matches(name, letters) {
  let from = 0;
  for (const letter of letters) {
    from = name.indexOf(letter, from) + 1;
    if (from === 0) return false;
  }
  return true;
}

/** Show all keys that work here. */
export function openKeys() {
  const seen = new Map(bindings.peek().map((binding) => [binding.keys, binding]));
  return openDialog(t('keys'), () => html`<dl class="keys">${[...seen.values()].map(({ keys, label }) => html`<div><dt><kbd>${showKeys(keys)}</kbd></dt><dd>${label}</dd></div>`)}</dl>`);
}

