// @ts-check
/**
 * A table of any length: only the rows in sight are in the document. `j` and `k` move, Enter opens, `x` selects.
 *
 * The height of a row is the custom property `--row-height`, so that a stylesheet may change it on small screens.
 */

import { each, html, only } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { computed, effect, onCleanup, signal } from '../core/signals.js';
import { t } from '../core/text.js';

/** rows that are there above and below those in sight */
const MARGIN = 10;

/**
 * @template T
 * @param {{
 *   label: string,
 *   columns: {name: string, label: string | Node}[],
 *   rows: () => T[],
 *   keyOf: (row: T) => string,
 *   cell: (name: string, row: () => T) => unknown,
 *   open?: (row: T) => void,
 *   selected?: import('../core/signals.js').Signal<Set<string>>,
 *   loadMore?: () => unknown,
 *   kind?: string,
 * }} options
 * `cell` returns the content of one cell; `selected` has the keys of chosen rows and gives each row a box;
 * `loadMore` is called near the end; `kind` is a class, by which a stylesheet sets the columns (`--columns`).
 * @returns {HTMLElement}
 */
export function table({ label, columns, rows, keyOf, cell, open, selected, loadMore, kind = '' }) {
  const range = signal({ start: 0, end: 30 });
  const current = signal(/** @type {string | null} */ (null));
  const inSight = computed(() => rows().slice(range().start, range().end));
  let height = 40;

  const row = (/** @type {() => T} */ read) => {
    const key = keyOf(read());
    const click = (/** @type {MouseEvent} */ event) => {
      if (event.target instanceof Element && event.target.closest('a, button, input, label')) return;
      if (open && !getSelection()?.toString()) open(read());
    };
    return html`<div role="row" class=${() => `row ${current() === key ? 'current' : ''}`} data-key=${key} @click=${click}>
      ${selected ? html`<span role="cell" class="cell select"><input type="checkbox" aria-label=${t('select')}
        .checked=${() => selected().has(key)} @change=${() => toggle(key)}></span>` : null}
      ${columns.map(({ name }) => html`<span role="cell" class=${`cell ${name}`}>${cell(name, read)}</span>`)}</div>`;
  };

  const toggle = (/** @type {string} */ key) => selected?.update((keys) => {
    const next = new Set(keys);
    if (!next.delete(key)) next.add(key);
    return next;
  });

  const body = only(html`<div class="rows" role="rowgroup">${each(inSight, keyOf, row)}</div>`);
  const element = only(html`<div class=${`table ${kind} ${selected ? 'selectable' : ''} ${open ? 'opens' : ''}`} role="table" aria-label=${label} aria-rowcount=${() => rows().length}>
    <div role="rowgroup" class="head"><div role="row" class="row">
      ${selected ? html`<span role="columnheader" class="cell select"><input type="checkbox" aria-label=${t('select.all')}
        .checked=${() => rows().length > 0 && rows().every((one) => selected().has(keyOf(one)))}
        @change=${(/** @type {Event} */ event) => selected.set(new Set(/** @type {HTMLInputElement} */ (event.target).checked ? rows().map(keyOf) : []))}></span>` : null}
      ${columns.map(({ name, label: text }) => html`<span role="columnheader" class=${`cell ${name}`}>${text}</span>`)}</div></div>
    ${body}</div>`);

  const measure = () => {
    if (!body.isConnected) return;
    height = parseFloat(getComputedStyle(element).getPropertyValue('--row-height')) || height;
    const top = body.getBoundingClientRect().top;
    const count = rows().length;
    const start = Math.max(0, Math.min(count, Math.floor(-top / height)) - MARGIN);
    const end = Math.min(count, Math.ceil((innerHeight - top) / height) + MARGIN);
    const before = range.peek();
    if (start !== before.start || end !== before.end) range.set({ start, end: Math.max(end, start) });
    if (loadMore && end >= count) loadMore();
  };
  let asked = 0;
  const measureSoon = () => (asked ||= requestAnimationFrame(() => ((asked = 0), measure())));
  const place = () => {
    const { start, end } = range();
    const count = rows().length;
    body.style.paddingTop = `${Math.min(start, count) * height}px`;
    body.style.paddingBottom = `${Math.max(0, count - end) * height}px`;
  };
  effect(() => (rows(), measureSoon()));
  effect(place);
  addEventListener('scroll', measureSoon, { passive: true, capture: true });
  addEventListener('resize', measureSoon);
  onCleanup(() => {
    removeEventListener('scroll', measureSoon, { capture: true });
    removeEventListener('resize', measureSoon);
    cancelAnimationFrame(asked);
  });

  const move = (/** @type {number} */ by) => {
    const all = rows();
    const at = all.findIndex((one) => keyOf(one) === current.peek());
    const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
    if (!next) return;
    current.set(keyOf(next));
    const y = body.getBoundingClientRect().top + all.indexOf(next) * height;
    if (y < 100) scrollBy(0, y - 100);
    else if (y > innerHeight - 2 * height) scrollBy(0, y - innerHeight + 2 * height);
  };
  const present = () => rows().find((one) => keyOf(one) === current.peek());
  bindKey('j', t('key.down'), () => move(1));
  bindKey('k', t('key.up'), () => move(-1));
  if (open) bindKey('Enter', t('key.open'), () => { const found = present(); if (found) open(found); });
  if (selected) bindKey('x', t('key.select'), () => { const key = current.peek(); if (key) toggle(key); });
  return element;
}
