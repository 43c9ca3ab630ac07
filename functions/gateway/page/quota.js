// What the person has and does of what they may. It is told beside the form, and before a file is sent.
import { $, h } from './dom.js';
import { session } from './session.js';
import { bytes, text } from './text.js';

let known = null; // { used, limits }

// meters gives what is bounded: a sentence, and how much of it is used, from 0 to 1.
export function meters({ used, limits }) {
  const all = [];
  if (limits.bytes) all.push([text.quota.bytes(bytes(used.bytes), bytes(limits.bytes)), used.bytes / limits.bytes]);
  for (const name of ['minutes', 'jobs', 'uploads']) {
    if (limits[name]) all.push([text.quota[name](Math.floor(used[name]), limits[name]), used[name] / limits[name]]);
  }
  return all;
}

// meter shows one of these.
export function meter([words, part], id) {
  const bar = h('progress', { max: 1, 'aria-labelledby': id });
  bar.value = Math.min(1, part);
  return h('div', { class: part >= 0.9 ? 'meter scarce' : 'meter' }, h('p', { id, class: 'small' }, words), bar);
}

// readQuota asks how it stands now. While the service does not say, nothing is refused here.
export async function readQuota() {
  if (!session.user) return null;
  known = await session.call('users/me/usage').then((r) => r.json(), () => null);
  draw();
  return known;
}

// draw tells of the room for files, and of the others when they become scarce.
function draw() {
  const box = $('quota');
  const shown = known ? meters(known).filter(([, part], i) => i === 0 && known.limits.bytes || part >= 0.8) : [];
  box.hidden = shown.length === 0;
  const said = shown.join();
  if (box.dataset.said === said) return;
  box.dataset.said = said;
  box.replaceChildren(...shown.map((m, i) => meter(m, `quota-${i}`)));
}

// refusal says why so many bytes more would be refused; empty when they would not. What ends by itself soon, such as
// other uploads, is waited for.
export function refusal(length) {
  if (!known) return '';
  const { used, limits } = known;
  if (limits.bytes && used.bytes + length > limits.bytes) {
    return text.quota.noRoom(bytes(length), bytes(Math.max(0, limits.bytes - used.bytes)));
  }
  if (limits.minutes && used.minutes >= limits.minutes) return text.quota.noMinutes(limits.minutes);
  return '';
}

session.addEventListener('out', () => {
  known = null;
  draw();
});
addEventListener('deleted', () => readQuota());
