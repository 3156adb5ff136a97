import './browser.mjs';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as format from '../../gateway/web/core/format.js';
import { scope } from '../../gateway/web/core/signals.js';
import { t } from '../../gateway/web/core/text.js';

const NOW = Date.parse('2026-11-29T12:00:00Z');
const ago = (seconds) => new Date(NOW - seconds * 1000).toISOString();

test('durations are those of the command line', () => {
  const durations = [null, 0, 0.0421, 0.999, 1, 9.94, 59.9, 60, 192, 3600, 86_399, 86_400, 180_000];
  assert.deepEqual(durations.map(format.duration), [
    '–', '0ms', '42ms', '999ms', '1.0s', '9.9s', '59s', '1m', '3m 12s', '1h', '23h 59m', '1d', '2d 2h',
  ]);
});

test('times are told from now, before and after', () => {
  const times = [0, 4.9, 5, 61, 7200, -90, -200_000].map((seconds) => format.relative(ago(seconds), NOW));
  assert.deepEqual(times, ['now', 'now', '10s ago', '1m ago', '2h ago', 'in 1m', 'in 2d']);
});

test('numbers are short where they are large', () => {
  assert.deepEqual([0, 9_999, 12_400, 123_456, 7_600_000].map(format.short), ['0', '9,999', '12.4k', '123k', '7.6M']);
  assert.deepEqual([0, 999, 1000, 25_300_000, 4e12, 9e18].map(format.bytes), ['0 B', '999 B', '1.0 kB', '25 MB', '4.0 TB', '9000000 TB']);
  assert.deepEqual([0, 0.0042, 0.1, 12.345].map(format.cost), ['$0.00', '$0.0042', '$0.10', '$12.35']);
  assert.equal(format.number(null), '–');
});

test('a first line ends at a line feed or at its limit', () => {
  assert.equal(format.firstLine('\n  one\ntwo'), 'one');
  assert.equal(format.firstLine('abcdef', 4), 'abc…');
});

test('times are compared with the clock of the gateway, however the one of the browser goes', () => {
  const slow = Date.now() + 3_600_000;
  format.takeServerTime(new Date(slow).toUTCString());
  assert.equal(format.relative(new Date(slow - 130_000).toISOString()), '2m ago');
  assert.ok(Math.abs(format.secondsBetween(new Date(slow).toISOString())) < 2);
  format.takeServerTime('no time');
  format.takeServerTime(null);
  assert.ok(Math.abs(format.now() - slow) < 2000);
  format.takeServerTime(new Date().toUTCString());
  assert.ok(Math.abs(format.now() - Date.now()) < 1000);
});

test('a text has the form of its number', () => {
  assert.deepEqual([0, 1, 2].map((n) => t('deliveries.sent', { n })), ['0 are sent again.', '1 is sent again.', '2 are sent again.']);
  assert.deepEqual([1, 5].map((n) => t('schedules.every.m', { n })), ['Every minute', 'Every 5 minutes']);
});

test('what is done again and again is done one at a time', async () => {
  let now = 0;
  let most = 0;
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const alive = setTimeout(() => {}, 60_000); // intervals keep no process alive
  await new Promise((done) => {
    let calls = 0;
    const [, end] = scope(() => format.every(1, async () => {
      most = Math.max(most, ++now);
      await pause(5);
      now--;
      if (++calls === 3) done(end());
    }));
  });
  clearTimeout(alive);
  assert.equal(most, 1);
});
