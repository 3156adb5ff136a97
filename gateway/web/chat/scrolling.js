// @ts-check
/** A box that stays at its end while it grows, as long as one is there; else it says that there is more below. */

import { onCleanup, signal } from '../core/signals.js';

const NEAR_PIXELS = 64;
const OLDER_PIXELS = 400;

/**
 * @param {HTMLElement} box what scrolls
 * @param {HTMLElement} content what grows inside
 * @param {() => Promise<void> | null} loadOlder is called near the beginning; null when there is no more
 */
export function stickToEnd(box, content, loadOlder) {
  /** whether something came below what is in sight */
  const hasNew = signal(false);
  let isAtEnd = true;
  let isLoading = false;
  let height = 0;
  let top = 0;
  const toEnd = () => {
    isAtEnd = true;
    hasNew.set(false);
    box.scrollTop = box.scrollHeight;
  };
  const look = () => {
    const isUp = box.scrollTop < top;
    top = box.scrollTop;
    const isNear = box.scrollHeight - top - box.clientHeight < NEAR_PIXELS;
    if (isNear) hasNew.set(false);
    if (isNear || isUp) isAtEnd = isNear; // what grows between a scroll and its event does not lead away from the end
    if (box.scrollTop < OLDER_PIXELS) keepPlace();
  };
  const keepPlace = async () => {
    if (isLoading) return;
    const work = loadOlder();
    if (!work) return;
    isLoading = true;
    const fromEnd = box.scrollHeight - box.scrollTop;
    try {
      await work;
      await Promise.resolve(); // what was loaded is shown in a microtask
      if (!isAtEnd) box.scrollTop = box.scrollHeight - fromEnd;
      height = content.scrollHeight;
    } finally {
      isLoading = false;
    }
  };
  const grown = new ResizeObserver(() => {
    const more = content.scrollHeight > height + 1;
    height = content.scrollHeight;
    if (isAtEnd) toEnd();
    else if (more && !isLoading) hasNew.set(true);
  });
  grown.observe(content);
  grown.observe(box);
  box.addEventListener('scroll', look, { passive: true });
  onCleanup(() => grown.disconnect());
  return { hasNew, toEnd, leaveEnd: () => (isAtEnd = false) };
}
