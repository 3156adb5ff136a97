// @ts-check
/** A project as a board: its runs are cards, which move by themselves while agents work, and by hand to start or stop them. */

import { ApiError, can, get, newKey, patch, post, remove } from '../core/api.js';
import { cost, firstLine, relative } from '../core/format.js';
import { each, html, trusted } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { liveList } from '../core/list.js';
import { loadOnChanges } from '../core/reload.js';
import { go, link } from '../core/router.js';
import { computed, effect, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { badge, button, complain, empty, failed, fileLink, loading } from '../parts/basics.js';
import { confirm, field, openDialog, openForm } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { permissionCard } from '../parts/permission.js';

export const title = () => t('board.title');
export const styles = ['board', 'code'];
const MOST_CARDS = 200;
const LOAD_PAUSE_MS = 500;
const MOST_TURNS = 50;
const FINAL = ['succeeded', 'failed', 'cancelled'];
/** @typedef {'planned' | 'queued' | 'running' | 'needs' | 'done' | 'failed'} Column */
const COLUMNS = /** @type {const} */ (['planned', 'queued', 'running', 'needs', 'done', 'failed']);
/** @type {Record<Column, string>} the icon of a column */
const ICONS = { planned: 'held', queued: 'queued', running: 'running', needs: 'waiting', done: 'succeeded', failed: 'failed' };

/** @param {{params: Record<string, string>}} place */
export function page({ params }) {
  const projects = liveList({
    topics: ['project'],
    keyOf: (one) => one.slug,
    load: async () => ({ rows: (await get('/api/projects')).projects, next: null }),
  });
  const slug = params.project;
  effect(() => {
    if (!slug && projects.rows().length) go(link(`/board/${encodeURIComponent(projects.rows()[0].slug)}`), { replace: true });
  });
  const project = computed(() => projects.rows().find((one) => one.slug === slug));
  const isKnown = computed(() => project() !== undefined);
  const hasAny = computed(() => projects.rows().length > 0);
  const choose = (/** @type {Event} */ event) => go(link(`/board/${encodeURIComponent(/** @type {HTMLSelectElement} */ (event.target).value)}`));
  return html`<div class="board-page"><header class="line">${() => hasAny() && html`<label><span class="hidden-text">${t('board.project')}</span>
      <select class="board-choose" .value=${isKnown() ? slug : ''} @change=${choose}>${isKnown() ? null : html`<option value="">–</option>`}
        ${each(projects.rows, (one) => one.slug, (one) => html`<option value=${one().slug}>${() => one().name}</option>`)}</select></label>`}
      ${() => can('write') && isKnown() && html`${button(t('board.edit'), () => editProject(project(), projects.reload), { kind: 'plain', icon: 'edit', iconOnly: true })}
        ${button(t('board.delete'), () => dropProject(project()), { kind: 'plain', icon: 'trash', iconOnly: true })}`}<span class="space"></span>
      ${can('write') ? button(t('board.new'), () => editProject(null, projects.reload), { icon: 'plus' }) : null}</header>
    ${() => project()?.note && html`<p class="muted board-note">${project()?.note}</p>`}
    ${() => {
      if (projects.state() === 'loading') return loading(4);
      if (projects.state() === 'failed') return failed(projects.error(), projects.reload);
      if (slug && !isKnown()) return empty('board', t('board.gone', { slug }));
      return hasAny() ? null : empty('board', t('board.empty'), { command: 'gateway projects create NAME' });
    }}${() => (slug && isKnown() ? board(slug) : null)}</div>`;
}

/** @param {string} slug */
function board(slug) {
  const label = `project=${slug}`;
  const cards = liveList({
    topics: ['run'],
    keyOf: (run) => run.id,
    load: async () => ({ rows: (await get('/api/tasks', { label, limit: MOST_CARDS })).tasks, next: null }),
    loadOne: async (id) => (await get(`/api/tasks/${id}`)).task,
  });
  const asking = signal(/** @type {Set<string>} */ (new Set()));
  const loadAsking = () => get('/api/permissions', { waiting: true, limit: 100 }).then((answer) => asking.set(new Set(answer.permissions.map((/** @type {any} */ one) => one.task))), () => {});
  loadOnChanges(['permission'], loadAsking, LOAD_PAUSE_MS);
  loadAsking();
  const columnOf = (/** @type {any} */ run) => /** @type {Column} */ (run.status === 'running' && asking().has(run.id) ? 'needs'
    : { held: 'planned', queued: 'queued', running: 'running', succeeded: 'done' }[/** @type {string} */ (run.status)] ?? 'failed');
  const known = computed(() => new Set(cards.rows().map((run) => run.id)));
  const children = computed(() => Map.groupBy(cards.rows().filter((run) => run.parent), (run) => run.parent));
  const of = (/** @type {Column} */ name) => cards.rows().filter((run) => columnOf(run) === name && !(run.parent && known().has(run.parent)));
  const dragged = signal(/** @type {any} */ (null));
  const add = () => addCard(slug, null);
  // A pointer that moves drags nothing: a card that was gone before it was dropped does not tell its end.
  const release = () => dragged.peek() && dragged.set(null);
  if (can('write')) bindKey('n', t('board.add'), add);
  const column = (/** @type {Column} */ name) => {
    const fits = () => dragged() !== null && moveFor(dragged(), columnOf(dragged()), name) !== null;
    const drop = async (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      const run = dragged.peek();
      dragged.set(null);
      await (run && moveFor(run, columnOf(run), name)?.());
    };
    return html`<section class=${() => `column ${dragged() ? (fits() ? 'fits' : 'closed') : ''}`} aria-labelledby=${`column-${name}`} data-column=${name}
      @dragover=${(/** @type {DragEvent} */ event) => fits() && event.preventDefault()} @drop=${(/** @type {DragEvent} */ event) => drop(event).catch(complain)}>
      <header><h2 id=${`column-${name}`}>${icon(ICONS[name])}${t(/** @type {any} */ (`board.column.${name}`))}</h2><span class="muted number">${() => of(name).length}</span><span class="space"></span>
        ${name === 'planned' && can('write') ? button(t('board.add'), add, { kind: 'plain', icon: 'plus', iconOnly: true }) : null}</header>
      <ul>${each(() => of(name), (run) => run.id, (run) => cardOf(run, () => children().get(run().id) ?? [], dragged, slug))}</ul></section>`;
  };
  return html`${() => (cards.state() === 'failed' ? failed(cards.error(), cards.reload) : cards.state() === 'loading' && loading(6))}
    <div class="columns live-data" @pointermove=${release} ?hidden=${() => cards.state() !== 'ready'} tabindex="0" role="group" aria-label=${t('board.title')}>${COLUMNS.map(column)}</div>`;
}

/**
 * Return what moving a card to a column does; null if it cannot be moved there.
 * @param {any} run
 * @param {Column} from
 * @param {Column} to
 * @returns {(() => Promise<unknown>) | null}
 */
function moveFor(run, from, to) {
  if (from === to) return null;
  if (to === 'queued' || to === 'running') {
    if (from === 'planned') return () => post(`/api/tasks/${run.id}/release`);
    if (from === 'failed') return () => post(`/api/tasks/${run.id}/retry`);
  }
  return to === 'failed' && !FINAL.includes(run.status) ? () => post(`/api/tasks/${run.id}/cancel`) : null;
}

/** @param {() => any} run @param {() => any[]} parts its sub-tasks @param {import('../core/signals.js').Signal<any>} dragged @param {string} slug */
function cardOf(run, parts, dragged, slug) {
  const begin = (/** @type {DragEvent} */ event) => {
    event.dataTransfer?.setData('text/plain', run().id);
    setTimeout(() => dragged.set(run())); // the browser takes its picture of the card first
  };
  const labels = () => Object.entries(run().labels).filter(([name]) => name !== 'project');
  const hasParts = computed(() => parts().length > 0); // so that what a person has opened stays open while parts change
  const done = () => parts().filter((one) => one.status === 'succeeded').length;
  const open = () => openCard(run().id, slug);
  return html`<li class="card board-card" draggable=${can('write') ? 'true' : null} @dragstart=${begin} @dragend=${() => dragged.set(null)}>
    <button type="button" class="card-title" @click=${open}>${() => firstLine(run().input, 140)}</button>
    <p class="card-facts muted"><span>${() => run().agentId}</span><span>${() => relative(run().finished_at ?? run().started_at ?? run().created_at)}</span>
      ${() => run().usage.cost > 0 && html`<span class="number">${cost(run().usage.cost)}</span>`}${() => run().status === 'cancelled' && html`<span>${t('status.cancelled')}</span>`}
      ${() => labels().map(([name, value]) => html`<span class="tag">${name}${value ? `=${value}` : ''}</span>`)}</p>
    ${() => run().status === 'failed' && run().error && html`<p class="card-error">${firstLine(run().error, 120)}</p>`}
    ${() => hasParts() && html`<details class="parts"><summary>${() => t('board.parts', { done: done(), all: parts().length })}</summary><ul>${each(parts, (part) => part.id, (part) => html`<li>${() => badge(part().status, '')}
      <button type="button" class="card-title" @click=${() => openCard(part().id, slug)}>${() => firstLine(part().input, 80)}</button></li>`)}</ul></details>`}</li>`;
}

/** @param {any} project null for a new one @param {() => unknown} reload */
async function editProject(project, reload) {
  const key = newKey();
  let made = '';
  const fields = html`${field(t('board.name'), html`<input name="name" required maxlength="100" value=${project?.name ?? ''} autofocus>`)}
    ${project ? null : field(t('board.slug'), html`<input name="slug" maxlength="50" pattern="[A-Za-z0-9][A-Za-z0-9._:@\\-]*" spellcheck="false">`, t('board.slug.hint'))}
    ${field(t('board.note'), html`<textarea name="note" maxlength="4000" .value=${project?.note ?? ''}></textarea>`, t('board.note.hint'))}`;
  const saved = await openForm(project ? t('board.edit') : t('board.new'), fields, t('save'), async (data) => {
    const [name, note] = [String(data.get('name')).trim(), String(data.get('note') ?? '')];
    if (project) return patch(`/api/projects/${encodeURIComponent(project.slug)}`, { name, note });
    made = String(data.get('slug') ?? '').trim() || toSlug(name);
    return post('/api/projects', { slug: made, name, note }, { key });
  });
  if (!saved) return;
  await reload();
  if (made) go(link(`/board/${encodeURIComponent(made)}`));
}

/** Return a short name made from a longer one. @param {string} name */
function toSlug(name) {
  const plain = name.normalize('NFKD').toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '');
  return plain.slice(0, 50) || `project-${newKey().slice(0, 6)}`;
}

