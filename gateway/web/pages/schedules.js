// @ts-check
/** The schedules: what each does and when, how its last times went, and what happened at each of them. */

import { ApiError, can, get, newKey, post, remove } from '../core/api.js';
import { duration, firstLine, number, relative, zoned } from '../core/format.js';
import { each, html, only } from '../core/html.js';
import { liveList } from '../core/list.js';
import { loadOnChanges } from '../core/reload.js';
import { go, link } from '../core/router.js';
import { computed, effect, onCleanup, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, copyableId, empty, failed, fileLink, loading, statusName, time } from '../parts/basics.js';
import { bars } from '../parts/bars.js';
import { limitWords } from '../parts/budgets.js';
import { confirm } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { addCommand } from '../parts/palette.js';
import { table } from '../parts/table.js';
import { editSchedule } from '../schedules/form.js';
import { jobName } from '../schedules/job_name.js';
import { describe } from '../schedules/timing.js';

export const title = () => t('schedules.title');
export const styles = ['schedules'];
const PAGE = 100;
const FIRES = 30;
/** seconds after which a run counts as late; before, it is only not at once */
const LATE = 60;
const LOAD_PAUSE_MS = 500;
const COLUMNS = /** @type {const} */ (['status', 'time', 'ago', 'note', 'run']);

/** @param {{params: Record<string, string>}} place */
export function page({ params }) {
  return params.id ? details(params.id) : all();
}

function all() {
  /** @type {Set<string>} */
  const gone = new Set();
  /** @type {import('../core/list.js').LiveList<any>} */
  const found = liveList({
    topics: ['schedule', 'run'],
    keyOf: (job) => job.id,
    load: async (cursor) => {
      const [{ jobs, next_cursor: next }, fires] = await Promise.all([get('/api/cron', { limit: PAGE, cursor }), get('/api/cron/fires', { limit: PAGE, each: FIRES, cursor })]);
      return { rows: jobs.map((/** @type {any} */ job) => ({ ...job, fires: fires.jobs[job.id] ?? [] })), next };
    },
    loadOne: async (id) => {
      if (gone.has(id)) return null;
      try {
        const [{ job }, { runs }] = await Promise.all([get(`/api/cron/${id}`), get(`/api/cron/${id}/runs`, { limit: FIRES })]);
        return { ...job, fires: runs.reverse() };
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null; // deleted meanwhile
        throw error;
      }
    },
    refOf: ({ topic, ref, state }) => {
      if (topic === 'run') return found.rows.peek().find((job) => job.fires.some((/** @type {any} */ fire) => fire.run_id === ref))?.id ?? '';
      if (state === 'deleted') gone.add(ref);
      return ref;
    },
  });
  const words = signal('');
  const shown = () => {
    const wanted = words().trim().toLowerCase();
    return found.rows().filter((job) => !wanted || `${job.name}\n${job.prompt}\n${job.agentId ?? ''}`.toLowerCase().includes(wanted));
  };
  const add = () => editSchedule(null).then((job) => job && found.reload());
  if (can('write')) addCommand(t('schedules.add'), 'plus', add);
  const head = () => html`<div class="line"><input class="schedules-find" type="search" aria-label=${t('schedules.find')} placeholder=${t('schedules.find')} @input=${(/** @type {Event} */ event) => words.set(/** @type {HTMLInputElement} */ (event.target).value)}>
    <span class="space"></span>${can('write') ? button(t('schedules.add'), add, { kind: 'primary', icon: 'plus' }) : null}</div>`;
  const isEmpty = computed(() => found.rows().length === 0);
  return html`<div class="stack">${() => !isEmpty() && head()}${() => {
    if (found.state() === 'loading') return loading(5);
    if (found.state() === 'failed') return failed(found.error(), found.reload);
    if (isEmpty()) return empty('schedules', t('schedules.empty'), { command: 'gateway cron add "0 9 * * 1-5" "…"', action: can('write') ? button(t('schedules.add'), add, { kind: 'primary', icon: 'plus' }) : null });
    return shown().length ? null : empty('search', t('schedules.none'));
  }}<ul class="schedules panel live-data" ?hidden=${() => shown().length === 0}>${each(shown, (job) => job.id, (job) => row(job, found.reload, gone))}</ul>
    ${() => found.hasMore() && button(t('schedules.load.more'), found.loadMore)}</div>`;
}

