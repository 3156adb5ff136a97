// @ts-check
/** What is done with a session wherever it is listed: give it a title, delete it. */

import { ApiError, get, patch, remove } from '../core/api.js';
import { firstLine } from '../core/format.js';
import { html } from '../core/html.js';
import { t } from '../core/text.js';
import { confirm, field, openForm } from '../parts/dialog.js';
import { say } from '../parts/toast.js';

const LONGEST_TITLE = 100;

/** Load a page of sessions. @param {Record<string, any>} query */
export async function loadSessions(query) {
  const { sessions, next_cursor: next } = await get('/api/sessions', query);
  return { rows: sessions, next };
}

/** Load one session. @param {string} key @throws {ApiError} it is gone, or the gateway does not answer */
export const loadSession = async (key) => (await get(`/api/sessions/${encodeURIComponent(key)}`, { limit: 1 })).session;

/** Return the title of a session; an empty text if it has none yet. @param {any} session a SessionShown, or null */
export const sessionTitle = (session) => firstLine(session?.title ?? '', 80);

/** Return the link to a session. @param {string} key */
export const sessionPath = (key) => `/chat/${encodeURIComponent(key)}`;

/** @param {any} session @param {() => unknown} [done] is called after it has another title */
export async function renameSession(session, done = () => {}) {
  const input = html`<input name="title" required maxlength=${LONGEST_TITLE} autofocus value=${session.title}>`;
  await openForm(t('chat.rename'), field(t('chat.name'), input), t('save'), async (data) => {
    await patch(`/api/sessions/${encodeURIComponent(session.key)}`, { title: String(data.get('title')).trim() });
    done();
  });
}

/** Delete a session after asking; one that is busy only after asking once more. @param {any} session @returns {Promise<boolean>} whether it is deleted */
export async function deleteSession(session) {
  const path = `/api/sessions/${encodeURIComponent(session.key)}`;
  if (!(await confirm(t('chat.delete'), t('chat.delete.sure', { title: sessionTitle(session) || t('chat.untitled') }), t('delete')))) return false;
  try {
    await remove(path);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 409) throw error;
    if (!(await confirm(t('chat.delete.busy'), t('chat.delete.busy.sure'), t('chat.delete.force')))) return false;
    await remove(path, { force: true });
  }
  say(t('chat.deleted'));
  return true;
}
