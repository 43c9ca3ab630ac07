// The account of who is signed in: what is used, the password, keys for machines, the end of sessions and of it all.
import { $, ask, complain, h, icon, put, say, show } from './dom.js';
import { meter, meters, readQuota } from './quota.js';
import { session } from './session.js';
import { ago, bytes, date, sentence, text } from './text.js';

const t = text.accounts;
let me = null;

export const field = (label, name, props) => h('label', { class: 'field' }, h('span', {}, label),
  h('input', { name, required: true, ...props }));

export const tick = (label, props) => h('label', { class: 'tick' }, h('input', { type: 'checkbox', ...props }),
  h('span', {}, label));

// secret shows what is shown this once, with a button that copies it.
export function secret(id, label, value) {
  return h('div', { class: 'copy note' }, h('label', { class: 'field' }, h('span', {}, label),
    h('input', { id, readonly: true, value })),
  h('button', { type: 'button', class: 'copybutton', 'data-copy': id }, text.copy), h('p', {}, t.once));
}

// form makes a form that tells why something was refused, and stands still meanwhile.
export function form(id, act, ...children) {
  const error = h('p', { class: 'wrong', role: 'alert', hidden: true });
  const f = h('form', { id, class: 'stack', onsubmit: async (e) => {
    e.preventDefault();
    const go = f.querySelector('[type=submit]');
    if (go.disabled) return;
    show(error, '');
    go.disabled = true;
    try { await act(f); } catch (e) {
      if (e.status !== 401) show(error, e.status === 429 ? text.tooOften(e.after) : sentence(e.message));
    }
    go.disabled = false;
  } }, ...children, error);
  f.append(h('p', {}, f.querySelector('[type=submit]')));
  return f;
}

const submit = (label, kind = 'primary') => h('button', { type: 'submit', class: kind }, label);
const fold = (id, title, ...children) => h('details', { id, class: 'fold' }, h('summary', {}, title),
  h('div', { class: 'stack' }, ...children));
const json = async (path, options) => (await session.call(path, options)).json();

// dialog makes a dialog with what is below its title, once.
export function dialog(id, title, ...children) {
  const d = h('dialog', { id, 'aria-labelledby': `${id}-title` }, h('div', { class: 'stack' },
    h('div', { class: 'head' }, h('h2', { id: `${id}-title` }, title),
      h('button', { type: 'button', class: 'round close', 'aria-label': text.close, onclick: () => d.close() },
        icon('close'))), ...children));
  document.body.append(d);
  return d;
}

// grumble tells why something was refused, unless that is because the session has ended, which is told.
export function grumble(e) {
  if (session.user && e.status !== 401) complain(sentence(e.message));
}

// ---- the password ----

async function change(f) {
  const [current, password] = [f.current.value, f.password.value];
  await session.call('users/me/password', { method: 'PUT', body: { current, password } });
  await session.signIn(session.user.name, password); // the session has ended with all others
  f.reset();
  say(t.passwordChanged);
}

// ---- keys ----

const spans = { '': 0, '30d': 30, '90d': 90, '365d': 365 }; // days

async function makeKey(f) {
  const days = spans[f.span.value];
  const { key } = await json('users/me/keys', { method: 'POST', body: {
    name: f.title.value.trim(), scopes: [...f.scope].filter((e) => e.checked).map((e) => e.value),
    ...days && { expires: new Date(Date.now() + days * 86_400_000).toISOString().replace(/\.\d+/, '') } } });
  f.reset();
  $('key-made').replaceChildren(secret('key-secret', t.key, key));
  $('key-secret').select();
  await showKeys();
}

async function endKey(k) {
  if (!await ask(t.endKey(k.name), t.endKeyText, t.end)) return;
  try {
    await session.call(`users/me/keys/${k.id}`, { method: 'DELETE' });
    $('key-made').replaceChildren();
    say(t.keyEnded);
  } catch (e) { grumble(e); }
  await showKeys();
  $('key-name').focus();
}

