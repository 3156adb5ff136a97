// @ts-check
/** A row of small bars, one for each outcome, the oldest left: how something went at a glance. Height and colour both tell. */

import { exact } from '../core/format.js';
import { html } from '../core/html.js';
import { t } from '../core/text.js';
import { statusName } from './basics.js';

/** @typedef {{status: string, at: string | null, label?: string, href?: string}} Bar `label`: more about it, such as how long it took */

/**
 * @param {() => Bar[]} all oldest first
 * @returns {DocumentFragment}
 */
export function bars(all) {
  const words = (/** @type {Bar} */ { status, at, label }) => [statusName(status), at && exact(at), label].filter(Boolean).join(' · ');
  const bad = () => all().filter(({ status }) => ['failed', 'dead', 'missed', 'refused'].includes(status)).length;
  const bar = (/** @type {Bar} */ one) => (one.href
    ? html`<a class="mark" data-status=${one.status} href=${one.href} title=${words(one)} tabindex="-1" aria-hidden="true"></a>`
    : html`<span class="mark" data-status=${one.status} title=${words(one)}></span>`);
  return html`<span class="bars" role="group" aria-label=${() => t('bars', { n: all().length, bad: bad() })}>${() => all().map(bar)}</span>`;
}
