// @ts-check
/**
 * Which page is shown: the fragment of the address, `#/runs/01J…?status=failed`. Servers never get to see it.
 *
 * Each row is a page: its pattern, its module, which is loaded when it is first shown, and whether it stands in the menu. A
 * module exports `title(params)` and `page({params, at, query})`, which returns its content; `styles`, the names of
 * its files in `style/`, if it has some.
 */

import { signal } from './signals.js';

/** @typedef {{params: Record<string, string>, query: URLSearchParams}} Place */
/**
 * @typedef {{name: string, pattern: string, icon?: string, inFleet?: boolean, menu?: string, keeps?: boolean}} PageRow
 * `icon` puts it into the menu, one with `inFleet` only where there is a fleet; `menu` is the row there that it belongs to. A page that `keeps` stays when only the named
 * parts change: it reads them from `at`.
 */

/** @type {PageRow[]} */
export const PAGES = [
  { name: 'now', pattern: '/', icon: 'now' },
  { name: 'chat', pattern: '/chat', icon: 'chat', keeps: true },
  { name: 'runs', pattern: '/runs', icon: 'runs' },
  { name: 'board', pattern: '/board', icon: 'board' },
  { name: 'schedules', pattern: '/schedules', icon: 'schedules' },
  { name: 'deliveries', pattern: '/deliveries', icon: 'deliveries' },
  { name: 'sessions', pattern: '/sessions', icon: 'sessions' },
  { name: 'agents', pattern: '/agents', icon: 'agents' },
  { name: 'usage', pattern: '/usage', icon: 'usage' },
  { name: 'fleet', pattern: '/fleet', icon: 'fleet', inFleet: true },
  { name: 'system', pattern: '/system', icon: 'system' },
  { name: 'chat', pattern: '/chat/:session', keeps: true },
  { name: 'run', pattern: '/runs/:id', menu: 'runs' },
  { name: 'board', pattern: '/board/:project' },
  { name: 'schedules', pattern: '/schedules/:id' },
  { name: 'deliveries', pattern: '/deliveries/:id' },
  { name: 'agents', pattern: '/agents/:id' },
  { name: 'search', pattern: '/search' },
];

/** the path and query after the `#` */
export const address = signal(read());
window.addEventListener('hashchange', () => address.set(read()));

function read() {
  return location.hash.startsWith('#/') ? location.hash.slice(1) : '/';
}

/**
 * Return the page of an address and the named parts in it; null if no page has it.
 * @param {string} at
 * @returns {{row: PageRow, place: Place} | null}
 */
export function match(at) {
  const [path, query = ''] = at.split(/\?(.*)/s);
  for (const row of PAGES) {
    const params = matchPath(row.pattern, path);
    if (params) return { row, place: { params, query: new URLSearchParams(query) } };
  }
  return null;
}

/** @param {string} pattern @param {string} path @returns {Record<string, string> | null} */
function matchPath(pattern, path) {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return null;
  /** @type {Record<string, string>} */
  const params = {};
  for (const [n, part] of wanted.entries()) {
    if (part.startsWith(':') && given[n]) params[part.slice(1)] = decodePart(given[n]);
    else if (part !== given[n]) return null;
  }
  return params;
}

/** @param {string} part */
function decodePart(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Return the link to a page. Empty values of the query are left out.
 * @param {string} path its parts are encoded already, or need no encoding
 * @param {Record<string, string | number | null | undefined>} [query]
 */
export function link(path, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return `#${path}${text && `?${text}`}`;
}

/** Show another page. @param {string} to what `link` returns @param {{replace?: boolean}} [options] without a step back */
export function go(to, { replace = false } = {}) {
  if (!replace) location.hash = to;
  else {
    history.replaceState(null, '', to);
    address.set(read());
  }
}
