// @ts-check
/** The gateway itself: how it is, restarts, trends, what the doctor finds, its log, and who may come in. */

import { can, get, newKey, post, remove } from '../core/api.js';
import { bytes, clock, duration, every, exact, now, number, relative, secondsBetween } from '../core/format.js';
import { each, html } from '../core/html.js';
import { state as liveState } from '../core/live.js';
import { effect, onCleanup, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, copy, failed, loading, time } from '../parts/basics.js';
import { confirm, field, openDialog, openForm } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { addCommand } from '../parts/palette.js';
import { plotLine } from '../parts/plot.js';
import { segments } from '../parts/segments.js';
import { say } from '../parts/toast.js';

export const title = () => t('system.title');
export const styles = ['system'];
const HEALTH_MS = 10_000;
const SAMPLES_MS = 60_000;
const RESTART_LOOK_MS = 500;
const LONGEST_RESTART_MS = 120_000;
const MOST_LINES = 500;
/** entries of the audit log that are shown */
const AUDIT_ENTRIES = 50;
const SPANS = /** @type {const} */ ({ hour: 3_600_000, day: 86_400_000, week: 7 * 86_400_000 });
const LEVELS = ['debug', 'info', 'warning', 'error'];
/** @type {[name: string, format: (value: number) => string, floor: number][]} */
const PLOTS = [
  ['running', (n) => n.toFixed(n < 10 ? 1 : 0), 1], ['queued', (n) => n.toFixed(n < 10 ? 1 : 0), 1], ['ended', (n) => n.toFixed(1), 1], ['failed', (n) => n.toFixed(1), 1],
  ['accept_ms', (n) => `${n.toFixed(1)} ms`, 10], ['loop_lag_ms', (n) => `${n.toFixed(0)} ms`, 20], ['cpu_percent', (n) => `${n.toFixed(1)} %`, 10], ['memory_bytes', bytes, 0], ['database_bytes', bytes, 0],
];

export function page() {
  const health = signal(/** @type {any} */ (null));
  const problem = signal(/** @type {Error | null} */ (null));
  const alerts = signal(/** @type {any[]} */ ([]));
  const load = () => Promise.all([
    get('/health').then((found) => (health.set(found), problem.set(null)), (error) => problem.set(error)),
    get('/api/alerts', { limit: 1 }).then((found) => alerts.set(found.open), () => {}), // health says what is wrong
  ]);
  every(HEALTH_MS, load);
  effect(() => void (liveState() === 'live' && load()));
  return html`<div class="stack">${() => (health() ? state(health()) : problem() ? failed(problem(), load) : loading(2))}
    ${() => alerts().length > 0 && openAlerts(alerts())}${generations()}${trends()}${can('admin') ? html`${doctor()}${tokens()}${audit()}${log()}` : html`<p class="muted">${t('system.admin')}</p>`}</div>`;
}

/** @param {any} health */
function state(health) {
  const troubles = Object.entries(health.checks ?? {}).filter(([, found]) => found !== 'ok');
  const fact = (/** @type {string} */ name, /** @type {unknown} */ value) => html`<div><dt>${t(/** @type {any} */ (`system.${name}`))}</dt><dd>${value}</dd></div>`;
  return html`<section class="panel"><header>${badge(health.status === 'healthy' ? 'ok' : 'waiting', t(/** @type {any} */ (`system.${health.status}`)))}<span class="space"></span>
      ${can('admin') ? button(t('system.restart'), restart, { icon: 'retry' }) : null}</header>
    ${troubles.map(([name, found]) => html`<p class="trouble">${icon('waiting')}<span><strong>${name}</strong> ${found}</span></p>`)}
    <dl class="system-facts">${fact('version', health.version)}${fact('uptime', duration(health.uptime))}${fact('generation', health.generation)}
      ${fact('agent', health.agent ? `${health.agent.id} · ${health.agent.introduction}` : t('system.agent.none'))}${fact('address', location.host)}
      ${health.backup ? fact('backup', backup(health.backup)) : null}</dl></section>`;
}

/** When the last backup was made, and whether one failed since. @param {any} last */
function backup(last) {
  const made = last.last_success_at ? html`<span title=${last.file}>${time(last.last_success_at)} · ${bytes(last.bytes)}</span>` : t('system.backup.none');
  const lost = last.lost ? html` · <strong>${t('system.backup.lost', { n: last.lost })}</strong>` : null;
  const failed = last.last_failure_at ? html` <span class="muted">${t('system.backup.failed')} ${time(last.last_failure_at)}: ${last.error}</span>` : null;
  return html`${made}${lost}${failed}`;
}

