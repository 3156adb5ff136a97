/** The little of a browser that the modules of core/ touch when they are loaded, and an EventSource that tests play. */

class Surface extends EventTarget {
  hidden = false;
  readyState = 'complete';
}

const window = new Surface();
const realInterval = globalThis.setInterval;
Object.assign(globalThis, {
  window,
  document: new Surface(),
  location: { hash: '' },
  history: { replaceState: (state, title, to) => void (location.hash = to) },
  // What ticks once a second does not keep the process from ending.
  setInterval: (...given) => realInterval(...given).unref(),
  reportError: (error) => globalThis.reported.push(error),
  reported: [],
});
Object.defineProperty(globalThis, 'navigator', { value: { platform: 'Linux' }, configurable: true });

/** Plays the gateway's change feed. */
export class Feed {
  static CLOSED = 2;
  /** @type {Feed[]} all that were opened, the newest last */
  static opened = [];
  readyState = 0;
  #listeners = {};

  constructor(url) {
    this.url = url;
    Feed.opened.push(this);
  }

  static get last() {
    return Feed.opened.at(-1);
  }

  addEventListener(topic, listen) {
    this.#listeners[topic] = listen;
  }

  close() {
    this.readyState = Feed.CLOSED;
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  fail({ closed = false } = {}) {
    this.readyState = closed ? Feed.CLOSED : 0;
    this.onerror();
  }

  tell(seq, topic = 'run', ref = `ref${seq}`) {
    this.#listeners[topic]({ data: JSON.stringify({ seq, topic, ref, state: 'running', agent: 'main', session: '', at: 0 }) });
  }
}
globalThis.EventSource = Feed;

/** Wait until all effects that wait have run. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));
