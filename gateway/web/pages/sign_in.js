// @ts-check
/** What someone sees who is not signed in: how to come in, and a field for a token. */

import { loadMe, post } from '../core/api.js';
import { html } from '../core/html.js';
import { signal } from '../core/signals.js';
import { t } from '../core/text.js';
import { icon } from '../parts/icon.js';

export function signIn() {
  const problem = signal('');
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    problem.set('');
    try {
      await post('/api/dashboard/sign-in', { token: String(data.get('token')).trim() });
      await loadMe();
    } catch (error) {
      problem.set(error instanceof Error ? error.message : String(error));
    }
  };
  return html`<main class="sign-in"><div class="card">
    <p class="brand">${icon('moon')}<span>Moongate</span></p>
    <h1>${t('sign.title')}</h1>
    <p>${t('sign.how')}</p><p><code>gateway dashboard</code></p><p class="muted">${t('sign.phone')} <code>gateway dashboard --qr</code></p>
    <form class="form" @submit=${submit}><label class="field"><span class="field-label">${t('sign.token')}</span>
      <input name="token" type="password" required autocomplete="current-password" spellcheck="false"></label>
      <p class="form-error" role="alert">${problem}</p><button class="button primary" type="submit">${t('sign.in')}</button></form></div></main>`;
}
