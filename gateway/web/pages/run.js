// @ts-check
/** One run: its state and numbers, what went on when, what was said, and every event. */

import { follow } from '../chat/answer.js';
import { can, get, newKey, post } from '../core/api.js';
import { cost, duration, exact, number, secondsBetween, short, shortId } from '../core/format.js';
import { each, html } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { loadOnChanges } from '../core/reload.js';
import { go, link } from '../core/router.js';
import { computed, effect, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, copy, copyableId, failed, fileLink, loading, time } from '../parts/basics.js';
import { confirm } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { growingMarkdown, prose } from '../parts/markdown.js';
import { addCommand } from '../parts/palette.js';
import { permissionCard } from '../parts/permission.js';
import { groupKey, nothingChosen, timeline } from '../parts/timeline.js';

export const title = (/** @type {Record<string, string>} */ params) => t('run.title', { id: shortId(params.id) });
export const styles = ['run', 'code'];
const FINAL = ['succeeded', 'failed', 'cancelled'];
const LOAD_PAUSE_MS = 500;
const EVENTS_PAGE = 200;

/** @typedef {{task: any, permissions: any[], deliveries: any[], result_html?: string | null}} Details */
/** @typedef {() => ReturnType<typeof growingMarkdown> | null} Written */

/** @param {{params: Record<string, string>}} place */
export function page({ params }) {
  const id = params.id;
  const details = signal(/** @type {Details | null} */ (null));
  const groups = signal(/** @type {import('../parts/timeline.js').Group[]} */ ([]));
  const times = signal(/** @type {{waited_seconds: number, worked_seconds: number, complete: boolean} | null} */ (null));
  const problem = signal(/** @type {Error | null} */ (null));

  const load = async () => {
    try {
      const [found, line] = await Promise.all([get(`/api/tasks/${id}`, { render: 'html' }), get(`/api/tasks/${id}/timeline`)]);
      details.set(found);
      groups.set(line.groups);
      times.set(line);
      problem.set(null);
    } catch (error) {
      problem.set(/** @type {Error} */ (error));
    }
  };
  const loadSoon = loadOnChanges(['run', 'permission', 'delivery'], load, LOAD_PAUSE_MS, (changes) => {
    const known = new Set(details.peek()?.deliveries.map((one) => one.id));
    return changes.some(({ topic, ref }) => ref.split('/')[0] === id || (topic === 'delivery' && (known.has(ref) || isFinal())));
  });
  const isFinal = () => FINAL.includes(details.peek()?.task.status ?? '');
  const written = watch(id, details, loadSoon);
  loadSoon();
  return html`${() => {
    if (problem() && !details()) return failed(problem(), load);
    return details() ? null : loading(6);
  }}${computedNode(() => details() !== null, () => content(/** @type {() => Details} */ (details), groups, times, written))}`;
}

/** Return what shows a node as soon as, and as long as, something holds. @param {() => boolean} when @param {() => Node} make */
function computedNode(when, make) {
  const shown = computed(when);
  return () => (shown() ? untracked(make) : null);
}

/**
 * Load again with each event of a run at work.
 * @param {string} id @param {() => Details | null} details @param {() => void} load
 * @returns {Written} what it has written so far
 */
function watch(id, details, load) {
  const written = signal(/** @type {ReturnType<typeof growingMarkdown> | null} */ (null));
  const take = (/** @type {string} */ kind, /** @type {any} */ data) => {
    if (kind === 'status') written.set(null); // what a broken attempt wrote is no part of the answer
    if (kind === 'text') {
      if (!written.peek()) written.set(growingMarkdown());
      written.peek()?.append(data.delta);
    }
    load();
  };
  const isAtWork = computed(() => details() !== null && !FINAL.includes(details()?.task.status));
  effect(() => {
    if (isAtWork()) untracked(() => follow({ run: id, last: 0, isEnded: signal(false), take }));
  });
  return written;
}

