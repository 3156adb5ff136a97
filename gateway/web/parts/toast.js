// @ts-check
/** Short words at the edge of the page that go by themselves; a screen reader reads them. */

import { html, only } from '../core/html.js';
import { icon } from './icon.js';

const SHOWN_MS = 4000;
const ERROR_SHOWN_MS = 10_000;
const MOST = 4;

/** Say something. @param {string} text @param {'' | 'error'} [kind] */
export function say(text, kind = '') {
  const place = document.getElementById('toasts');
  if (!place) return;
  const shown = only(html`<div class=${`toast ${kind}`} role=${kind ? 'alert' : 'status'}>${icon(kind ? 'failed' : 'check')}<span>${text}</span></div>`);
  place.append(shown);
  while (place.children.length > MOST) place.firstElementChild?.remove();
  setTimeout(() => shown.remove(), kind ? ERROR_SHOWN_MS : SHOWN_MS);
}
