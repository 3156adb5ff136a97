// @ts-check
/** Dialogs: the browser's own, which keep the focus inside and close by Escape. */

import { html, only } from '../core/html.js';
import { scope } from '../core/signals.js';
import { t } from '../core/text.js';
import { button, complain } from './basics.js';
import { icon } from './icon.js';

let opened = 0;

/**
 * Show a dialog.
 * @template T
 * @param {string} title
 * @param {(close: (value?: T) => void) => Node} content
 * @param {{wide?: boolean, side?: boolean}} [options] `side`: at the edge, over the whole height
 * @returns {Promise<T | undefined>} what it was closed with; undefined if it was left
 */
export function openDialog(title, content, { wide = false, side = false } = {}) {
  return new Promise((resolve) => {
    /** @type {T | undefined} */
    let value;
    const titleId = `dialog-title-${++opened}`; // one may be open above another
    const [dialog, end] = scope(() => {
      const close = (/** @type {T | undefined} */ given) => ((value = given), /** @type {HTMLDialogElement} */ (dialog).close());
      return /** @type {HTMLDialogElement} */ (only(html`<dialog class=${side ? 'side' : wide ? 'wide' : ''} aria-labelledby=${titleId}>
        <header><h2 id=${titleId}>${title}</h2>
          <button type="button" class="button plain icon-only" aria-label=${t('close')} @click=${() => close(undefined)}>${icon('close')}</button></header>
        <div class="dialog-body">${content(close)}</div></dialog>`));
    });
    dialog.addEventListener('close', () => (dialog.remove(), end(), resolve(value)));
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.dataset.dirty === undefined && dialog.close());
    dialog.addEventListener('input', () => (dialog.dataset.dirty = '')); // a click outside does not throw away what was typed
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Ask whether something shall really be done.
 * @param {string} title
 * @param {string} text
 * @param {string} label of the button that does it
 * @param {{danger?: boolean}} [options]
 * @returns {Promise<boolean>}
 */
export async function confirm(title, text, label, { danger = true } = {}) {
  const answer = await openDialog(title, (/** @type {(value?: boolean) => void} */ close) => html`<p>${text}</p>
    <footer>${button(t('cancel'), () => close(false))}${button(label, () => close(true), { kind: danger ? 'danger' : 'primary' })}</footer>`);
  return answer === true;
}

/**
 * Show a dialog with a form. It stays open, with all that was typed, when saving fails.
 *
 * An error such as `webhook: …` is said under the field that has this problem, if there is one; else below the form.
 * @param {string} title
 * @param {Node | (() => Node)} fields a function makes them in the scope of the dialog
 * @param {string} label of the button that saves
 * @param {(data: FormData) => Promise<unknown>} save
 * @param {{side?: boolean}} [options] `side`: at the edge, over the whole height
 * @returns {Promise<boolean>} whether it was saved
 */
export async function openForm(title, fields, label, save, { side = false } = {}) {
  const saved = await openDialog(title, (/** @type {(value?: boolean) => void} */ close) => {
    const submit = async (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const form = /** @type {HTMLFormElement} */ (event.currentTarget);
      const send = /** @type {HTMLButtonElement} */ (form.querySelector('[type=submit]'));
      send.disabled = true;
      for (const problem of form.querySelectorAll('.form-error')) problem.textContent = '';
      try {
        await save(new FormData(form));
        close(true);
      } catch (error) {
        tell(form, error instanceof Error ? error.message : String(error));
        complain(error);
      } finally {
        send.disabled = false;
      }
    };
    return html`<form class="form" @submit=${submit}>${typeof fields === 'function' ? fields() : fields}<p class="form-error" data-problem="" role="alert"></p>
      <footer>${button(t('cancel'), () => close(false))}<button type="submit" class="button primary">${label}</button></footer></form>`;
  }, { side });
  return saved === true;
}

/** Say what is wrong with a form where it is wrong. @param {HTMLFormElement} form @param {string} message */
function tell(form, message) {
  const [, name, words] = /^(\w+): (.+)$/s.exec(message) ?? [];
  const ofField = name && /** @type {HTMLElement | null} */ (form.querySelector(`[data-problem~="${name}"]`));
  const place = ofField || /** @type {HTMLElement} */ (form.querySelector('[data-problem=""]'));
  place.textContent = ofField ? words : message;
  place.closest('details')?.setAttribute('open', '');
  place.scrollIntoView({ block: 'nearest' });
}

/**
 * Return a labelled field of a form.
 * @param {string} label
 * @param {Node} input an element with an id of its own is labelled by it; else it stands inside the label
 * @param {string | Node} [hint]
 * @param {string} [problem] the field's names in errors of the gateway: what is wrong with it is said here
 */
export function field(label, input, hint = '', problem = '') {
  return html`<label class="field"><span class="field-label">${label}</span>${input}${hint ? html`<span class="hint">${hint}</span>` : null}${problem ? html`<span class="form-error" data-problem=${problem} role="alert"></span>` : null}</label>`;
}
