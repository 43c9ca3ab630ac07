// The list of jobs: pages of it, live changes, search, and what can be done to one or to many.
import { $, ask, complain, h, icon, put, remembered, say, setIcon, show } from './dom.js';
import { follow } from './events.js';
import { address, session } from './session.js';
import { ago, bytes, clock, left, sentence, text, when, words } from './text.js';

const firstPage = 100;
const fullPage = 200; // jobs, the most that the service gives at once
const reach = 700; // pixels above and below what is seen, in which there are rows as well
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
const rows = new Map(); // by id: those in the document
const spare = []; // rows that are not
const heights = new Map(); // by id: pixels that a row took when it was last there
const chosen = new Set(); // ids
let wanted = []; // jobs that match, in order
let ahead = new Map(); // by id of a job that waits: how many of its owner's wait for longer
let next = null; // of the page that comes next; null when there is none
let loaded = false; // the first page
let generation = 0; // of the list: an answer for one before is let go
let owner = '';
const others = 'BroadcastChannel' in globalThis ? new BroadcastChannel('soundstrip') : null; // tabs

export const playing = { id: '', on: false }; // the job that the player has

// What is not needed at first comes when it is asked for.
const play = async (j) => (await import('./player.js')).play(j, titleOf(j));
const shareLink = async (id) => (await import('./settings.js')).shareLink(id);

export const titleOf = (j) => j.options?.title || j.filename || j.id;
const running = (j) => groups.running.includes(j.state);
const ready = (j) => [...groups.ready, 'handed_over'].includes(j.state) && j.mp3;

function some(is) {
  for (const j of jobs.values()) if (is(j)) return true;
  return false;
}

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

let reading = false;

// more reads pages until there are so many jobs, or all where a search, another order or sums cannot be told without.
async function more(enough) {
  if (reading) return;
  reading = true;
  let shown = performance.now();
  const wants = () => next && session.user && (needsAll() || jobs.size < enough);
  while (wants()) {
    try { await page(); } catch (e) {
      if (e.status && e.status !== 401) complain(e.message);
      break;
    }
    if (wants() && performance.now() - shown < 500) continue;
    layout();
    shown = performance.now();
  }
  reading = false;
}

const needsAll = () => $('search').value.trim() !== '' || $('state').value !== '' || $('sort').value !== 'new' ||
  owner === '*';

function take(j) {
  const before = jobs.get(j.id);
  if (before && before.updated > j.updated) return;
  jobs.set(j.id, j);
  if (before && running(before) && !running(j)) finished(j);
}