/** @param {any} project */
async function dropProject(project) {
  if (!(await confirm(t('board.delete'), t('board.delete.sure', { name: project.name }), t('delete')))) return;
  await remove(`/api/projects/${encodeURIComponent(project.slug)}`);
  go(link('/board'));
}

/** @param {string} slug @param {string | null} parent id of the run that it is a part of */
async function addCard(slug, parent) {
  const { agents } = await get('/api/agents');
  const key = newKey();
  const usable = agents.filter((/** @type {any} */ one) => one.is_enabled);
  const fields = html`${field(t('board.what'), html`<textarea name="input" required autofocus></textarea>`)}
    ${field(t('board.agent'), html`<select name="agent" .value=${usable.find((/** @type {any} */ one) => one.is_default)?.id ?? ''}>${usable.map((/** @type {any} */ one) => html`<option value=${one.id}>${one.name}</option>`)}</select>`)}
    <fieldset class="line"><legend class="hidden-text">${t('board.when')}</legend><label class="field inline"><input type="radio" name="when" value="later" checked><span>${t('board.later')}</span></label>
      <label class="field inline"><input type="radio" name="when" value="now"><span>${t('board.now')}</span></label></fieldset>`;
  return openForm(parent ? t('board.part') : t('board.add'), fields, t('save'), (data) => post('/api/tasks', {
    input: String(data.get('input')), agentId: String(data.get('agent')), labels: { project: slug }, held: data.get('when') === 'later', ...(parent && { parent }),
  }, { key }));
}

