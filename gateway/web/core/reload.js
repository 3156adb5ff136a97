// @ts-check
/** Loading again what has changed, no oftener than a pause allows: a thousand changes are one load. */

import { onChanges } from './live.js';
import { onCleanup } from './signals.js';

/**
 * Return a function that does some work at once, or after the pause that follows the work before. Calls meanwhile are one.
 * When the scope around this call has ended, it does nothing.
 * @param {() => Promise<unknown>} work tells its errors itself
 * @param {number} pauseMs
 */
function coalesce(work, pauseMs) {
  let isBusy = false;
  let isAsked = false;
  let isEnded = false;
  onCleanup(() => (isEnded = true));
  const run = async () => {
    isAsked = isBusy;
    if (isBusy || isEnded) return;
    isBusy = true;
    try {
      await work();
    } finally {
      setTimeout(() => ((isBusy = false), isAsked && run()), pauseMs);
    }
  };
  return run;
}

/**
 * Load again after changes of some topics, until the scope around this call ends.
 * @param {string[]} topics
 * @param {() => Promise<unknown>} load
 * @param {number} pauseMs
 * @param {(changes: import('./live.js').Change[]) => boolean} [isAbout] whether one of the changes matters
 * @returns {() => void} loads as after a change
 */
export function loadOnChanges(topics, load, pauseMs, isAbout = () => true) {
  const again = coalesce(load, pauseMs);
  onChanges(topics, (changes) => isAbout(changes) && again(), again);
  return again;
}
