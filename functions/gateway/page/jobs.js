// The list of jobs: pages of it, live changes, search, and what can be done to one or to many.
import { $, ask, complain, h, icon, put, remembered, say, setIcon, show } from './dom.js';
import { follow } from './events.js';
import { words } from './options.js';
import { close as closePlayer, play, playing } from './player.js';
import { address, session } from './session.js';
import { shareLink } from './settings.js';
import { ago, bytes, clock, left, text, when } from './text.js';

const firstPage = 100;
const fullPage = 200; // jobs, the most that the service gives at once
const chunk = 60; // rows that are added when the person comes near the end of the list
const batch = 1000; // jobs that one request may name

const groups = {
  running: ['stored', 'queued', 'converting'], ready: ['converted', 'notified'], failed: ['failed'],
  cancelled: ['cancelled'], expired: ['expired'],
};
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
const newest = (a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);
const orders = {
  new: newest, old: (a, b) => -newest(a, b), name: (a, b) => collator.compare(titleOf(a), titleOf(b)) || newest(a, b),
  long: (a, b) => (b.mp3?.duration ?? 0) - (a.mp3?.duration ?? 0) || newest(a, b),
  big: (a, b) => (b.mp3?.length ?? 0) - (a.mp3?.length ?? 0) || newest(a, b),
};

const jobs = new Map(); // by id
const rows = new Map(); // by id
const chosen = new Set(); // ids
let wanted = []; // jobs that match, in order
let shown = chunk; // rows of them
let next = null; // of the page that comes next; null when there is none
let loaded = false; // the first page
let generation = 0; // of the list: an answer for one before is let go
let owner = '';
const others = 'BroadcastChannel' in globalThis ? new BroadcastChannel('soundstrip') : null; // tabs

export const titleOf = (j) => j.options?.title || j.filename || j.id;
const running = (j) => groups.running.includes(j.state);
const ready = (j) => groups.ready.includes(j.state) && j.mp3;

function query(params) {
  const q = new URLSearchParams(params);
  if (owner) q.set('owner', owner);
  return `jobs?${q}`;
}

// ---- loading ----

// refresh reads the newest jobs again: what is gone from among them was deleted elsewhere.
async function refresh() {
  const mine = generation;
  try {
    const page = await (await session.call(query({ limit: loaded ? fullPage : firstPage }))).json();
    if (mine !== generation) return;
    const last = page.jobs.at(-1)?.id ?? '';
    const there = new Set(page.jobs.map((j) => j.id));
    for (const id of [...jobs.keys()]) if (!there.has(id) && (id > last || !page.next)) forget(id);
    for (const j of page.jobs) take(j);
    if (!loaded) next = page.next ?? null;
    loaded = true;
    failed = '';
  } catch (e) {
    if (mine !== generation || e.status === 401) return;
    if (loaded) {
      if (e.status) complain(e.message);
      setTimeout(listen, 5000);
      return;
    }
    failed = e.message;
  }
  layout();
}

let failed = '';
let loading = null;

// page reads the next page; those who want it at the same time get the same.
function page() {
  if (!next || loading) return loading ?? Promise.resolve();
  const mine = generation;
  loading = (async () => {
    const res = await (await session.call(query({ limit: fullPage, before: next }))).json();
    if (mine !== generation) return;
    for (const j of res.jobs) take(j);
    next = res.next ?? null;
  })().finally(() => { loading = null; });
  return loading;
}

// all reads the rest of the list, for what cannot be told without it: search, another order, sums.
async function all() {
  const mine = generation;
  let drawn = performance.now();
  while (next && mine === generation && needsAll()) {
    try { await page(); } catch (e) {
      if (e.status !== 401) complain(e.message);
      return;
    }
    if (next && performance.now() - drawn < 1000) continue;
    layout();
    drawn = performance.now();
  }
}

const needsAll = () => $('search').value.trim() !== '' || $('state').value !== '' || $('sort').value !== 'new' ||
  owner === '*';

function take(j) {
  const before = jobs.get(j.id);
  if (before && before.updated > j.updated) return;
  jobs.set(j.id, j);
  if (before && running(before) && !running(j)) finished(j);
  const row = rows.get(j.id);
  if (row) fill(row, j);
}

