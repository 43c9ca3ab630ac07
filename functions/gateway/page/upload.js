// The queue of uploads, and a row for each of them.
import { $, complain, h, icon, put, remembered, say, setIcon } from './dom.js';
import { mayBeMedia } from './kinds.js';
import { askOptions, endTitle, options, startOptions } from './options.js';
import { readQuota, refusal } from './quota.js';
import { Problem, session } from './session.js';
import { soundOf } from './sound.js';
import { bytes, left, text, words } from './text.js';
import * as tus from './tus.js';

const atOnce = 2; // uploads: a browser has six connections to a host, and the list wants some as well
const span = 8000; // over how long the speed is measured, in ms

const uploads = [];
let tell = () => {}; // what is sent: a job's id
let most = Infinity; // bytes that the service takes

// fingerprint tells a file from others without reading it.
const fingerprint = (file, opts) =>
  `upload:${JSON.stringify([session.user?.name, file.name, file.size, file.lastModified, opts])}`;

class Upload {
  state = 'queued'; // sending, paused, sent, failed
  sent = 0; // bytes that the service has
  samples = [];
  note = '';
  wake = () => {};

  // file is null when the page was loaded anew: its person has to choose it again.
  constructor(file, opts, known) {
    this.file = file;
    this.options = opts;
    this.name = file?.name ?? known.name;
    this.size = file?.size ?? known.size;
    this.modified = file?.lastModified ?? known.lastModified;
    this.key = known?.key ?? fingerprint(file, opts);
    this.id = known?.id ?? '';
    this.total = known?.total ?? this.size;
    this.sent = known?.sent ?? 0;
    if (!file) {
      this.state = 'paused';
      this.note = text.chooseAgain;
    }
    this.row();
  }

  row() {
    const button = (name, label, sign, act) => h('button', { type: 'button', class: `${name} round`,
      'aria-label': text.of(label, this.name), title: label, onclick: act }, icon(sign));
    this.bar = h('progress', { max: 1, 'aria-label': text.progressOf(this.name) });
    this.line = h('p', { class: 'meta' });
    this.what = h('p', { class: 'meta quiet' });
    this.buttons = {
      options: button('options', text.oneOptions, 'settings', () => this.choose()),
      pause: button('pause', text.pause, 'pause', () => this.pause()),
      resume: button('resume', text.resume, 'play', () => this.resume()),
      cancel: button('cancel', text.cancel, 'close', () => this.cancel()),
    };
    this.li = h('li', { class: 'upload' },
      h('div', { class: 'body' }, h('p', { class: 'name', title: this.name }, this.name), this.bar,
        h('div', { class: 'lines' }, this.line, this.what)),
      h('div', { class: 'actions' }, ...Object.values(this.buttons)));
    this.draw();
  }

  // speed is of late, in bytes a second.
  get speed() {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    return last && last[0] - first[0] > 300 ? (last[1] - first[1]) / (last[0] - first[0]) * 1000 : 0;
  }

  get secondsLeft() {
    return this.speed > 0 ? (this.total - this.sent) / this.speed : NaN;
  }

  draw() {
    const { state, buttons } = this;
    this.li.dataset.state = state;
    const active = document.activeElement;
    buttons.options.hidden = state === 'sent' || !this.file;
    buttons.pause.hidden = state !== 'sending' && state !== 'queued';
    buttons.resume.hidden = state !== 'paused' && state !== 'failed';
    const verb = state === 'failed' ? text.again : text.resume;
    buttons.resume.setAttribute('aria-label', text.of(verb, this.name));
    buttons.resume.title = verb;
    setIcon(buttons.resume, state === 'failed' ? 'retry' : 'play');
    buttons.cancel.hidden = state === 'sent';
    if (active?.hidden && this.li.contains(active)) { // the focus stays where the person is
      (buttons.pause.hidden ? buttons.resume : buttons.pause).focus();
    }
    this.bar.value = this.total ? this.sent / this.total : 0;
    this.bar.hidden = state === 'sent' || state === 'failed';
    this.li.classList.toggle('waits', Boolean(this.note) && state === 'sending');
    const amount = state === 'sent' ? bytes(this.total) : text.sentOf(bytes(this.sent), bytes(this.total));
    const s = state === 'sending' && !this.note;
    put(this.line, {
      queued: [this.note || text.waiting, bytes(this.size)],
      sending: [this.note, (s || this.sent > 0) && amount, s && this.speed > 0 && text.rate(bytes(this.speed)),
        s && (this.sent >= this.total ? text.storing : left(this.secondsLeft))],
      paused: [this.note || text.paused, amount],
      sent: [text.sent, amount],
      failed: [this.note],
    }[state].filter(Boolean).join(' · '));
    const sound = this.total < this.size && text.onlySound(bytes(this.total), bytes(this.size));
    put(this.what, [sound, words(this.options)].filter(Boolean).join(' · '));
  }

