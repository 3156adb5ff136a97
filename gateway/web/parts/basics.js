// @ts-check
/** Small things that all pages show: states, times, ids, files, buttons, and what a list says when it has no rows. */

import { ApiError } from '../core/api.js';
import { bytes, exact, relative, shortId } from '../core/format.js';
import { html } from '../core/html.js';
import { t } from '../core/text.js';
import { icon } from './icon.js';
import { say } from './toast.js';

/**
 * Return the state of something: an icon, a colour and a word, so that no one of them is needed.
 * @param {string} status such as `running` or `failed`: also the name of its icon
 * @param {string} [label] another word; an empty one shows the icon alone
 */
export function badge(status, label) {
  const word = label === '' ? html`<span class="hidden-text">${statusName(status)}</span>` : label ?? statusName(status);
  return html`<span class="badge" data-status=${status} title=${label === '' ? statusName(status) : null}>${icon(status)}${word}</span>`;
}

/** Return the word for a status. @param {string} status */
export const statusName = (status) => t(/** @type {any} */ (`status.${status}`));

/** Return a time as people say it; its exact form is shown on hover. @param {string | number | null} at */
export function time(at) {
  if (at === null) return html`<span class="muted">–</span>`;
  return html`<time datetime=${new Date(at).toISOString()} title=${exact(at)}>${() => relative(at)}</time>`;
}

/** Return the end of an id; a click copies the whole. @param {string} id */
export function copyableId(id) {
  return html`<button type="button" class="id" title=${t('copy.id', { id })} @click=${() => copy(id)}>${shortId(id)}</button>`;
}

/** Copy a text. @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page that came by plain HTTP has no clipboard: the old way needs a selected field.
    const field = document.createElement('textarea');
    field.value = text;
    (document.querySelector('dialog[open]') ?? document.body).append(field);
    field.select();
    const isCopied = document.execCommand('copy');
    field.remove();
    if (!isCopied) return say(t('copied.not'), 'error');
  }
  say(t('copied'));
}

/**
 * Return a button. While what it does lasts, it cannot be pressed again; an error is said.
 * @param {string} label
 * @param {() => unknown} act
 * @param {{kind?: 'primary' | 'danger' | 'plain' | '', icon?: string, disabled?: () => boolean, title?: string, iconOnly?: boolean}} [options]
 */
export function button(label, act, { kind = '', icon: name = '', disabled = () => false, title = '', iconOnly = false } = {}) {
  const press = async (/** @type {Event} */ event) => {
    const pressed = /** @type {HTMLButtonElement} */ (event.currentTarget);
    if (pressed.getAttribute('aria-busy')) return;
    pressed.setAttribute('aria-busy', 'true');
    try {
      await act();
    } catch (error) {
      complain(error);
    } finally {
      pressed.removeAttribute('aria-busy');
    }
  };
  return html`<button type="button" class=${`button ${kind} ${iconOnly ? 'icon-only' : ''}`} ?disabled=${disabled}
    aria-label=${iconOnly ? label : null} title=${title || (iconOnly ? label : null)} @click=${press}>
    ${name ? icon(name) : null}${iconOnly ? null : html`<span>${label}</span>`}</button>`;
}

/** Say what went wrong. @param {unknown} error */
export function complain(error) {
  if (error instanceof ApiError && error.status === 401) return; // the sign-in page comes
  say(error instanceof Error ? error.message : String(error), 'error');
}

/**
 * Return what stands where a list has no rows: what would fill it, and the command that does.
 * @param {string} name icon
 * @param {string} text
 * @param {{command?: string, action?: Node | null}} [options]
 */
export function empty(name, text, { command = '', action = null } = {}) {
  return html`<div class="empty">${icon(name)}<p>${text}</p>
    ${command ? html`<p><code>${command}</code></p>` : null}${action}</div>`;
}

/** Return what stands where something could not be loaded. @param {Error | null} error @param {() => unknown} again */
export function failed(error, again) {
  return html`<div class="empty" role="alert">${icon('failed')}<p>${error?.message ?? ''}</p>${button(t('again'), again, { icon: 'retry' })}</div>`;
}

/** Return what stands where something is being loaded. @param {number} [rows] */
export function loading(rows = 3) {
  return html`<div class="loading" role="status" aria-label=${t('loading')}>${Array.from({ length: rows }, () => html`<div class="bone"></div>`)}</div>`;
}

/** Return a file: a small picture, or its name and size; a click opens or saves it. @param {{id: string, name: string, media_type: string, size: number}} file */
export function fileLink(file) {
  const href = `/api/files/${encodeURIComponent(file.id)}`;
  const isPicture = /^image\/(png|jpeg|gif|webp)$/.test(file.media_type);
  return html`<a class=${`file ${isPicture ? 'picture' : ''}`} href=${isPicture ? href : `${href}?download=true`} target="_blank" rel="noopener">
    ${isPicture ? html`<img src=${href} alt=${file.name} loading="lazy">` : html`${icon('file')}<span>${file.name}</span><span class="muted">${bytes(file.size)}</span>`}</a>`;
}
