// @ts-check
/** The agents: what each is, whether it could answer now, what it does, and what is left of its budget. */

import { can, get, newKey, post, put, remove } from '../core/api.js';
import { duration, number } from '../core/format.js';
import { each, html } from '../core/html.js';
import { loadOnChanges } from '../core/reload.js';
import { go, link } from '../core/router.js';
import { signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, empty, failed, loading } from '../parts/basics.js';
import { bars } from '../parts/bars.js';
import { budgetFields, limitWords, readBudget } from '../parts/budgets.js';
import { confirm, field, openDialog, openForm } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { addCommand } from '../parts/palette.js';

export const title = () => t('agents.title');
export const styles = ['agents'];
const LOAD_PAUSE_MS = 1000;
/** in the order in which they are told */
const FILE_KINDS = /** @type {const} */ (['image', 'audio', 'pdf', 'other']);

/** @param {{params: Record<string, string>}} place */
export function page({ params }) {
  const agents = signal(/** @type {any[] | null} */ (null));
  const outcomes = signal(/** @type {Record<string, any[]>} */ ({}));
  const problem = signal(/** @type {Error | null} */ (null));
  const load = async () => {
    try {
      const [found, last] = await Promise.all([get('/api/agents'), get('/api/agents/outcomes', { each: 30 })]);
      agents.set(found.agents);
      outcomes.set(last.agents);
      problem.set(null);
    } catch (error) {
      problem.set(/** @type {Error} */ (error));
    }
  };
  loadOnChanges(['agent', 'run'], load, LOAD_PAUSE_MS);
  load();
  // Without its bases, the form would have nothing to build on.
  const add = async () => edit(null, agents.peek() ?? (await get('/api/agents')).agents, load);
  if (can('admin')) addCommand(t('agents.add'), 'plus', add);
  return html`<div class="stack">${can('admin') ? html`<div class="line"><span class="space"></span>${button(t('agents.add'), add, { kind: 'primary', icon: 'plus' })}</div>` : null}
    ${() => {
      const all = agents();
      if (!all) return problem() ? failed(problem(), load) : loading(4);
      return all.length ? null : empty('agents', t('agents.empty'), { command: 'gateway config path' });
    }}<ul class="agents">${each(() => agents() ?? [], (agent) => agent.id, (agent) => card(agent, () => outcomes()[agent().id] ?? [], agents, load, params.id))}</ul></div>`;
}

/**
 * @param {() => any} agent
 * @param {() => any[]} outcomes
 * @param {() => any[] | null} agents
 * @param {() => unknown} load
 * @param {string} [shown] the agent that the address names: its details are open
 */
function card(agent, outcomes, agents, load, shown) {
  const isShown = [agent().id, agent().slug].includes(shown ?? '');
  const fact = (/** @type {string} */ name, /** @type {() => unknown} */ value) => html`<div><dt>${t(/** @type {any} */ (`agents.${name}`))}</dt><dd>${value}</dd></div>`;
  return html`<li class=${`panel agent ${isShown ? 'shown' : ''}`}><header><h2>${() => agent().name}</h2>${() => badge(agent().status)}
      ${() => agent().is_default && html`<span class="tag">${t('agents.default')}</span>`}<span class="space"></span>${actions(agent, agents, load)}</header>
    <dl class="agent-facts">${fact('backend', () => agent().backend)}${fact('model', () => agent().model ?? t('agents.model.own'))}
      ${fact('slots', () => t('now.slots', { n: agent().current_tasks, most: agent().max_concurrent }))}
      ${fact('queued', () => (agent().queued ? html`<a href=${link('/runs', { agent: agent().slug, status: 'queued' })}>${number(agent().queued)}</a>` : '0'))}
      ${fact('timeout', () => duration(agent().timeout))}${fact('files', () => (agent().accepts === null ? t('run.unknown') : FILE_KINDS.filter((kind) => agent().accepts.includes(kind)).map((kind) => t(`agents.files.${kind}`)).join(', ') || t('agents.files.none')))}
      ${() => agent().budget && fact('budget', () => limitWords(agent().budget))}</dl>
    <p class="line"><span class="muted">${t('agents.last')}</span>${() => bars(() => outcomes().map((one) => ({ status: one.status, at: one.finished_at, label: duration(one.seconds), href: link(`/runs/${one.task}`) })))}
      ${() => outcomes().length === 0 && html`<span class="muted">${t('agents.last.none')}</span>`}<span class="space"></span>
      <a href=${link('/runs', { agent: agent().slug })}>${t('agents.runs')}</a></p>
    ${health(agent().id, isShown)}</li>`;
}