  progress(n) {
    const now = performance.now();
    if (n < this.sent) this.samples = [];
    this.sent = n;
    this.note = '';
    this.samples.push([now, n]);
    while (this.samples.length > 2 && now - this.samples[0][0] > span) this.samples.shift();
    redraw();
  }

  remember() {
    remembered.set(this.key, { id: this.id, name: this.name, size: this.size, lastModified: this.modified,
      options: this.options, total: this.total, sent: this.sent, at: Date.now() });
  }

  forget() {
    this.id = '';
    this.sent = 0;
    this.samples = [];
    remembered.remove(this.key);
  }

  to(state, note = '') {
    this.state = state;
    this.note = note;
    redraw();
    next();
  }

  pause() {
    this.stop?.abort();
    if (this.id) this.remember();
    this.to('paused');
  }

  resume() {
    if (!this.file) {
      $('files').click();
      return;
    }
    this.to('queued');
  }

  cancel() {
    this.drop();
    remove(this);
  }

  // drop ends what the service has of it.
  drop() {
    this.stop?.abort();
    const { id } = this;
    this.forget();
    if (id) tus.end(id).catch(() => {}); // the service ends by itself what nobody goes on with
  }

  // choose asks for other options. An upload that has begun cannot change them: it begins anew.
  async choose() {
    const chosen = await askOptions(this.name, this.options, this.sent ? text.oneAgain(bytes(this.sent)) : '');
    if (!chosen || this.state === 'sent' || JSON.stringify(chosen) === JSON.stringify(this.options)) return;
    this.drop();
    this.options = chosen;
    this.key = fingerprint(this.file, chosen);
    this.to(this.state === 'paused' ? 'paused' : 'queued');
  }

  async run() {
    this.state = 'sending';
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.samples = [];
    try {
      await this.send(signal);
    } catch (e) {
      if (signal.aborted) return; // whoever did that has said what it is now
      if (e instanceof Problem && [404, 410].includes(e.status)) {
        this.forget();
        this.to('failed', text.lost);
      } else if (e instanceof Problem) {
        if (e.status !== 507) this.forget();
        this.to('failed', e.message);
      } else {
        this.to('failed', text.unreadable);
      }
      say(text.notSent(this.name)); // its row tells why
    }
  }