/** What receivers of alerts were told and is not over. @param {any[]} open */
function openAlerts(open) {
  return html`<section class="panel"><header><h2>${t('system.alerts')}</h2></header>
    ${open.map((one) => html`<p class="trouble">${icon('waiting')}<span><strong>${one.kind}</strong> ${one.text} <span class="muted">${time(one.opened_at)}</span></span></p>`)}</section>`;
}

/** Restart the gateway, and show how far it is: this page stays, since the port stays open. */
async function restart() {
  if (!(await confirm(t('system.restart'), t('system.restart.sure'), t('system.restart'), { danger: false }))) return;
  const before = (await post('/api/gateway/restart', { reason: 'asked on the dashboard' })).generation;
  await openDialog(t('system.restart'), (close) => {
    const words = signal(t('system.restart.starting', { n: before + 1 }));
    const began = Date.now();
    let timer = 0;
    let isLeft = false;
    const look = async () => {
      const found = await get('/health').catch(() => null);
      if (isLeft) return;
      if (found?.generation && found.generation !== before) {
        say(t('system.restart.done', { n: found.generation, time: duration((Date.now() - began) / 1000) }));
        close();
      } else if (Date.now() - began > LONGEST_RESTART_MS) {
        words.set(t('system.restart.long'));
      } else timer = setTimeout(look, RESTART_LOOK_MS); // an answer may take longer than the pause
    };
    look();
    onCleanup(() => ((isLeft = true), clearTimeout(timer)));
    return html`<p role="status" class="line">${badge('running', '')}<span>${words}</span></p>`;
  });
}

/** The serving processes as a strip, and in words. */
function generations() {
  const all = signal(/** @type {any[] | null} */ (null));
  const load = () => get('/api/generations', { limit: 30 }).then((answer) => all.set(answer.generations), () => all.set([]));
  effect(() => void (liveState() === 'live' && load()));
  const look = (/** @type {any} */ one) => (one.ended_at === null ? 'running' : one.reason === 'crashed' ? 'failed' : 'ok');
  const words = (/** @type {any} */ one) => `${t('system.generation')} ${one.generation} · ${one.version} · ${exact(one.ready_at)} · ${duration(secondsBetween(one.ready_at, one.ended_at))}${one.reason ? ` · ${one.reason}` : ''}`;
  return html`<section class="panel"><header><h2>${t('system.generations')}</h2></header>
    ${() => all() && html`<ol class="strip" aria-hidden="true">${all()?.toReversed().map((one) => html`<li data-status=${look(one)} title=${words(one)} .style=${`flex-grow:${Math.log10(10 + secondsBetween(one.ready_at, one.ended_at)).toFixed(2)}`}></li>`)}</ol>`}
    <details><summary class="muted">${() => t('system.generations.all', { n: all()?.length ?? 0 })}</summary><ul class="generations">${() => all()?.map((one) => html`<li><span class="badge" data-status=${look(one)}>${icon(look(one))}<span class="number">${one.generation}</span></span>
      ${time(one.ready_at)}<span class="number">${() => duration(secondsBetween(one.ready_at, one.ended_at))}</span><span class="muted">${one.reason ?? t('system.serves')}</span><span class="muted">${one.version}, pid ${one.pid}</span></li>`)}</ul></details></section>`;
}

