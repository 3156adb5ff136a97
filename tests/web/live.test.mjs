import './browser.mjs';
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { me } from '../../gateway/web/core/api.js';
import * as live from '../../gateway/web/core/live.js';
import { scope } from '../../gateway/web/core/signals.js';
import { Feed, settle } from './browser.mjs';

const MINUTE = 60_000;
let end = () => {};
let told = [];
let again = 0;

/** what the gateway answers to requests: a status, or null for no answer */
let status = 200;
globalThis.fetch = async () => {
  if (status === null) throw new TypeError('no answer');
  return new Response('{}', { status });
};

beforeEach(() => {
  status = 200;
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() });
  me.set({ name: 'owner', scope: 'admin', expires_at: null, signed_in: 'cookie' });
  told = [];
  again = 0;
  [, end] = scope(() => {
    live.start();
    live.onChanges(['run', 'session'], (changes) => told.push(changes.map(({ seq }) => seq)), () => again++);
  });
});

afterEach(() => {
  mock.timers.tick(100);
  end();
  document.hidden = false;
  mock.timers.reset();
});

/** the number of a change later than all before: the module remembers the last one over the tests */
let seq = 0;
const next = () => ++seq;

async function beQuiet() {
  for (let n = 0; n < 4; n++) mock.timers.tick(10_000);
  for (let n = 0; n < 5; n++) await settle();
}

function show(hidden) {
  document.hidden = hidden;
  document.dispatchEvent(new Event('visibilitychange'));
}

test('what comes within a tenth of a second is one group', () => {
  Feed.last.open();
  const numbers = Array.from({ length: 1000 }, next);
  numbers.forEach((one) => Feed.last.tell(one));
  assert.deepEqual(told, []);
  mock.timers.tick(100);
  assert.deepEqual(told, [numbers]);
  const later = next();
  Feed.last.tell(later);
  mock.timers.tick(100);
  assert.deepEqual(told, [numbers, [later]]);
});

test('a reader gets only its topics, and nothing after its scope has ended', () => {
  Feed.last.open();
  Feed.last.tell(next(), 'delivery');
  const mine = next();
  Feed.last.tell(mine, 'session');
  mock.timers.tick(100);
  assert.deepEqual(told, [[mine]]);
  end();
  Feed.last.tell(next());
  mock.timers.tick(100);
  assert.deepEqual(told, [[mine]]);
});

test('a change that came before is not told again', () => {
  Feed.last.open();
  const one = next();
  Feed.last.tell(one);
  Feed.last.tell(one);
  mock.timers.tick(100);
  Feed.last.tell(one);
  mock.timers.tick(100);
  assert.deepEqual(told, [[one]]);
});

test('a connection that the gateway ends is opened again after the last change, later each time', () => {
  Feed.last.open();
  Feed.last.tell(next());
  const count = Feed.opened.length;
  Feed.last.fail({ closed: true });
  assert.equal(live.state(), 'lost');
  assert.equal(live.lostAt(), Date.now());
  mock.timers.tick(499);
  assert.equal(Feed.opened.length, count);
  mock.timers.tick(1);
  assert.equal(Feed.opened.length, count + 1);
  assert.equal(Feed.last.url, `/api/events?after=${seq}`);
  Feed.last.fail({ closed: true });
  mock.timers.tick(999);
  assert.equal(Feed.opened.length, count + 1);
  mock.timers.tick(1);
  assert.equal(Feed.opened.length, count + 2);
  Feed.last.open();
  assert.equal(live.state(), 'live');
  assert.equal(live.lostAt(), null);
  assert.equal(again, 0);
});

test('a connection that the browser opens again by itself is left to it', () => {
  Feed.last.open();
  const count = Feed.opened.length;
  Feed.last.fail();
  assert.equal(live.state(), 'lost');
  mock.timers.tick(MINUTE);
  assert.equal(Feed.opened.length, count);
});

test('a hidden page has no connection, and goes on where it was', () => {
  Feed.last.open();
  Feed.last.tell(next());
  const before = Feed.last;
  show(true);
  assert.equal(before.readyState, Feed.CLOSED);
  assert.equal(live.state(), 'paused');
  show(false);
  assert.equal(Feed.last.url, `/api/events?after=${seq}`);
  Feed.last.open();
  assert.equal(again, 0);
});

test('a page that was away for long loads again what it shows', () => {
  Feed.last.open();
  Feed.last.tell(next());
  show(true);
  mock.timers.tick(11 * MINUTE);
  show(false);
  assert.equal(Feed.last.url, '/api/events');
  Feed.last.open();
  assert.equal(again, 1);
});

test('nobody who is not signed in has a connection', () => {
  const count = Feed.opened.length;
  me.set(null);
  show(true);
  show(false);
  assert.equal(Feed.opened.length, count);
});

test('a gateway with an older database than before is told from its first change on', () => {
  Feed.last.open();
  seq += 100;
  Feed.last.tell(next());
  again = 0;
  Feed.last.fail();
  Feed.last.open();
  assert.equal(again, 0);
  Feed.last.tell(seq - 50);
  assert.equal(again, 1);
  Feed.last.tell(seq - 49);
  mock.timers.tick(100);
  assert.deepEqual(told, [[seq, seq - 50, seq - 49]]);
  Feed.last.tell(next());
});

test('a connection is opened again after the computer has slept', () => {
  Feed.last.open();
  Feed.last.tell(next());
  const count = Feed.opened.length;
  mock.timers.setTime(Date.now() + 5 * MINUTE);
  mock.timers.tick(10_000);
  assert.equal(Feed.opened.length, count + 1);
  assert.equal(Feed.last.url, `/api/events?after=${seq}`);
});

test('a connection that tells nothing is looked at: one that is dead is lost', async () => {
  Feed.last.open();
  Feed.last.tell(next());
  const count = Feed.opened.length;
  await beQuiet();
  assert.equal(Feed.opened.length, count + 1);
  Feed.last.open();
  status = null;
  await beQuiet();
  assert.equal(live.state(), 'lost');
  mock.timers.tick(500);
  assert.equal(Feed.opened.length, count + 2);
});

test('whose token was revoked is not signed in any more', async () => {
  Feed.last.open();
  status = 401;
  Feed.last.fail({ closed: true });
  for (let n = 0; n < 5; n++) await settle();
  assert.equal(me(), null);
});
