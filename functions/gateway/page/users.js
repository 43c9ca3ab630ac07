// The users, for an admin: who there is, new ones, and what they may.
import { dialog, field, form, grumble, secret } from './account.js';
import { $, ask, h, icon, put, say } from './dom.js';
import { session } from './session.js';
import { date, text } from './text.js';

const t = text.people;
const most = 200; // rows: who is not among them is searched for
const signs = 'abcdefghijkmnpqrstuvwxyz23456789'; // 32, that are read well
let all = [];

// invented is a password of 100 bits.
const invented = () => [...crypto.getRandomValues(new Uint8Array(20))].map((b, i) =>
  (i && i % 5 === 0 ? '-' : '') + signs[b % 32]).join('');

async function make(f) {
  const [email, group, password] = [f.email.value.trim(), f.group.value.trim(), invented()];
  await session.call('users', { method: 'POST', body: { email, password } });
  await read();
  const made = all.find((u) => u.email.toLowerCase() === email.toLowerCase());
  f.reset();
  told(email, password);
  draw();
  if (group && made) await change(made, { group });
}

function told(email, password) {
  $('user-made').replaceChildren(secret('user-secret', t.passwordOf(email), password));
  $('user-secret').select();
}

// change has one user changed, and the list show what it is then.
async function change(u, body, words) {
  try {
    const now = await (await session.call(`users/${u.id}`, { method: 'PATCH', body })).json();
    all[all.indexOf(u)] = now;
    if (words) say(words);
    return true;
  } catch (e) {
    grumble(e);
    return false;
  } finally {
    draw();
  }
}

async function renew(u) {
  const password = invented();
  if (!await ask(t.renewTitle(u.email), t.renewText, t.renew)) return;
  if (await change(u, { password })) told(u.email, password);
}

async function remove(u) {
  if (!await ask(t.deleteTitle(u.email), t.deleteText, text.delete)) return;
  try {
    await session.call(`users/${u.id}`, { method: 'DELETE' });
    all = all.filter((o) => o !== u);
    say(t.deleted(u.email));
  } catch (e) { grumble(e); }
  draw();
  $('user-search').focus();
}

function row(u) {
  const own = u.email === session.user.name;
  const button = (name, label, sign, act) => h('button', { type: 'button', class: `${name} round`, title: label,
    'aria-label': text.of(label, u.email), onclick: act }, icon(sign));
  const li = h('li', { 'data-id': u.id, class: u.disabled ? 'user off' : 'user' }, h('div', { class: 'body' },
    h('p', { class: 'name', title: u.email }, u.email),
    h('p', { class: 'meta quiet' }, [u.disabled && t.disabled, own && t.you, u.elsewhere && t.elsewhere,
      date(new Date(u.created))].filter(Boolean).join(' · '))));
  if (own) {
    li.append(h('span', { class: 'quiet small' }, u.group));
    return li;
  }
  li.append(h('input', { class: 'group', name: 'group', value: u.group, list: 'groups', maxlength: 32,
    autocomplete: 'off', 'aria-label': text.of(t.group, u.email), onchange: (e) => {
      const group = e.target.value.trim() || 'default';
      change(u, { group }, t.moved(u.email, group));
    } }),
  h('div', { class: 'actions' }, button('renew', t.renew, 'key', () => renew(u)),
    u.disabled ? button('enable', t.enable, 'check', () => change(u, { disabled: false }, t.enabled(u.email))) :
      button('disable', t.disable, 'pause', () => change(u, { disabled: true }, t.wasDisabled(u.email))),
    button('delete', text.delete, 'trash', () => remove(u))));
  return li;
}

function draw() {
  const s = $('user-search').value.trim().toLowerCase();
  const found = all.filter((u) => `${u.email} ${u.group}`.toLowerCase().includes(s));
  const active = document.activeElement;
  const [id, name] = [active?.closest?.('li.user')?.dataset.id, active?.classList[0]];
  $('user-list').replaceChildren(...found.slice(0, most).map(row));
  if (id) $('user-list').querySelector(`[data-id="${id}"] :is(.${name}, button)`)?.focus();
  put($('user-count'), text.count(Math.min(found.length, most), all.length));
  $('groups').replaceChildren(...new Set(['default', 'admin', ...all.map((u) => u.group)]).values().map((value) =>
    h('option', { value })));
}

async function read() {
  all = (await (await session.call('users')).json()).users;
}

export async function openUsers() {
  try { await read(); } catch (e) {
    grumble(e);
    return;
  }
  $('people')?.remove();
  dialog('people', text.users, h('datalist', { id: 'groups' }),
    h('details', { class: 'fold', id: 'user-new' }, h('summary', {}, text.signUp),
      form('user', make, h('div', { class: 'fields' },
        field(text.email, 'email', { type: 'email', autocomplete: 'off' }),
        field(t.group, 'group', { list: 'groups', placeholder: 'default', required: false, maxlength: 32,
          autocomplete: 'off' })), h('p', { class: 'small quiet' }, t.newText),
      h('button', { type: 'submit', class: 'primary' }, text.signUp))),
    h('div', { id: 'user-made', role: 'status' }),
    h('div', { class: 'row' }, h('label', { class: 'search' }, h('span', { class: 'hide' }, text.search),
      icon('search'), h('input', { id: 'user-search', type: 'search', placeholder: text.search, autocomplete: 'off',
        oninput: draw })),
    h('span', { id: 'user-count', class: 'quiet small' })),
    h('ul', { id: 'user-list', class: 'list', role: 'list' })).showModal();
  draw();
}
