import './browser.mjs';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { computed, effect, onCleanup, scope, signal, untracked } from '../../gateway/web/core/signals.js';
import { settle } from './browser.mjs';

test('an effect runs at once, and once more after many writes', async () => {
  const n = signal(1);
  const seen = [];
  effect(() => seen.push(n()));
  n.set(2);
  n.update((value) => value + 1);
  assert.deepEqual(seen, [1]);
  await settle();
  assert.deepEqual(seen, [1, 3]);
});

test('an effect does not run again after the same value', async () => {
  const n = signal(Number.NaN);
  let runs = 0;
  effect(() => void (n(), runs++));
  n.set(Number.NaN);
  await settle();
  assert.equal(runs, 1);
});

test('an effect follows only what it read in its last run', async () => {
  const which = signal('a');
  const a = signal(1);
  const b = signal(1);
  let runs = 0;
  effect(() => void (which() === 'a' ? a() : b(), runs++));
  which.set('b');
  await settle();
  a.set(2);
  await settle();
  assert.equal(runs, 2);
  b.set(2);
  await settle();
  assert.equal(runs, 3);
});

test('peek and untracked read without following', async () => {
  const n = signal(1);
  let runs = 0;
  effect(() => void (n.peek(), untracked(() => n()), runs++));
  n.set(2);
  await settle();
  assert.equal(runs, 1);
});

test('what is computed is made again only after a change, and tells those who read it', async () => {
  const n = signal(2);
  let made = 0;
  const square = computed(() => (made++, n() ** 2));
  const seen = [];
  effect(() => seen.push(square()));
  assert.equal(square(), 4);
  n.set(3);
  await settle();
  assert.deepEqual(seen, [4, 9]);
  assert.equal(made, 2);
});

test('the end of a scope ends its effects and those inside them, and cleans up once', async () => {
  const n = signal(1);
  let runs = 0;
  let cleaned = 0;
  const [value, end] = scope(() => {
    effect(() => {
      n();
      effect(() => void (n(), runs++));
      onCleanup(() => cleaned++);
    });
    return 'made';
  });
  assert.equal(value, 'made');
  n.set(2);
  await settle();
  assert.equal(cleaned, 1);
  const before = runs;
  end();
  end();
  n.set(3);
  await settle();
  assert.equal(runs, before);
  assert.equal(cleaned, 2);
});

test('an effect that ends while it waits does not run', async () => {
  const n = signal(1);
  let runs = 0;
  const end = effect(() => void (n(), runs++));
  n.set(2);
  end();
  await settle();
  assert.equal(runs, 1);
});

test('an effect that fails is reported, and keeps no other from running', async () => {
  const n = signal(1);
  const seen = [];
  effect(() => {
    if (n() === 2) throw new Error('told to fail');
  });
  effect(() => seen.push(n()));
  n.set(2);
  await settle();
  assert.deepEqual(seen, [1, 2]);
  assert.equal(reported.pop().message, 'told to fail');
});
