// The dialogs: a link to an MP3, the podcast, and what tells the person that a job has ended.
import { $, h, put, remembered, say, show } from './dom.js';
import { address, session } from './session.js';
import { text, when } from './text.js';

// trying shows in a dialog why something was refused.
export async function trying(errorId, act) {
  show($(errorId), '');
  try { await act(); } catch (e) {
    if (e.status === 401) for (const d of document.querySelectorAll('dialog[open]')) d.close();
    show($(errorId), e.message);
  }
}

let shared = ''; // id of a job

export function shareLink(id) {
  shared = id;
  $('share-result').hidden = true;
  show($('share-error'), '');
  $('share').showModal();
}

async function makeLink() {
  const res = await session.call(`jobs/${shared}/link?for=${$('share-for').value}`, { method: 'POST' });
  const { url, expires } = await res.json();
  $('share-url').value = url.startsWith('/') ? address(url) : url; // without PUBLIC_URL it begins at our root
  put($('share-ends'), text.linkEnds(when(new Date(expires))));
  $('share-result').hidden = false;
  $('share-url').select();
}

async function showWebhook() {
  $('webhook-result').hidden = true;
  $('webhook-end').hidden = true;
  $('webhook-url').value = '';
  await trying('webhook-error', async () => {
    const hook = await session.call('users/me/webhook').then((r) => r.json(), (e) => {
      if (e.status === 404) return null;
      throw e;
    });
    $('webhook-url').value = hook?.url ?? '';
    $('webhook-end').hidden = !hook;
  });
}

function showNotify() {
  const can = 'Notification' in globalThis && isSecureContext;
  $('notify').disabled = !can;
  $('notify').checked = can && remembered.get('notify') === true && Notification.permission === 'granted';
  show($('notify-note'), can ? Notification.permission === 'denied' ? text.notifyNo : '' : text.notifyInsecure);
}

function start() {
  for (const [value, label] of Object.entries(text.linkSpans)) {
    $('share-for').append(h('option', { value, selected: value === '7d' }, label));
  }
  $('share-make').addEventListener('click', () => trying('share-error', makeLink));

  $('feed-make').addEventListener('click', () => trying('feed-error', async () => {
    const { url } = await (await session.call('users/me/feed', { method: 'POST' })).json();
    $('feed-url').value = url;
    $('feed-result').hidden = false;
    $('feed-url').select();
  }));
  $('feed-end').addEventListener('click', () => trying('feed-error', async () => {
    await session.call('users/me/feed', { method: 'DELETE' });
    $('feed').close();
    say(text.podcastEnded);
  }));

  $('notify').addEventListener('change', async (e) => {
    const on = e.target.checked && await Notification.requestPermission() === 'granted';
    remembered.set('notify', on);
    showNotify();
  });
  $('webhook').addEventListener('submit', (e) => {
    e.preventDefault();
    trying('webhook-error', async () => {
      const body = { url: $('webhook-url').value.trim() };
      const res = await session.call('users/me/webhook', { method: 'PUT', body });
      $('webhook-secret').value = (await res.json()).secret;
      $('webhook-result').hidden = false;
      $('webhook-end').hidden = false;
      say(text.webhookSaved);
    });
  });
  $('webhook-end').addEventListener('click', () => trying('webhook-error', async () => {
    await session.call('users/me/webhook', { method: 'DELETE' });
    $('webhook-url').value = '';
    $('webhook-result').hidden = $('webhook-end').hidden = true;
    say(text.webhookGone);
  }));

  addEventListener('click', async (e) => {
    const b = e.target.closest?.('.copybutton');
    if (!b) return;
    const input = $(b.dataset.copy);
    input.select();
    try { await navigator.clipboard.writeText(input.value); } catch { document.execCommand('copy'); }
    put(b, text.copied);
    setTimeout(() => put(b, text.copy), 2000);
  });
}

export function openPodcast() {
  $('feed-result').hidden = true;
  show($('feed-error'), '');
  $('feed').showModal();
}

export function openSettings() {
  showNotify();
  showWebhook();
  put($('mail'), text.mailText(session.user.name));
  $('config').showModal();
}

start();