  async send(signal) {
    const waits = (ms, e, wake) => {
      this.wake = wake;
      this.samples = [];
      const until = Date.now() + ms;
      const count = () => {
        if (this.wake !== wake || signal.aborted || Date.now() > until) return;
        this.note = e.status === 401 ? text.waitsForSession : e.status ? text.busy(e.message) :
          navigator.onLine ? text.lineCut(Math.ceil((until - Date.now()) / 1000)) : text.lineCut(0);
        redraw();
        if (ms) setTimeout(count, 1000);
      };
      count();
      if (e.status === 401) { this.note = text.waitsForSession; redraw(); }
    };
    if (this.blob === undefined) {
      this.note = text.reading;
      redraw();
      await this.file.slice(0, 1).arrayBuffer(); // a file that is gone is told now
      // A track is chosen among all that there are.
      const sound = this.options.track ? null : await soundOf(this.file).catch(() => null);
      signal.throwIfAborted();
      this.blob = sound?.blob ?? this.file;
      this.note = '';
    }
    this.total = this.blob.size;
    redraw();
    this.id ||= remembered.get(this.key)?.id ?? '';
    if (this.id) {
      const at = await tus.patiently(() => tus.stand(this.id, signal), signal, waits).catch((e) => {
        if (e.status === 404 || e.status === 410 || e.status === 403) return null;
        throw e;
      });
      if (!at || at.length && at.length !== this.total) this.forget();
    }
    if (!this.id) {
      await readQuota();
      const why = refusal(this.total);
      if (why) throw new Problem(507, why);
      const about = { filename: this.name, ...this.options };
      this.id = await tus.patiently(() => tus.begin(this.total, about, signal), signal, waits);
      this.remember();
    }
    const job = await tus.sendAll(this.id, this.blob, { signal, waits, progress: (n) => this.progress(n) });
    remembered.remove(this.key);
    this.sent = this.total;
    this.blob = undefined;
    this.file = null;
    this.to('sent');
    readQuota();
    tell(job);
  }
}

let drawing = false;

// redraw draws all rows before the next frame.
function redraw() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => {
    drawing = false;
    for (const u of uploads) u.draw();
    $('sending').hidden = uploads.length === 0;
    $('clear').hidden = !uploads.some((u) => u.state === 'sent');
    const open = uploads.filter((u) => u.state === 'sending' || u.state === 'queued');
    const speed = open.reduce((sum, u) => sum + u.speed, 0);
    const rest = open.reduce((sum, u) => sum + u.total - u.sent, 0);
    put($('uploads-sum'), open.length ? text.uploadsSum(open.length, speed ? left(rest / speed) : '') : '');
  }, 60);
}

function remove(u) {
  const i = uploads.indexOf(u);
  const focused = u.li.contains(document.activeElement);
  if (i >= 0) uploads.splice(i, 1);
  u.li.remove();
  if (focused) (uploads[Math.min(i, uploads.length - 1)]?.buttons.cancel ?? $('files')).focus();
  redraw();
  next();
}

// next begins as many uploads as may run at once.
function next() {
  let running = uploads.filter((u) => u.state === 'sending').length;
  for (const u of uploads) {
    if (running >= atOnce) return;
    if (u.state === 'queued' && session.user) {
      running++;
      u.run();
    }
  }
}

// add takes files. From a folder the others are left out without a word about each.
export async function add(list, fromFolder = false) {
  const all = [...list];
  if (all.length === 0) return;
  const opts = options();
  if (!opts) return;
  const media = await Promise.all(all.map(mayBeMedia));
  const taken = [];
  const refused = [];
  const others = [];
  all.forEach((f, i) => {
    if (f.size === 0) refused.push(text.emptyFile(f.name));
    else if (!media[i]) others.push(f);
    else if (f.size > most) refused.push(text.tooBig(f.name, bytes(most)));
    else taken.push(f);
  });
  if (fromFolder && taken.length === 0 && refused.length === 0) refused.push(text.nothingIn);
  else if (!fromFolder && others.length === 1) refused.push(text.notVideo(others[0].name));
  else if (!fromFolder && others.length > 1) refused.push(text.notVideos(others.length));
  const titled = opts.title && taken.length === 1;
  if (taken.length > 1) delete opts.title; // it is that of one
  let added = 0;
  for (const f of taken) {
    const waiting = uploads.find((u) => !u.file && u.state === 'paused' && u.name === f.name && u.size === f.size &&
      u.modified === f.lastModified);
    if (waiting) {
      waiting.file = f;
      waiting.to('queued');
      continue;
    }
    const key = fingerprint(f, opts);
    if (uploads.some((u) => u.key === key && u.state !== 'sent')) {
      refused.push(text.already(f.name));
      continue;
    }
    const u = new Upload(f, { ...opts });
    uploads.push(u);
    $('uploads').append(u.li);
    added++;
  }
  const told = 3;
  if (refused.length > told) refused.splice(told, Infinity, text.andMore(refused.length - told));
  if (refused.length) complain(refused.join(' '));
  if (added) say(text.added(added));
  if (added && titled) endTitle();
  redraw();
  next();
}