function trends() {
  const span = signal(/** @type {keyof typeof SPANS} */ ('hour'));
  const found = signal(/** @type {any} */ (null));
  const load = async () => {
    const wanted = span();
    const answer = await get('/api/samples', { since: new Date(now.peek() - SPANS[wanted]).toISOString(), points: 240 }).catch(() => null);
    if (answer && wanted === span.peek()) found.set(answer);
  };
  effect(() => (span(), void load()));
  every(SAMPLES_MS, load);
  /** Points with a gap where no samples were taken. @param {string} name */
  const points = (name) => {
    const { samples, step_seconds: step } = found() ?? { samples: [], step_seconds: 60 };
    return samples.flatMap((/** @type {any} */ one, /** @type {number} */ n) => {
      const at = Date.parse(one.at);
      const isAfterGap = n > 0 && at - Date.parse(samples[n - 1].at) > 2.5 * step * 1000;
      return isAfterGap ? [{ at: at - 1, value: null }, { at, value: one[name] }] : [{ at, value: one[name] }];
    });
  };
  return html`<section class="panel"><header><h2>${t('system.trends')}</h2><span class="space"></span>${segments(t('system.trends'), Object.keys(SPANS).map((name) => [name, t(/** @type {any} */ (`system.span.${name}`))]), span, (name) => span.set(/** @type {keyof typeof SPANS} */ (name)))}</header>
    ${() => found()?.samples.length === 0 && html`<p class="muted">${t('system.trends.none')}</p>`}
    <div class="plots" ?hidden=${() => !found()?.samples.length}>${PLOTS.map(([name, format, most]) => plotLine(t(/** @type {any} */ (`system.plot.${name}`)), () => points(name), { format, when: clock, most }))}</div></section>`;
}

function doctor() {
  const found = signal(/** @type {any} */ (null));
  const examine = async () => found.set(await get('/api/doctor', {}, { timeout: 60_000 }));
  const look = (/** @type {string} */ level) => ({ error: 'failed', warning: 'waiting' })[level] ?? 'ok';
  return html`<section class="panel"><header><h2>${t('system.doctor')}</h2><span class="space"></span>${() => found() && html`<span class="muted">${time(found().checked_at)}</span>`}${button(t('system.doctor.run'), examine, { icon: 'play' })}</header>
    ${() => (found() ? html`<ul class="findings">${found().findings.map((/** @type {any} */ one) => html`<li><span class="badge" data-status=${look(one.level)}>${icon(look(one.level))}<span class="hidden-text">${one.level}</span></span><span><strong>${one.check}</strong> ${one.finding}${[one.cause, one.remedy].filter(Boolean).map((text) => html`<span class="muted">${text}</span>`)}</span></li>`)}</ul>` : html`<p class="muted">${t('system.doctor.hint')}</p>`)}</section>`;
}

function tokens() {
  const all = signal(/** @type {any[]} */ ([]));
  const load = () => get('/api/tokens').then((answer) => all.set(answer.tokens));
  load().catch(() => {});
  const add = async () => {
    const key = newKey();
    let secret = '';
    const fields = html`${field(t('system.token.name'), html`<input name="name" required maxlength="64" pattern="[A-Za-z0-9][A-Za-z0-9._:@\\-]*" spellcheck="false" autofocus>`)}
      ${field(t('system.token.scope'), html`<select name="scope">${['read', 'write', 'admin'].map((scope) => html`<option value=${scope}>${t(/** @type {any} */ (`scope.${scope}`))}</option>`)}</select>`)}
      ${field(t('system.token.days'), html`<input name="days" type="number" min="1" max="36500">`, t('system.token.days.hint'))}`;
    const saved = await openForm(t('system.token.add'), fields, t('system.token.add'), async (data) => {
      const days = Number(data.get('days'));
      secret = (await post('/api/tokens', { name: String(data.get('name')), scope: String(data.get('scope')), ...(days && { days }) }, { key })).token;
    });
    if (!saved) return;
    await load();
    await openDialog(t('system.token.made'), (close) => html`<p>${t('system.token.once')}</p><pre tabindex="0">${secret}</pre><footer>${button(t('system.token.copy'), () => copy(secret), { icon: 'copy' })}${button(t('close'), () => close(), { kind: 'primary' })}</footer>`);
  };
  const revoke = async (/** @type {any} */ one) => {
    if (!(await confirm(t('system.token.revoke'), t('system.token.sure', { name: one.name }), t('system.token.revoke')))) return;
    await remove(`/api/tokens/${encodeURIComponent(one.name)}`);
    await load();
  };
  addCommand(t('system.token.add'), 'lock', add);
  return html`<section class="panel"><header><h2>${t('system.tokens')}</h2><span class="space"></span>${button(t('system.token.add'), add, { icon: 'plus' })}</header>
    ${() => all().length === 0 && html`<p class="muted">${t('system.tokens.none')}</p>`}
    <ul class="tokens">${each(all, (one) => one.name, (one) => html`<li>${icon(one().browser ? 'user' : 'lock')}<span class="token-name"><strong>${one().browser ?? one().name}</strong> <span class="muted">${one().browser ? one().name : ''}</span></span>
      <span class="muted">${t(/** @type {any} */ (`scope.${one().scope}`))}</span><span class="muted" title=${() => [one().last_address, one().last_client].filter(Boolean).join(' · ')}>${() => (one().last_used ? t('system.token.used', { ago: relative(one().last_used) }) : t('system.token.unused'))}</span>
      <span class="muted">${() => [...(one().agents ?? []), ...(one().sessions ?? [])].join(', ')}</span>
      <span class="muted">${() => (one().expires_at ? t('system.token.expires', { when: relative(one().expires_at) }) : '')}</span>${button(t('system.token.revoke'), () => revoke(one()), { kind: 'plain', icon: 'trash', iconOnly: true })}</li>`)}</ul></section>`;
}