async function showKeys() {
  const { keys } = await json('users/me/keys');
  const past = (k) => k.expires && new Date(k.expires) < new Date();
  $('key-list').replaceChildren(...(keys ?? []).map((k) => h('li', { 'data-id': k.id }, h('div', { class: 'body' },
    h('p', { class: 'name' }, k.name),
    h('p', { class: 'meta quiet' }, [k.scope.split(' ').map((s) => t.scopes[s]).join(', '),
      k.last_used ? t.used(ago(new Date(k.last_used))) : t.unused,
      k.expires && (past(k) ? t.ended : t.ends)(date(new Date(k.expires)))].filter(Boolean).join(' · '))),
  h('div', { class: 'actions' }, h('button', { type: 'button', class: 'round', title: t.end,
    'aria-label': text.of(t.end, k.name), onclick: () => endKey(k) }, icon('trash'))))));
}

// ---- the end ----

async function everywhere() {
  await session.call('logout', { method: 'POST' });
  await session.signOut();
}

async function leave(f) {
  const password = f.password?.value ?? '';
  if (!await ask(t.deleteTitle, t.deleteText, t.delete)) return;
  await session.call('users/me', { method: 'DELETE', body: { password } });
  await session.signOut();
  say(t.gone);
}

// ---- the dialog ----

function make() {
  const elsewhere = () => [h('p', { class: 'small quiet' }, t.elsewhere)];
  const password = () => field(text.password, 'password', { type: 'password', autocomplete: 'current-password' });
  return dialog('me', text.account,
    h('p', { class: 'quiet', id: 'me-who' }),
    h('section', { class: 'stack', 'aria-label': t.use, id: 'me-use' }),
    fold('me-password', t.changePassword, ...me.elsewhere ? elsewhere() : [form('password', change,
      h('input', { name: 'email', type: 'email', autocomplete: 'username', value: me.email, hidden: true,
        readonly: true }),
      field(t.current, 'current', { type: 'password', autocomplete: 'current-password' }),
      field(text.newPassword, 'password', { type: 'password', autocomplete: 'new-password' }),
      h('p', { class: 'small quiet' }, t.passwordNote), submit(text.save))]),
    fold('me-keys', t.keys, h('p', { class: 'small quiet' }, t.keysText),
      h('ul', { id: 'key-list', class: 'list', role: 'list' }), h('div', { id: 'key-made', role: 'status' }),
      form('key', makeKey, field(t.keyName, 'title', { id: 'key-name', maxlength: 100, autocomplete: 'off' }),
        h('fieldset', { class: 'row' }, h('legend', { class: 'hide' }, t.scope),
          ...Object.entries(t.scopes).map(([value, label]) => tick(label, { name: 'scope', value, checked: true }))),
        h('label', { class: 'field' }, h('span', {}, text.validFor), h('select', { name: 'span' },
          ...Object.keys(spans).map((value) => h('option', { value }, t.spans[value])))), submit(t.makeKey))),
    fold('me-sessions', t.sessions, form('everywhere', everywhere, h('p', { class: 'small quiet' }, t.sessionsText),
      submit(t.everywhere, ''))),
    fold('me-delete', t.deleteAccount, form('leave', leave, h('p', { class: 'small quiet' }, t.deleteNote),
      ...me.elsewhere ? elsewhere() : [password()], submit(t.deleteAccount, 'danger'))));
}

export async function openAccount() {
  try {
    me = await json('users/me');
  } catch (e) {
    grumble(e);
    return;
  }
  $('me')?.remove();
  make().showModal();
  put($('me-who'), [me.email, me.group !== 'default' && me.group, t.since(date(new Date(me.created)))].filter(Boolean)
    .join(' · '));
  showKeys().catch(() => {});
  const quota = await readQuota();
  if (!quota) return;
  const all = meters(quota);
  if (!quota.limits.bytes) all.unshift([t.stored(bytes(quota.used.bytes))]);
  $('me-use').replaceChildren(...all.map((m, i) => (m.length > 1 ? meter(m, `use-${i}`) :
    h('p', { class: 'small' }, m[0]))));
}