/** Whether an agent could answer now. Its backend is asked only when someone wants to know. @param {string} id @param {boolean} isOpen */
function health(id, isOpen) {
  const found = signal(/** @type {any} */ (null));
  const problem = signal('');
  const ask = () => get(`/api/agents/${encodeURIComponent(id)}`).then(found.set, (error) => problem.set(error.message));
  const open = (/** @type {Event} */ event) => /** @type {HTMLDetailsElement} */ (event.currentTarget).open && !found.peek() && ask();
  return html`<details ?open=${isOpen} @toggle=${open}><summary>${t('agents.health')}</summary><div class="agent-health" role="status">${() => {
    if (problem()) return html`<p class="form-error">${problem()}</p>`;
    if (!found()) return html`<p class="muted">${t('agents.health.asking')}</p>`;
    const { health: told, models, modes, agent } = found();
    return html`<p class="line"><span class="badge" data-status=${told.ok ? 'ok' : 'failed'}>${icon(told.ok ? 'succeeded' : 'failed')}${told.ok ? t('agents.health.ok') : t('agents.health.not')}</span>
        <span>${[told.version, told.detail].filter(Boolean).join(' · ')}</span></p>${told.missing ? html`<p>${told.missing}</p>` : null}
      ${choices(t('agents.models'), models)}${choices(t('agents.modes'), modes)}${agent.system_prompt ? html`<h3>${t('agents.prompt')}</h3><pre tabindex="0" class="agent-prompt">${agent.system_prompt}</pre>` : null}`;
  }}</div></details>`;
}

/** @param {string} label @param {{id: string, name: string}[] | null} all */
function choices(label, all) {
  if (!all?.length) return null;
  return html`<h3>${label} (${all.length})</h3><p class="agent-choices" tabindex="0">${all.map(({ id, name }) => html`<span class="tag" title=${name}>${id}</span> `)}</p>`;
}

/** @param {() => any} agent @param {() => any[] | null} agents @param {() => unknown} load */
function actions(agent, agents, load) {
  if (!can('admin')) return null;
  if (agent().base === null) return button(t('agents.configured'), explain, { kind: 'plain', icon: 'lock' });
  const path = `/api/agents/${encodeURIComponent(agent().id)}`;
  const toggle = async () => (await put(path, { is_enabled: !agent().is_enabled }), load());
  const drop = async () => (await confirm(t('agents.delete', { name: agent().name }), t('agents.delete.sure'), t('delete'))) && (await remove(path), load());
  return html`${() => button(agent().is_enabled ? t('agents.disable') : t('agents.enable'), toggle, { icon: agent().is_enabled ? 'pause' : 'play' })}
    ${button(t('edit'), () => edit(agent(), agents() ?? [], load), { kind: 'plain', icon: 'edit', iconOnly: true })}${button(t('delete'), drop, { kind: 'plain', icon: 'trash', iconOnly: true })}`;
}

/** Say how an agent of the config file is changed: not here. */
const explain = () => openDialog(t('agents.configured.title'), (close) => html`<p>${t('agents.configured.how')}</p><p><code>gateway config path</code></p>
  <p>${t('agents.configured.then')} <a href=${link('/system')} @click=${() => close()}>${t('system.title')}</a></p>`);

/** Add an agent, or change one. @param {any} agent null for a new one @param {any[]} agents @param {() => unknown} load */
async function edit(agent, agents, load) {
  const bases = agents.filter((one) => one.base === null);
  const key = newKey();
  const fields = html`${field(t('agents.slug'), html`<input name="slug" required pattern="[A-Za-z0-9][A-Za-z0-9._:@\\-]*" maxlength="50" value=${agent?.slug ?? ''} spellcheck="false" autofocus>`, t('agents.slug.hint'))}
    ${field(t('agents.name'), html`<input name="name" maxlength="100" value=${agent?.name ?? ''}>`)}
    ${field(t('agents.base'), html`<select name="base" .value=${agent?.base ?? bases.find((one) => one.is_default)?.id ?? bases[0]?.id ?? ''}>${bases.map((one) => html`<option value=${one.id}>${one.name} (${one.backend})</option>`)}</select>`, t('agents.base.hint'))}
    ${field(t('agents.model'), html`<input name="model" maxlength="100" value=${agent?.model ?? ''} spellcheck="false">`, t('agents.model.hint'))}
    ${field(t('agents.prompt'), html`<textarea name="prompt" .value=${agent?.system_prompt ?? ''}></textarea>`, t('agents.prompt.hint'))}
    ${field(t('agents.most'), html`<input type="number" name="most" min="1" max="1024" required value=${agent?.max_concurrent ?? 1}>`)}
    ${budgetFields(t('agents.budget'), agent?.budget, t('agents.budget.hint'))}`;
  const saved = await openForm(agent ? t('agents.edit', { name: agent.name }) : t('agents.add'), fields, t('save'), async (data) => {
    const text = (/** @type {string} */ name) => String(data.get(name) ?? '').trim();
    const body = {
      slug: text('slug'), ...(text('name') && { name: text('name') }), base: text('base'), model: text('model') || null,
      system_prompt: text('prompt') || null, max_concurrent: Number(text('most')), budget: readBudget(data),
    };
    if (agent) await put(`/api/agents/${encodeURIComponent(agent.id)}`, body);
    else await post('/api/agents', body, { key });
  });
  if (!saved) return;
  if (!agent) go(link('/agents'), { replace: true });
  load();
}
