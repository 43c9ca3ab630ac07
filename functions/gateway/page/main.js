// Puts the page together: which of its views is seen, and signing in and out. It loads first what is seen first.
import { $, ask, complain, fillTexts, put, say, show } from './dom.js';
import { session } from './session.js';
import { text } from './text.js';

const form = $('signin');
// What the form is for: its texts, and which of its fields are asked for.
const modes = {
  signIn: { title: text.signIn, go: text.signIn, other: text.signUpInstead, email: true, password: 'current-password' },
  signUp: { title: text.signUp, go: text.signUp, other: text.signInInstead, email: true }, // a mail has the rest
  reset: { title: text.resetPassword, go: text.sendLink, other: text.signInInstead, email: true },
  choose: { title: text.choosePassword, go: text.savePassword, other: text.signInInstead, password: 'new-password' },
};
let mode = 'signIn';
let open = false; // everyone may make an account
let link = ''; // the secret of a mail's link, by which a password is chosen

const view = (name) => { document.body.dataset.view = name; };

function signInView(why, to = 'signIn') {
  for (const d of document.querySelectorAll('dialog[open]')) d.close();
  view('signin');
  switchForm(to);
  show($('signin-why'), why);
  if (why || to !== 'signIn') form.password.value = '';
  session.may('users', 'POST').then((may) => {
    open = may;
    $('may').hidden = !open && mode === 'signIn';
  });
  session.may('login/oidc', 'GET').then((may) => { $('signon').hidden = !may; });
  if (form.contains(document.activeElement)) return; // the person has begun
  (form.email.value || form.email.disabled ? form.password : form.email).focus();
}

function switchForm(to) {
  mode = to;
  const m = modes[mode];
  put($('signin-title'), m.title);
  put($('signin-go'), m.go);
  put($('signup'), m.other);
  put($('signin-password'), mode === 'choose' ? text.newPassword : text.password);
  for (const name of ['email', 'password']) {
    form[name].disabled = !m[name];
    form[name].closest('label').hidden = !m[name];
  }
  if (m.password) form.password.autocomplete = m.password;
  $('may').hidden = !open && mode === 'signIn';
  $('forgot').hidden = mode !== 'signIn';
  show($('signin-error'), '');
}

// acts are what the form does in each mode.
const acts = {
  signIn: (email, password) => session.signIn(email, password),
  async signUp(email, password) {
    try {
      if (await session.signUp(email, password)) signInView(text.linkSent(email));
    } catch (e) {
      if (e.status === 422 && !modes.signUp.password) { // where no mail is sent, it is chosen now
        modes.signUp.password = 'new-password';
        switchForm('signUp');
      }
      throw e;
    }
  },
  async reset(email) {
    await session.reset(email);
    signInView(text.linkSent(email));
  },
  async choose(_, password) {
    await session.choose(link, password);
    signInView(text.passwordSaved);
  },
};

// byLink opens the form for the password of an account, where the address of the page is that of a mail's link. The
// secret goes from the address, which histories keep.
function byLink() {
  const [, secret] = /^#password=(.+)$/.exec(location.hash) ?? [];
  if (!secret) return false;
  link = secret;
  history.replaceState(null, '', location.pathname + location.search);
  signInView('', 'choose');
  return true;
}

async function submit(e) {
  e.preventDefault();
  const go = $('signin-go');
  if (go.disabled) return;
  if (mode === 'signIn') import('./jobs.js').catch(() => {}); // is wanted next
  show($('signin-error'), '');
  go.disabled = true;
  put(go, text.signingIn);
  try {
    const [email, password] = [form.email.value.trim(), form.password.value];
    await acts[mode](email, password);
  } catch (err) {
    const said = mode === 'signIn' && err.status === 401 ? text.wrongPassword :
      err.status === 429 ? text.tooOften(err.after) : err.message;
    show($('signin-error'), said[0].toUpperCase() + said.slice(1));
    form.password.select();
  } finally {
    go.disabled = false;
    put(go, modes[mode].go);
  }
}

function offline() {
  const off = !navigator.onLine;
  if (!off && !$('offline').hidden) say(text.online);
  show($('offline'), off ? text.offline : '');
}

// ---- what loads behind the first sight ----

let uploads = null; // upload.js, once it is there
const early = []; // files that were dropped before

// hold keeps the browser from opening a file instead of this page.
function hold(e) {
  if (!e.dataTransfer?.types.includes('Files')) return;
  e.preventDefault();
  if (e.type === 'drop' && session.user) early.push(...e.dataTransfer.files);
}

// behind gives what a module gives; without a connection there is none.
async function behind(module) {
  try { return await module(); } catch (e) {
    complain(navigator.onLine ? text.failed : text.unreachable);
    throw e;
  }
}

let loading = null;

// load brings the list, and then what sends files.
function load() {
  loading ??= (async () => {
    const jobs = await behind(() => import('./jobs.js'));
    await Promise.race([jobs.startJobs(), new Promise((go) => { setTimeout(go, 1000); })]);
    uploads = await behind(() => import('./upload.js'));
    removeEventListener('dragover', hold);
    removeEventListener('drop', hold);
    uploads.startUploads(jobs.arrived, early);
    document.body.dataset.started = 'all';
  })().catch(() => { loading = null; });
}

// opens has a button open a dialog whose module comes then.
function opens(id, module, open) {
  $(id).addEventListener('click', async () => (await behind(module))[open]());
}

fillTexts();
addEventListener('dragover', hold);
addEventListener('drop', hold);
opens('settings', () => import('./settings.js'), 'openSettings');
opens('podcast', () => import('./settings.js'), 'openPodcast');
opens('account', () => import('./account.js'), 'openAccount');
opens('users', () => import('./users.js'), 'openUsers');
addEventListener('click', (e) => { // beside a dialog closes it
  if (e.target.matches?.('dialog')) e.target.close();
});
form.addEventListener('submit', submit);
$('signup').addEventListener('click', () => switchForm(mode === 'signIn' ? 'signUp' : 'signIn'));
$('signon').addEventListener('click', () => session.comesBack());
$('forgot').addEventListener('click', () => switchForm('reset'));
addEventListener('hashchange', byLink);
$('signout').addEventListener('click', async () => {
  if (uploads?.sendingNow() && !await ask(text.leave, text.leaveText, text.signOut)) return;
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
  $('users').hidden = !session.user.admin;
  $('error').hidden = true;
  switchForm('signIn');
  form.email.value = session.user.name;
  form.password.value = '';
  view('app');
  load();
});
session.addEventListener('out', () => {
  last = '';
  form.email.value = '';
  signInView(text.signedOut);
});
session.addEventListener('expired', () => signInView(text.expired));
addEventListener('online', offline);
addEventListener('offline', offline);
offline();
document.body.dataset.started = '';
if (!byLink() && !session.start()) {
  // The form may have signed in by itself before this module came, or the person was elsewhere to do so.
  if (session.mayBe(document.body.dataset.view === 'app')) session.resume().then((in_) => in_ || signInView(''));
  else signInView('');
}
