// @ts-check
/** The fleet: the gateways and workers that share the database, and what waits for each agent. */

import { get } from '../core/api.js';
import { duration, every, number, secondsBetween } from '../core/format.js';
import { each, html } from '../core/html.js';
import { loadOnChanges } from '../core/reload.js';
import { link } from '../core/router.js';
import { computed, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, empty, failed, loading } from '../parts/basics.js';
import { limitWords } from '../parts/budgets.js';

export const title = () => t('fleet.title');
export const styles = ['usage', 'fleet'];
const LOAD_PAUSE_MS = 1000;
/** nobody tells of a node that has died: its lease ends */
const LOOK_MS = 5000;
/** a clock that is less off is as good as right: an answer takes some of it */
const SMALLEST_CLOCK_MS = 100;
const COLUMNS = /** @type {const} */ (['running', 'dispatched', 'waiting', 'oldest_wait']);

/** @typedef {import('../api.js').FleetShown} Fleet */
/** @typedef {import('../api.js').NodeShown} FleetNode */

export function page() {
  const answer = signal(/** @type {import('../api.js').FleetAnswer | null} */ (null));
  const problem = signal(/** @type {Error | null} */ (null));
  const load = () => get('/api/fleet').then((found) => (answer.set(found), problem.set(null)), (error) => problem.set(error));
  loadOnChanges(['run'], load, LOAD_PAUSE_MS);
  every(LOOK_MS, load);
  load();
  const fleet = computed(() => answer()?.fleet ?? null);
  return html`<div class="stack">${() => {
    if (answer()) return fleet() ? null : empty('fleet', t('fleet.none'), { command: 'gateway worker --help' });
    return problem() ? failed(problem(), load) : loading(4);
  }}${() => fleet() && facts(/** @type {Fleet} */ (fleet()))}
    <section class="panel" ?hidden=${() => !fleet()}><header><h2>${t('fleet.nodes')}</h2></header>
      <ul class="nodes live-data">${each(() => fleet()?.nodes ?? [], (one) => one.name, (one) => node(one, () => fleet()?.answered_by === one().name))}</ul></section>
    ${() => fleet() && queues(/** @type {Fleet} */ (fleet()))}</div>`;
}

/** @param {Fleet} fleet */
function facts({ nodes, queues: all, differing_limits: differing, clock_ahead_ms: ahead, commit_lag_ms: lag }) {
  const living = nodes.filter((one) => one.alive);
  const leader = living.find((one) => one.leads);
  const sum = (/** @type {number[]} */ values) => values.reduce((a, b) => a + b, 0);
  const clock = Math.abs(ahead) < SMALLEST_CLOCK_MS ? t('fleet.clock.same') : t(ahead > 0 ? 'fleet.clock.ahead' : 'fleet.clock.behind', { time: duration(Math.abs(ahead) / 1000) });
  const fact = (/** @type {'members' | 'leader' | 'slots' | 'dispatched' | 'clock' | 'lag'} */ name, /** @type {string} */ value) =>
    html`<div><dt>${t(`fleet.${name}`, { n: living.length })}</dt><dd>${value}</dd></div>`;
  return html`<dl class="fleet-facts panel live-data"><div><dt>${t('fleet.alive')}</dt><dd>${t('fleet.members', { n: living.length })}</dd></div>
      ${leader ? fact('leader', leader.host) : null}
      ${fact('slots', t('now.slots', { n: sum(living.map((one) => one.running)), most: sum(living.map((one) => one.slots)) }))}
      ${fact('dispatched', number(sum(all.map((one) => one.dispatched))))}${fact('clock', clock)}${fact('lag', lag === null ? '–' : duration(lag / 1000))}</dl>
    ${leader ? null : html`<p class="fleet-trouble" role="status">${badge('waiting', t('fleet.leader.none'))}</p>`}
    ${differing.map((one) => html`<p class="fleet-trouble" role="status">${badge('waiting', t('fleet.limits', { agent: one.agent, limits: one.limits.map(limits).join('; ') }))}</p>`)}`;
}

/** @param {import('../api.js').AgentLimitsShown} told */
function limits({ host, max_concurrent: most, budget }) {
  return [t('fleet.limits.at', { host, n: most }), ...(budget ? [limitWords(budget)] : [])].join(', ');
}

/** @param {() => FleetNode} read @param {() => boolean} answers */
function node(read, answers) {
  const full = () => (read().running ? Math.min(1, read().running / Math.max(read().slots, 1)) : 0);
  const seconds = () => Math.round(Math.abs(read().lease_ends_in));
  const lease = () => t(read().alive ? 'fleet.lease' : 'fleet.lease.ended', { time: duration(Math.max(seconds(), 1)) });
  return html`<li class="node"><span class="node-name">${() => badge(read().alive ? 'ok' : 'failed', t(read().alive ? 'fleet.alive' : 'fleet.gone'))}
      <strong title=${() => read().name}>${() => read().host}</strong>${() => read().leads && html`<span class="tag">${t('fleet.leads')}</span>`}${() => answers() && html`<span class="tag">${t('fleet.answers')}</span>`}</span>
    <span class="muted">${() => `${t(`fleet.role.${read().role}`)} · ${read().version} · ${duration(secondsBetween(read().started_at))}`}</span>
    <span class="node-slots">${() => (read().slots || read().running
      ? html`<span class="slot-bar" aria-hidden="true"><span .style=${`width:${(100 * full()).toFixed(1)}%`}></span></span><span class="number">${t('now.slots', { n: read().running, most: read().slots })}</span>`
      : html`<span class="muted">${t('fleet.no.slots')}</span>`)}</span>
    <span class="muted node-lease">${lease}</span>
    <span class="node-agents">${() => read().agents.map((one) => html`<a class="tag" href=${link('/runs', { agent: one })}>${one}</a> `)}</span></li>`;
}

/** @param {Fleet} fleet */
function queues({ queues: all }) {
  const heading = t('fleet.queues');
  if (all.length === 0) return html`<section class="panel"><header><h2>${heading}</h2></header><p class="muted">${t('fleet.queues.none')}</p></section>`;
  const cell = (/** @type {import('../api.js').AgentQueueShown} */ one, /** @type {typeof COLUMNS[number]} */ name) => (name !== 'oldest_wait' ? number(one[name]) : one.dispatched ? duration(one.oldest_wait) : '–');
  return html`<section class="panel live-data"><header><h2>${heading}</h2></header><div class="scroll" tabindex="0" role="region" aria-label=${heading}><table class="figures"><thead><tr><th scope="col">${t('fleet.column.agent')}</th>
    ${COLUMNS.map((name) => html`<th scope="col">${t(`fleet.column.${name}`)}</th>`)}</tr></thead>
    <tbody>${all.map((one) => html`<tr><th scope="row"><a href=${link('/runs', { agent: one.name })}>${one.name}</a></th>${COLUMNS.map((name) => html`<td>${cell(one, name)}</td>`)}</tr>`)}</tbody></table></div></section>`;
}
