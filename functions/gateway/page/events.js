// One stream of changes a tab. It is open while something runs and the page is seen, or its person wants to be told.
import { address, session } from './session.js';

let source = null;
let again;

// follow opens or closes the stream. changed gets each job; missed is called when changes may have been missed.
export function follow(wanted, path, { changed, missed }) {
  const url = address(path);
  if (source && (!wanted || source.url !== url)) {
    source.close();
    source = null;
  }
  clearTimeout(again);
  if (!wanted || source || !session.user) return;
  const s = new EventSource(url);
  source = s;
  let opened = false;
  s.addEventListener('open', () => {
    if (!opened) missed(); // the browser names the last event only when it comes again by itself
    opened = true;
  });
  s.addEventListener('job', (e) => changed(JSON.parse(e.data)));
  s.addEventListener('error', () => {
    if (s.readyState !== EventSource.CLOSED || source !== s) return;
    // The service has refused: it is away for long, or the session has ended.
    source = null;
    again = setTimeout(() => missed(), 5000);
  });
}
