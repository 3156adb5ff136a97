// @ts-check
/**
 * Values that tell when they change, and functions that run again when they do.
 *
 * `const n = signal(1)`; `n()` reads and subscribes, `n.peek()` only reads, `n.set(2)` writes. An effect runs at once,
 * and again in a microtask after a signal that it read has another value: many writes, one run.
 */

/**
 * @template T
 * @typedef {(() => T) & {peek: () => T, set: (value: T) => void, update: (change: (value: T) => T) => void}} Signal
 */

/** @typedef {{run: () => void, sources: Set<Set<Effect>>, owned: (() => void)[], ended: boolean}} Effect */

/** @type {Effect | null} the effect that runs now: signals that are read subscribe it */
let running = null;
/** @type {(() => void)[] | null} where cleanups go that are registered now */
let owner = null;
/** @type {Set<Effect>} */
const waiting = new Set();

/**
 * @template T
 * @param {T} value
 * @returns {Signal<T>}
 */
export function signal(value) {
  /** @type {Set<Effect>} */
  const readers = new Set();
  const read = () => {
    if (running) {
      readers.add(running);
      running.sources.add(readers);
    }
    return value;
  };
  read.peek = () => value;
  read.set = (/** @type {T} */ next) => {
    if (Object.is(next, value)) return;
    value = next;
    for (const reader of readers) schedule(reader);
  };
  read.update = (/** @type {(value: T) => T} */ change) => read.set(change(value));
  return read;
}

/**
 * Return a function that reads a value made from signals. It is made again only after they changed.
 * @template T
 * @param {() => T} make
 * @returns {() => T}
 */
export function computed(make) {
  const made = signal(/** @type {T | undefined} */ (undefined));
  effect(() => made.set(make()));
  return () => /** @type {T} */ (made());
}

/**
 * Run a function now, and again after a signal that it read has changed, until the scope around it ends.
 * @param {() => void} body
 * @returns {() => void} ends it
 */
export function effect(body) {
  /** @type {Effect} */
  const self = { sources: new Set(), owned: [], ended: false, run: () => runEffect(self, body) };
  const end = () => {
    self.ended = true;
    waiting.delete(self);
    forget(self);
  };
  onCleanup(end);
  self.run();
  return end;
}

/**
 * Run a function whose effects and cleanups live until the returned function is called.
 * @template T
 * @param {() => T} body
 * @returns {[T, () => void]}
 */
export function scope(body) {
  /** @type {(() => void)[]} */
  const owned = [];
  const value = runWith(null, owned, body);
  return [value, () => runAll(owned)];
}

/** Call a function when the scope or the effect around this call ends or runs again. @param {() => void} done */
export function onCleanup(done) {
  owner?.push(done);
}

/** Run a function that subscribes to nothing. @template T @param {() => T} body @returns {T} */
export function untracked(body) {
  return runWith(null, owner, body);
}

/** @param {Effect} self @param {() => void} body */
function runEffect(self, body) {
  if (self.ended) return;
  forget(self);
  runWith(self, self.owned, body);
}

/** @template T @param {Effect | null} effect @param {(() => void)[] | null} owned @param {() => T} body @returns {T} */
function runWith(effect, owned, body) {
  const before = /** @type {const} */ ([running, owner]);
  [running, owner] = [effect, owned];
  try {
    return body();
  } finally {
    [running, owner] = before;
  }
}

/** @param {Effect} self */
function forget(self) {
  for (const readers of self.sources) readers.delete(self);
  self.sources.clear();
  runAll(self.owned);
}

/** @param {(() => void)[]} owned */
function runAll(owned) {
  for (const done of owned.splice(0)) done();
}

/** @param {Effect} reader */
function schedule(reader) {
  if (waiting.size === 0) queueMicrotask(runWaiting);
  waiting.add(reader);
}

function runWaiting() {
  for (const reader of waiting) {
    // A Set is walked in order of insertion, and takes what is added meanwhile.
    waiting.delete(reader);
    try {
      reader.run();
    } catch (error) {
      reportError(error);
    }
  }
}
