// @ts-check
/** The words of the page, from one file for each language. */

import english from '../strings/en.js';

const FORMS = new Intl.PluralRules('en');

/**
 * Return a text of the page. One that depends on a number has a form for each plural category of its language.
 * @param {keyof typeof english} name
 * @param {Record<string, string | number>} [values] stand for `{name}` in it; the number `n` chooses the form
 * @returns {string}
 */
export function t(name, values = {}) {
  const found = english[name] ?? name;
  const text = typeof found === 'string' ? found : found[/** @type {'one' | 'other'} */ (FORMS.select(Number(values.n)))];
  return text.replace(/{(\w+)}/g, (whole, key) => String(values[key] ?? whole));
}
