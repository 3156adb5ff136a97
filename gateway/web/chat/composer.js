// @ts-check
/** The field to write a message in, with its files: by button, by paste, by drag and drop. What is typed survives a reload. */

import { each, html, only } from '../core/html.js';
import { bindKey } from '../core/keyboard.js';
import { bytes } from '../core/format.js';
import { computed, effect, onCleanup, signal, untracked } from '../core/signals.js';
import { t } from '../core/text.js';
import { button, complain } from '../parts/basics.js';
import { icon } from '../parts/icon.js';
import { say } from '../parts/toast.js';
import { readDraft, writeDraft } from './drafts.js';
import { explainRefusal, loadLimits, storedUpload, upload } from './uploads.js';

const HIGHEST_PIXELS = 240;
const SAVE_PAUSE_MS = 300;
/** on a phone, Enter breaks the line */
const HAS_KEYBOARD = matchMedia('(hover: hover) and (pointer: fine)').matches;

/**
 * @param {string} name by which the draft is kept
 * @param {(text: string, files: import('./outbox.js').StoredFile[]) => void} send
 * @param {{extra?: Node | null, tools?: () => unknown}} [options] `extra` stands below the field, `tools` next to the button that sends
 */
export function composer(name, send, { extra = null, tools = () => null } = {}) {
  const draft = readDraft(name);
  const text = signal(draft.text);
  const files = signal(draft.files.map(storedUpload));
  const isOver = signal(false);
  /** how many choices of files wait for the limits */
  const choices = signal(0);
  const isEmpty = computed(() => text().trim() === '' && files().length === 0 && choices() === 0);
  const isReady = computed(() => !isEmpty() && choices() === 0 && files().every((one) => one.stored() !== null));
  const hasFailed = computed(() => files().some((one) => one.error() !== ''));
  /** whether the message goes as soon as its files have arrived */
  const isDue = signal(false);

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let saving;
  const save = () => {
    clearTimeout(saving);
    saving = undefined;
    writeDraft(name, { text: text.peek(), files: files.peek().flatMap((one) => one.stored.peek() ?? []) });
  };
  const saveSoon = () => (saving ??= setTimeout(save, SAVE_PAUSE_MS));
  addEventListener('pagehide', save);
  onCleanup(() => {
    removeEventListener('pagehide', save);
    if (saving) save();
  });

  const fit = () => {
    field.style.height = 'auto';
    field.style.height = `${Math.min(HIGHEST_PIXELS, field.scrollHeight + 2)}px`;
  };
  const type = () => (isDue.set(false), text.set(field.value), fit(), saveSoon());
  const submit = () => {
    if (isEmpty()) return;
    if (hasFailed()) return say(t('chat.file.remove'), 'error');
    isDue.set(!isReady());
    if (isDue.peek()) return;
    try {
      send(text.peek(), files.peek().flatMap((one) => one.stored.peek() ?? []));
    } catch (error) {
      return complain(error); // the words stay in the field
    }
    text.set('');
    field.value = '';
    files.set([]);
    save();
    fit();
  };
  effect(() => {
    if (!isDue()) return;
    if (hasFailed()) isDue.set(false);
    else if (isReady()) untracked(submit);
  });
  const press = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || !(HAS_KEYBOARD || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    submit();
  };

  const attach = async (/** @type {File[]} */ added) => {
    if (added.length === 0) return;
    choices.update((n) => n + 1);
    const refusal = await loadLimits().then((limits) => explainRefusal(added, files.peek(), limits), () => '');
    if (refusal) {
      isDue.set(false);
      say(refusal, 'error');
    } else files.update((all) => [...all, ...added.map((file) => upload(file, saveSoon))]);
    choices.update((n) => n - 1);
  };
  const detach = (/** @type {import('./uploads.js').Upload} */ one) => {
    one.stop();
    files.update((all) => all.filter((other) => other !== one));
    saveSoon();
  };
  const choose = /** @type {HTMLInputElement} */ (only(html`<input type="file" multiple hidden @change=${() => (attach([...(choose.files ?? [])]), (choose.value = ''))}>`));
  const paste = (/** @type {ClipboardEvent} */ event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length === 0) return;
    event.preventDefault();
    attach(pasted);
  };

  const field = /** @type {HTMLTextAreaElement} */ (only(html`<textarea rows="1" aria-label=${t('chat.write')} placeholder=${t('chat.write')} enterkeyhint=${HAS_KEYBOARD ? 'send' : 'enter'}
    .value=${text.peek()} @input=${type} @keydown=${press} @paste=${paste}></textarea>`));
  requestAnimationFrame(fit);
  bindKey('i', t('chat.key.write'), () => field.focus());
  bindKey('Shift ↵', t('chat.key.break'), () => {});
  bindKey('↵', t('chat.key.send'), () => {});

  const element = only(html`<form class="composer" @submit=${(/** @type {Event} */ event) => (event.preventDefault(), submit())}>
    ${() => files().length > 0 && html`<ul class="attached" aria-label=${t('chat.files')}>${each(files, (one) => one.id, (read) => attachedFile(read(), detach))}</ul>`}
    ${field}${choose}
    <div class="composer-line">${button(t('chat.attach'), () => choose.click(), { kind: 'plain', icon: 'attach', iconOnly: true })}${extra}<span class="space"></span>
      ${() => isDue() && html`<span class="muted" role="status">${t('chat.due')}</span>`}
      ${tools}<button type="submit" class="button primary icon-only" aria-label=${t('chat.send')} title=${t('chat.send')} ?disabled=${isEmpty}>${icon('send')}</button></div></form>`);

  /** Take files that are dropped anywhere on an element. @param {HTMLElement} place */
  const takeDrops = (place) => {
    const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files');
    place.addEventListener('dragover', (event) => hasFiles(event) && (event.preventDefault(), isOver.set(true)));
    place.addEventListener('dragleave', (event) => !place.contains(/** @type {Node | null} */ (event.relatedTarget)) && isOver.set(false));
    place.addEventListener('drop', (event) => {
      isOver.set(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      attach([...(event.dataTransfer?.files ?? [])]);
    });
  };
  /** Put a text into the field. @param {string} given */
  const fill = (given) => {
    field.value = given;
    type();
    field.focus();
  };
  return { element, takeDrops, isOver, fill, focus: () => field.focus() };
}

/** @param {import('./uploads.js').Upload} one @param {(one: import('./uploads.js').Upload) => void} detach */
function attachedFile(one, detach) {
  const percent = () => Math.round(100 * one.progress());
  return html`<li class="attached-file" data-status=${() => (one.error() ? 'failed' : null)}>${() => icon(one.error() ? 'failed' : 'file')}<span class="attached-name">${one.name}</span>
    <span class="muted number">${() => one.error() || (one.stored() ? bytes(one.size) : t('chat.file.progress', { percent: percent() }))}</span>
    ${() => !one.stored() && !one.error() && html`<progress max="100" value=${percent} aria-label=${one.name}></progress>`}
    <button type="button" class="button plain icon-only" aria-label=${t('chat.detach', { name: one.name })} @click=${() => detach(one)}>${icon('close')}</button></li>`;
}
