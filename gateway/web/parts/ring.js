// @ts-check
/** A ring that shows how much of a limit is used. */

import { svg } from '../core/html.js';

const RADIUS = 13;
const ROUND = 2 * Math.PI * RADIUS;
const NEARLY = 0.8;

/**
 * @param {() => number} part of the whole, 0 to 1; more is shown as the whole
 * @param {string} label what a screen reader says, with the numbers
 */
export function ring(part, label) {
  const state = () => (part() >= 1 ? 'full' : part() >= NEARLY ? 'nearly' : 'fine');
  const dash = () => `${Math.min(1, Math.max(0, part())) * ROUND} ${ROUND}`;
  return svg`<svg class="ring" viewBox="0 0 32 32" role="img" aria-label=${label} data-state=${state}>
    <circle cx="16" cy="16" r="13" class="ring-whole"/><circle cx="16" cy="16" r="13" class="ring-part" stroke-dasharray=${dash} transform="rotate(-90 16 16)"/></svg>`;
}