function forget(id) {
  jobs.delete(id);
  chosen.delete(id);
  heights.delete(id);
  if (playing.id === id) import('./player.js').then((p) => p.close());
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
  const seen = !document.hidden || remembered.get('notify') === true;
  const whose = owner && `?owner=${encodeURIComponent(owner)}`;
  follow(Boolean(session.user) && seen && some(running), `jobs/events${whose}`, {
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

// makeRow makes a row for any job: fill says which.
function makeRow() {
  const r = {
    job: null,
    box: h('input', { type: 'checkbox', name: 'job', onchange: (e) => {
      if (e.target.checked) chosen.add(r.job.id);
      else chosen.delete(r.job.id);
      tools();
    } }),
    play: button('play', text.play, 'play', () => play(r.job)),
    name: h('p', { class: 'name' }),
    meta: h('p', { class: 'meta quiet' }),
    bar: h('progress', { max: 100, hidden: true }),
    why: h('p', { class: 'why', hidden: true }),
    actions: h('div', { class: 'actions' }),
    deeds: [],
  };
  r.li = h('li', { class: 'job' },
    h('label', { class: 'box' }, r.box),
    h('div', { class: 'lead' }, r.play),
    h('div', { class: 'body' }, r.name, r.bar, r.meta, r.why),
    r.actions);
  return r;
}

// deedsOf are what can be done to the job of a row, by its kind: elements, and what they are called.
const deedsOf = {
  ready: (r) => [
    [h('a', { class: 'download button round', title: text.download, download: true }, icon('download')), text.download],
    [button('share', text.share, 'link', () => shareLink(r.job.id)), text.share]],
  running: (r) => [[button('cancel', text.cancelJob, 'close', () => cancel(r.job.id)), text.cancelJob]],
  over: (r) => [[h('button', { type: 'button', class: 'retry small', onclick: () => retry(r.job.id) }, icon('retry'),
    h('span', {}, text.retry)), text.retry]],
  '': () => [],
};

// deeds makes new buttons only where the job is of another kind.
function deeds(r, j, name) {
  const over = ['failed', 'cancelled', 'handed_over'].includes(j.state) && !j.video.deleted;
  const kind = ready(j) ? 'ready' : running(j) ? 'running' : over ? 'over' : '';
  if (r.kind !== kind) {
    r.kind = kind;
    const focused = r.actions.contains(document.activeElement);
    r.deeds = [...deedsOf[kind](r), [button('delete', text.delete, 'trash', () => remove([r.job.id])), text.delete]];
    r.actions.replaceChildren(...r.deeds.map(([e]) => e));
    if (focused) r.actions.firstElementChild.focus();
  }
  for (const [e, label] of r.deeds) e.setAttribute('aria-label', text.of(label, name));
  if (kind === 'ready') r.deeds[0][0].href = address(`jobs/${j.id}/mp3`);
}

const signs = { converting: 'wave', failed: 'alert', cancelled: 'close' }; // of the others it is a clock

// fill shows a job in a row.
function fill(r, j) {
  const heard = playing.id === j.id;
  const key = [heard, playing.on, chosen.has(j.id), ahead.get(j.id)].join();
  if (r.job === j && r.key === key) return;
  r.job = j;
  r.key = key;
  const name = titleOf(j);
  r.li.dataset.id = j.id;
  r.li.dataset.state = j.state;
  put(r.name, name);
  r.name.title = j.filename;
  r.box.checked = chosen.has(j.id);
  r.box.setAttribute('aria-label', text.choose(name));
  deeds(r, j, name);
  const can = ready(j);
  const plays = heard && playing.on;
  r.play.setAttribute('aria-label', text.of(plays ? text.pausePlay : text.play, name));
  r.play.disabled = !can;
  setIcon(r.play, can ? (plays ? 'pause' : 'play') : signs[j.state] ?? 'clock');
  r.li.classList.toggle('heard', heard);
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
      return [from, text.inLine(ahead.get(j.id) ?? 0), bytes(j.video.length), words(j.options)].filter(Boolean)
        .join(' · ');
    case 'converting':
      return [from, text.state.converting, text.percent(j.progress), timeLeft(j), words(j.options)].filter(Boolean)
        .join(' · ');
    case 'converted': case 'notified':
      return [from, clock(j.mp3?.duration), bytes(j.mp3?.length), words(j.options), created,
        j.expires && text.keptUntil(when(new Date(j.expires)))].filter(Boolean).join(' · ');
    default:
      return [from, text.state[j.state], bytes(j.video.length), created].filter(Boolean).join(' · ');
  }
}

function timeLeft(j) {
  const from = j.attempts?.at(-1)?.from;
  if (!from || j.progress < 3) return '';
  const took = (new Date(j.updated) - new Date(from)) / 1000;
  return took > 1 ? left(took * (100 - j.progress) / j.progress) : '';
}

function why(j) {
  if (j.state === 'failed') {
    const advice = j.video.deleted ? text.sendAgain : text.doThis[j.error?.code] ?? text.doThis[''];
    return [sentence(j.error?.message), advice].filter(Boolean).join(' ');
  }
  if (ready(j) && j.notice) return sentence(j.notice);
  if (j.state === 'expired') return text.expiredNote;
  if (j.state === 'cancelled') return text.cancelledNote;
  return '';
}

// ---- the list ----

function match() {
  const terms = $('search').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const states = groups[$('state').value];
  wanted = [];
  const line = [];
  for (const j of jobs.values()) {
    if (running(j) && j.state !== 'converting') line.push(j);
    if (states && !states.includes(j.state)) continue;
    if (terms.length) {
      const o = j.options ?? {};
      j.text ??= [j.filename, o.title, o.artist, o.album, j.username ?? j.owner].filter(Boolean).join(' ')
        .toLowerCase();
      if (!terms.every((t) => j.text.includes(t))) continue;
    }
    wanted.push(j);
  }
  wanted.sort(orders[$('sort').value] ?? newest);
  // Jobs of others who wait as well are not told by the service.
  const waiting = {};
  ahead = new Map(line.sort(orders.old).map((j) => [j.id, (waiting[j.owner] = (waiting[j.owner] ?? -1) + 1)]));
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

function layout() {
  match();
  draw();
  around();
}

let width = 0; // of the list when rows were measured, in pixels
let common = 69; // pixels that a row takes which was not there yet
let drawn = [0, 0]; // from and to where in the list there are rows, in pixels

// measure keeps how high the rows are, for when they are not there.
function measure(list) {
  if (list.clientWidth && list.clientWidth !== width) {
    width = list.clientWidth;
    heights.clear();
  }
  const first = heights.size === 0;
  let sum = 0;
  for (const [id, r] of rows) {
    const { height } = r.li.getBoundingClientRect();
    if (!height) return; // the list is hidden
    heights.set(id, height);
    sum += height;
  }
  if (first && rows.size) common = sum / rows.size;
}

// draw has in the document the rows that are seen or within reach, and the one that has the focus. Those that are not
// there leave their room as a margin of the next. The browser's own search does not find them: that of the list does.
function draw(margin = reach) {
  const list = $('jobs');
  measure(list);
  const top = -list.getBoundingClientRect().top;
  const [from, to] = drawn = [top - margin, top + innerHeight + margin];
  const active = list.contains(document.activeElement) ? document.activeElement : null;
  const kept = active?.closest('li').dataset.id;
  const seen = []; // jobs, where they are, and their places
  let y = 0;
  wanted.forEach((job, place) => {
    const height = heights.get(job.id) ?? common;
    if (y + height > from && y < to || job.id === kept) seen.push({ job, place, top: y, bottom: y + height });
    y += height;
  });
  const ids = new Set(seen.map((s) => s.job.id));
  const free = new Map(); // rows in the list whose jobs are not to be seen, by their elements
  for (const [id, r] of rows) {
    if (ids.has(id)) continue;
    rows.delete(id);
    free.set(r.li, r);
  }
  let at = list.firstElementChild;
  const takeOut = () => {
    const { nextElementSibling } = at;
    at.remove();
    spare.push(free.get(at));
    free.delete(at);
    at = nextElementSibling;
  };
  let end = 0;
  const size = next ? -1 : wanted.length; // -1: it is not known
  for (const s of seen) {
    let r = rows.get(s.job.id);
    while (r && free.has(at)) takeOut();
    r ??= free.get(at) ?? spare.pop() ?? makeRow(); // best one that is in its place already
    free.delete(r.li);
    rows.set(s.job.id, r);
    fill(r, s.job);
    r.li.ariaSetSize = size;
    r.li.ariaPosInSet = s.place + 1;
    room(r, 'marginTop', s.top - end);
    room(r, 'marginBottom', s === seen.at(-1) ? y - s.bottom : 0);
    end = s.bottom;
    if (r.li === at) at = at.nextElementSibling;
    else list.insertBefore(r.li, at);
  }
  while (at) takeOut();
  if (active?.isConnected && document.activeElement !== active) active.focus({ preventScroll: true });
}

function room(r, side, pixels) {
  const value = pixels > 0.5 ? `${pixels}px` : '';
  if (r.li.style[side] !== value) r.li.style[side] = value;
}

// around brings up to date what stands around the list.
function around() {
  $('jobs').setAttribute('aria-busy', !loaded);
  $('skeleton').hidden = loaded || Boolean(failed);
  $('more').hidden = !(loaded && next);
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
  $('zip').disabled = n ? mp3s === 0 : owner !== '' || !some(ready);
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
  if ($('jobs').getBoundingClientRect().top < 0) $('tools').scrollIntoView();
  layout();
  more(0);
}

// look draws the rows where the person has come to, and reads a page when that is near the end of the list.
function look() {
  if (!loaded) return;
  const list = $('jobs');
  const { top, bottom } = list.getBoundingClientRect();
  const near = reach / 2;
  if (list.clientWidth !== width || Math.max(0, -top - near) < drawn[0] ||
    Math.min(bottom, innerHeight + near) - top > drawn[1]) draw();
  // Who goes far will go farther: there are twice as many as have been passed, and a page.
  const passed = Math.max(...[...rows.values()].map((r) => Number(r.li.ariaPosInSet)), 0);
  if (next && 2 * passed > jobs.size) more(2 * passed + fullPage);
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
  const place = wanted.indexOf(jobs.get(known[0]));
  const wrong = [];
  let gone = 0;
  try {
    for (let i = 0; i < known.length; i += batch) {
      const body = { ids: known.slice(i, i + batch) };
      const answer = await (await session.call('jobs/delete', { method: 'POST', body })).json();
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
    dispatchEvent(new Event('deleted'));
    others?.postMessage('changed');
    // The focus goes to what is now where the first of them was.
    (rows.get(wanted[Math.min(place, wanted.length - 1)]?.id)?.box ?? $('jobs-title')).focus({ preventScroll: true });
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
  layout();
  return refresh().then(() => { more(0); });
}

const entered = () => {
  $('whose').hidden = !session.user.admin;
  return loaded ? refresh() : restart();
};

// startJobs listens. What it gives ends when there are jobs, or none can be had.
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
    drawPlaying();
    tools();
  });
  $('zip').addEventListener('click', zip);
  $('delete').addEventListener('click', () => remove([...chosen]));
  addEventListener('scroll', soonLook, { passive: true });
  addEventListener('resize', soonLook, { passive: true });
  new ResizeObserver(soonLook).observe(document.body);
  addEventListener('beforeprint', () => draw(Infinity));
  addEventListener('afterprint', () => draw());
  addEventListener('keydown', (e) => {
    if (e.key !== '/' || e.ctrlKey || e.metaKey || e.altKey || $('tools').hidden || !session.user) return;
    if (e.target.matches('input, select, textarea') || document.querySelector('dialog[open]')) return;
    e.preventDefault();
    $('search').focus();
  });
  addEventListener('online', () => { if (session.user) refresh(); });
  document.addEventListener('visibilitychange', () => {
    if (!session.user) return;
    if (document.hidden) listen();
    else refresh();
  });
  others?.addEventListener('message', () => { if (session.user && !document.hidden) refresh(); });
  session.addEventListener('in', entered);
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
  return session.user ? entered() : Promise.resolve();
}

// drawPlaying marks the row of what plays.
export function drawPlaying() {
  for (const r of rows.values()) fill(r, r.job);
}
