import './browser.mjs';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { address, go, link, match, PAGES } from '../../gateway/web/core/router.js';

const found = (at) => {
  const one = match(at);
  return one && [one.row.pattern, one.place.params, one.place.query.toString()];
};

test('an address names a page, its parts and its query', () => {
  assert.deepEqual(found('/'), ['/', {}, '']);
  assert.deepEqual(found('/runs?status=failed&q=a?b'), ['/runs', {}, 'status=failed&q=a%3Fb']);
  assert.deepEqual(found('/runs/01J'), ['/runs/:id', { id: '01J' }, '']);
  assert.deepEqual(found('/chat/main%3Aweb%2F1?x='), ['/chat/:session', { session: 'main:web/1' }, 'x=']);
});

test('an address of no page has none', () => {
  for (const at of ['/nothing', '/runs/', '/runs/1/2', '//', '', '/RUNS']) assert.equal(match(at), null, at);
});

test('a part that is not encoded well is taken as it is', () => {
  assert.deepEqual(match('/runs/100%')?.place.params, { id: '100%' });
});

test('a link leaves out what is empty, and match reads what it wrote', () => {
  assert.equal(link('/runs', { status: '', agent: null, text: undefined }), '#/runs');
  const to = link('/runs', { text: 'a&b=c #é', page: 0 });
  assert.deepEqual(Object.fromEntries(match(to.slice(1)).place.query), { text: 'a&b=c #é', page: '0' });
});

test('each page of the menu leads to itself', () => {
  for (const row of PAGES.filter(({ icon }) => icon)) assert.equal(match(row.pattern)?.row, row);
});

test('a replaced address is read at once', () => {
  go(link('/board', { done: 1 }), { replace: true });
  assert.equal(address(), '/board?done=1');
});

test('an address that is no page of ours is the first page', () => {
  location.hash = '#code=abc';
  window.dispatchEvent(new Event('hashchange'));
  assert.equal(address(), '/');
});
