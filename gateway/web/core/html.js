// @ts-check
/**
 * DOM from tagged templates: html`<p class=${kind} @click=${act}>${text}</p>`.
 *
 * Only the literal parts, which are our own code, are parsed. Values become text nodes, attributes or listeners, so
 * that no text from outside is ever markup. `trusted` alone takes markup: that which the gateway has made safe.
 *
 * A value between tags is text, a node, a list of values, nothing (null, undefined, false), or a function, whose value
 * is shown again whenever a signal that it read changes. In a tag: `@name=${listener}`, `.name=${property}`,
 * `?name=${whether it is there}`, `name=${text}`; each but a listener may be a function, too. A value is the whole
 * attribute: class=${`row ${kind}`}.
 */

import { effect, onCleanup, scope, signal } from './signals.js';

/** @typedef {{path: number[], name: string, index: number}} Place a value's place in a template */
/** @type {Map<TemplateStringsArray, {content: DocumentFragment, places: Place[]}>} */
const templates = new Map();
const MARK = 'mg-value-';
const UNSAFE = /(?![\t\n])[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const SVG = 'http://www.w3.org/2000/svg';

/** @type {{createHTML: (text: string) => any}} the one policy of this page: see its Content-Security-Policy */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('moongate', {
  createHTML: (/** @type {string} */ text) => text,
}) ?? { createHTML: (text) => text };

/** @param {TemplateStringsArray} strings @param {...unknown} values @returns {DocumentFragment} */
export function html(strings, ...values) {
  return build(strings, values, false);
}

/** The same for the inside of an <svg>. @param {TemplateStringsArray} strings @param {...unknown} values */
export function svg(strings, ...values) {
  return build(strings, values, true);
}

/**
 * Return an element of a template with exactly one.
 * @param {DocumentFragment} fragment
 * @returns {HTMLElement}
 */
export function only(fragment) {
  return /** @type {HTMLElement} */ (fragment.firstElementChild);
}

/**
 * Return markup that the gateway has rendered and made safe: the only way of a string to become markup.
 * @param {string} markup `html` of POST /api/render, or of an answer to `?render=html`
 * @returns {DocumentFragment}
 */
export function trusted(markup) {
  const template = document.createElement('template');
  template.innerHTML = policy.createHTML(markup);
  return template.content;
}

/**
 * Show a list whose rows stay the same nodes while their keys stay.
 * @template T
 * @param {() => readonly T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: () => T) => Node} render makes one element; it gets a function that reads the row's present item
 * @returns {DocumentFragment}
 */
export function each(items, keyOf, render) {
  const end = document.createComment('');
  const fragment = document.createDocumentFragment();
  fragment.append(end);
  /** @type {Map<string, {nodes: Node[], set: (item: T) => void, end: () => void}>} */
  let rows = new Map();
  effect(() => {
    const now = new Map();
    for (const item of items()) {
      const key = keyOf(item);
      if (now.has(key)) continue;
      const row = rows.get(key) ?? makeRow(item, render);
      row.set(item);
      now.set(key, row);
    }
    for (const [key, row] of rows) if (!now.has(key)) removeRow(row);
    /** @type {Node} */
    let next = end;
    for (const row of [...now.values()].reverse()) {
      for (const node of row.nodes.toReversed()) {
        if (node.nextSibling !== next) next.parentNode?.insertBefore(node, next);
        next = node;
      }
    }
    rows = now;
  });
  onCleanup(() => rows.forEach((row) => row.end()));
  return fragment;
}

/** @template T @param {T} first @param {(item: () => T) => Node} render */
function makeRow(first, render) {
  const item = signal(first);
  const [made, end] = scope(() => render(item));
  const nodes = made instanceof DocumentFragment ? [...made.childNodes] : [made];
  return { nodes, set: item.set, end };
}

/** @param {{nodes: Node[], end: () => void}} row */
function removeRow(row) {
  row.end();
  for (const node of row.nodes) node.parentNode?.removeChild(node);
}

/** @param {TemplateStringsArray} strings @param {unknown[]} values @param {boolean} isSvg */
function build(strings, values, isSvg) {
  let template = templates.get(strings);
  if (!template) templates.set(strings, (template = parse(strings, isSvg)));
  const fragment = /** @type {DocumentFragment} */ (document.importNode(template.content, true));
  const found = template.places.map(({ path }) => path.reduce((node, n) => node.childNodes[n], /** @type {Node} */ (fragment)));
  template.places.forEach(({ name, index }, n) => name === '' && fill(/** @type {Comment} */ (found[n]), values[index]));
  // Attributes come last: a <select> takes its value only once it has its options.
  template.places.forEach(({ name, index }, n) => name && setAttribute(/** @type {Element} */ (found[n]), name, values[index]));
  return fragment;
}

/** @param {TemplateStringsArray} strings @param {boolean} isSvg */
function parse(strings, isSvg) {
  let text = strings[0];
  for (let n = 1; n < strings.length; n++) {
    const inTag = text.lastIndexOf('<') > text.lastIndexOf('>');
    text += (inTag ? `"${MARK}${n - 1}"` : `<!--${MARK}${n - 1}-->`) + strings[n];
  }
  const template = document.createElement('template');
  text = text.replace(/^\s*\n\s*|\s*\n\s*$/g, ''); // a new line is how the code is written; a space is between words
  template.innerHTML = policy.createHTML(isSvg ? `<svg xmlns="${SVG}">${text}</svg>` : text);
  if (isSvg) template.content.firstElementChild?.replaceWith(...template.content.firstElementChild.childNodes);
  /** @type {Place[]} */
  const places = [];
  findPlaces(template.content, [], places);
  return { content: template.content, places };
}

/** @param {Node} node @param {number[]} path @param {Place[]} places */
function findPlaces(node, path, places) {
  if (node instanceof Element) {
    for (const { name, value } of [...node.attributes]) {
      if (!value.startsWith(MARK)) continue;
      places.push({ path, name, index: Number(value.slice(MARK.length)) });
      node.removeAttribute(name);
    }
  } else if (node instanceof Comment && node.data.startsWith(MARK)) {
    places.push({ path, name: '', index: Number(node.data.slice(MARK.length)) });
    node.data = '';
  }
  node.childNodes.forEach((child, n) => findPlaces(child, [...path, n], places));
}

/** @param {Comment} place @param {unknown} value */
function fill(place, value) {
  if (typeof value !== 'function') {
    place.before(...toNodes(value));
    return;
  }
  /** @type {ChildNode[]} */
  let shown = [];
  effect(() => {
    const next = toNodes(value());
    if (shown.length === 1 && next.length === 1 && shown[0] instanceof Text && next[0] instanceof Text) {
      shown[0].data = next[0].data; // the selection and the screen reader's place stay
      return;
    }
    for (const node of shown) node.remove();
    // A list that is built inside has its rows between `start` and its own end.
    const start = document.createComment('');
    place.before(start, ...next);
    shown = next.length === 1 && next[0] instanceof Text ? (start.remove(), next) : [start, ...next];
    onCleanup(() => removeBetween(start, place));
  });
}

/** @param {Comment} start @param {Comment} end */
function removeBetween(start, end) {
  while (start.parentNode && start.nextSibling && start.nextSibling !== end) start.nextSibling.remove();
}

/** @param {unknown} value @returns {ChildNode[]} */
function toNodes(value) {
  if (value === null || value === undefined || value === false || value === '') return [];
  if (Array.isArray(value)) return value.flatMap(toNodes);
  if (value instanceof DocumentFragment) return [...value.childNodes];
  if (value instanceof Node) return [/** @type {ChildNode} */ (value)];
  return [document.createTextNode(showable(String(value)))];
}

/**
 * Return a text with U+FFFD in place of controls and of marks that change its direction: with them, what an agent asks
 * to do would look like something else. The same characters as in gateway/security/unsafe_text.py.
 * @param {string} text
 */
export function showable(text) {
  return text.replaceAll('\r\n', '\n').replace(UNSAFE, '\ufffd');
}

/** @param {Element} element @param {string} name @param {unknown} value */
function setAttribute(element, name, value) {
  if (name.startsWith('@')) {
    if (value) element.addEventListener(name.slice(1), /** @type {EventListener} */ (value));
  } else if (typeof value === 'function') {
    effect(() => setPlain(element, name, value()));
  } else setPlain(element, name, value);
}

/** @param {Element} element @param {string} name @param {unknown} value */
function setPlain(element, name, value) {
  if (name.startsWith('.')) {
    const property = PROPERTIES[name.slice(1)] ?? name.slice(1);
    if (/** @type {any} */ (element)[property] !== value) /** @type {any} */ (element)[property] = value;
  } else if (name.startsWith('?')) element.toggleAttribute(name.slice(1), Boolean(value));
  else if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, String(value));
}

/** The parser writes names of attributes in small letters. @type {Record<string, string>} */
const PROPERTIES = { scrolltop: 'scrollTop', textcontent: 'textContent' };