/** Who did what, the newest first. It is read when it is opened. */
function audit() {
  const entries = signal(/** @type {any[]} */ ([]));
  const load = () => get('/api/audit', { limit: AUDIT_ENTRIES }).then((answer) => entries.set(answer.entries));
  const who = (/** @type {any} */ one) => one.who || t(one.who_kind === 'stranger' ? 'system.audit.stranger' : 'system.audit.gateway');
  const about = (/** @type {any} */ one) => [one.target, ...Object.entries(one.details).map(([name, text]) => `${name}: ${text}`), one.address].filter(Boolean).join(' · ');
  return html`<details class="panel" @toggle=${(/** @type {Event} */ event) => /** @type {HTMLDetailsElement} */ (event.currentTarget).open && load().catch(() => {})}><summary><h2>${t('system.audit')}</h2></summary>
    <ul class="findings">${each(entries, (one) => String(one.id), (one) => html`<li>${time(one().at)}<span><strong>${who(one())}</strong> ${one().action}${one().outcome === 'done' ? '' : ` (${one().outcome})`}<span class="muted">${about(one())}</span></span></li>`)}</ul></details>`;
}

/** The log as it grows. It is read only while it is open. */
function log() {
  const isOpen = signal(false);
  const level = signal('info');
  const wanted = signal('');
  const lines = signal(/** @type {{n: number, line: any, text: string}[]} */ ([]));
  let count = 0;
  effect(() => {
    if (!isOpen()) return;
    lines.set([]);
    const source = new EventSource(`/api/logs?follow=true&lines=200&level=${level()}`);
    /** @type {{n: number, line: any, text: string}[]} */
    let fresh = [];
    source.addEventListener('line', (event) => {
      const line = JSON.parse(event.data);
      const { time: at, level: how, event: name, ...rest } = line;
      fresh.push({ n: count++, line, text: `${name} ${Object.entries(rest).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join(' ')}` });
    });
    const timer = setInterval(() => {
      if (fresh.length) lines.update((all) => [...all, ...fresh].slice(-MOST_LINES));
      fresh = [];
    }, 250);
    source.onerror = () => source.readyState === EventSource.CONNECTING && (lines.set([]), (fresh = [])); // the last lines come again
    onCleanup(() => (source.close(), clearInterval(timer)));
  });
  const shown = () => lines().filter(({ text }) => text.toLowerCase().includes(wanted().toLowerCase()));
  const body = html`<div class="log" tabindex="0" role="log" aria-label=${t('system.log')}>${each(shown, ({ n }) => String(n), (row) => html`<p data-level=${row().line.level}><time title=${row().line.time ? exact(row().line.time) : ''}>${row().line.time?.slice(11, 19)}</time><span class="level">${row().line.level}</span><span>${row().text}</span></p>`)}</div>`;
  const place = /** @type {HTMLElement} */ (body.firstElementChild);
  effect(() => {
    shown();
    const isAtEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
    if (isAtEnd) requestAnimationFrame(() => (place.scrollTop = place.scrollHeight));
  });
  return html`<details class="panel" @toggle=${(/** @type {Event} */ event) => isOpen.set(/** @type {HTMLDetailsElement} */ (event.currentTarget).open)}><summary><h2>${t('system.log')}</h2></summary>
    <div class="log-tools">${segments(t('system.log.level'), LEVELS.map((name) => [name, name]), level, (name) => level.set(name))}
      <input type="search" aria-label=${t('system.log.find')} placeholder=${t('system.log.find')} @input=${(/** @type {Event} */ event) => wanted.set(/** @type {HTMLInputElement} */ (event.target).value)}><span class="muted number">${() => number(shown().length)}</span></div>${body}</details>`;
}
