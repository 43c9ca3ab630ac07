// Puts the page together: which of its views is seen, and signing in and out.
import { $, ask, complain, fillTexts, put, say, show } from './dom.js';
import { arrived, drawPlaying, startJobs } from './jobs.js';
import { startOptions } from './options.js';
import { close as closePlayer, startPlayer } from './player.js';
import { session } from './session.js';
import { startSettings } from './settings.js';
import { text } from './text.js';
import { sendingNow, startUploads } from './upload.js';

const form = $('signin');
let making = false; // an account, not only signing in

function view(name) {
  document.body.dataset.view = name;
  for (const e of document.querySelectorAll('[data-only]')) e.hidden = e.dataset.only !== name;
}

function signInView(why) {
  for (const d of document.querySelectorAll('dialog[open]')) d.close();
  view('signin');
  show($('signin-why'), why);
  form.password.value = '';
  session.open().then((open) => { $('may').hidden = !open; });
  (form.email.value ? form.password : form.email).focus();
}

function switchForm(on) {
  making = on;
  put($('signin-title'), on ? text.signUp : text.signIn);
  put($('signin-go'), on ? text.signUp : text.signIn);
  put($('signup'), on ? text.signInInstead : text.signUpInstead);
  form.password.autocomplete = on ? 'new-password' : 'current-password';
  show($('signin-error'), '');
}

async function submit(e) {
  e.preventDefault();
  const go = $('signin-go');
  if (go.disabled) return;
  show($('signin-error'), '');
  go.disabled = true;
  put(go, text.signingIn);
  try {
    const [email, password] = [form.email.value.trim(), form.password.value];
    if (making) await session.signUp(email, password);
    else await session.signIn(email, password);
  } catch (err) {
    const said = !making && err.status === 401 ? text.wrongPassword : err.status === 429 ? text.tooOften(err.after) :
      err.message;
    show($('signin-error'), said[0].toUpperCase() + said.slice(1));
    form.password.select();
  } finally {
    go.disabled = false;
    put(go, making ? text.signUp : text.signIn);
  }
}

function offline() {
  const off = !navigator.onLine;
  if (!off && !$('offline').hidden) say(text.online);
  show($('offline'), off ? text.offline : '');
}

fillTexts();
startOptions();
startPlayer(drawPlaying);
startSettings();
startUploads(arrived);
startJobs();

form.addEventListener('submit', submit);
$('signup').addEventListener('click', () => switchForm(!making));
$('signout').addEventListener('click', async () => {
  if (sendingNow() && !await ask(text.leave, text.leaveText, text.signOut)) return;
  try { await session.signOut(); } catch (e) { complain(e.message); }
});
let last = ''; // who was signed in before
session.addEventListener('in', () => {
  if (last && last !== session.user.name) { // nothing of one person is shown to another
    location.reload();
    return;
  }
  last = session.user.name;
  put($('user'), session.user.name);
  $('error').hidden = true;
  switchForm(false);
  form.email.value = session.user.name;
  form.password.value = '';
  view('app');
});
session.addEventListener('out', () => {
  closePlayer();
  last = '';
  form.email.value = '';
  signInView(text.signedOut);
});
session.addEventListener('expired', () => {
  closePlayer();
  signInView(text.expired);
});
addEventListener('online', offline);
addEventListener('offline', offline);
offline();
if (!session.start()) signInView('');
