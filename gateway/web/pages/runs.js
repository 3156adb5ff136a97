// @ts-check
/** All runs, newest first. */

import { get } from '../core/api.js';
import { duration, firstLine, secondsBetween } from '../core/format.js';
import { html } from '../core/html.js';
import { liveList } from '../core/list.js';
import { go, link } from '../core/router.js';
import { t } from '../core/text.js';
import { badge, empty, failed, loading, time } from '../parts/basics.js';
import { table } from '../parts/table.js';

export const title = () => t('runs.title');
export const styles = ['runs'];
const PAGE = 100;
const COLUMNS = /** @type {const} */ (['status', 'input', 'agent', 'source', 'created', 'took']);

export function page() {
  const list = liveList({
    topics: ['run'],
    keyOf: (run) => run.id,
    load: async (cursor) => {
      const { tasks, next_cursor: next } = await get('/api/tasks', { limit: PAGE, cursor });
      return { rows: tasks, next };
    },
    loadOne: async (id) => (await get(`/api/tasks/${id}`)).task,
  });
  const rows = table({
    label: t('runs.title'),
    kind: 'runs-table',
    columns: COLUMNS.map((name) => ({ name, label: t(`runs.column.${name}`) })),
    rows: list.rows,
    keyOf: (run) => run.id,
    open: (run) => go(link(`/runs/${run.id}`)),
    cell,
    loadMore: list.loadMore,
  });
  return html`${() => {
    if (list.state() === 'loading') return loading(8);
    if (list.state() === 'failed') return failed(list.error(), list.reload);
    return list.rows().length === 0 ? empty('runs', t('runs.empty'), { command: 'gateway agent "Hello"' }) : null;
  }}<div ?hidden=${() => list.rows().length === 0}>${rows}</div>`;
}

/** @param {string} name @param {() => any} run */
function cell(name, run) {
  if (name === 'status') return () => badge(run().status);
  if (name === 'input') return html`<a href=${link(`/runs/${run().id}`)}>${firstLine(run().input)}</a>`;
  if (name === 'agent') return run().agentId;
  if (name === 'source') return run().source;
  if (name === 'created') return time(run().created_at);
  return () => (run().started_at ? duration(secondsBetween(run().started_at, run().finished_at)) : '–');
}
