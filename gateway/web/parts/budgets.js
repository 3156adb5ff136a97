// @ts-check
/** Budgets: what is left of them today, their limits in words, and the fields to set them. */

import { cost, number } from '../core/format.js';
import { html } from '../core/html.js';
import { t } from '../core/text.js';
import { field } from './dialog.js';
import { ring } from './ring.js';

/** @typedef {'runs' | 'tokens' | 'cost'} Limited */
const LIMITED = /** @type {Limited[]} */ (['runs', 'tokens', 'cost']);

/**
 * @param {import('../api.js').BudgetState[]} budgets
 * @param {{onlyWorst?: boolean}} [options] `onlyWorst`: of each budget, the limit of which the most is used
 */
export function budgetList(budgets, { onlyWorst = false } = {}) {
  const shares = budgets.flatMap((one) => {
    const all = LIMITED.filter((what) => one.limits[what] !== null).map((what) => ({ name: one.name, what, used: one.used[what] ?? 0, limit: one.limits[what] ?? 0 }));
    return onlyWorst ? all.sort((a, b) => partOf(b) - partOf(a)).slice(0, 1) : all;
  });
  return html`<ul class="budgets">${shares.map((one) => {
    const show = (/** @type {number} */ n) => (one.what === 'cost' ? cost(n) : number(n));
    const text = t('budget', { name: one.name, used: show(one.used), limit: show(one.limit), what: t(`budget.${one.what}`, { n: one.limit }) });
    return html`<li>${ring(() => partOf(one), text)}<span>${text}</span></li>`;
  })}</ul>`;
}

/** Return the limits of a day in words: `60 runs, $5.00`. @param {import('../api.js').BudgetShown} budget */
export const limitWords = (budget) => LIMITED.filter((what) => budget[what] !== null)
  .map((what) => (what === 'cost' ? cost(budget.cost ?? 0) : `${number(budget[what])} ${t(`budget.${what}`, { n: budget[what] ?? 0 })}`)).join(', ');

/**
 * Return the fields of a form for the limits of a day.
 * @param {string} legend
 * @param {Partial<Record<Limited, number | null>> | null | undefined} budget
 * @param {string} [hint]
 */
export function budgetFields(legend, budget, hint = '') {
  const limit = (/** @type {Limited} */ name) => field(t(`budget.field.${name}`), html`<input type="number" name=${name} min=${name === 'cost' ? '0.01' : '1'} step=${name === 'cost' ? 'any' : '1'} value=${budget?.[name] ?? ''}>`);
  return html`<fieldset class="field"><legend class="field-label">${legend}</legend>${hint ? html`<span class="hint">${hint}</span>` : null}
    <div class="budget-fields">${LIMITED.map(limit)}</div><p class="form-error" data-problem="budget" role="alert"></p></fieldset>`;
}

/** Return the limits that a form has; null if it has none. @param {FormData} data */
export function readBudget(data) {
  const limits = Object.fromEntries(LIMITED.flatMap((name) => (data.get(name) ? [[name, Number(data.get(name))]] : [])));
  return Object.keys(limits).length ? limits : null;
}

/** A limit of nothing is used up. @param {{used: number, limit: number}} share */
const partOf = ({ used, limit }) => (limit > 0 ? used / limit : 1);
