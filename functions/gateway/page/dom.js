// Makes and finds elements, and says things to the person. Text only ever becomes textContent.
import { text } from './text.js';

export const $ = (id) => document.getElementById(id);

// h makes an element: on… are listeners, booleans are attributes that are there or not, the rest are attributes.
export function h(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean') e.toggleAttribute(name, value);
    else if (value != null) e.setAttribute(name, value);
  }
  e.append(...children.filter((c) => c != null));
  return e;
}

const svg = 'http://www.w3.org/2000/svg';

// icon makes a picture of the page's. Its shapes are copied: <use> costs a list ten times as much.
export function icon(name) {
  const e = document.createElementNS(svg, 'svg');
  e.setAttribute('aria-hidden', 'true');
  draw(e, name);
  return e;
}

function draw(e, name) {
  if (e.dataset.icon === name) return;
  e.dataset.icon = name;
  e.setAttribute('viewBox', '0 0 24 24');
  e.replaceChildren(...[...$(`i-${name}`).children].map((c) => c.cloneNode()));
}

export const setIcon = (e, name) => draw(e.querySelector('svg'), name);

// put changes a text only where it differs: a live region and the layout then stay at rest.
export function put(e, s) {
  if (e.textContent !== s) e.textContent = s;
}

// show puts a text into an element, and hides the element when there is none.
export function show(e, s) {
  put(e, s ?? '');
  e.hidden = !s;
}

// fillTexts writes the texts that the elements of the page name.
export function fillTexts(root = document) {
  for (const e of root.querySelectorAll('[data-t]')) e.textContent = text[e.dataset.t];
  for (const [attribute, key] of [['aria-label', 'tLabel'], ['placeholder', 'tPlaceholder'], ['title', 'tTitle']]) {
    const name = key.replace(/[A-Z]/g, (c) => '-' + c.toLowerCase());
    for (const e of root.querySelectorAll(`[data-${name}]`)) e.setAttribute(attribute, text[e.dataset[key]]);
  }
}

// surface brings an element into the dialog that is open, because nothing behind that is seen or read out.
function surface(e) {
  const d = [...document.querySelectorAll('dialog[open]')].at(-1);
  if (d && !d.contains(e)) d.prepend(e);
}

document.addEventListener('close', (e) => { // and back
  if (e.target.contains($('error'))) $('offline').after($('error'));
  if (e.target.contains($('status'))) document.body.append($('status'));
}, true);

let fading;

// say tells the person something that has gone well or goes on, also by a screen reader.
export function say(s) {
  const e = $('status');
  surface(e);
  e.textContent = s;
  e.classList.add('on');
  clearTimeout(fading);
  fading = setTimeout(() => e.classList.remove('on'), 6000);
}

// complain tells what went wrong, until the person closes it or something else goes wrong.
export function complain(s) {
  const e = $('error');
  surface(e);
  e.replaceChildren(icon('alert'), h('span', {}, s),
    h('button', { type: 'button', class: 'round', 'aria-label': text.close, onclick: () => { e.hidden = true; } },
      icon('close')));
  e.hidden = false;
}

// ask opens the dialog for what cannot be undone, and gives whether the person wants it.
export function ask(title, words, yes) {
  const d = $('confirm');
  put($('confirm-title'), title);
  put($('confirm-text'), words);
  put($('confirm-yes'), yes);
  d.returnValue = '';
  d.showModal();
  return new Promise((done) => {
    d.addEventListener('close', () => done(d.returnValue === 'yes'), { once: true });
  });
}

// remembered are small settings that outlive the page. A browser may refuse to keep them.
export const remembered = {
  name: (key) => `soundstrip:${key}`,
  get(key) {
    try { return JSON.parse(localStorage.getItem(this.name(key))); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(this.name(key), JSON.stringify(value)); } catch { /* it is only not kept */ }
  },
  remove(key) {
    try { localStorage.removeItem(this.name(key)); } catch { /* nothing was kept */ }
  },
  keys(prefix) {
    try {
      return Object.keys(localStorage).filter((k) => k.startsWith(this.name(prefix)))
        .map((k) => k.slice(this.name('').length));
    } catch { return []; }
  },
};
