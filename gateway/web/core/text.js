// @ts-check
/** The words of the page, from one file for each language. */

import english from '../strings/en.js';

/**
 * Return a text of the page.
 * @param {keyof typeof english} name
 * @param {Record<string, string | number>} [values] stand for `{name}` in it
 * @returns {string}
 */
export function t(name, values = {}) {
  const text = english[name] ?? name;
  return text.replace(/{(\w+)}/g, (whole, key) => String(values[key] ?? whole));
}
