// @ts-check
/** The form of a schedule, with its next times while they are typed. */

import { get, newKey, patch, post } from '../core/api.js';
import { relative, zoned } from '../core/format.js';
import { html, only } from '../core/html.js';
import { computed, effect, onCleanup, signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { budgetFields, readBudget } from '../parts/budgets.js';
import { field, openForm } from '../parts/dialog.js';
import { segments } from '../parts/segments.js';
import { jobName } from './job_name.js';
import { browserZone, dayName, describe, knowsZone, KINDS, listZones, makeExpression, readExpression, WEEK } from './timing.js';

const TYPING_PAUSE_MS = 300;
const SHOWN_TIMES = 5;
const HOUR = 3600;
const MINUTE = 60;
const UNITS = ['m', 'h', 'd', 's'];

/**
 * Make a schedule, or change one.
 * @param {any} job null for a new one
 * @param {{isCopy?: boolean}} [options] `isCopy`: make a new one that is like `job`
 * @returns {Promise<any>} the schedule; null if it was not saved
 */
export async function editSchedule(job, { isCopy = false } = {}) {
  const [agents, channels] = await Promise.all([
    get('/api/agents').then((answer) => answer.agents, () => []),
    get('/api/channels').then((answer) => answer.channels.filter((/** @type {any} */ one) => one.kind === 'chat' && one.state !== 'unconfigured'), () => []),
  ]);
  const isNew = !job || isCopy;
  const key = newKey();
  /** @type {any} */
  let saved = null;
  const name = isCopy ? t('schedules.copy.of', { name: jobName(job) }) : job?.name ?? '';
  /** @type {ReturnType<typeof when> | undefined} */
  let times;
  const fields = () => {
    times = when(job);
    return html`${field(t('schedules.prompt'), html`<textarea name="prompt" required autofocus .value=${job?.prompt ?? ''}></textarea>`, '', 'prompt message')}
      ${times.node}
      ${field(t('schedules.name'), html`<input name="name" maxlength="100" value=${name}>`, t('schedules.name.hint'), 'name')}
      <div class="schedule-pair">${field(t('schedules.agent'), agentSelect(agents, job), '', 'agentId')}
        ${field(t('schedules.model'), html`<input name="model" maxlength="128" value=${job?.model ?? ''} spellcheck="false">`, t('schedules.model.hint'), 'model')}</div>
      ${conversation(job)}${delivery(job, channels)}${more(job, isNew)}`;
  };
  const save = async (/** @type {FormData} */ data) => {
    const body = readBody(data, job, /** @type {NonNullable<typeof times>} */ (times));
    if (isNew) {
      const files = job?.attachments.length ? { attachments: job.attachments.map((/** @type {any} */ file) => ({ file: file.id })) } : {};
      saved = (await post('/api/cron/create', { ...Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null)), ...files }, { key })).job;
    } else saved = (await patch(`/api/cron/${job.id}`, changesOf(body, job))).job;
  };
  const title = isNew ? t('schedules.add') : t('schedules.edit', { name: name || t('schedules.this') });
  await openForm(title, fields, isNew ? t('schedules.make') : t('save'), save, { side: true });
  return saved;
}

/** The choice of times. @param {any} job */
function when(job) {
  const zone = signal(job?.timezone ?? browserZone());
  const first = readExpression(job?.schedule ?? '', zone.peek());
  const choice = signal(first);
  const kind = computed(() => choice().kind);
  const change = (/** @type {Partial<import('./timing.js').Choice>} */ part) => choice.update((all) => ({ ...all, ...part }));
  // What was not touched stays as it was written, also where the choices would write it in another way.
  const expression = computed(() => (job && choice() === first && zone() === job.timezone ? job.schedule : makeExpression(choice(), zone())));
  const node = html`<fieldset class="field schedule-times"><legend class="field-label">${t('schedules.when')}</legend>
    ${segments(t('schedules.when'), KINDS.map((one) => [one, t(/** @type {any} */ (`schedules.kind.${one}`))]), kind, (one) => change({ kind: /** @type {any} */ (one) }))}
    <div class="schedule-choice">${() => choiceFields(kind(), choice.peek(), change)}
      ${field(t('schedules.zone'), zoneInput(zone), '', 'timezone')}</div>
    ${preview(expression, zone, kind)}</fieldset>`;
  return { node, expression, zone };
}