/** @param {() => any} job @param {() => unknown} load @param {Set<string>} gone */
function row(job, load, gone) {
  return html`<li class="schedule"><div class="schedule-what"><h2><a href=${link(`/schedules/${job().id}`)}>${() => jobName(job())}</a>${() => state(job())}</h2>
      ${() => job().name && html`<p class="one-line">${firstLine(job().prompt)}</p>`}<p class="muted one-line">${() => whoAndWhere(job())}</p>
      ${() => !job().enabled && job().reason && html`<p class="schedule-reason">${job().reason}</p>`}</div>
    <div class="schedule-when">${() => due(job())}</div>
    ${coming(job)}<div class="schedule-past">${() => (job().fires.length ? bars(() => job().fires.map((/** @type {any} */ fire) => toBar(fire, job().timezone))) : html`<span class="muted">${t('schedules.fires.none')}</span>`)}
      <p class="muted schedule-trouble">${() => trouble(job())}</p><div class="schedule-act">${actions(job, load, gone)}</div></div></li>`;
}

/** @param {any} job */
function due(job) {
  const words = describe(job.schedule, job.timezone);
  const expression = html`<code>${job.schedule}</code>`;
  return words === job.schedule ? html`<p>${expression}</p><p class="muted">${job.timezone}</p>` : html`<p>${words}</p><p class="muted">${expression} ${job.timezone}</p>`;
}

/** The next times; the later ones are asked for once they are in sight, and again after a change of the first. @param {() => any} job */
function coming(job) {
  const times = signal(/** @type {string[]} */ ([]));
  const isSeen = signal(false);
  const next = computed(() => `${job().next_run} ${job().schedule} ${job().timezone} ${Boolean(job().next_runs)}`);
  const node = only(html`<div class="schedule-next">${() => nextTimes(job(), job().next_runs ?? (times()[0] === job().next_run ? times() : [job().next_run]))}</div>`);
  const eye = new IntersectionObserver((seen) => seen.some(({ isIntersecting }) => isIntersecting) && (isSeen.set(true), eye.disconnect()));
  eye.observe(node);
  onCleanup(() => eye.disconnect());
  effect(() => {
    next();
    if (!isSeen()) return;
    setTimeout(() => job().next_run && !job().next_runs && get(`/api/cron/${job().id}`).then((answer) => times.set(answer.job.next_runs), () => {}));
  });
  return node;
}

/** @param {any} job @param {(string | null)[]} times */
function nextTimes(job, times) {
  const [first, ...later] = times;
  if (!first) return html`<p class="muted">${t('schedules.next.none')}</p>`;
  return html`<p><strong class="number">${() => relative(first)}</strong> <time datetime=${first}>${zoned(first, job.timezone)}</time></p>
    ${later.length ? html`<ol class="muted" aria-label=${t('schedules.next')}>${later.map((at) => html`<li><time datetime=${at}>${zoned(at ?? '', job.timezone)}</time></li>`)}</ol>` : null}`;
}

/** @param {any} job */
function state(job) {
  return html`${!job.enabled ? badge(job.reason && job.failures ? 'failed' : 'disabled', job.reason ? t('schedules.stopped') : t('schedules.paused')) : null}
    ${job.failures ? badge('failed', t('schedules.failures', { n: job.failures })) : null}`;
}

/** @param {any} job */
function whoAndWhere(job) {
  return [job.agentId ?? t('schedules.agent.none'), job.model, job.deliver && t('schedules.to', { to: `${job.deliver.channel} ${job.deliver.chat_id}` }), job.webhook && t('schedules.to', { to: job.webhook })].filter(Boolean).join(' · ');
}

/** @param {any} job */
function trouble(job) {
  const told = [job.missed && t('schedules.missed', { n: number(job.missed) }), job.skipped && t('schedules.skipped', { n: number(job.skipped), why: job.skip_reason ?? '' })];
  const refused = job.fires?.at(-1)?.outcome === 'refused' && job.fires.at(-1).error;
  return [...told, refused].filter(Boolean).join(' · ');
}

/** @param {any} fire what its run came to, or what happened instead of a run */
const statusOf = (fire) => (['fired', 'triggered'].includes(fire.outcome) && fire.run_status) || fire.outcome;

/** @param {any} fire @param {string} zone */
function toBar(fire, zone) {
  return { status: statusOf(fire), at: null, label: [zoned(fire.scheduled_for, zone), fire.error && firstLine(fire.error, 120)].filter(Boolean).join(' · '), href: fire.run_id ? link(`/runs/${fire.run_id}`) : undefined };
}