function forget(id) {
  jobs.delete(id);
  chosen.delete(id);
  rows.get(id)?.li.remove();
  rows.delete(id);
  if (playing.id === id) closePlayer();
}

// finished tells that a job has ended.
function finished(j) {
  const words = ready(j) ? text.ready(titleOf(j)) : j.state === 'failed' ? text.failedJob(titleOf(j)) : '';
  if (!words || (j.username ?? j.owner) !== session.user?.name) return;
  say(words);
  if (document.hidden && remembered.get('notify') && globalThis.Notification?.permission === 'granted') {
    try {
      const n = new Notification(words, { tag: j.id });
      n.onclick = () => { window.focus(); n.close(); };
    } catch { /* phones show them by a service worker only */ }
  }
}

// listen opens the stream of changes while there is something to see change.
function listen() {
  const some = [...jobs.values()].some(running);
  const seen = !document.hidden || remembered.get('notify') === true;
  follow(Boolean(session.user) && some && seen, owner ? `jobs/events?owner=${encodeURIComponent(owner)}` : 'jobs/events', {
    changed(j) {
      take(j);
      layoutSoon();
    },
    missed: refresh,
  });
}

// ---- rows ----

function button(name, label, sign, act) {
  return h('button', { type: 'button', class: `${name} round`, title: label, onclick: act }, icon(sign));
}

function makeRow(id) {
  const job = () => jobs.get(id);
  const r = {
    box: h('input', { type: 'checkbox', onchange: (e) => {
      if (e.target.checked) chosen.add(id);
      else chosen.delete(id);
      tools();
    } }),
    play: button('play', text.play, 'play', () => play(job(), titleOf(job()))),
    name: h('p', { class: 'name' }),
    meta: h('p', { class: 'meta quiet' }),
    bar: h('progress', { max: 100, hidden: true }),
    why: h('p', { class: 'why', hidden: true }),
    actions: h('div', { class: 'actions' }),
  };
  r.li = h('li', { class: 'job', 'data-id': id },
    h('label', { class: 'box' }, r.box),
    h('div', { class: 'lead' }, r.play),
    h('div', { class: 'body' }, r.name, r.bar, r.meta, r.why),
    r.actions);
  return r;
}

// deeds are what can be done to a job, as buttons. They are made anew only when the job is of another kind: a list of
// thousands is not to make what nobody sees.
function deeds(r, j) {
  const kind = ready(j) ? 'ready' : running(j) ? 'running' : ['failed', 'cancelled'].includes(j.state) ? 'over' : '';
  if (r.kind === kind) return;
  r.kind = kind;
  const focused = r.actions.contains(document.activeElement);
  const { id } = j;
  const named = (e, label) => {
    e.setAttribute('aria-label', text.of(label, titleOf(j)));
    return e;
  };
  const own = {
    ready: () => [
      named(h('a', { class: 'download button round', title: text.download, download: true,
        href: address(`jobs/${id}/mp3`) }, icon('download')), text.download),
      named(button('share', text.share, 'link', () => shareLink(id)), text.share)],
    running: () => [named(button('cancel', text.cancelJob, 'close', () => cancel(id)), text.cancelJob)],
    over: () => [named(h('button', { type: 'button', class: 'retry small', onclick: () => retry(id) }, icon('retry'),
      h('span', {}, text.retry)), text.retry)],
    '': () => [],
  };
  r.actions.replaceChildren(...own[kind](), named(button('delete', text.delete, 'trash', () => remove([id])), text.delete));
  if (focused) r.actions.firstElementChild.focus();
}

const signs = { stored: 'clock', queued: 'clock', converting: 'wave', failed: 'alert', cancelled: 'close', expired: 'clock' };