/** Show a card with its conversation at the side. @param {string} id @param {string} slug */
function openCard(id, slug) {
  return openDialog(t('board.card'), (close) => {
    const details = signal(/** @type {any} */ (null));
    const turns = signal(/** @type {any[]} */ ([]));
    const problem = signal(/** @type {Error | null} */ (null));
    const load = async () => {
      try {
        const found = await get(`/api/tasks/${id}`);
        turns.set(await loadTurns(found.task.session));
        details.set(found);
      } catch (error) {
        problem.set(/** @type {Error} */ (error));
      }
    };
    loadOnChanges(['run', 'permission'], load, LOAD_PAUSE_MS, (changes) => changes.some(({ ref, session }) => ref.startsWith(id) || session === details.peek()?.task.session));
    load();
    const isLoaded = computed(() => details() !== null);
    return html`${() => (isLoaded() ? null : problem() ? failed(problem(), load) : loading(3))}${() => isLoaded() && untracked(() => html`${cardDetails(details, slug, close)}
      <ul class="talk-list">${each(turns, (one) => one.key, (one) => (one().task ? turnOutside(one) : message(one())))}</ul>${can('write') ? talkForm(details().task) : null}`)}`;
  }, { side: true });
}

/** Return what was said in a session, and its runs that are not in the transcript, by time. @param {string} session */
async function loadTurns(session) {
  const [said, ran] = await Promise.all([
    get(`/api/sessions/${encodeURIComponent(session)}/history`, { limit: MOST_TURNS, render: 'html' }).catch(nullIfGone),
    get('/api/tasks', { session, limit: MOST_TURNS }),
  ]);
  const messages = /** @type {any[]} */ (said?.messages ?? []).map((one) => ({ ...one, key: `${one.run_id} ${one.role} ${one.at}` }));
  const known = new Set(messages.map((one) => one.run_id));
  const others = /** @type {any[]} */ (ran.tasks).filter((task) => !known.has(task.id)).map((task) => ({ task, key: task.id, at: task.created_at }));
  return [...messages, ...others].sort((a, b) => new Date(a.at).getTime() - new Date(b.at).getTime());
}

