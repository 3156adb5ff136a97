// @ts-check
/** A permission request or a question of an agent, with the ways to answer it; and the word for an answer that was given. */

import { can, newKey, post } from '../core/api.js';
import { duration, now } from '../core/format.js';
import { html } from '../core/html.js';
import { computed, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { button, time } from './basics.js';
import { field } from './dialog.js';
import { icon } from './icon.js';

/** seconds before the end at which it is said louder */
const SOON_SECONDS = 60;

/**
 * Return a request. It says who answered when somebody has, here or elsewhere; until then, what is typed into it stays.
 * @param {() => any} read the present PermissionShown
 * @param {{head?: Node | null}} [options] `head`: what stands above, such as whose agent asks
 */
export function permissionCard(read, { head = null } = {}) {
  const request = read();
  const mine = signal(/** @type {any} */ (null));
  const given = computed(() => (read().answer ? read() : mine()));
  const key = newKey(); // the same for each try: an answer counts once
  const answer = async (/** @type {string} */ choice, /** @type {any} */ content = undefined) => {
    const path = `/api/tasks/${request.task}/permissions/${request.id}`;
    mine.set((await post(path, { answer: choice, ...(content && { content }) }, { key: `${key}${choice}` })).permission);
  };
  return html`<article class="permission" data-status="waiting">${head}
    <p class="permission-what">${icon('waiting')}<strong>${request.question?.message ?? request.action}</strong></p>
    ${() => (given() ? answered(given()) : html`${expiry(request)}${can('write') ? choices(request, answer) : html`<p class="muted">${t('permission.read.only')}</p>`}`)}</article>`;
}

/** @param {any} request */
function expiry(request) {
  const seconds = () => Math.max(0, (new Date(request.expires_at).getTime() - now()) / 1000);
  return html`<p class="muted">${t('permission.asked')} ${time(request.asked_at)} ·
    <span class=${() => (seconds() < SOON_SECONDS ? 'soon' : '')}>${() => t('permission.expires', { time: duration(Math.ceil(seconds())) })}</span></p>`;
}

/** @param {any} request @param {(choice: string, content?: any) => Promise<void>} answer */
function choices(request, answer) {
  if (request.question) return questionForm(request, answer);
  const look = (/** @type {string} */ choice) => (choice === 'deny' ? 'danger' : choice === 'allow' ? 'primary' : '');
  return html`<div class="line">${request.choices.map((/** @type {string} */ choice) => button(t(/** @type {any} */ (`permission.${choice}`)), () => answer(choice), { kind: look(choice) }))}</div>`;
}

/** @param {any} request @param {(choice: string, content?: any) => Promise<void>} answer */
function questionForm(request, answer) {
  const problem = signal('');
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    problem.set('');
    try {
      await answer('answer', readContent(request.question.fields, new FormData(/** @type {HTMLFormElement} */ (event.currentTarget))));
    } catch (error) {
      problem.set(error instanceof Error ? error.message : String(error));
    }
  };
  return html`<form class="form" @submit=${submit}>${request.question.fields.map(questionField)}<p class="form-error" role="alert">${problem}</p>
    <div class="line"><button type="submit" class="button primary">${t('permission.answer')}</button>
      ${request.choices.includes('deny') ? button(t('permission.refuse'), () => answer('deny')) : null}</div></form>`;
}

/** @param {any} one a QuestionField */
function questionField(one) {
  if (one.type === 'boolean') {
    return html`<label class="field inline"><input type="checkbox" name=${one.name}><span>${one.title}</span>${one.description ? html`<span class="hint">${one.description}</span>` : null}</label>`;
  }
  if (one.type === 'choice') return choiceField(one);
  const isNumber = one.type === 'number' || one.type === 'integer';
  return field(one.title, html`<input name=${one.name} type=${isNumber ? 'number' : 'text'} step=${one.type === 'integer' ? '1' : isNumber ? 'any' : null} ?required=${one.required} maxlength="10000">`, one.description);
}

/** @param {any} one a QuestionField of type choice */
function choiceField(one) {
  const kind = one.multiple ? 'checkbox' : 'radio';
  return html`<fieldset class="field"><legend class="field-label">${one.title}</legend>${one.description ? html`<span class="hint">${one.description}</span>` : null}
    ${one.options.map((/** @type {any} */ option) => html`<label class="field inline"><input type=${kind} name=${one.name} value=${option.value} ?required=${one.required && !one.multiple && !one.custom}><span>${option.label}</span>
      ${option.description ? html`<span class="hint">${option.description}</span>` : null}</label>`)}
    ${one.custom ? html`<input type="text" name=${`${one.name} other`} maxlength="10000" aria-label=${t('permission.other')} placeholder=${t('permission.other')}>` : null}</fieldset>`;
}

/** Return the answers of a form by the names of the fields. @param {any[]} fields @param {FormData} data */
function readContent(fields, data) {
  /** @type {Record<string, any>} */
  const content = {};
  for (const one of fields) {
    const texts = data.getAll(one.name).map(String);
    const other = String(data.get(`${one.name} other`) ?? '').trim();
    if (other) texts.push(other);
    if (one.type === 'boolean') content[one.name] = data.has(one.name);
    else if (one.multiple) content[one.name] = texts;
    else if (texts.at(-1)) content[one.name] = one.type === 'number' || one.type === 'integer' ? Number(texts.at(-1)) : texts.at(-1);
  }
  return content;
}

/** Return the word for an answer that was given, and by whom. @param {any} given */
export function answered(given) {
  const by = given.answered_by ? t('permission.by', { name: given.answered_by }) : given.reason ? t(/** @type {any} */ (`permission.reason.${given.reason}`)) : '';
  return html`<p class="muted" role="status">${t(/** @type {any} */ (`permission.given.${given.answer}`))} ${by}</p>`;
}
