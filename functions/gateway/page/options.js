// The options of what is sent: presets, and what differs from them. Those of the page are for all files that are added
// next; the dialog has a copy of their fields, for one file.
import { $, h, put, remembered, show } from './dom.js';
import { presetOf, presets, rateOf, text, usual, words } from './text.js';

const bitrates = [320, 256, 224, 192, 160, 128, 112, 96, 80, 64, 56, 48, 40, 32];
// Those of one file, which are not kept over a reload.
const texts = ['start', 'end', 'track', 'title', 'artist', 'album', 'expires'];
const form = $('options');

// seconds reads a time as the service does: seconds or [[h:]m:]s; NaN when it is none.
export function seconds(s) {
  const parts = s.trim().split(':');
  if (parts.length > 3 || !parts.every((p, i) => /^\d+(\.\d+)?$/.test(p) && (i === 0 || p < 60) &&
    (i === parts.length - 1 || !p.includes('.')))) return NaN;
  return parts.reduce((sum, p) => sum * 60 + Number(p), 0);
}

// fault says what is wrong with the times of a form; empty when nothing is.
function fault(form) {
  const at = {};
  for (const name of ['start', 'end']) {
    const s = form[name].value.trim();
    at[name] = s === '' ? NaN : seconds(s);
    const bad = s !== '' && Number.isNaN(at[name]);
    form[name].setAttribute('aria-invalid', bad);
    if (bad) return text.badTime(s);
  }
  const { valid } = form.track.validity;
  form.track.setAttribute('aria-invalid', !valid);
  if (!valid) return text.badTrack(form.track.value);
  const turned = at.end <= (at.start || 0);
  form.end.setAttribute('aria-invalid', turned);
  return turned ? text.badRange : '';
}

// read gives what a form asks the service for, by its names.
function read(form) {
  const o = {};
  const rate = form.rate.value;
  if (rate !== usual.rate) o[rate[0] === 'b' ? 'bitrate' : 'quality'] = rate.slice(1);
  if (form.mono.checked) o.mono = 'true';
  if (form.normalize.checked) o.normalize = 'true';
  if (form.partial.checked) o.partial = 'true';
  for (const name of texts) {
    const s = form[name].value.trim();
    if (s) o[name] = s;
  }
  return o;
}

// write shows in a form what read gave.
function write(form, o) {
  form.rate.value = rateOf(o);
  if (!form.rate.value) form.rate.value = usual.rate;
  form.mono.checked = Boolean(o.mono);
  form.normalize.checked = Boolean(o.normalize);
  form.partial.checked = Boolean(o.partial);
  for (const name of texts) form[name].value = o[name] ?? '';
  matchPreset(form);
}

function matchPreset(form) {
  const same = presetOf(form.rate.value, form.mono.checked, form.normalize.checked);
  for (const r of form.preset) r.checked = r.value === same;
}

// follow keeps the preset and the fields of a form alike.
function follow(form, e) {
  if (e.target.name !== 'preset') {
    matchPreset(form);
    return;
  }
  const p = presets[form.preset.value];
  form.rate.value = p.rate;
  form.mono.checked = p.mono;
  form.normalize.checked = p.normalize;
}

// options gives those for all; null when something is wrong, which is then shown.
export function options() {
  if (fault(form)) {
    form.querySelector('details').open = true;
    form.querySelector('[aria-invalid=true]').focus();
    return null;
  }
  return read(form);
}

function changed() {
  show($('options-error'), fault(form));
  const o = read(form);
  const extra = texts.filter((n) => o[n]).map((n) =>
    n === 'expires' ? text.keptFor(text.periods[o[n]]) : text[n].toLowerCase());
  const rate = form.preset.value ? '' : words({ ...o, start: '', end: '' });
  put($('options-sum'), [rate, ...extra].filter(Boolean).join(', '));
  for (const name of texts) delete o[name];
  remembered.set('options', o);
}

// endTitle empties the title, which is that of one file.
export function endTitle() {
  form.title.value = '';
  changed();
}

let answer = () => {}; // takes what the dialog gives

// askOptions opens the dialog for the options of one file, and gives them; null when they are to stay.
export function askOptions(name, o, note) {
  const d = $('one');
  const own = d.querySelector('form');
  put($('one-name'), name);
  show($('one-note'), note);
  show($('one-error'), '');
  write(own, o);
  d.returnValue = '';
  d.showModal();
  return new Promise((done) => { answer = done; });
}

function startDialog() {
  const d = $('one');
  const own = d.querySelector('form');
  for (const e of [form.querySelector('.presets'), $('options-fields')]) {
    const copy = e.cloneNode(true);
    copy.removeAttribute('id');
    $('one-fields').append(copy);
  }
  own.addEventListener('input', (e) => {
    follow(own, e);
    show($('one-error'), fault(own));
  });
  own.addEventListener('submit', (e) => { if (fault(own)) e.preventDefault(); });
  $('one-no').addEventListener('click', () => d.close());
  d.addEventListener('close', () => answer(d.returnValue === 'yes' ? read(own) : null));
}

// startOptions fills the forms.
export function startOptions() {
  for (let q = 0; q <= 9; q++) form.rate.append(h('option', { value: `q${q}` }, text.vbr(q)));
  for (const b of bitrates) form.rate.append(h('option', { value: `b${b}` }, text.cbr(b)));
  for (const [value, label] of [['', text.usually], ...Object.entries(text.periods)]) {
    form.expires.append(h('option', { value }, label));
  }
  startDialog();
  const early = form.querySelector('.presets [name=preset]:checked:not([checked])'); // chosen before this came
  write(form, remembered.get('options') ?? {});
  if (early) {
    early.checked = true;
    follow(form, { target: early });
  }
  changed();
  form.addEventListener('input', (e) => {
    follow(form, e);
    changed();
  });
  form.addEventListener('submit', (e) => e.preventDefault());
  $('options-reset').addEventListener('click', () => {
    write(form, {});
    changed();
  });
}
