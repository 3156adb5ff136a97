// @ts-check
/** What was used: runs, tokens and cost, by day, agent and schedule; and what is left of the budgets today. */

import { get } from '../core/api.js';
import { cost, number, short } from '../core/format.js';
import { html } from '../core/html.js';
import { loadOnChanges } from '../core/reload.js';
import { go, link } from '../core/router.js';
import { effect, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { empty, failed, loading } from '../parts/basics.js';
import { budgetList } from '../parts/budgets.js';
import { plotColumns } from '../parts/plot.js';
import { segments } from '../parts/segments.js';
import { jobName } from '../schedules/job_name.js';

export const title = () => t('usage.title');
export const styles = ['usage'];
const LOAD_PAUSE_MS = 2000;
/** schedules that are shown by their names; others by their ids, like those that are gone */
const MOST_NAMED = 200;
const DAY_MS = 86_400_000;
/** days before today: the first and the last one of a span */
const SPANS = /** @type {Record<string, [number, number]>} */ ({ today: [0, 0], yesterday: [1, 1], week: [6, 0], month: [29, 0], quarter: [89, 0] });

/** @param {{query: import('../core/signals.js').Signal<URLSearchParams>}} place */
export function page({ query }) {
  const span = () => (query().get('span') ?? 'month') in SPANS ? query().get('span') ?? 'month' : 'month';
  const found = signal(/** @type {{day: any, agent: any, schedule: any, names: Map<string, string>} | null} */ (null));
  const problem = signal(/** @type {Error | null} */ (null));
  const load = async () => {
    const wanted = span();
    try {
      // The gateway counts days in its own zone: its `until` is its today.
      const { until } = await get('/api/usage', { by: 'day' });
      const [first, last] = SPANS[wanted].map((days) => new Date(Date.parse(until) - days * DAY_MS).toISOString().slice(0, 10));
      const usage = (/** @type {string} */ by) => get('/api/usage', { by, since: first, until: last });
      const [day, agent, schedule, { jobs }] = await Promise.all([usage('day'), usage('agent'), usage('schedule'), get('/api/cron', { limit: MOST_NAMED })]);
      if (wanted === span()) found.set({ day, agent, schedule, names: new Map(jobs.map((job) => [job.id, jobName(job)])) });
      problem.set(null);
    } catch (error) {
      problem.set(/** @type {Error} */ (error));
    }
  };
  loadOnChanges(['run'], load, LOAD_PAUSE_MS);
  effect(() => (span(), load(), undefined));
  return html`<div class="stack">${segments(t('usage.span'), Object.keys(SPANS).map((name) => [name, t(/** @type {any} */ (`usage.span.${name}`))]), span, (name) => go(link('/usage', { span: name }), { replace: true }))}
    ${() => (found() ? report(/** @type {any} */ (found())) : problem() ? failed(problem(), load) : loading(5))}</div>`;
}

/** @param {{day: any, agent: any, schedule: any, names: Map<string, string>}} found */
function report({ day, agent, schedule, names }) {
  const sum = (/** @type {string} */ name) => day.usage.reduce((/** @type {number} */ all, /** @type {any} */ one) => all + one[name], 0);
  if (day.usage.length === 0) return html`${empty('usage', t('usage.empty', { since: day.since, until: day.until }), { command: 'gateway usage' })}${budgets(day)}`;
  const isOneDay = day.since === day.until;
  const plot = (/** @type {string} */ name, /** @type {(one: any) => number} */ value, /** @type {(n: number) => string} */ format) =>
    html`<div class="panel">${plotColumns(t(/** @type {any} */ (`usage.${name}`)), allDays(day).map((one) => ({ label: one.name, value: value(one) })), format)}</div>`;
  return html`<dl class="usage-sums panel"><div><dt>${t('usage.cost')}</dt><dd>${cost(sum('cost'))}</dd></div><div><dt>${t('usage.runs')}</dt><dd>${number(sum('runs'))}</dd></div>
      <div><dt>${t('usage.input')}</dt><dd>${short(sum('input'))}</dd></div><div><dt>${t('usage.cached')}</dt><dd>${short(sum('cached'))}</dd></div><div><dt>${t('usage.output')}</dt><dd>${short(sum('output'))}</dd></div></dl>
    ${sum('unpriced') > 0 ? html`<p class="muted">${t('usage.unpriced', { n: sum('unpriced') })}</p>` : null}
    ${isOneDay ? null : html`<div class="usage-plots">${plot('cost', (one) => one.cost, cost)}${plot('tokens', (one) => one.input + one.output, short)}${plot('runs', (one) => one.runs, number)}</div>`}
    ${rows(t('usage.by.agent'), agent.usage, (one) => html`<a href=${link('/runs', { agent: one.slug ?? one.name })}>${one.slug ?? one.name}</a>`)}
    ${schedule.usage.length ? rows(t('usage.by.schedule'), schedule.usage, (one) => html`<a href=${link(`/schedules/${one.name}`)}>${names.get(one.name) || one.name}</a>`) : null}${budgets(day)}
    <p class="muted">${t('usage.zone', { zone: day.timezone })}</p>`;
}

/** Return each day of a report, also those without a run. @param {any} day @returns {any[]} */
function allDays(day) {
  const known = new Map(day.usage.map((/** @type {any} */ one) => [one.name, one]));
  const days = [];
  for (let at = Date.parse(day.since); at <= Date.parse(day.until); at += DAY_MS) {
    const name = new Date(at).toISOString().slice(0, 10);
    days.push(known.get(name) ?? { name, runs: 0, input: 0, output: 0, cost: 0 });
  }
  return days;
}

/** @param {string} heading @param {any[]} all @param {(one: any) => Node} name */
function rows(heading, all, name) {
  return html`<section class="panel"><header><h2>${heading}</h2></header><div class="scroll" tabindex="0" role="region" aria-label=${heading}><table class="figures"><thead><tr><th scope="col"><span class="hidden-text">${heading}</span></th>
    ${['runs', 'input', 'cached', 'output', 'cost'].map((column) => html`<th scope="col">${t(/** @type {any} */ (`usage.${column}`))}</th>`)}</tr></thead>
    <tbody>${all.map((one) => html`<tr><th scope="row">${name(one)}</th><td>${number(one.runs)}</td><td>${short(one.input)}</td><td>${short(one.cached)}</td><td>${short(one.output)}</td><td>${one.unpriced === one.runs && !one.cost ? '–' : cost(one.cost)}</td></tr>`)}</tbody></table></div></section>`;
}

/** @param {any} day */
function budgets(day) {
  return day.budgets.length ? html`<section class="panel"><header><h2>${t('usage.budgets')}</h2></header>${budgetList(day.budgets)}</section>` : null;
}
