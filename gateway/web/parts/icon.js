// @ts-check
import { svg } from '../core/html.js';

const SPRITE = new URL('../icons.svg', import.meta.url).pathname;

/** Return an icon of the sprite, which says nothing to a screen reader: the text around it does. @param {string} name */
export function icon(name) {
  return svg`<svg class="icon" aria-hidden="true" focusable="false"><use href=${`${SPRITE}#${name}`} /></svg>`;
}
