// @ts-check
/** Keys: each has one meaning at a time, and `?` shows all of them. */

import { onCleanup, signal } from './signals.js';

/** @typedef {{keys: string, label: string, act: (event: KeyboardEvent) => void, always: boolean}} Binding */

/** what is bound now, the newest last @type {import('./signals.js').Signal<Binding[]>} */
export const bindings = signal(/** @type {Binding[]} */ ([]));
/** into what a person types */
const FIELDS = 'input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]';
/** what these keys press or choose by themselves */
const CONTROLS = 'a[href], button, summary, input, select';
const OF_CONTROLS = ['Enter', ' '];
const IS_MAC = navigator.platform.startsWith('Mac');

/**
 * Bind a key until the scope around this call ends.
 * @param {string} keys such as `j`, `?`, `Escape`, `mod+k` (Cmd on a Mac, else Ctrl), or two one after the other: `g r`
 * @param {string} label what it does, for the list of keys
 * @param {(event: KeyboardEvent) => void} act
 * @param {{always?: boolean}} [options] `always`: also while something is typed into a field
 */
export function bindKey(keys, label, act, { always = false } = {}) {
  const binding = { keys, label, act, always };
  bindings.update((all) => [...all, binding]);
  onCleanup(() => bindings.update((all) => all.filter((one) => one !== binding)));
}

/** Return a key as people write it. @param {string} keys */
export function showKeys(keys) {
  return keys.replace('mod+k', IS_MAC ? '⌘K' : 'Ctrl K').replace('mod+Enter', IS_MAC ? '⌘↵' : 'Ctrl ↵').replace('Escape', 'Esc');
}

let first = '';
let firstAt = 0;

window.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const pressed = name(event);
  const two = Date.now() - firstAt < 1000 ? `${first} ${pressed}` : '';
  const isTyping = isInside(event, FIELDS);
  if (OF_CONTROLS.includes(pressed) && isInside(event, CONTROLS)) return;
  const bound = (/** @type {string} */ wanted) => bindings.peek().findLast(({ keys, always }) => keys === wanted && (always || !isTyping));
  const found = (two && bound(two)) || bound(pressed); // `g r` is not `r`
  [first, firstAt] = [isTyping ? '' : pressed, Date.now()];
  const isInDialog = document.querySelector('dialog[open]') !== null;
  if (!found || (isInDialog && !found.always)) return;
  event.preventDefault();
  found.act(event);
});

/** @param {KeyboardEvent} event @param {string} selector */
const isInside = (event, selector) => event.target instanceof Element && event.target.closest(selector) !== null;

/** @param {KeyboardEvent} event */
function name(event) {
  const mod = (IS_MAC ? event.metaKey : event.ctrlKey) ? 'mod+' : '';
  const isOther = event.altKey || (!mod && (event.metaKey || event.ctrlKey));
  return isOther ? '' : mod + (mod && event.key.length === 1 ? event.key.toLowerCase() : event.key);
}
