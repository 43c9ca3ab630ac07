// Plays an MP3: chapters, speed, and keys as video sites have them.
import { $, complain, h, put, remembered, setIcon } from './dom.js';
import { chaptersOf } from './chapters.js';
import { drawPlaying, playing } from './jobs.js';
import { address, session } from './session.js';
import { clock, text } from './text.js';

const box = $('player');
const part = (selector) => box.querySelector(selector);
const audio = part('audio');
const [toggle, seek, at, length, rate, list] = ['.toggle', '.seek', '.at', '.length', '.rate', 'button.list'].map(part);
const speeds = [0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3];

let chapters = [];
let opener = null; // what had the focus when the player was opened
let dragging = false;

// play opens the player with a job's MP3, or pauses it and goes on when it is that already.
export async function play(job, title) {
  if (playing.id === job.id) {
    if (audio.paused) go();
    else audio.pause();
    return;
  }
  opener = document.activeElement;
  playing.id = job.id;
  box.hidden = false;
  document.body.classList.add('plays');
  put(part('.name'), title);
  put(part('.chapter'), '');
  setChapters([]);
  seek.max = Math.floor(job.mp3?.duration ?? 0);
  put(length, clock(job.mp3?.duration));
  const url = address(`jobs/${job.id}/mp3`);
  audio.src = url;
  audio.playbackRate = audio.defaultPlaybackRate = Number(rate.value);
  go();
  if ('mediaSession' in navigator) {
    const { artist = '', album = '' } = job.options ?? {};
    navigator.mediaSession.metadata = new MediaMetadata({ title, artist, album });
  }
  const found = await chaptersOf(url).catch(() => []);
  if (playing.id === job.id) setChapters(found);
}

function go() {
  audio.play().catch((e) => { if (e.name === 'NotAllowedError') draw(); });
}

// close ends what plays. The focus goes back to where it was before.
export function close() {
  if (!playing.id) return;
  const focused = box.contains(document.activeElement);
  audio.pause();
  audio.removeAttribute('src');
  audio.load();
  playing.id = '';
  box.hidden = true;
  document.body.classList.remove('plays');
  if (focused && opener?.isConnected) opener.focus();
  draw();
}

function setChapters(found) {
  chapters = found;
  list.hidden = found.length === 0;
  box.classList.toggle('chaptered', found.length > 0);
  open(false);
  $('chapters').replaceChildren(...found.map((c) => h('li', {}, h('button', { type: 'button', class: 'plain',
    onclick: () => { jump(c.start); go(); } }, h('span', { class: 'quiet' }, clock(c.start)),
    h('span', {}, c.title)))));
}

function open(on) {
  $('chapters').hidden = !on;
  list.setAttribute('aria-expanded', on);
}

function jump(seconds) {
  audio.currentTime = Math.min(Math.max(0, seconds), audio.duration || seconds);
}

function draw() {
  playing.on = Boolean(playing.id) && !audio.paused;
  setIcon(toggle, playing.on ? 'pause' : 'play');
  toggle.setAttribute('aria-label', playing.on ? text.pausePlay : text.play);
  drawPlaying();
}

function tick() {
  const now = dragging ? Number(seek.value) : audio.currentTime;
  put(at, clock(now));
  if (!dragging) seek.value = now;
  seek.setAttribute('aria-valuetext', text.positionAt(clock(now), length.textContent));
  const i = chapters.findLastIndex((c) => c.start <= now + 0.05);
  put(part('.chapter'), chapters[i]?.title ?? '');
  [...$('chapters').children].forEach((li, k) => {
    if (k === i) li.firstChild.setAttribute('aria-current', 'true');
    else li.firstChild.removeAttribute('aria-current');
  });
}

// step goes to the next or the last chapter.
function step(by) {
  const i = chapters.findLastIndex((c) => c.start <= audio.currentTime + 0.05 - (by < 0 ? 2 : 0));
  const to = chapters[by > 0 ? i + 1 : Math.max(0, i)];
  if (to) jump(to.start);
}

function faster(by) {
  const i = Math.min(Math.max(0, rate.selectedIndex + by), speeds.length - 1);
  rate.selectedIndex = i;
  rate.dispatchEvent(new Event('change'));
}

const keys = {
  ' ': () => toggle.click(), k: () => toggle.click(),
  j: () => jump(audio.currentTime - 15), l: () => jump(audio.currentTime + 30),
  ArrowLeft: () => jump(audio.currentTime - 5), ArrowRight: () => jump(audio.currentTime + 5),
  '<': () => faster(-1), '>': () => faster(1), n: () => step(1), p: () => step(-1),
  m: () => { audio.muted = !audio.muted; }, Home: () => jump(0), Escape: close,
};

function start() {
  for (const s of speeds) rate.append(h('option', { value: s }, `${s}×`));
  rate.value = remembered.get('speed') ?? 1;
  if (rate.selectedIndex < 0) rate.value = 1;
  rate.addEventListener('change', () => {
    audio.playbackRate = audio.defaultPlaybackRate = Number(rate.value);
    remembered.set('speed', Number(rate.value));
  });
  toggle.addEventListener('click', () => { if (audio.paused) go(); else audio.pause(); });
  part('.back').addEventListener('click', () => jump(audio.currentTime - 15));
  part('.forward').addEventListener('click', () => jump(audio.currentTime + 30));
  part('.close').addEventListener('click', close);
  list.addEventListener('click', () => open($('chapters').hidden));
  seek.addEventListener('input', () => { dragging = true; tick(); });
  seek.addEventListener('change', () => { dragging = false; jump(Number(seek.value)); });
  for (const name of ['play', 'pause', 'ended']) audio.addEventListener(name, draw);
  audio.addEventListener('timeupdate', tick);
  audio.addEventListener('seeked', tick);
  audio.addEventListener('durationchange', () => {
    if (!Number.isFinite(audio.duration)) return;
    seek.max = Math.floor(audio.duration);
    put(length, clock(audio.duration));
  });
  audio.addEventListener('error', () => {
    if (!playing.id) return;
    close();
    complain(text.noPlay);
  });
  addEventListener('keydown', (e) => {
    if (!playing.id || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
    const t = e.target;
    if (t.matches('textarea, select, input:not([type=checkbox], [type=range])')) return;
    if ((e.key === ' ' || e.key === 'Enter') && t.matches('button, a, summary, label, input')) return;
    if (t.matches('input[type=radio], input[type=range]') && (e.key.startsWith('Arrow') || e.key === 'Home')) return;
    const act = keys[e.key];
    if (!act) return;
    e.preventDefault();
    act();
  });
  const m = navigator.mediaSession;
  if (m) {
    for (const [name, act] of [['play', go], ['pause', () => audio.pause()],
      ['seekbackward', () => jump(audio.currentTime - 15)], ['seekforward', () => jump(audio.currentTime + 30)],
      ['seekto', (d) => jump(d.seekTime)], ['nexttrack', () => step(1)], ['previoustrack', () => step(-1)]]) {
      try { m.setActionHandler(name, act); } catch { /* not every browser knows each */ }
    }
  }
  draw();
}

for (const name of ['out', 'expired']) session.addEventListener(name, close);
start();