/** @param {() => Details} details @param {() => import('../parts/timeline.js').Group[]} groups @param {() => any} times @param {Written} written */
function content(details, groups, times, written) {
  const task = () => details().task;
  const { id } = task();
  const chosen = nothingChosen();
  // It is shown again only when something of it has changed: what is open in it stays open.
  const text = computed(() => JSON.stringify(groups().find((one) => groupKey(one) === chosen()) ?? null));
  const shown = () => JSON.parse(text());
  // The page is loaded again with each event: what stays the same keeps its elements, and so the focus.
  const status = computed(() => task().status);
  const error = computed(() => task().error);
  const why = computed(() => task().waits?.why);
  return html`<div class="run-page">
    <header class="run-head"><div class="line">${() => badge(status())}${copyableId(task().id)}
      ${task().parent ? html`<a href=${link(`/runs/${task().parent}`)}>${t('run.parent')}</a>` : null}${task().retry_of ? html`<a href=${link(`/runs/${task().retry_of}`)}>${t('run.retry.of')}</a>` : null}
      <span class="space"></span>${actions(task)}</div>
      ${() => error() && html`<p class="run-error" role="alert">${icon('failed')}<span>${error()}</span></p>`}
      ${() => why() && html`<p class="muted">${t('run.waits', { why: why() })}</p>`}</header>
    ${each(() => details().permissions, (one) => one.id, (one) => permissionCard(one))}
    ${facts(task, times)}
    <div class="run-columns"><section class="panel"><header><h2>${t('timeline')}</h2><span class="space"></span><span class="muted">${() => times() && t('run.times', { waited: duration(times().waited_seconds), worked: duration(times().worked_seconds) })}</span></header>
      ${timeline(groups, { chosen })}${() => times() && !times().complete && html`<p class="muted">${t('run.timeline.cut')}</p>`}
      ${() => chosenGroup(id, shown())}</section>
    <section class="panel talk"><header><h2>${t('run.talk')}</h2></header>${talk(details, written)}</section></div>
    ${deliveries(details)}${events(task)}</div>`;
}

/** @param {() => any} task */
function actions(task) {
  const cancel = async () => {
    if (await confirm(t('run.cancel'), t('run.cancel.sure'), t('run.cancel'))) await post(`/api/tasks/${task().id}/cancel`);
  };
  const key = newKey();
  const retry = async () => go(link(`/runs/${(await post(`/api/tasks/${task().id}/retry`, {}, { key })).task.id}`));
  const release = () => post(`/api/tasks/${task().id}/release`);
  const save = async () => download(`run-${task().id}.json`, JSON.stringify(await get(`/api/tasks/${task().id}`), null, 2));
  if (can('write')) {
    addCommand(t('run.cancel'), 'stop', cancel);
    bindKey('r', t('run.retry'), () => ['failed', 'cancelled'].includes(task().status) && retry());
  }
  const isLive = computed(() => !FINAL.includes(task().status));
  const status = computed(() => task().status);
  const isAsked = computed(() => task().cancel_requested);
  return html`${() => can('write') && status() === 'held' && button(t('run.release'), release, { kind: 'primary', icon: 'play' })}
    ${() => can('write') && isLive() && button(isAsked() ? t('run.cancelling') : t('run.cancel'), cancel, { kind: 'danger', icon: 'stop', disabled: isAsked })}
    ${() => can('write') && ['failed', 'cancelled'].includes(status()) && button(t('run.retry'), retry, { kind: 'primary', icon: 'retry' })}
    <a class="button" href=${link(`/chat/${encodeURIComponent(task().session)}`)}>${icon('chat')}<span>${t('run.session')}</span></a>
    ${button(t('run.curl'), () => copy(curl(task())), { kind: 'plain', icon: 'copy', title: t('run.curl.title') })}${button(t('run.download'), save, { kind: 'plain', icon: 'download', iconOnly: true })}`;
}