/** @param {string} kind @param {import('./timing.js').Choice} choice @param {(part: Partial<import('./timing.js').Choice>) => void} change */
function choiceFields(kind, choice, change) {
  const read = (/** @type {(value: string) => void} */ take) => (/** @type {Event} */ event) => take(/** @type {HTMLInputElement} */ (event.target).value);
  if (kind === 'cron') return field(t('schedules.cron'), html`<input class="schedule-cron" value=${choice.cron} required maxlength="200" spellcheck="false" autocapitalize="off" @input=${read((cron) => change({ cron }))}>`, t('schedules.cron.hint'));
  if (kind === 'once') return field(t('schedules.once'), html`<input type="datetime-local" required value=${choice.at} @input=${read((at) => change({ at }))}>`);
  if (kind === 'interval') {
    return html`<div class="schedule-every">${field(t('schedules.every'), html`<input type="number" min="1" max="31622400" step="1" required value=${choice.every} @input=${read((every) => change({ every }))}>`)}
      <select aria-label=${t('schedules.unit')} .value=${choice.unit} @change=${read((unit) => change({ unit }))}>${UNITS.map((unit) => html`<option value=${unit}>${t(/** @type {any} */ (`schedules.unit.${unit}`))}</option>`)}</select></div>`;
  }
  let days = choice.days;
  const toggle = (/** @type {number} */ day) => change({ days: (days = days.includes(day) ? days.filter((one) => one !== day) : [...days, day]) });
  const week = () => html`<div class="schedule-days" role="group" aria-label=${t('schedules.weekly')}>${WEEK.map((day) => html`<label><input type="checkbox" .checked=${days.includes(day)} @change=${() => toggle(day)}><span>${dayName(day)}</span></label>`)}</div>`;
  return html`${kind === 'weekly' ? week() : null}${field(t('schedules.time'), html`<input type="time" required value=${choice.time} @input=${read((time) => change({ time }))}>`)}`;
}

/** @param {import('../core/signals.js').Signal<string>} zone */
function zoneInput(zone) {
  const take = (/** @type {Event} */ event) => zone.set(/** @type {HTMLInputElement} */ (event.target).value.trim());
  // A click selects what is there, so that typing looks for another zone at once.
  return html`<input list="schedule-zones" value=${zone.peek()} required maxlength="64" spellcheck="false" autocomplete="off" @input=${take} @focus=${(/** @type {Event} */ event) => /** @type {HTMLInputElement} */ (event.target).select()}>
    <datalist id="schedule-zones">${listZones().map((one) => html`<option value=${one}></option>`)}</datalist>`;
}