function fill(r, j) {
  const name = titleOf(j);
  if (r.job === j && r.heard === (playing.id === j.id && playing.on)) return;
  r.job = j;
  r.li.dataset.state = j.state;
  put(r.name, name);
  r.name.title = j.filename;
  r.box.checked = chosen.has(j.id);
  r.box.setAttribute('aria-label', text.choose(name));
  deeds(r, j);
  const can = ready(j);
  r.play.setAttribute('aria-label', text.of(text.play, name));
  r.play.disabled = !can;
  r.heard = playing.id === j.id && playing.on;
  setIcon(r.play, can ? (r.heard ? 'pause' : 'play') : signs[j.state] ?? 'clock');
  if (r.heard) r.play.setAttribute('aria-label', text.of(text.pausePlay, name));
  r.li.classList.toggle('heard', playing.id === j.id);
  r.bar.hidden = j.state !== 'converting';
  r.bar.value = j.progress;
  r.bar.setAttribute('aria-label', text.progressOf(name));
  put(r.meta, meta(j));
  show(r.why, why(j));
}

function meta(j) {
  const from = owner ? j.username ?? j.owner : '';
  const created = ago(new Date(j.created));
  switch (j.state) {
    case 'stored': case 'queued':
      return [from, text.inLine(before(j)), bytes(j.video.length), words(j.options)].filter(Boolean).join(' · ');
    case 'converting':
      return [from, text.state.converting, text.percent(j.progress), timeLeft(j), words(j.options)].filter(Boolean)
        .join(' · ');
    case 'converted': case 'notified':
      return [from, clock(j.mp3?.duration), bytes(j.mp3?.length), words(j.options), created,
        j.expires && text.expires(when(new Date(j.expires)))].filter(Boolean).join(' · ');
    default:
      return [from, text.state[j.state], bytes(j.video.length), created].filter(Boolean).join(' · ');
  }
}

// before counts the owner's jobs that wait for longer. Those of others the service does not tell.
const before = (j) => [...jobs.values()].filter((o) => o.owner === j.owner && o.id < j.id && running(o) &&
  o.state !== 'converting').length;

function timeLeft(j) {
  const from = j.attempts?.at(-1)?.from;
  if (!from || j.progress < 3) return '';
  const took = (new Date(j.updated) - new Date(from)) / 1000;
  return took > 1 ? left(took * (100 - j.progress) / j.progress) : '';
}

function why(j) {
  if (j.state === 'failed') {
    const said = j.error?.message ?? '';
    const sentence = said && said[0].toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? '' : '.');
    return [sentence, text.doThis[j.error?.code] ?? text.doThis['']].filter(Boolean).join(' ');
  }
  if (j.state === 'expired') return text.expiredNote;
  if (j.state === 'cancelled') return text.cancelledNote;
  return '';
}

// ---- the list ----

function match() {
  const terms = $('search').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const states = groups[$('state').value];
  wanted = [];
  for (const j of jobs.values()) {
    if (states && !states.includes(j.state)) continue;
    if (terms.length) {
      const o = j.options ?? {};
      j.text ??= [j.filename, o.title, o.artist, o.album, j.username ?? j.owner].filter(Boolean).join(' ').toLowerCase();
      if (!terms.every((t) => j.text.includes(t))) continue;
    }
    wanted.push(j);
  }
  wanted.sort(orders[$('sort').value] ?? newest);
}

let soon = false;

// layoutSoon gathers what changes at once.
function layoutSoon() {
  if (soon) return;
  soon = true;
  setTimeout(() => {
    soon = false;
    layout();
  }, 50);
}

// layout puts the rows into the list that match, in order, as many as are shown. What is in its place is not touched.
function layout() {
  match();
  const list = $('jobs');
  const visible = wanted.slice(0, shown);
  const keep = new Set(visible.map((j) => j.id));
  for (const [id, r] of rows) {
    if (keep.has(id)) continue;
    r.li.remove();
    rows.delete(id);
  }
  let at = list.firstElementChild;
  for (const j of visible) {
    let r = rows.get(j.id);
    if (!r) {
      r = makeRow(j.id);
      rows.set(j.id, r);
    }
    fill(r, j);
    if (r.li === at) at = at.nextElementSibling;
    else list.insertBefore(r.li, at);
  }
  around();
}

// lengthen adds rows at the end of the list; those that are there stay as they are.
function lengthen() {
  const more = document.createDocumentFragment();
  for (const j of wanted.slice(shown, shown + chunk)) {
    const r = makeRow(j.id);
    rows.set(j.id, r);
    fill(r, j);
    more.append(r.li);
  }
  shown += chunk;
  $('jobs').append(more);
  spinner();
}