/**
 * @param {() => any} job
 * @param {() => unknown} load
 * @param {Set<string>} gone ids that nobody asks for any more: a deleted schedule is added
 * @param {{words?: boolean}} [options] `words`: say in words what the first three do
 */
function actions(job, load, gone, { words = false } = {}) {
  if (!can('write')) return null;
  const { id } = job();
  const isEnabled = computed(() => job().enabled);
  let key = newKey();
  const run = async () => {
    const { run_id: made } = await post('/api/cron/trigger', { job_id: id }, { key });
    key = newKey();
    go(link(`/runs/${made}`));
  };
  const toggle = async () => (await post(`/api/cron/${id}/toggle`, { enabled: !isEnabled() }), load());
  const edit = () => editSchedule(job()).then((saved) => saved && load());
  const copy = () => editSchedule(job(), { isCopy: true }).then((saved) => saved && (go(link('/schedules')), load()));
  const drop = async () => {
    if (!(await confirm(t('schedules.delete', { name: jobName(job()) }), t('schedules.delete.sure'), t('delete')))) return;
    gone.add(id);
    try {
      await remove(`/api/cron/${id}`);
    } catch (error) {
      gone.delete(id);
      throw error;
    }
    go(link('/schedules'));
    load();
  };
  const small = /** @type {const} */ ({ kind: 'plain', iconOnly: true });
  const first = words ? {} : small;
  return html`${button(t('schedules.run'), run, { ...first, icon: 'bolt' })}${() => button(isEnabled() ? t('schedules.pause') : t('schedules.resume'), toggle, { ...first, icon: isEnabled() ? 'pause' : 'play' })}
    ${button(t('edit'), edit, { ...first, icon: 'edit' })}${button(t('schedules.copy'), copy, { ...small, icon: 'copy' })}${button(t('delete'), drop, { ...small, icon: 'trash' })}`;
}

/** @param {string} id */
function details(id) {
  const job = signal(/** @type {any} */ (null));
  const problem = signal(/** @type {Error | null} */ (null));
  /** @type {Set<string>} */
  const gone = new Set();
  const load = async () => {
    if (!gone.has(id)) await get(`/api/cron/${encodeURIComponent(id)}`).then((answer) => (job.set(answer.job), problem.set(null)), (error) => problem.set(error));
  };
  /** @type {import('../core/list.js').LiveList<any>} */
  const fires = liveList({
    topics: ['schedule', 'run'],
    keyOf: (fire) => fire.scheduled_for,
    load: async (cursor) => {
      const { runs, next_cursor: next } = await get(`/api/cron/${encodeURIComponent(id)}/runs`, { limit: PAGE, cursor });
      return { rows: await addErrors(id, runs), next };
    },
    refOf: (change) => (isMine(change) ? id : ''),
  });
  const isMine = (/** @type {import('../core/live.js').Change} */ { topic, ref, state: to }) => (topic === 'run' ? fires.rows.peek().some((fire) => fire.run_id === ref) : ref === id && to !== 'deleted');
  const isDeleted = (/** @type {import('../core/live.js').Change} */ { topic, ref, state: to }) => topic === 'schedule' && ref === id && to === 'deleted';
  loadOnChanges(['schedule', 'run'], load, LOAD_PAUSE_MS, (changes) => {
    if (changes.some(isDeleted)) go(link('/schedules'), { replace: true });
    return !changes.some(isDeleted) && changes.some(isMine);
  });
  load();
  const isThere = computed(() => job() !== null);
  return html`<div class="stack"><p><a href=${link('/schedules')}>${icon('back')} ${t('schedules.back')}</a></p>
    ${() => (isThere() ? about(job, load, gone) : problem() ? failed(problem(), load) : loading(4))}${() => isThere() && html`<h2>${t('schedules.fires')}</h2>`}${history(fires, job)}</div>`;
}

/** Return fires with the errors of their runs. @param {string} id of the schedule @param {any[]} fires newest first */
async function addErrors(id, fires) {
  if (!fires.some((fire) => fire.run_status === 'failed')) return fires;
  const until = new Date(Date.parse(fires[0].at) + 1000 * LATE).toISOString();
  const { tasks } = await get('/api/tasks', { label: `schedule=${id}`, status: 'failed', until, limit: PAGE });
  const errors = new Map(tasks.map((/** @type {any} */ run) => [run.id, run.error]));
  return fires.map((fire) => ({ ...fire, error: fire.error ?? errors.get(fire.run_id) ?? null }));
}

