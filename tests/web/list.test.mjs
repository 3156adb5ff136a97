import './browser.mjs';
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { ApiError, me } from '../../gateway/web/core/api.js';
import { liveList } from '../../gateway/web/core/list.js';
import * as live from '../../gateway/web/core/live.js';
import { scope } from '../../gateway/web/core/signals.js';
import { Feed, settle } from './browser.mjs';

/** rows of the gateway, the newest first; a page has three */
let all = [];
/** what was asked for */
let asked = [];
let end = () => {};
let seq = 0;

const row = (id, text = id) => ({ id, text });
const ids = (list) => list.rows().map(({ id }) => id).join(' ');

async function load(cursor) {
  asked.push(cursor ?? 'first');
  const from = cursor ? all.findIndex(({ id }) => id === cursor) + 1 : 0;
  const rows = all.slice(from, from + 3);
  return { rows, next: from + 3 < all.length ? rows.at(-1).id : null };
}

async function loadOne(id) {
  asked.push(id);
  return all.find((one) => one.id === id) ?? null;
}

async function open(options = {}) {
  let list;
  [, end] = scope(() => {
    live.start();
    list = liveList({ topics: ['run'], keyOf: ({ id }) => id, load, loadOne, ...options });
  });
  Feed.last.open();
  await settle();
  asked = [];
  return list;
}

async function tell(...refs) {
  for (const ref of refs) Feed.last.tell(++seq, 'run', ref);
  mock.timers.tick(100);
  await settle();
}

/** Let the pause between two loads pass. */
async function pause() {
  mock.timers.tick(500);
  await settle();
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  me.set({ name: 'owner', scope: 'admin', expires_at: null, signed_in: 'cookie' });
  all = ['g', 'f', 'e', 'd', 'c', 'b', 'a'].map((id) => row(id));
});

afterEach(() => {
  end();
  mock.timers.reset();
});

test('a list loads one page after the other, and each row once', async () => {
  const list = await open();
  assert.equal(list.state(), 'ready');
  assert.equal(ids(list), 'g f e');
  await list.loadMore();
  all.unshift(row('h'));
  await list.loadMore();
  assert.equal(ids(list), 'g f e d c b a');
  assert.equal(list.hasMore(), false);
  await list.loadMore();
  assert.deepEqual(asked, ['e', 'b']);
});

test('a row that changed is loaded alone, and stays in its place', async () => {
  const list = await open();
  all[1] = row('f', 'changed');
  await tell('f', 'f');
  assert.deepEqual(asked, ['f']);
  assert.equal(list.rows()[1].text, 'changed');
});

test('a row that belongs to the list no more is gone', async () => {
  const list = await open();
  all = all.filter(({ id }) => id !== 'f');
  await tell('f');
  assert.equal(ids(list), 'g e');
});

test('a new row comes to the front, and the older rows stay', async () => {
  const list = await open();
  await list.loadMore();
  all.unshift(row('h'));
  await tell('h');
  assert.equal(ids(list), 'h g f e d c b');
});

test('a list of one page keeps no row that belongs to it no more', async () => {
  all = ['b', 'a'].map((id) => row(id));
  const list = await open();
  all = [row('c'), row('b')];
  await tell('a', 'c');
  assert.equal(ids(list), 'c b');
});

test('an older row that changed while new ones came is loaded alone', async () => {
  const list = await open();
  await list.loadMore();
  all = [row('h'), ...all.filter(({ id }) => id !== 'c')];
  await tell('c', 'h');
  assert.equal(ids(list), 'h g f e d b');
});

test('a row that the gateway does not know any more is gone', async () => {
  const list = await open({ loadOne: async () => { throw new ApiError(404, 'NOT_FOUND', 'gone'); } });
  await tell('f');
  assert.equal(ids(list), 'g e');
});

test('many changes are one load in each half second', async () => {
  const list = await open();
  const many = Array.from({ length: 500 }, (_, n) => `new${n}`);
  await tell(...many);
  assert.deepEqual(asked, ['first']);
  for (let n = 0; n < 4; n++) await tell(...many);
  assert.deepEqual(asked, ['first']);
  await pause();
  assert.deepEqual(asked, ['first', 'first']);
  await pause();
  assert.deepEqual(asked, ['first', 'first']);
  assert.equal(ids(list), 'g f e');
});

test('a list that cannot be loaded says so, and can be loaded again', async () => {
  let fails = true;
  const list = await open({ load: async (cursor) => {
    if (fails) throw new Error('no answer');
    return load(cursor);
  } });
  assert.equal(list.state(), 'failed');
  assert.equal(list.error()?.message, 'no answer');
  fails = false;
  await list.reload();
  assert.equal(list.state(), 'ready');
  assert.equal(ids(list), 'g f e');
});

test('a row that left the list is gone, though a new row came at the same time', async () => {
  all = ['c', 'b', 'a'].map((id) => row(id));
  const list = await open();
  all = ['d', 'c', 'b'].map((id) => row(id));
  await tell('d', 'a');
  assert.equal(ids(list), 'd c b');
});

test('an older row that changed is loaded again, though a new row came at the same time', async () => {
  const list = await open();
  await list.loadMore();
  all = ['h', 'g', 'f', 'e', 'd', 'b', 'a'].map((id) => row(id, id === 'd' ? 'changed' : id));
  await tell('h', 'd', 'c');
  assert.equal(ids(list), 'h g f e d b');
  assert.equal(list.rows()[4].text, 'changed');
});

test('asking for older rows many times while they come loads one page', async () => {
  const list = await open();
  await Promise.all(Array.from({ length: 50 }, () => list.loadMore()));
  assert.equal(ids(list), 'g f e d c b');
  await list.loadMore();
  assert.deepEqual(asked, ['e', 'b']);
});

test('a change that could not be loaded is tried again', async () => {
  let fails = false;
  const list = await open({ loadOne: async (id) => {
    if (fails) throw new Error('no answer');
    return loadOne(id);
  } });
  fails = true;
  all[1] = row('f', 'changed');
  await tell('f');
  assert.equal(list.rows()[1].text, 'f');
  fails = false;
  await pause();
  await pause();
  assert.equal(list.rows()[1].text, 'changed');
});

test('a row that does not exist any more is gone, and the others are loaded', async () => {
  const list = await open({ loadOne: async (id) => {
    if (id === 'g') throw new ApiError(404, 'NOT_FOUND', 'gone');
    return loadOne(id);
  } });
  all[1] = row('f', 'changed');
  await tell('g', 'f');
  assert.equal(ids(list), 'f e');
  assert.equal(list.rows()[0].text, 'changed');
});
