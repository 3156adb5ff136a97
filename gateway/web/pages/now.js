// @ts-check
/** What needs a person, what is at work, what waits and why, what comes next, and how agents and channels are doing. */

import { can, get, post } from '../core/api.js';
import { clock, cost, duration, every, firstLine, now, number, relative, secondsBetween } from '../core/format.js';
import { each, html } from '../core/html.js';
import { liveList } from '../core/list.js';
import { loadOnChanges } from '../core/reload.js';
import { link } from '../core/router.js';
import { signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, failed, loading, time } from '../parts/basics.js';
import { bars } from '../parts/bars.js';
import { budgetList } from '../parts/budgets.js';
import { icon } from '../parts/icon.js';
import { permissionCard } from '../parts/permission.js';
import { jobName } from '../schedules/job_name.js';

export const title = () => t('now.title');
export const styles = ['now'];
const SHOWN = 20;
const LOAD_PAUSE_MS = 1000;
const SLOW_REFRESH_MS = 60_000;

export function page() {
  const asked = liveList({
    topics: ['permission'],
    keyOf: (one) => `${one.task}/${one.id}`,
    load: async () => ({ rows: (await get('/api/permissions', { waiting: true, limit: SHOWN })).permissions, next: null }),
  });
  const dead = liveList({
    topics: ['delivery'],
    keyOf: (one) => one.id,
    load: async () => ({ rows: (await get('/api/deliveries', { status: 'dead', limit: SHOWN })).deliveries, next: null }),
  });
  const running = tasks('running');
  const queued = tasks('queued');
  const about = overview();
  const isCalm = () => asked.state() === 'ready' && dead.state() === 'ready' && !asked.rows().length && !dead.rows().length && !about.broken().length;
  return html`<div class="now-page live-data">
    <section class="now-needs" aria-labelledby="now-needs" aria-live="polite"><h2 id="now-needs">${t('now.needs')}</h2>
      ${() => (asked.state() === 'failed' ? failed(asked.error(), asked.reload) : asked.state() === 'loading' && loading(1))}
      ${() => isCalm() && html`<p class="calm">${icon('succeeded')}${t('now.calm')}</p>`}
      <div class="needs">${each(asked.rows, (one) => `${one.task}/${one.id}`, (one) => permissionCard(one, { head: whose(one()) }))}</div>
      ${() => about.broken().map((job) => html`<div class="need">${icon('failed')}<span><a href=${link(`/schedules/${job.id}`)}>${jobName(job)}</a> ${job.enabled ? t('now.failing', { n: job.failures }) : job.reason}</span></div>`)}
      ${each(dead.rows, (one) => one.id, (one) => deadLetter(one()))}</section>
    <div class="now-columns"><div class="stack">
      <section class="panel"><header><h2>${t('now.running')}</h2><span class="space"></span><a href=${link('/runs', { status: 'running' })}>${t('now.all')}</a></header>${runRows(running, t('now.running.none'))}</section>
      <section class="panel"><header><h2>${t('now.queued')}</h2><span class="space"></span><a href=${link('/runs', { status: 'queued' })}>${t('now.all')}</a></header>${runRows(queued, t('now.queued.none'))}</section>
      <section class="panel"><header><h2>${t('now.failed')}</h2><span class="space"></span><a href=${link('/runs', { status: 'failed' })}>${t('now.all')}</a></header>${runRows(tasks('failed', 5), t('now.failed.none'))}</section></div>
      <div class="stack">${about.panels()}</div></div></div>`;
}

/** @param {string} status @param {number} [limit] */
function tasks(status, limit = SHOWN) {
  return liveList({
    topics: ['run'],
    keyOf: (run) => run.id,
    load: async () => ({ rows: (await get('/api/tasks', { status, limit })).tasks, next: null }),
  });
}

/** @param {any} one a request */
const whose = (one) => html`<p class="muted line"><a href=${link(`/runs/${one.task}`)}>${one.agentId}</a><span>${one.session}</span></p>`;

/** @param {any} one a delivery */
function deadLetter(one) {
  return html`<div class="need">${icon('deliveries')}<span><a href=${link(`/deliveries/${one.id}`)}>${t('now.dead', { kind: one.kind, address: one.address })}</a>
    <span class="muted">${one.error ? firstLine(one.error) : ''}</span></span><span class="space"></span>${time(one.finished_at)}
    ${can('write') ? button(t('now.send.again'), () => post(`/api/deliveries/${one.id}/retry`), { icon: 'retry' }) : null}</div>`;
}

/** @param {import('../core/list.js').LiveList<any>} list @param {string} none */
function runRows(list, none) {
  return html`${() => {
    if (list.state() === 'loading') return loading(2);
    if (list.state() === 'failed') return failed(list.error(), list.reload);
    return list.rows().length ? null : html`<p class="muted">${none}</p>`;
  }}<ul class="now-runs">${each(list.rows, (run) => run.id, (run) => html`<li>${runRow(run)}</li>`)}</ul>`;
}