/** @param {() => any} job @param {() => unknown} load @param {Set<string>} gone */
function about(job, load, gone) {
  return html`<section class="panel live-data"><header class="schedule-head"><h2>${() => jobName(job())}</h2>${() => state(job())}${copyableId(job().id)}<span class="space"></span><div class="line">${actions(job, load, gone, { words: true })}</div></header>
      ${() => !job().enabled && job().reason && html`<p class="schedule-reason">${job().reason}</p>`}<div class="schedule-about"><div class="stack"><p class="plain-text schedule-prompt" tabindex="0">${() => job().prompt}</p>
      ${() => job().attachments.length > 0 && html`<p class="line">${job().attachments.map(fileLink)}</p>`}<dl class="schedule-facts">${() => facts(job())}</dl></div>
      <div class="schedule-next"><h3>${t('schedules.next')}</h3>${() => nextTimes(job(), job().enabled ? job().next_runs : [])}</div></div></section>`;
}

/** @param {any} job */
function facts(job) {
  const fact = (/** @type {keyof typeof import('../strings/en.js').default} */ name, /** @type {unknown} */ value) => (value ? html`<div><dt>${t(name)}</dt><dd>${value}</dd></div>` : null);
  const limits = job.budget && limitWords(job.budget);
  return html`${fact('schedules.when', due(job))}${fact('schedules.agent', job.agentId ?? t('schedules.agent.none'))}${fact('schedules.model', job.model)}
    ${fact('schedules.session', job.session ? `${job.session}${job.fresh ? ` (${t('schedules.session.each')})` : ''}` : t(job.fresh ? 'schedules.session.fresh' : 'schedules.session.own'))}
    ${fact('schedules.channel', job.deliver && `${job.deliver.channel} ${job.deliver.chat_id}`)}${fact('schedules.webhook', job.webhook)}
    ${fact('schedules.misfire', t(/** @type {any} */ (`schedules.misfire.${job.misfire}`)))}${fact('schedules.fact.max_age', job.max_age !== null && duration(job.max_age))}${fact('schedules.overlap', t(/** @type {any} */ (`schedules.overlap.${job.overlap}`)))}
    ${fact('schedules.fact.jitter', job.jitter > 0 && t('schedules.fact.jitter.most', { time: duration(job.jitter) }))}${fact('schedules.fact.timeout', job.timeout !== null && duration(job.timeout))}
    ${fact('schedules.max_failures', job.max_failures ? number(job.max_failures) : t('schedules.never'))}${fact('schedules.budget', limits)}${fact('schedules.fact.trouble', trouble(job))}${fact('schedules.fact.created', time(job.created_at))}`;
}

/** @param {import('../core/list.js').LiveList<any>} fires @param {() => any} job */
function history(fires, job) {
  const rows = table({
    label: t('schedules.fires'),
    kind: 'fires-table',
    columns: COLUMNS.map((name) => ({ name, label: t(`schedules.column.${name}`) })),
    rows: fires.rows,
    keyOf: (fire) => fire.scheduled_for,
    open: (fire) => fire.run_id && go(link(`/runs/${fire.run_id}`)),
    cell: (name, fire) => {
      if (name === 'status') return () => badge(statusOf(fire()));
      if (name === 'time') return () => html`<time datetime=${fire().scheduled_for}>${zoned(fire().scheduled_for, job()?.timezone ?? 'UTC')}</time>`;
      if (name === 'ago') return time(fire().scheduled_for);
      if (name === 'run') return () => fire().run_id && html`<a href=${link(`/runs/${fire().run_id}`)}>${t('schedules.open')}</a>`;
      return () => html`<span class="muted" title=${fire().error ?? ''}>${note(fire())}</span>`;
    },
    loadMore: fires.loadMore,
  });
  return html`${() => {
    if (fires.state() === 'failed' && job()) return failed(fires.error(), fires.reload);
    return fires.state() === 'ready' && fires.rows().length === 0 ? empty('schedules', t('schedules.fires.none')) : null;
  }}<div class="live-data" ?hidden=${() => fires.rows().length === 0}>${rows}</div>`;
}

/** @param {any} fire */
function note(fire) {
  const late = (Date.parse(fire.at) - Date.parse(fire.scheduled_for)) / 1000;
  const told = [fire.outcome === 'triggered' && statusName('triggered'), fire.outcome === 'fired' && late > LATE && t('schedules.late', { time: duration(late) }), fire.error && firstLine(fire.error)];
  return told.filter(Boolean).join(' · ');
}