// filesIn gives the files of what was dropped, also those in folders.
async function filesIn(transfer) {
  const entries = [...transfer.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((e) => e.isDirectory)) return [[...transfer.files], false];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      found.push(await new Promise((ok, no) => { entry.file(ok, no); }));
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a call gives a hundred at most
      const some = await new Promise((ok, no) => { reader.readEntries(ok, no); });
      if (some.length === 0) return;
      for (const e of some) await walk(e);
    }
  };
  for (const e of entries) await walk(e);
  return [found, true];
}

// recall shows the uploads that a page before this one did not end.
function recall() {
  const days = 7 * 86_400_000;
  for (const key of remembered.keys('upload:')) {
    const known = remembered.get(key);
    if (!known?.id || Date.now() - known.at > days) {
      remembered.remove(key);
      continue;
    }
    const [user] = JSON.parse(key.slice('upload:'.length));
    if (user !== session.user.name || uploads.some((u) => u.key === key)) continue;
    const u = new Upload(null, known.options, { ...known, key });
    uploads.push(u);
    $('uploads').append(u.li);
  }
  redraw();
}

// startUploads listens for files, and takes those that came before. sent is called with the job of each that has
// arrived.
export function startUploads(sent, early) {
  tell = sent;
  startOptions();
  $('folderlabel').hidden = !('webkitdirectory' in $('folder'));
  let depth = 0; // of the elements that were entered
  const over = (on) => document.body.classList.toggle('dropping', on);
  const hasFiles = (e) => session.user && e.dataTransfer?.types.includes('Files') &&
    !document.querySelector('dialog[open]');
  addEventListener('dragenter', (e) => { if (hasFiles(e)) { depth++; over(true); } });
  addEventListener('dragleave', (e) => { if (hasFiles(e) && --depth <= 0) { depth = 0; over(false); } });
  addEventListener('dragover', (e) => {
    if (e.dataTransfer?.types.includes('Files')) e.preventDefault();
    if (hasFiles(e)) e.dataTransfer.dropEffect = 'copy';
  });
  addEventListener('drop', async (e) => {
    if (e.dataTransfer?.types.includes('Files')) e.preventDefault(); // a browser would open it instead of this page
    depth = 0;
    over(false);
    if (!hasFiles(e)) return;
    const found = await filesIn(e.dataTransfer).catch(() => null);
    if (found) add(...found);
    else complain(text.unreadable);
  });
  addEventListener('paste', (e) => {
    if (session.user && e.clipboardData?.files.length) add(e.clipboardData.files);
  });
  addEventListener('online', () => { for (const u of uploads) u.wake(); });
  addEventListener('beforeunload', (e) => {
    for (const u of uploads) if (u.id && u.state !== 'sent') u.remember();
    if (uploads.some((u) => u.state === 'sending' || u.state === 'queued')) e.preventDefault();
  });
  $('clear').addEventListener('click', () => {
    for (const u of uploads.filter((u) => u.state === 'sent')) remove(u);
    $('files').focus();
  });
  const entered = () => {
    recall();
    next();
    readQuota();
    if (most === Infinity) tus.maximum().then((n) => { most = n; }, () => {});
  };
  session.addEventListener('in', entered);
  session.addEventListener('out', () => {
    for (const u of [...uploads]) {
      u.stop?.abort();
      remove(u);
    }
  });
  if (session.user) entered();
  for (const [id, folder] of [['files', false], ['folder', true]]) {
    const taken = () => {
      add($(id).files, folder);
      $(id).value = ''; // the same file can be chosen again
    };
    $(id).addEventListener('change', taken);
    taken();
  }
  add(early);
}

// sendingNow tells whether something would be stopped.
export const sendingNow = () => uploads.some((u) => u.state === 'sending' || u.state === 'queued');