/** @param {() => any} run */
function runRow(run) {
  const part = () => Math.min(1, secondsBetween(run().started_at, run().finished_at) / (run().timeout ?? 1800));
  const cancel = () => post(`/api/tasks/${run().id}/cancel`);
  const retry = () => post(`/api/tasks/${run().id}/retry`);
  return html`<span class="now-run-head">${() => badge(run().status, '')}<a href=${link(`/runs/${run().id}`)}>${firstLine(run().input)}</a></span>
    <span class="now-run-facts muted">${run().agentId}${() => (run().attempt > 1 ? ` · ${t('now.attempt', { n: run().attempt })}` : '')} ·
      <span class="number">${() => (run().status === 'running' ? duration(Math.floor(secondsBetween(run().started_at))) : relative(run().finished_at ?? run().created_at))}</span></span>
    <span class="now-run-act">${() => can('write') && (run().status === 'failed' ? button(t('run.retry'), retry, { kind: 'plain', icon: 'retry', iconOnly: true }) : button(t('run.cancel'), cancel, { kind: 'plain', icon: 'stop', iconOnly: true, disabled: () => run().cancel_requested }))}</span>
    ${() => run().waits && html`<span class="now-run-more muted">${run().waits.why}</span>`}${() => run().status === 'failed' && html`<span class="now-run-more muted">${firstLine(run().error ?? '')}</span>`}
    ${() => run().status === 'running' && html`<span class="live-bar" aria-hidden="true"><span .style=${() => `width:${part() * 100}%`}></span></span>`}`;
}

/** What is loaded again when something that it shows has changed, and each minute. */
function overview() {
  const jobs = signal(/** @type {any[]} */ ([]));
  const agents = signal(/** @type {any[]} */ ([]));
  const outcomes = signal(/** @type {Record<string, any[]>} */ ({}));
  const channels = signal(/** @type {any[]} */ ([]));
  const usage = signal(/** @type {any} */ (null));
  const load = async () => {
    /** @type {[string, Record<string, any>, (answer: any) => void][]} */
    const parts = [
      ['/api/cron', { limit: 100 }, (answer) => jobs.set(answer.jobs)],
      ['/api/agents', {}, (answer) => agents.set(answer.agents)],
      ['/api/agents/outcomes', { each: 30 }, (answer) => outcomes.set(answer.agents)],
      ['/api/channels', {}, (answer) => channels.set(answer.channels)],
      ['/api/usage', { by: 'day' }, usage.set],
    ];
    await Promise.all(parts.map(([path, query, set]) => get(path, query).then(set, () => {})));
  };
  loadOnChanges(['run', 'schedule', 'agent', 'delivery'], load, LOAD_PAUSE_MS);
  every(SLOW_REFRESH_MS, load);
  load();
  const next = () => jobs().filter((job) => job.enabled && job.next_run).sort((a, b) => a.next_run.localeCompare(b.next_run)).slice(0, 6);
  const broken = () => jobs().filter((job) => job.failures > 0 || (!job.enabled && job.reason));
  const panels = () => html`
    <section class="panel"><header><h2>${t('now.next')}</h2><span class="space"></span><a href=${link('/schedules')}>${t('now.all')}</a></header>
      ${() => next().length === 0 && html`<p class="muted">${t('now.next.none')}</p>`}<ul class="now-next">${each(next, (job) => job.id, (job) => html`<li><a href=${link(`/schedules/${job().id}`)}>${() => jobName(job())}</a><span class="space"></span><span class="muted">${() => clock(job().next_run)}</span><span class="number">${() => (now(), relative(job().next_run))}</span></li>`)}</ul></section>
    <section class="panel"><header><h2>${t('agents.title')}</h2><span class="space"></span><a href=${link('/agents')}>${t('now.all')}</a></header>
      <ul class="now-health">${each(agents, (agent) => agent.id, (agent) => html`<li>${() => badge(agent().status, '')}<a href=${link(`/agents/${encodeURIComponent(agent().id)}`)}>${() => agent().name}</a>
        <span class="muted">${() => t('now.slots', { n: agent().current_tasks, most: agent().max_concurrent })}</span><span class="space"></span>${() => bars(() => (outcomes()[agent().id] ?? []).map(toBar))}</li>`)}</ul></section>
    ${() => channels().some((one) => one.state !== 'unconfigured') && html`<section class="panel"><header><h2>${t('now.channels')}</h2></header>
      <ul class="now-health">${channels().filter((one) => one.state !== 'unconfigured').map((one) => html`<li>${badge(one.state === 'ready' ? 'ok' : 'failed', '')}<span>${one.name}</span><span class="muted">${one.last_error ?? one.detail}</span><span class="space"></span>
        ${one.recent?.length ? bars(() => one.recent.map((/** @type {any} */ sent) => ({ status: sent.ok ? 'ok' : 'failed', at: sent.at, label: '' }))) : null}</li>`)}</ul></section>`}
    ${() => usage() && html`<section class="panel"><header><h2>${t('now.today')}</h2><span class="space"></span><a href=${link('/usage')}>${t('usage.title')}</a></header>${today(usage())}
      ${budgetList(usage().budgets, { onlyWorst: true })}</section>`}`;
  return { broken, panels };
}

/** @param {any} outcome */
const toBar = (outcome) => ({ status: outcome.status, at: outcome.finished_at, label: duration(outcome.seconds), href: link(`/runs/${outcome.task}`) });

/** @param {any} usage */
function today(usage) {
  const day = usage.usage.at(-1)?.name === usage.until ? usage.usage.at(-1) : { runs: 0, input: 0, output: 0, cost: 0 };
  return html`<p class="now-today"><span><strong class="number">${number(day.runs)}</strong> ${t('now.today.runs', { n: day.runs })}</span><span><strong class="number">${number(day.input + day.output)}</strong> ${t('now.today.tokens', { n: day.input + day.output })}</span><span><strong class="number">${cost(day.cost)}</strong></span></p>`;
}