/** A session that has no transcript yet is none. @param {unknown} error */
function nullIfGone(error) {
  if (error instanceof ApiError && error.status === 404) return null;
  throw error;
}

/** What was asked in a run that is not in the transcript, or not yet. @param {() => any} turn */
function turnOutside(turn) {
  const { input, attachments } = turn().task;
  const status = computed(() => turn().task.status);
  const error = computed(() => turn().task.error);
  return html`<li class="talk-turn"><div class="message user"><p class="plain-text">${input}</p>${attachments.length ? html`<div class="line">${attachments.map(fileLink)}</div>` : null}</div>
    <p class="line muted">${() => badge(status())}${() => error() && html`<span class="card-error">${error()}</span>`}</p></li>`;
}

/** @param {() => any} details @param {string} slug @param {() => void} close */
function cardDetails(details, slug, close) {
  const task = () => details().task;
  const status = computed(() => task().status);
  const isAsked = computed(() => task().cancel_requested);
  const column = () => /** @type {Column} */ ({ held: 'planned', queued: 'queued', running: 'running', succeeded: 'done' }[/** @type {string} */ (status())] ?? 'failed');
  const { id, agentId: agent } = untracked(task);
  const move = (/** @type {Column} */ to) => moveFor({ id, status: status() }, column(), to);
  return html`<div class="line">${() => badge(status())}<span class="muted">${agent}</span><span class="space"></span>
      ${() => {
        const [start, stop] = [move('queued'), move('failed')];
        if (!can('write')) return null;
        return html`${start ? button(column() === 'planned' ? t('run.release') : t('run.retry'), start, { kind: 'primary', icon: 'play' }) : null}
          ${stop ? button(t('run.cancel'), stop, { kind: 'danger', icon: 'stop', disabled: isAsked }) : null}`;
      }}${can('write') ? button(t('board.part'), () => addCard(slug, id), { icon: 'plus' }) : null}
      <a class="button plain" href=${link(`/runs/${id}`)} @click=${() => close()}>${t('board.run')}</a></div>
    ${each(() => details().permissions, (one) => one.id, (one) => permissionCard(one))}`;
}

/** @param {any} one */
function message(one) {
  return html`<li class=${`message ${one.role}`}>${one.html && one.role !== 'user' ? html`<div class="prose">${trusted(one.html)}</div>` : html`<p class="plain-text">${one.content}</p>`}
    ${one.files?.length ? html`<div class="line">${one.files.map(fileLink)}</div>` : null}</li>`;
}

/** @param {any} task */
function talkForm(task) {
  let key = newKey();
  let isSending = false;
  const send = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const input = /** @type {HTMLTextAreaElement} */ (form.elements.namedItem('input'));
    if (!input.value.trim() || isSending) return;
    isSending = true;
    try {
      await post('/api/tasks', { input: input.value, session: task.session, agentId: task.agentId, labels: { card: task.id } }, { key });
      input.value = '';
      key = newKey();
    } catch (error) {
      complain(error);
    } finally {
      isSending = false;
    }
  };
  const press = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    /** @type {HTMLTextAreaElement} */ (event.currentTarget).form?.requestSubmit();
  };
  return html`<form class="talk-form" @submit=${send}><textarea name="input" rows="2" @keydown=${press} aria-label=${t('board.say')} placeholder=${t('board.say')}></textarea><button type="submit" class="button primary icon-only" aria-label=${t('board.say')}>${icon('send')}</button></form>`;
}