/** What the choice means: the expression, its next times, or what is wrong with it. @param {() => string} expression @param {() => string} zone @param {() => string} kind */
function preview(expression, zone, kind) {
  const times = signal(/** @type {string[]} */ ([]));
  const problem = only(html`<p class="form-error" role="alert" data-problem="schedule cron"></p>`);
  const tell = (/** @type {string} */ words) => {
    const [, name, rest] = /^(\w+): (.+)$/s.exec(words) ?? [];
    const ofZone = problem.closest('fieldset')?.querySelector('[data-problem=timezone]');
    problem.textContent = name === 'timezone' ? '' : rest ?? words;
    if (ofZone) ofZone.textContent = name === 'timezone' ? rest : '';
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asked = new AbortController();
  const ask = async (/** @type {string} */ schedule, /** @type {string} */ timezone) => {
    const { signal: mine } = (asked = new AbortController());
    try {
      const found = (await get('/api/cron/next', { schedule, timezone, count: SHOWN_TIMES }, { signal: mine })).times;
      times.set(found);
      tell(found.length ? '' : t('schedules.over'));
    } catch (error) {
      if (mine.aborted) return;
      times.set([]);
      tell(/** @type {Error} */ (error).message);
    }
  };
  effect(() => {
    const [schedule, timezone, ofKind] = [expression(), zone(), kind()];
    clearTimeout(timer);
    asked.abort();
    const missing = !schedule ? t(ofKind === 'weekly' ? 'schedules.missing.day' : 'schedules.missing') : ofKind === 'once' && !knowsZone(timezone) ? `timezone: ${t('schedules.zone.unknown')}` : '';
    timer = setTimeout(() => (missing ? (times.set([]), tell(missing)) : ask(schedule, timezone)), TYPING_PAUSE_MS);
  });
  onCleanup(() => (clearTimeout(timer), asked.abort()));
  const words = () => [describe(expression(), zone())].find((one) => one !== expression()) ?? '';
  return html`${problem}<div class="schedule-preview" role="status" aria-label=${t('schedules.next')}><p class="line"><span>${() => words()}</span><code>${() => expression() || '…'}</code></p>
    <ol>${() => times().map((at) => html`<li><time datetime=${at}>${zoned(at, zone())}</time> <span class="muted">${() => relative(at)}</span></li>`)}</ol></div>`;
}

/** @param {any[]} agents @param {any} job */
function agentSelect(agents, job) {
  const chosen = agents.find((one) => [one.id, one.slug].includes(job?.agent_id ?? job?.agentId));
  const named = job?.agentId ?? '';
  const standard = agents.find((one) => one.is_default);
  return html`<select name="agent" .value=${chosen?.slug ?? named}><option value="">${t('schedules.agent.default', { name: standard?.name ?? '' })}</option>
    ${agents.map((one) => html`<option value=${one.slug}>${one.name}</option>`)}${named && !chosen ? html`<option value=${named}>${named}</option>` : null}</select>`;
}

/** In which conversation its runs are. @param {any} job */
function conversation(job) {
  const chosen = signal(job?.session ? 'named' : job?.fresh ? 'fresh' : 'own');
  const choose = (/** @type {Event} */ event) => chosen.set(/** @type {HTMLSelectElement} */ (event.target).value);
  return html`${field(t('schedules.session'), html`<select name="conversation" .value=${chosen.peek()} @change=${choose}>${['own', 'fresh', 'named'].map((one) => html`<option value=${one}>${t(/** @type {any} */ (`schedules.session.${one}`))}</option>`)}</select>`, '', 'session')}
    ${() => chosen() === 'named' && html`<div class="schedule-pair">${field(t('schedules.session.name'), html`<input name="session" required value=${job?.session ?? ''} spellcheck="false">`)}
      <label class="field inline"><input type="checkbox" name="fresh" .checked=${job?.fresh ?? false}>${t('schedules.session.each')}</label></div>`}`;
}

/** Where its answers are sent. @param {any} job @param {any[]} channels */
function delivery(job, channels) {
  const channel = signal(job?.deliver?.channel ?? '');
  const choose = (/** @type {Event} */ event) => channel.set(/** @type {HTMLSelectElement} */ (event.target).value);
  const names = [...new Set([...channels.map((one) => one.name), ...(job?.deliver ? [job.deliver.channel] : [])])];
  const chats = () => channels.find((one) => one.name === channel())?.chats ?? [];
  return html`<div class="schedule-pair">${field(t('schedules.channel'), html`<select name="channel" .value=${channel.peek()} @change=${choose}><option value="">${t('schedules.channel.none')}</option>${names.map((name) => html`<option value=${name}>${name}</option>`)}</select>`, names.length ? '' : t('schedules.channel.hint'), 'deliver')}
    ${() => channel() && field(t('schedules.chat'), html`<input name="chat" required list="schedule-chats" value=${job?.deliver?.channel === channel() ? job.deliver.chat_id : ''} spellcheck="false"><datalist id="schedule-chats">${chats().map((/** @type {any} */ one) => html`<option value=${one.chat}>${one.title}</option>`)}</datalist>`)}</div>
    ${field(t('schedules.webhook'), html`<input type="url" name="webhook" maxlength="2000" value=${job?.webhook ?? ''} placeholder="https://" spellcheck="false">`, t('schedules.webhook.hint'), 'webhook')}`;
}

/** What few people change, folded. @param {any} job @param {boolean} isNew */
function more(job, isNew) {
  const choices = (/** @type {string} */ name, /** @type {string[]} */ all, /** @type {string} */ value) => field(t(/** @type {any} */ (`schedules.${name}`)), html`<select name=${name} .value=${value}>${all.map((one) => html`<option value=${one}>${t(/** @type {any} */ (`schedules.${name}.${one || 'auto'}`))}</option>`)}</select>`, '', name);
  const amount = (/** @type {string} */ name, /** @type {unknown} */ value, { least = 0, step = 'any' } = {}) => field(t(/** @type {any} */ (`schedules.${name}`)), html`<input type="number" name=${name} min=${least} step=${step} value=${value ?? ''}>`, t(/** @type {any} */ (`schedules.${name}.hint`)), name);
  const folded = only(html`<details class="schedule-more"><summary>${t('schedules.more')}</summary><div class="form">
    ${choices('misfire', ['skip', 'once', 'all'], job?.misfire ?? 'once')}${choices('overlap', [...(isNew && !job ? [''] : []), 'queue_one', 'queue', 'skip', 'replace'], job?.overlap ?? '')}
    <div class="schedule-pair">${amount('max_age', scale(job?.max_age, 1 / HOUR))}${amount('jitter', job?.jitter || '')}${amount('timeout', scale(job?.timeout, 1 / MINUTE))}${amount('max_failures', job?.max_failures, { step: '1' })}</div>
    ${budgetFields(t('schedules.budget'), job?.budget)}
    ${field(t('schedules.secret'), html`<input name="webhook_secret" autocomplete="off" spellcheck="false" placeholder="whsec_…">`, t('schedules.secret.hint'), 'webhook_secret')}</div></details>`);
  folded.addEventListener('invalid', () => folded.setAttribute('open', ''), true); // else the browser could not show what is wrong
  return folded;
}

/** @param {number | null | undefined} value @param {number} by */
const scale = (value, by) => (value === null || value === undefined ? value : Math.round(value * by * 1e6) / 1e6);

/**
 * Return what the form says, in the fields of POST /api/cron/create. Null: not set; the gateway's own default.
 * @param {FormData} data
 * @param {any} job
 * @param {{expression: () => string, zone: () => string}} times
 * @returns {Record<string, any>}
 */
function readBody(data, job, { expression, zone }) {
  const text = (/** @type {string} */ name) => String(data.get(name) ?? '').trim();
  const amount = (/** @type {string} */ name) => (text(name) ? Number(text(name)) : null);
  const conversationKind = text('conversation');
  return {
    name: text('name'),
    prompt: String(data.get('prompt') ?? ''),
    schedule: expression(),
    timezone: zone(),
    agentId: text('agent') || null,
    model: text('model') || null,
    session: conversationKind === 'named' ? text('session') : null,
    fresh: conversationKind === 'fresh' || (conversationKind === 'named' && data.has('fresh')),
    deliver: text('channel') ? { channel: text('channel'), chat_id: text('chat') } : null,
    webhook: text('webhook') || null,
    webhook_secret: text('webhook_secret') || null,
    misfire: text('misfire'),
    overlap: text('overlap') || null,
    max_age: scale(amount('max_age'), HOUR) ?? null,
    jitter: amount('jitter') ?? 0,
    timeout: scale(amount('timeout'), MINUTE) ?? null,
    max_failures: amount('max_failures') ?? (job ? 0 : null),
    budget: readBudget(data),
  };
}

/** Return those fields that are not as before: an edit says nothing about the others. @param {Record<string, any>} body @param {any} job */
function changesOf(body, job) {
  const changed = Object.entries(body).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(job[name] ?? null));
  const signed = body.webhook_secret ? { webhook: body.webhook } : {};
  return { ...Object.fromEntries(changed), ...signed };
}
