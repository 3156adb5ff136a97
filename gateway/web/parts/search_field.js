// @ts-check
/** A field for words that are part of the address: it follows what is typed after a moment, and the address at once. */

import { html, only } from '../core/html.js';
import { effect, onCleanup } from '../core/signals.js';

const TYPING_PAUSE_MS = 300;

/**
 * @param {string} label
 * @param {() => string} read the words in the address
 * @param {(words: string) => void} change writes them there
 * @returns {HTMLInputElement}
 */
export function searchField(label, read, change) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const type = () => {
    clearTimeout(timer);
    timer = setTimeout(() => change(input.value.trim()), TYPING_PAUSE_MS);
  };
  const input = /** @type {HTMLInputElement} */ (only(html`<input type="search" aria-label=${label} placeholder=${label} @input=${type}>`));
  let before = '';
  effect(() => {
    const words = read();
    if (words === before) return; // another part of the address has changed: what is being typed stays
    before = words;
    if (input.value.trim() === words) return; // a space that was just typed stays
    clearTimeout(timer);
    input.value = words;
  });
  onCleanup(() => clearTimeout(timer));
  return input;
}