function spinner() {
  $('more').hidden = !(loaded && next && (needsAll() || shown >= wanted.length));
}

// around brings up to date what stands around the list.
function around() {
  $('jobs').setAttribute('aria-busy', !loaded);
  $('skeleton').hidden = loaded || Boolean(failed);
  spinner();
  empty();
  tools();
  facts();
  listen();
  soonLook();
}

function empty() {
  const box = $('none');
  const nothing = loaded && wanted.length === 0 && !(next && needsAll());
  box.hidden = !(nothing || failed);
  if (box.hidden) {
    box.replaceChildren();
    return;
  }
  const [sign, title, words, label, act] = failed ? ['alert', text.loadFailed, failed, text.again, restart] :
    jobs.size ? ['search', text.noMatch, text.noMatchText, text.showAll, showAll] : ['wave', text.none, text.noneText];
  if (box.firstChild && box.querySelector('h3').textContent === title) return;
  box.replaceChildren(icon(sign), h('h3', {}, title), h('p', { class: 'quiet' }, words));
  if (label) box.append(h('button', { type: 'button', onclick: act }, label));
}

function showAll() {
  $('search').value = '';
  $('state').value = '';
  changedView();
  $('search').focus();
}

// facts tells an admin how the service is doing, as far as the jobs say it.
function facts() {
  const on = owner === '*' && loaded && !next;
  $('admin').hidden = !on;
  if (!on) return;
  let [at, waits, stored] = [0, 0, 0];
  for (const j of jobs.values()) {
    if (j.state === 'converting') at++;
    else if (running(j)) waits++;
    stored += j.mp3?.length ?? 0;
  }
  const said = text.admin(at, waits, bytes(stored));
  const key = said.join();
  if ($('admin').dataset.said === key) return;
  $('admin').dataset.said = key;
  $('admin').replaceChildren(...said.map((s) => h('span', {}, s)));
}

// tools shows what can be done to the chosen ones.
function tools() {
  for (const id of chosen) if (!jobs.has(id)) chosen.delete(id);
  $('tools').hidden = $('bulk').hidden = jobs.size === 0;
  put($('jobs-count'), loaded && jobs.size ? text.count(wanted.length, jobs.size, next) : '');
  const n = chosen.size;
  const box = $('all');
  const inView = wanted.reduce((sum, j) => sum + chosen.has(j.id), 0);
  box.checked = inView > 0 && inView === wanted.length;
  box.indeterminate = inView > 0 && inView < wanted.length;
  put($('chosen'), n ? text.chosen(n) : text.chooseAll);
  const mp3s = zipped().length;
  put($('zip').querySelector('span'), n ? mp3s ? text.zipChosen(mp3s) : text.zip : text.zipAll);
  $('zip').disabled = n ? mp3s === 0 : owner !== '' || ![...jobs.values()].some(ready);
  $('delete').disabled = n === 0;
  $('bulk').classList.toggle('some', n > 0);
}

const zipped = () => [...chosen].filter((id) => ready(jobs.get(id)));

let looking = false;

function soonLook() {
  if (looking) return;
  looking = true;
  requestAnimationFrame(() => {
    looking = false;
    look();
  });
}

function changedView() {
  shown = chunk;
  layout();
  if (needsAll()) all();
}

// look adds rows, or reads a page, when the person is near the end of the list.
function look() {
  if (!loaded || $('jobs').getBoundingClientRect().bottom > innerHeight + 800) return;
  if (shown < wanted.length) {
    lengthen();
    soonLook();
  } else if (next && !loading && !needsAll() && session.user) {
    page().then(layout, (e) => { if (e.status) complain(e.message); });
  }
}

// ---- deeds ----

async function post(id, what) {
  try {
    take(await (await session.call(`jobs/${id}/${what}`, { method: 'POST' })).json());
    layout();
    others?.postMessage('changed');
  } catch (e) {
    if (e.status !== 401) complain(`${titleOf(jobs.get(id))}: ${e.message}`);
    if (e.status === 404 || e.status === 409) refresh();
  }
}

