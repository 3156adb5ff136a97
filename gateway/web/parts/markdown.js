// @ts-check
/** Markdown of agents, as the gateway renders it; while it is being written, its finished paragraphs. */

import { post } from '../core/api.js';
import { html, only, showable, trusted } from '../core/html.js';
import { t } from '../core/text.js';
import { button, copy } from './basics.js';

/** the most that POST /api/render takes, in characters */
const MOST_CHARACTERS = 250_000;
const RENDER_PAUSE_MS = 400;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
/** a line that may go on with what stands before the empty line above it: part of a list, a quote, a table, or indented */
const GOES_ON = /^(\s|[-*+>|]|\d+[.)])/;

/** Return markup of the gateway; each block of code gets a button that copies it. @param {string} markup */
export function prose(markup) {
  const content = trusted(markup);
  for (const block of content.querySelectorAll('pre')) {
    const text = block.textContent ?? '';
    block.tabIndex = 0; // what scrolls can be scrolled by keys
    const frame = only(html`<div class="code-frame">${button(t('copy'), () => copy(text), { kind: 'plain', icon: 'copy', iconOnly: true })}</div>`);
    block.replaceWith(frame);
    frame.prepend(block);
  }
  for (const block of content.querySelectorAll('table')) block.tabIndex = 0;
  return content;
}

/**
 * Return an element for Markdown that is still being written. New text grows in one text node; paragraphs that are
 * finished are rendered, and at the end all of it once more.
 * @returns {{element: HTMLElement, text: () => string, append: (more: string) => void, end: () => void}}
 */
export function growingMarkdown() {
  const tail = document.createTextNode('');
  const plain = only(html`<p class="plain-text">${tail}</p>`);
  const element = only(html`<div class="prose">${plain}</div>`);
  let text = '';
  let rendered = 0;
  let isEnded = false;
  let isBusy = false;
  let isStale = false;

  const render = async () => {
    isStale = false;
    const isWhole = isEnded;
    const from = isWhole ? 0 : rendered;
    const to = isWhole ? text.length : findBreak(text, rendered);
    if (to <= from || to - from > MOST_CHARACTERS) return;
    const { html: markup } = await post('/api/render', { text: text.slice(from, to) });
    rendered = to;
    if (isWhole) for (const node of [...element.childNodes]) if (node !== plain) node.remove();
    plain.before(prose(markup));
    tail.data = showable(text.slice(to));
    plain.hidden = to === text.length;
  };
  const renderSoon = () => {
    isStale = true;
    if (isBusy) return;
    isBusy = true;
    const finish = () => {
      isBusy = false;
      if (isStale) renderSoon();
    };
    setTimeout(() => render().catch(() => {}).finally(finish), isEnded ? 0 : RENDER_PAUSE_MS); // what cannot be rendered stays as it is
  };
  return {
    element,
    text: () => text,
    append: (more) => {
      text += more;
      tail.appendData(showable(more));
      plain.hidden = false;
      renderSoon();
    },
    end: () => {
      if (isEnded || !text) return;
      isEnded = true;
      renderSoon();
    },
  };
}

/**
 * Return up to where a text is finished, whatever follows: an empty line outside of a block of code, and after it the
 * beginning of something else.
 * @param {string} text @param {number} from
 */
function findBreak(text, from) {
  let found = from;
  let fence = '';
  let wasEmpty = false;
  for (let at = from; at < text.length;) {
    const end = text.indexOf('\n', at);
    const line = text.slice(at, end < 0 ? text.length : end);
    const mark = FENCE.exec(line)?.[1] ?? '';
    if (wasEmpty && !fence && line.trim() && !GOES_ON.test(line)) found = at;
    if (!fence) fence = mark;
    else if (mark.startsWith(fence) && line.trim() === mark) fence = '';
    wasEmpty = !line.trim();
    if (end < 0) break;
    at = end + 1;
  }
  return found;
}
