// Who is signed in, and the calls to the service in their name. The cookie is the browser's: no token is seen here.
import { remembered } from './dom.js';
import { text } from './text.js';

// Problem is why a call did not succeed. Without a status the service was not reached.
export class Problem extends Error {
  constructor(status, detail, after = 0, code = '') {
    super(detail);
    Object.assign(this, { status, after, code }); // after is in seconds
  }

  // passing tells whether another try may succeed.
  get passing() {
    return !this.status || [408, 409, 423, 425, 429].includes(this.status) || this.status >= 500 && this.status !== 507;
  }
}

// address makes an address of the service, which may live below a path.
export const address = (path) => new URL(path.replace(/^\/+/, ''), document.baseURI).href;

// problemOf reads why an answer is no success.
export function problemOf(status, body, retryAfter) {
  let said = {};
  try { said = JSON.parse(body); } catch { /* a proxy in between speaks HTML */ }
  return new Problem(status, said.detail || text.refused(status), Number(retryAfter) || 0, said.code);
}

// session tells "in" when someone has signed in, "out" when they have signed out, and "expired" when the service knows
// them no more. user is null while nobody is signed in.
class Session extends EventTarget {
  user = null;
  #timer;

  constructor() {
    super();
    document.addEventListener('visibilitychange', () => this.#watch()); // timers stand still while a machine sleeps
    addEventListener('storage', (e) => { // another tab
      if (e.key !== remembered.name('user')) return;
      const known = remembered.get('user');
      if (!known) this.expire();
      else if (known.name !== this.user?.name) this.start();
    });
  }

  tell(name) { this.dispatchEvent(new Event(name)); }

  // call gives the answer, or throws a Problem.
  async call(path, { method = 'GET', body, headers = {}, signal, form } = {}) {
    const init = { method, signal, headers: { Accept: 'application/json', ...headers }, credentials: 'same-origin' };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers['Content-Type'] = 'application/json';
    }
    if (form) init.body = form;
    let answer;
    try {
      answer = await fetch(address(path), init);
    } catch (e) {
      if (e.name === 'AbortError') throw e;
      throw new Problem(0, text.unreachable);
    }
    if (answer.ok) return answer;
    const problem = problemOf(answer.status, await answer.text().catch(() => ''), answer.headers.get('Retry-After'));
    if (problem.status === 401) this.expire();
    if (problem.status === 403 && path !== 'validate') await this.check().catch(() => {}); // was the token ended?
    throw problem;
  }

  // check asks who is signed in, after something that may be for want of it.
  async check() {
    try {
      const answer = await this.call('validate', { method: 'POST' });
      const claims = await answer.json();
      const now = Date.parse(answer.headers.get('Date')) || Date.now(); // of the service, whose clock may be another
      const until = Date.now() + claims.exp * 1000 - now;
      this.user = { name: claims.username, admin: claims.group === 'admin', until };
      remembered.set('user', this.user);
      this.#watch();
    } catch (e) {
      if (e.status === 403) this.expire();
      if (e.status !== 401 && e.status !== 403) throw e;
    }
    return this.user;
  }

  // start takes who was signed in when the page was last open. The first call that is refused ends that: so nobody is
  // asked for who has never signed in, and nobody who has waits for an answer.
  start() {
    const user = remembered.get('user');
    if (!user?.name || !(user.until > Date.now())) return false;
    this.user = user;
    this.#watch();
    this.tell('in');
    return true;
  }

  // watch asks for the session when its cookie ends, whether or not something else is asked for. Where jobs were asked
  // for meanwhile there is a new one.
  #watch() {
    clearTimeout(this.#timer);
    if (!this.user) return;
    const known = remembered.get('user'); // by this tab, or by another
    if (known?.name === this.user.name && known.until > this.user.until) this.user = known;
    const left = this.user.until - Date.now();
    const again = (ms) => { this.#timer = setTimeout(() => this.#watch(), ms); };
    if (left > 0) again(Math.min(left, 86_400_000));
    else this.check().catch(() => again(30_000));
  }

  // mayBe tells whether the cookie may be there of someone whom this page does not know yet: where the service saw it,
  // or after a sign-on elsewhere, from where the browser does not send it at once.
  mayBe(seen) {
    const back = remembered.get('signon') === true;
    remembered.remove('signon');
    return seen || back;
  }

  // comesBack remembers that the person goes to sign on elsewhere.
  comesBack() { remembered.set('signon', true); }

  // resume takes who has the cookie, and tells whether somebody has it.
  async resume() {
    await this.check().catch(() => {});
    if (this.user) this.tell('in');
    return Boolean(this.user);
  }

  // may tells whether the service takes a method for a path, from everyone.
  async may(path, method) {
    const answer = await fetch(address(path), { method: 'OPTIONS', credentials: 'omit' }).catch(() => null);
    return answer?.headers.get('Allow')?.includes(method) ?? false;
  }

  async signIn(email, password) {
    await this.#post('session', { email, password }, 'same-origin');
    await this.check();
    if (!this.user) throw new Problem(0, text.noCookie);
    this.tell('in');
  }

  // signUp tells whether a mail is on its way that proves the address; otherwise the person is signed in.
  async signUp(email, password) {
    const answer = await this.#post('users', { email, ...password && { password } }, 'omit');
    if (answer.status === 202) return true;
    await this.signIn(email, password);
    return false;
  }

  // reset has a mail sent with a link by which another password is chosen.
  async reset(email) { await this.#post('users/reset', { email }, 'omit'); }

  // choose sets the password, by what stands in the link of a mail.
  async choose(token, password) { await this.#post('users/password', { token, password }, 'omit'); }

  // post is for those who are not signed in: that they are not let in does not end a session.
  async #post(path, body, credentials) {
    let answer;
    try {
      answer = await fetch(address(path), {
        method: 'POST', body: JSON.stringify(body), credentials,
        headers: { Accept: 'application/json', 'Content-Type': 'application/json' },
      });
    } catch {
      throw new Problem(0, text.unreachable);
    }
    if (!answer.ok) throw problemOf(answer.status, await answer.text(), answer.headers.get('Retry-After'));
    return answer;
  }

  async signOut() {
    await this.call('session', { method: 'DELETE' }).catch((e) => { if (e.status !== 401) throw e; });
    this.user = null;
    remembered.remove('user');
    this.tell('out');
  }

  expire() {
    if (!this.user) return;
    this.user = null;
    remembered.remove('user');
    this.tell('expired');
  }

  // ready waits until someone is signed in.
  ready() {
    if (this.user) return Promise.resolve();
    return new Promise((done) => this.addEventListener('in', () => done(), { once: true }));
  }
}

export const session = new Session();
