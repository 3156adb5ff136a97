import './browser.mjs';
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { loadOnChanges } from '../../gateway/web/core/reload.js';
import { scope } from '../../gateway/web/core/signals.js';
import { settle } from './browser.mjs';

let loads = 0;
let again = () => {};
let end = () => {};

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  loads = 0;
  [again, end] = scope(() => loadOnChanges(['run'], async () => void loads++, 1000));
});

afterEach(() => {
  end();
  mock.timers.reset();
});

test('the first change is loaded at once, and all that come in the pause after it together', async () => {
  again();
  assert.equal(loads, 1);
  await settle();
  for (let n = 0; n < 100; n++) again();
  assert.equal(loads, 1);
  mock.timers.tick(1000);
  await settle();
  assert.equal(loads, 2);
  mock.timers.tick(1000);
  await settle();
  assert.equal(loads, 2, 'nothing has changed since');
});

test('what waits for the pause is not loaded when its page is gone', async () => {
  again();
  await settle();
  again();
  end();
  mock.timers.tick(1000);
  await settle();
  assert.equal(loads, 1);
});
