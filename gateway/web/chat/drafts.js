// @ts-check
/** What is typed and not sent yet, for each conversation: it survives a reload. */

/** @typedef {{text: string, files: import('./outbox.js').StoredFile[]}} Draft */

const STORED = 'chat.drafts';
const MOST = 50;

/** @returns {[string, Draft][]} the last written first */
function readAll() {
  try {
    const found = JSON.parse(localStorage.getItem(STORED) ?? '[]');
    return Array.isArray(found) ? found.filter(([name, draft]) => typeof name === 'string' && typeof draft?.text === 'string') : [];
  } catch {
    return [];
  }
}

/** @param {string} session @returns {Draft} */
export function readDraft(session) {
  return readAll().find(([name]) => name === session)?.[1] ?? { text: '', files: [] };
}

/** Keep a draft; an empty one is forgotten. @param {string} session @param {Draft} draft */
export function writeDraft(session, draft) {
  const others = readAll().filter(([name]) => name !== session);
  const mine = draft.text || draft.files.length ? [[session, draft]] : [];
  try {
    localStorage.setItem(STORED, JSON.stringify([...mine, ...others].slice(0, MOST)));
  } catch {
    // The browser gives no more room: the words stay in the field.
  }
}