const retry = (id) => post(id, 'retry');
const cancel = (id) => post(id, 'cancel');

async function remove(ids) {
  const known = ids.filter((id) => jobs.has(id));
  if (known.length === 0) return;
  const title = known.length === 1 ? text.deleteOne(titleOf(jobs.get(known[0]))) : text.deleteMany(known.length);
  const note = known.some((id) => running(jobs.get(id))) ? ` ${text.deleteRunning}` : '';
  if (!await ask(title, text.deleteText + note, text.delete)) return;
  const wrong = [];
  let gone = 0;
  try {
    for (let i = 0; i < known.length; i += batch) {
      const answer = await (await session.call('jobs/delete', { method: 'POST', body: { ids: known.slice(i, i + batch) } }))
        .json();
      for (const r of answer.results) {
        if (r.result === 'error') {
          wrong.push(r.detail);
          continue;
        }
        gone++;
        forget(r.id);
      }
    }
  } catch (e) {
    if (e.status !== 401) complain(e.message);
  }
  layout();
  if (wrong.length) complain(text.notDeleted(wrong.length, wrong[0]));
  if (gone) {
    say(text.deleted(gone));
    others?.postMessage('changed');
    $('jobs-title').focus();
  }
}

function zip() {
  const ids = zipped();
  if (ids.length > batch) say(text.zipMany);
  const q = new URLSearchParams(ids.length ? ids.slice(0, batch).map((id) => ['id', id]) : [['state', 'converted']]);
  const a = h('a', { href: address(`jobs/mp3s.zip?${q}`), download: true, hidden: true });
  document.body.append(a);
  a.click();
  a.remove();
}

// arrived takes the job of an upload that is sent.
export async function arrived(id) {
  others?.postMessage('changed');
  try {
    take(await (await session.call(`jobs/${id}`)).json());
    layout();
  } catch { refresh(); }
}

function restart() {
  generation++;
  failed = '';
  loaded = false;
  next = null;
  for (const id of [...jobs.keys()]) forget(id);
  chosen.clear();
  shown = chunk;
  layout();
  refresh().then(() => { if (needsAll()) all(); });
}

export function startJobs() {
  for (const [id, labels] of [['state', text.states], ['sort', text.sorts]]) {
    for (const [value, label] of Object.entries(labels)) $(id).append(h('option', { value }, label));
    $(id).addEventListener('change', changedView);
  }
  let typing;
  $('search').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(changedView, 120);
  });
  $('owner').addEventListener('change', () => {
    owner = $('owner').value;
    put($('jobs-title'), owner ? text.jobsTitleAll : text.jobsTitle);
    restart();
  });
  $('all').addEventListener('change', (e) => {
    for (const j of wanted) {
      if (e.target.checked) chosen.add(j.id);
      else chosen.delete(j.id);
    }
    for (const [id, r] of rows) r.box.checked = chosen.has(id);
    tools();
  });
  $('zip').addEventListener('click', zip);
  $('delete').addEventListener('click', () => remove([...chosen]));
  addEventListener('scroll', soonLook, { passive: true });
  addEventListener('resize', soonLook, { passive: true });
  addEventListener('online', () => { if (session.user) refresh(); });
  document.addEventListener('visibilitychange', () => {
    if (!session.user) return;
    if (document.hidden) listen();
    else refresh();
  });
  others?.addEventListener('message', () => { if (session.user && !document.hidden) refresh(); });
  session.addEventListener('in', () => {
    $('whose').hidden = !session.user.admin;
    if (loaded) refresh();
    else restart();
  });
  session.addEventListener('expired', listen);
  session.addEventListener('out', () => {
    owner = $('owner').value = '';
    $('search').value = $('state').value = '';
    $('sort').value = 'new';
    put($('jobs-title'), text.jobsTitle);
    generation++;
    for (const id of [...jobs.keys()]) forget(id);
    loaded = false;
    layout();
  });
}

// drawPlaying marks the row of what plays.
export function drawPlaying() {
  for (const [id, r] of rows) fill(r, jobs.get(id));
}
