// @ts-check
/** A few choices of which one is in force, side by side. */

import { html } from '../core/html.js';

/**
 * @param {string} label
 * @param {[value: string, text: string | (() => string)][]} choices
 * @param {() => string} chosen
 * @param {(value: string) => void} choose
 */
export function segments(label, choices, chosen, choose) {
  return html`<div class="segments" role="group" aria-label=${label}>${choices.map(([value, text]) => html`<button type="button" aria-pressed=${() => String(chosen() === value)} @click=${() => choose(value)}>${text}</button>`)}</div>`;
}
