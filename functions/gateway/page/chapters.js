// Reads the chapters out of an MP3's ID3v2.4 tag (https://id3.org/id3v2-chapters-1.0), which stands at its start.
const head = 10; // bytes of the tag's header, and of each frame's

const synchsafe = (b, at) => b[at] << 21 | b[at + 1] << 14 | b[at + 2] << 7 | b[at + 3];

async function part(url, from, to) {
  const res = await fetch(url, { headers: { Range: `bytes=${from}-${to}` }, credentials: 'same-origin' });
  if (res.status !== 206) {
    await res.body?.cancel();
    return new Uint8Array();
  }
  return new Uint8Array(await res.arrayBuffer());
}

const encodings = ['latin1', 'utf-16', 'utf-16be', 'utf-8'];

function* frames(b, from, to) {
  for (let at = from; at + head <= to && b[at];) {
    const size = synchsafe(b, at + 4);
    yield { id: String.fromCharCode(...b.subarray(at, at + 4)), from: at + head, to: Math.min(to, at + head + size) };
    at += head + size;
  }
}

// chaptersOf gives [{start, title}], start in seconds; none when there are none.
export async function chaptersOf(url) {
  const first = await part(url, 0, 16383);
  if (String.fromCharCode(...first.subarray(0, 3)) !== 'ID3' || first[3] !== 4) return [];
  const size = head + synchsafe(first, 6);
  if (size > 4e6) return []; // not chapters only
  let b = first;
  if (size > first.length) {
    b = new Uint8Array(size);
    b.set(first);
    b.set(await part(url, first.length, size - 1), first.length);
  }
  const found = [];
  for (const f of frames(b, head, Math.min(size, b.length))) {
    if (f.id !== 'CHAP') continue;
    const times = b.indexOf(0, f.from) + 1; // behind the element's id: start and end in ms, and two offsets in bytes
    const c = { start: new DataView(b.buffer).getUint32(times) / 1000, title: '' };
    for (const t of frames(b, times + 16, f.to)) {
      if (t.id !== 'TIT2') continue;
      const said = new TextDecoder(encodings[b[t.from]] ?? 'utf-8').decode(b.subarray(t.from + 1, t.to));
      c.title = said.replace(/\0+$/, '');
    }
    found.push(c);
  }
  return found.sort((x, y) => x.start - y.start);
}