/** Return the request that makes the same run, for a shell. @param {any} task */
function curl(task) {
  const body = { input: task.input, agentId: task.agentId, session: task.session, ...(task.model && { model: task.model }), ...(Object.keys(task.labels).length && { labels: task.labels }) };
  const quote = (/** @type {string} */ text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  return `curl -s ${location.origin}/api/tasks -H "Authorization: Bearer $(gateway config token)" -H 'Content-Type: application/json' -d ${quote(JSON.stringify(body))}`;
}

/** Save a text as a file. @param {string} name @param {string} text */
function download(name, text) {
  const reader = new FileReader();
  reader.onload = () => Object.assign(document.createElement('a'), { href: String(reader.result), download: name }).click();
  reader.readAsDataURL(new Blob([text], { type: 'application/json' }));
}

/** @param {() => any} task @param {() => any} times */
function facts(task, times) {
  const fact = (/** @type {string} */ name, /** @type {unknown} */ value) => html`<div><dt>${t(/** @type {any} */ (`run.fact.${name}`))}</dt><dd>${value}</dd></div>`;
  const tokens = () => (task().usage.tokens_known || task().usage.input ? t('run.tokens', { input: short(task().usage.input), output: short(task().usage.output) }) : t('run.unknown'));
  const took = () => (task().started_at ? duration(secondsBetween(task().started_at, task().finished_at)) : '–');
  const { agentId: agent, model, source, submitted_by: by, session, labels } = task();
  return html`<dl class="facts panel">${fact('agent', html`<a href=${link(`/agents/${encodeURIComponent(agent)}`)}>${agent}</a> ${model ? html`<span class="muted">${model}</span>` : null}`)}
    ${fact('from', html`${source} ${by ? html`<span class="muted">${t('run.by', { name: by })}</span>` : null}`)}
    ${fact('attempt', () => t('run.attempts', { n: task().attempt, most: task().max_attempts }))}
    ${fact('took', took)}
    ${fact('tokens', tokens)}
    ${fact('cost', () => (task().usage.cost_known || task().usage.cost ? cost(task().usage.cost) : t('run.unknown')))}
    ${fact('created', time(task().created_at))}
    ${fact('session', html`<a href=${link('/runs', { session })}>${session}</a>`)}
    ${Object.keys(labels).length > 0 ? fact('labels', Object.entries(labels).map(([name, value]) => html`<a class="tag" href=${link('/runs', { label: `${name}=${value}` })}>${name}=${/** @type {string} */ (value)}</a> `)) : null}</dl>`;
}

/** Show what a chosen group of the timeline says, with its events. @param {string} id @param {import('../parts/timeline.js').Group | null} group */
function chosenGroup(id, group) {
  if (!group) return null;
  const found = signal(/** @type {any[] | null} */ (null));
  if (group.first_event && group.last_event) {
    const count = Math.min(EVENTS_PAGE, group.last_event - group.first_event + 1);
    get(`/api/tasks/${id}/events`, { after: group.first_event - 1, limit: count }).then((answer) => found.set(answer.events), () => found.set([]));
  }
  return html`<div class="chosen-step"><h3>${group.title}</h3><p class="muted">${exact(group.started_at)}${group.ended_at ? ` · ${duration(secondsBetween(group.started_at, group.ended_at))}` : ''}</p>
    ${group.error ? html`<p class="run-error">${icon('failed')}<span>${group.error}</span></p>` : null}${group.detail ? html`<pre tabindex="0">${group.detail}</pre>` : null}
    ${() => found()?.map(eventRow)}</div>`;
}

/** The prompt and the answer. @param {() => Details} details @param {Written} written */
function talk(details, written) {
  const task = () => details().task;
  const isLive = computed(() => !FINAL.includes(task().status));
  const status = computed(() => task().status);
  const answer = computed(() => task().result);
  const markup = computed(() => details().result_html);
  const finish = computed(() => task().finish);
  return html`<div class="message user"><p class="plain-text">${task().input}</p>${files(task().attachments)}</div>
    ${() => {
      if (isLive()) return html`${written() && html`<div class="message">${written()?.element}</div>`}<p class="muted">${badge(status())}</p>`;
      if (markup()) return html`<div class="message prose">${prose(markup() ?? '')}</div>`;
      return answer() ? html`<div class="message"><p class="plain-text">${answer()}</p></div>` : html`<p class="muted">${t('run.no.answer')}</p>`;
    }}${() => files(task().files)}${() => finish() && finish() !== 'stop' && html`<p class="muted">${t(/** @type {any} */ (`run.finish.${finish()}`))}</p>`}`;
}

/** @param {any[]} all */
const files = (all) => all.length > 0 && html`<div class="line">${all.map(fileLink)}</div>`;

/** @param {() => Details} details */
function deliveries(details) {
  return html`${() => details().deliveries.length > 0 && html`<section class="panel"><header><h2>${t('deliveries.title')}</h2></header><ul class="plain-list">
    ${details().deliveries.map((one) => html`<li class="line">${badge(one.status)}<a href=${link(`/deliveries/${one.id}`)}>${one.kind} · ${one.address}</a>
      <span class="muted">${one.error ?? ''}</span><span class="space"></span>${time(one.created_at)}</li>`)}</ul></section>`}`;
}

/** Every event, loaded when asked for. @param {() => any} task */
function events(task) {
  const all = signal(/** @type {any[]} */ ([]));
  const hasMore = signal(true);
  const more = async () => {
    const answer = await get(`/api/tasks/${task().id}/events`, { after: all.peek().at(-1)?.id ?? 0, limit: EVENTS_PAGE });
    all.update((known) => [...known, ...answer.events]);
    hasMore.set(answer.events.length > 0 && (all.peek().at(-1)?.id ?? 0) < task().last_event);
  };
  const open = (/** @type {Event} */ event) => /** @type {HTMLDetailsElement} */ (event.currentTarget).open && all.peek().length === 0 && more();
  return html`<details class="panel events" @toggle=${open}><summary><h2>${t('run.events')}</h2><span class="muted number">${() => number(task().last_event)}</span></summary>
    <div>${each(all, (one) => String(one.id), (one) => eventRow(one()))}</div>${() => hasMore() && all().length > 0 && button(t('run.events.more'), more)}</details>`;
}

/** @param {any} event */
function eventRow(event) {
  const { kind, ...rest } = event.data;
  return html`<details class="event"><summary><span class="number muted">${event.id}</span><span class="event-kind">${kind}</span><span class="event-text">${JSON.stringify(rest)}</span><time class="muted" datetime=${event.at} title=${exact(event.at)}>${event.at.slice(11, 23)}</time></summary><pre tabindex="0">${JSON.stringify(event.data, null, 2)}</pre></details>`;
}
