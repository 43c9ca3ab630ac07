// The options of what is sent next: presets, and what differs from them.
import { $, h, put, remembered, show } from './dom.js';
import { clock, text } from './text.js';

const presets = {
  speech: { rate: 'q5', mono: true, normalize: true },
  music: { rate: 'q2', mono: false, normalize: false },
  best: { rate: 'b320', mono: false, normalize: false },
};

const presetOf = (rate, mono, normalize) => Object.entries(presets)
  .find(([, p]) => p.rate === rate && p.mono === mono && p.normalize === normalize)?.[0];

const bitrates = [320, 256, 224, 192, 160, 128, 112, 96, 80, 64, 56, 48, 40, 32];
const tags = ['title', 'artist', 'album'];
const form = $('options');

// seconds reads a time as the service does: seconds or [[h:]m:]s; NaN when it is none.
export function seconds(s) {
  const parts = s.trim().split(':');
  if (parts.length > 3 || !parts.every((p, i) => /^\d+(\.\d+)?$/.test(p) && (i === 0 || p < 60) &&
    (i === parts.length - 1 || !p.includes('.')))) return NaN;
  return parts.reduce((sum, p) => sum * 60 + Number(p), 0);
}

// fault says what is wrong with the times; empty when nothing is.
function fault() {
  const at = {};
  for (const name of ['start', 'end']) {
    const s = form[name].value.trim();
    at[name] = s === '' ? NaN : seconds(s);
    const bad = s !== '' && Number.isNaN(at[name]);
    form[name].setAttribute('aria-invalid', bad);
    if (bad) return text.badTime(s);
  }
  const turned = at.end <= (at.start || 0);
  form.end.setAttribute('aria-invalid', turned);
  return turned ? text.badRange : '';
}

// options gives what the service is to be asked for, by its names; null when something is wrong, which is then shown.
export function options() {
  const wrong = fault();
  if (wrong) {
    form.querySelector('details').open = true;
    form.querySelector('[aria-invalid=true]').focus();
    return null;
  }
  const o = {};
  const rate = form.rate.value;
  o[rate[0] === 'b' ? 'bitrate' : 'quality'] = rate.slice(1);
  if (form.mono.checked) o.mono = 'true';
  if (form.normalize.checked) o.normalize = 'true';
  for (const name of ['start', 'end', ...tags]) {
    if (form[name].value.trim()) o[name] = form[name].value.trim();
  }
  return o;
}

// words says options in short, by their preset where there is one.
export function words(o) {
  const rate = o.bitrate ? `b${o.bitrate}` : `q${o.quality ?? 2}`;
  const preset = presetOf(rate, String(o.mono) === 'true', String(o.normalize) === 'true');
  return [
    ...preset ? [text[preset]] :
      [o.bitrate ? text.kbit(o.bitrate) : text.v(o.quality ?? 2), o.mono && text.monoShort, o.normalize && text.evenShort],
    o.start && text.from(typeof o.start === 'number' ? clock(o.start) : o.start),
    o.end && text.to(typeof o.end === 'number' ? clock(o.end) : o.end),
  ].filter(Boolean).join(', ');
}

function changed(e) {
  if (e?.target.name === 'preset') {
    const p = presets[form.preset.value];
    form.rate.value = p.rate;
    form.mono.checked = p.mono;
    form.normalize.checked = p.normalize;
  } else {
    const same = presetOf(form.rate.value, form.mono.checked, form.normalize.checked);
    for (const r of form.preset) r.checked = r.value === same;
  }
  show($('options-error'), fault());
  const extra = ['start', 'end', ...tags].filter((n) => form[n].value.trim()).map((n) => text[n].toLowerCase());
  put($('options-sum'), [form.preset.value ? '' : words(current()), ...extra].filter(Boolean).join(', '));
  remembered.set('options', { rate: form.rate.value, mono: form.mono.checked, normalize: form.normalize.checked });
}

// endTitle empties the title, which is that of one file.
export function endTitle() {
  form.title.value = '';
  changed();
}

function current() {
  const rate = form.rate.value;
  return { [rate[0] === 'b' ? 'bitrate' : 'quality']: rate.slice(1), mono: form.mono.checked,
    normalize: form.normalize.checked };
}

// startOptions fills the form. What is of one file, its times and tags, is not kept over a reload.
export function startOptions() {
  for (let q = 0; q <= 9; q++) form.rate.append(h('option', { value: `q${q}` }, text.vbr(q)));
  for (const b of bitrates) form.rate.append(h('option', { value: `b${b}` }, text.cbr(b)));
  const set = (o) => {
    form.rate.value = o.rate;
    if (!form.rate.value) form.rate.value = 'q2';
    form.mono.checked = o.mono;
    form.normalize.checked = o.normalize;
    changed();
  };
  set(remembered.get('options') ?? presets.music);
  form.addEventListener('input', changed);
  form.addEventListener('submit', (e) => e.preventDefault());
  $('options-reset').addEventListener('click', () => {
    form.reset();
    set(presets.music);
  });
}
