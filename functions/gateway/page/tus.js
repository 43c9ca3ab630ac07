// Sends a file by tus 1.0 (https://tus.io/protocols/resumable-upload), in pieces, and goes on where it broke off.
import { Problem, address, problemOf, session } from './session.js';
import { text } from './text.js';

const piece = 64 * 1024 * 1024; // bytes in one request: proxies in front of a service may refuse more than 100 MB
const pieceOfSound = 8 * 1024 * 1024; // which is read out of the video before it is sent
const stall = 60_000; // how long a request may take no byte, in ms
const answer = 600_000; // how long the service may take to store a piece that it has, in ms
const firstWait = 500; // before the second try, in ms; each wait is twice as long as the one before
const longestWait = 30_000;

const base64 = (s) => btoa(String.fromCharCode(...new TextEncoder().encode(s)));

// jobOf reads the job's id from an answer's Location.
const jobOf = (location) => /(?:^|\/)jobs\/([0-9a-fA-F]+)$/.exec(location ?? '')?.[1] ?? '';

const tus = { 'Tus-Resumable': '1.0.0' };

// begin begins an upload of so many bytes, and gives its id.
export async function begin(length, metadata, signal) {
  const pairs = Object.entries(metadata).map(([key, value]) => `${key} ${base64(value)}`);
  const res = await session.call('files', { method: 'POST', signal,
    headers: { ...tus, 'Upload-Length': String(length), 'Upload-Metadata': pairs.join(',') } });
  return new URL(res.headers.get('Location'), document.baseURI).pathname.split('/').pop();
}

// stand tells how many bytes of an upload are stored, how many it is to have, and its job when these are all.
export async function stand(id, signal) {
  const res = await session.call(`files/${id}`, { method: 'HEAD', signal, headers: tus });
  return { offset: Number(res.headers.get('Upload-Offset')), length: Number(res.headers.get('Upload-Length')),
    job: jobOf(res.headers.get('Location')) };
}

// end deletes what the service has of an upload, and its job where all had arrived meanwhile.
export async function end(id) {
  try {
    await session.call(`files/${id}`, { method: 'DELETE', headers: tus });
  } catch (e) {
    if (e.status !== 409) throw e;
    const { job } = await stand(id);
    if (job) await session.call(`jobs/${job}`, { method: 'DELETE' });
  }
}

// maximum gives how many bytes the service takes; Infinity when it does not say.
export async function maximum() {
  const res = await session.call('files', { method: 'OPTIONS', headers: tus });
  return Number(res.headers.get('Tus-Max-Size')) || Infinity;
}

// send sends one piece from offset on, and gives the new offset, and the job when that was all. It is an XMLHttpRequest
// because fetch does not tell how far it is.
async function send(id, blob, offset, signal, progress) {
  const body = await blob.slice(offset, offset + (blob instanceof Blob ? piece : pieceOfSound));
  signal.throwIfAborted();
  return new Promise((done, fail) => {
    const x = new XMLHttpRequest();
    let timer;
    const patience = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => x.abort(), ms);
    };
    const stop = () => x.abort();
    x.open('PATCH', address(`files/${id}`));
    for (const [name, value] of Object.entries({ ...tus, Accept: 'application/json',
      'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': String(offset) })) {
      x.setRequestHeader(name, value);
    }
    x.upload.onprogress = (e) => {
      progress(offset + Math.min(e.loaded, body.size));
      patience(e.loaded < body.size ? stall : answer);
    };
    x.onloadend = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      if (signal.aborted) return fail(new DOMException('', 'AbortError'));
      if (!x.status) return fail(new Problem(0, text.unreachable));
      if (x.status >= 300) {
        const problem = problemOf(x.status, x.responseText, x.getResponseHeader('Retry-After'));
        if (x.status === 401) session.expire();
        if (x.status !== 403) return fail(problem);
        return session.check().catch(() => {}).then(() => fail(problem)); // was the token ended?
      }
      return done({ offset: Number(x.getResponseHeader('Upload-Offset')),
        job: jobOf(x.getResponseHeader('Location')) });
    };
    signal.addEventListener('abort', stop);
    patience(stall);
    x.send(body);
  });
}

// patiently calls try until it succeeds or fails for good, and tells before each wait for how long and why. A wait ends
// early when wake is called, which each wait hands over anew.
export async function patiently(attempt, signal, waits) {
  for (let wait = firstWait; ;) {
    const before = performance.now();
    try {
      return await attempt();
    } catch (e) {
      if (signal.aborted) throw new DOMException('', 'AbortError');
      if (!(e instanceof Problem)) throw e;
      if (!session.user) {
        waits(0, new Problem(401, e.message), () => {});
        await Promise.race([session.ready(), aborted(signal)]);
        continue;
      }
      if (!e.passing) throw e;
      if (performance.now() - before > 10_000) wait = firstWait; // it went on for a while
      const ms = Math.max(wait / 2 + Math.random() * wait, e.after * 1000);
      wait = Math.min(2 * wait, longestWait);
      await new Promise((go, fail) => {
        const timer = setTimeout(go, ms);
        waits(ms, e, () => { clearTimeout(timer); wait = firstWait; go(); });
        signal.addEventListener('abort', () => { clearTimeout(timer); fail(new DOMException('', 'AbortError')); },
          { once: true });
      });
    }
  }
}

const aborted = (signal) => new Promise((_, fail) => {
  signal.addEventListener('abort', () => fail(new DOMException('', 'AbortError')), { once: true });
});

// sendAll sends what is missing of an upload, and gives its job.
export async function sendAll(id, blob, { signal, progress, waits }) {
  let { offset, job } = await patiently(() => stand(id, signal), signal, waits);
  progress(offset);
  while (!job) {
    if (offset >= blob.size && blob.size) throw new Problem(410, text.lost);
    let broken = false;
    ({ offset, job } = await patiently(async () => {
      if (broken) { // where it broke off, only the service knows
        const at = await stand(id, signal);
        progress(at.offset);
        if (at.job) return at;
        offset = at.offset;
      }
      broken = true;
      return send(id, blob, offset, signal, progress);
    }, signal, waits));
  }
  return job;
}
