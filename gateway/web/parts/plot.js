// @ts-check
/** Small plots as plain SVG: columns for days, lines for what is measured each minute. A list says the same in words. */

import { html, svg } from '../core/html.js';
import { onCleanup, signal } from '../core/signals.js';

const GAP = 0.25;

/** @typedef {{label: string, value: number}} Column */

/**
 * Return columns, the first one left.
 * @param {string} label what is shown
 * @param {Column[]} columns
 * @param {(value: number) => string} format
 */
export function plotColumns(label, columns, format) {
  const highest = Math.max(...columns.map(({ value }) => value), 0);
  const most = highest || 1;
  const wide = 100 / Math.max(1, columns.length);
  return html`<figure class="plot"><figcaption><span>${label}</span><span class="number muted">${format(highest)}</span></figcaption>
    <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">${columns.map(({ label: name, value }, n) => svg`<rect class="plot-column" x=${n * wide + (wide * GAP) / 2} y=${100 - (value / most) * 100} width=${wide * (1 - GAP)} height=${value > 0 ? Math.max(1, (value / most) * 100) : 0}><title>${`${name}: ${format(value)}`}</title></rect>`)}</svg>
    <p class="plot-ends muted"><span>${columns[0]?.label}</span><span>${columns.at(-1)?.label}</span></p>
    <ul class="hidden-text">${columns.map(({ label: name, value }) => html`<li>${name}: ${format(value)}</li>`)}</ul></figure>`;
}

/** @typedef {{at: number, value: number | null}} Point `at` in milliseconds; null is a gap */

/**
 * Return a line over time. The value at the pointer is shown above; without one, the last.
 * @param {string} label what is shown
 * @param {() => Point[]} points
 * @param {{format: (value: number) => string, when: (at: number) => string, most?: number}} options `most`: the top is never lower
 */
export function plotLine(label, points, { format, when, most: floor = 0 }) {
  const pointed = signal(/** @type {number | null} */ (null));
  const range = () => {
    const all = points();
    const [from, to] = [all[0]?.at ?? 0, all.at(-1)?.at ?? 1];
    return { from, span: Math.max(1, to - from), most: Math.max(floor, ...all.map(({ value }) => value ?? 0)) || 1 };
  };
  const path = () => {
    const { from, span, most } = range();
    let isOpen = false;
    return points().map(({ at, value }) => {
      if (value === null) return (isOpen = false), '';
      const command = `${isOpen ? 'L' : 'M'}${(((at - from) / span) * 100).toFixed(2)} ${(98 - (value / most) * 94).toFixed(2)}`;
      isOpen = true;
      return command;
    }).join('');
  };
  const shown = () => points()[pointed() ?? -1] ?? points().findLast(({ value }) => value !== null);
  const words = () => {
    const point = shown();
    return point?.value === null || !point ? '–' : `${format(point.value)}${pointed() === null ? '' : ` · ${when(point.at)}`}`;
  };
  const point = (/** @type {PointerEvent} */ event) => {
    const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
    const at = range().from + ((event.clientX - box.left) / box.width) * range().span;
    const all = points();
    let nearest = 0;
    for (const [n, one] of all.entries()) if (Math.abs(one.at - at) < Math.abs(all[nearest].at - at)) nearest = n;
    pointed.set(all.length ? nearest : null);
  };
  onCleanup(() => pointed.set(null));
  return html`<figure class="plot" @pointerleave=${() => pointed.set(null)}><figcaption><span>${label}</span><span class="number">${words}</span></figcaption>
    <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true" @pointermove=${point}><path class="plot-line" d=${path} vector-effect="non-scaling-stroke"/></svg>
    <p class="plot-ends muted"><span>${() => points()[0] && when(points()[0].at)}</span><span>${() => points().at(-1) && when(/** @type {Point} */ (points().at(-1)).at)}</span></p></figure>`;
}

