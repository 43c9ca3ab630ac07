// Picks the sound out of an MP4 or QuickTime file, or a Matroska file by its own module: of a lecture of 1.9 GB some
// 60 MB are left to send. The bytes are those that soundstrip send sends (functions/internal/mp4, NewSound), of which
// the service makes the same MP3. What is not surely understood is for the service: then the file is sent as it is.
//
// Sources: ISO/IEC 14496-12 (boxes), Apple's QuickTime File Format (sound descriptions, chapter tracks, text atoms).

import { pickFragments, plain, tell } from './fragments.js'
import { matroskaSound } from './matroska.js'
import { Splice, read } from './splice.js'

const maxIndex = 64 << 20 // bytes, all of it in memory; 12 hours at 60 frames a second need about 40 MiB
const maxKept = 16 << 20 // bytes of it that are no tables: what the service reads
const maxTracks = 1 << 14
const maxDescriptions = 64
const maxChapters = 1000
const maxChapterTracks = 8
const maxTitle = 1024 // bytes

/**
 * soundOf gives a file with nothing but the sound of a video and what that says of itself: the same name and type. It
 * is null where the video is to be sent as it is, because it is no such file, is broken, or is hardly larger. It never
 * throws. Of an MP4 it reads the index, of a Matroska file all; the sound is read as the blob is.
 * @param {File} file
 * @returns {Promise<{blob: Splice, name: string, type: string} | null>}
 */
export async function soundOf(file) {
  const blob = await soundAlone(file)
  return blob && blob.size <= Math.floor(file.size / 10) * 9 ? { blob, name: file.name, type: file.type } : null
}

/** soundAlone is soundOf however large the sound is: what engine.Sound gives in Go. */
export async function soundAlone(file) {
  try {
    const ebml = file.size >= 4 && u32(await read(file, 0, 4), 0) === 0x1a45dfa3
    return ebml ? await matroskaSound(file) : await pick(file)
  } catch {
    return null
  }
}

/** refuse ends it: the file is for the service. */
export function refuse(why) {
  throw new Error(why)
}

async function pick(file) {
  const { moov, after } = await readIndex(file)
  if (find(moov, 'cmov')) refuse('compressed')
  if (kept(moov) > maxKept) refuse('a large index')
  const tracks = []
  for (const b of boxes(moov)) if (b.kind === 'trak' && tracks.length < maxTracks) tracks.push(readTrack(b.body))
  const sounds = tracks.filter(t => t.handler === 'soun')
  const track = choose(sounds)
  if (!track || description(track).length < 8) refuse('no sound')
  // Which of several tracks have anything to hear, fragments tell later.
  const fragmented = find(moov, 'mvex')
  if (fragmented && (sounds.length > 1 || !plain(track))) refuse('fragments that only the service reads')
  const told = fragmented ? tell(moov, tracks, track) : { more: none }

  const layout = readLayout(track, file.size)
  const codec = codecOf(track, layout.runs)
  if (!selfContained(track)) refuse('the sound is in another file')
  const joined = join(layout)
  // The codec is told from the chunks that are there, now.
  const same = codec === codecOf(track, { n: joined.length, at: i => joined[i].description })
  if (!same || startsOdd(layout, codec)) refuse('it would say something else')

  const chapters = (await trackChapters(file, tracks)) ?? neroChapters(path(moov, 'udta', 'chpl') ?? none)
  const end = movieDuration(find(moov, 'mvhd') ?? none)
  const head = makeHead(moov, track, joined, concat([told.more, userData(readTags(moov), chapters, end)]))

  const sound = new Splice(file)
  sound.write(head)
  for (const c of chunks(layout)) sound.copy(c.offset, c.length)
  if (fragmented) await pickFragments(file, after, track.id, told.known, sound)
  return sound
}

// Bytes

export const none = new Uint8Array()

export const u16 = (b, i) => b[i] << 8 | b[i + 1]
export const u32 = (b, i) => (b[i] << 24 | b[i + 1] << 16 | b[i + 2] << 8 | b[i + 3]) >>> 0
export const u64 = (b, i) => BigInt(u32(b, i)) << 32n | BigInt(u32(b, i + 4))
export const text4 = (b, i) => String.fromCharCode(b[i], b[i + 1], b[i + 2], b[i + 3])

export function numbers(...ns) {
  const b = new Uint8Array(4 * ns.length)
  ns.forEach((n, i) => putU32(b, 4 * i, n))
  return b
}

export function putU32(b, i, n) {
  b[i] = n >>> 24
  b[i + 1] = n >>> 16
  b[i + 2] = n >>> 8
  b[i + 3] = n
}

export function putU64(b, i, n) {
  putU32(b, i, Math.floor(n / 2 ** 32))
  putU32(b, i + 4, n % 2 ** 32)
}

export function concat(parts) {
  const b = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    b.set(p, at)
    at += p.length
  }
  return b
}

export function makeBox(kind, ...bodies) {
  const b = concat([new Uint8Array(8), ...bodies])
  putU32(b, 0, b.length)
  for (let i = 0; i < 4; i++) b[4 + i] = kind.charCodeAt(i)
  return b
}

// Boxes

/** boxes iterates over those that lie one after the other. What does not divide into boxes is left out. */
export function* boxes(b) {
  while (b.length >= 8) {
    const [size, header] = sizeOf(b, b.length)
    if (size < header || size > b.length) return
    yield { kind: text4(b, 4), body: b.subarray(header, size), whole: b.subarray(0, size) }
    b = b.subarray(size)
  }
}

/** sizeOf reads the header of a box in front of so many bytes: the length of all of it, and of the header. */
export function sizeOf(b, left) {
  const size = u32(b, 0)
  if (size === 1) return left >= 16 ? [Number(u64(b, 8)), 16] : [0, 16]
  return [size || left, 8]
}

export function find(b, kind) {
  for (const x of boxes(b)) if (x.kind === kind) return x.body
}

/** path finds a box below others. */
export function path(b, ...kinds) {
  for (const kind of kinds) b = find(b ?? none, kind)
  return b
}

function without(b, ...kinds) {
  return [...boxes(b)].filter(x => !kinds.includes(x.kind))
}

/** readIndex walks the boxes of the file up to the index, and reads that; it tells where what is behind it begins. */
async function readIndex(file) {
  for (let at = 0, n = 0; file.size - at >= 8 && n < 1000; n++) {
    const b = await read(file, at, Math.min(at + 16, file.size))
    const kind = text4(b, 4)
    const [size, header] = sizeOf(b, file.size - at)
    const first = ['ftyp', 'moov', 'mdat', 'wide', 'free', 'skip', 'pnot', 'styp']
    if (at === 0 && !first.includes(kind)) refuse('no MP4')
    if (size < header || size > file.size - at) refuse('cut off')
    if (kind === 'moof' || kind === 'moov' && size > maxIndex) refuse('fragments, or a large index')
    if (kind === 'moov') return { moov: await read(file, at + header, at + size), after: at + size }
    at += size
  }
  refuse('no index')
}

/** kept is the length of an index as the service holds it: without its tables. */
function kept(b, depth = 0) {
  let sum = 0
  for (const x of boxes(b)) {
    if (depth === 4 && x.kind !== 'stsd') sum += 32
    else if (x.kind === ['trak', 'mdia', 'minf', 'stbl'][depth]) sum += 8 + kept(x.body, depth + 1)
    else sum += 8 + x.body.length
  }
  return sum
}

// Tracks

function readTrack(trak) {
  const tkhd = find(trak, 'tkhd') ?? none
  const mdhd = path(trak, 'mdia', 'mdhd') ?? none
  const hdlr = path(trak, 'mdia', 'hdlr') ?? none
  const known = tkhd.length >= 24
  return {
    trak,
    stbl: path(trak, 'mdia', 'minf', 'stbl') ?? none,
    enabled: known && (tkhd[3] & 1) !== 0,
    id: known ? u32(tkhd, tkhd[0] === 1 ? 20 : 12) : 0,
    handler: hdlr.length >= 12 ? text4(hdlr, 8) : '',
    timescale: mdhd.length >= 24 && mdhd[0] === 1 ? u32(mdhd, 20) : mdhd.length >= 16 ? u32(mdhd, 12) : 0,
  }
}

/** dead are sounds that nobody decodes, or may. */
const dead = ['apac', 'ac-4', 'mha1', 'mha2', 'mhm1', 'mhm2', 'enca', 'drms', 'aavd']
const asideRoles = ['commentary', 'description', 'enhanced-audio-intelligibility']
const asideTags = ['public.accessibility.describes-video', 'public.accessibility.enhances-speech-intelligibility',
  'public.auxiliary-content']

/** choose picks the track that players take, or another one when there is nothing to hear on it. */
function choose(tracks) {
  const rank = t => {
    const stsz = find(t.stbl, 'stsz') ?? none
    const empty = stsz.length >= 12 && u32(stsz, 8) === 0
    const [first] = boxes(description(t))
    return (empty || dead.includes(first?.kind) ? 4 : 0) + (isAside(t) ? 2 : 0) + (t.enabled ? 0 : 1)
  }
  return tracks.reduce((best, t) => best && rank(best) <= rank(t) ? best : t, undefined)
}

/** isAside knows a commentary, and sound for those who see or hear little. */
function isAside(track) {
  for (const { kind, body } of boxes(find(track.trak, 'udta') ?? none)) {
    const text = String.fromCharCode(...body.subarray(0, 200))
    const [scheme, value] = text.slice(4).split('\0')
    if (kind === 'tagc' && asideTags.includes(text)) return true
    if (kind === 'kind' && scheme === 'urn:mpeg:dash:role:2011' && asideRoles.includes(value)) return true
  }
  return false
}

/** table finds one with entries of so many numbers: number k of entry i. It is undefined when missing or cut off. */
function table(track, kind, width, before = 4) {
  const b = find(track.stbl, kind)
  if (!b || b.length < before + 4) return
  const n = u32(b, before)
  const start = before + 4
  if (4 * width * n > b.length - start) return
  return { n, at: (i, k = 0) => u32(b, start + 4 * (width * i + k)) }
}

export const description = track => (find(track.stbl, 'stsd') ?? none).subarray(8)

/** codecOf gives the four characters of the descriptions that samples refer to, by the runs of chunks. */
function codecOf(track, runs) {
  const used = new Set()
  for (let i = 0; i < runs.n; i++) {
    const number = runs.at(i, 2)
    if (number < 1 || number > maxDescriptions) refuse('descriptions')
    used.add(number)
  }
  let codec = ''
  let number = 0
  for (const { kind } of boxes(description(track))) {
    number++
    if (!used.has(number)) continue
    if (kind === 'enca' || kind === 'drms' || kind === 'aavd') refuse('encrypted')
    if (codec && codec !== kind) refuse('two codecs')
    codec = kind
  }
  return codec
}

/** startsOdd reports whether the first bytes, which tell the layer of MPEG audio, might not be seen as they are now. */
function startsOdd(layout, codec) {
  if (!['mp4a', '.mp3', 'ms\0U'].includes(codec)) return false
  for (const c of chunks(layout)) if (c.length > 0) return c.length < 4
  return false
}

/** selfContained reports whether the data reference is to the file itself (ISO/IEC 14496-12, section 8.7.2). */
function selfContained(track) {
  const dref = path(track.trak, 'mdia', 'minf', 'dinf', 'dref') ?? none
  return [...boxes(dref.subarray(8))].every(x => x.body.length >= 4 && x.body[3] & 1)
}

// Where the samples are

/** readLayout finds the tables that tell where the samples are, and checks that they are all within the file. */
function readLayout(track, size) {
  const narrow = table(track, 'stco', 1)
  const offsets = narrow ?? table(track, 'co64', 2)
  const runs = table(track, 'stsc', 3)
  const stsz = find(track.stbl, 'stsz') ?? none
  if (!offsets || !runs || stsz.length < 12) refuse('a table is missing')
  const layout = { wide: !narrow, offsets, runs, samples: u32(stsz, 8) }
  const each = u32(stsz, 4)
  if (each > 0) layout.packet = packetOf(description(track), each)
  else layout.sizes = table(track, 'stsz', 1, 8) ?? refuse('sizes are missing')

  let placed = 0
  let sum = 0
  for (const c of chunks(layout)) {
    if (c.offset > size || c.length > size - c.offset) refuse('cut off')
    placed += c.samples
    sum += c.length
    if (sum > size) refuse('samples share their bytes')
  }
  return placed === layout.samples ? layout : refuse('samples without a place')
}

/** bytesAChannel are those of a sample of the codecs whose description (version 0) does not always say it. */
const bytesAChannel = { alaw: 1, ulaw: 1, twos: 2, sowt: 2, in24: 3, in32: 4, fl32: 4, fl64: 8 }

/**
 * packetOf reads a sound description for the bytes of samples that are all alike: a size of 1 may only say that they
 * are (QuickTime File Format, sound sample descriptions versions 0 to 2).
 */
function packetOf(d, size) {
  if (d.length < 36) refuse('a short description')
  if (size > 1) return { samples: 1, bytes: size }
  const kind = text4(d, 4)
  const channels = u16(d, 24)
  let p = { samples: 1, bytes: channels * (bytesAChannel[kind] ?? 0) }
  if (u16(d, 16) === 1 && d.length >= 52) p = { samples: u32(d, 36), bytes: u32(d, 44) }
  else if (u16(d, 16) === 2 && d.length >= 72) p = { samples: u32(d, 68), bytes: u32(d, 64) }
  else if (kind === 'raw ' || kind === 'NONE') p.bytes = Math.floor(channels * u16(d, 26) / 8)
  return p.samples > 0 && p.bytes > 0 ? p : refuse('samples of no known size')
}

/** chunks iterates over the runs of samples that lie one after the other, in the order of the track. */
function* chunks({ wide, offsets, runs, samples, packet, sizes }) {
  let run = -1
  let next = 0 // sample
  for (let i = 0; i < offsets.n; i++) {
    while (run + 1 < runs.n && runs.at(run + 1) <= i + 1) run++
    const n = run < 0 ? 0 : Math.min(runs.at(run, 1), samples - next)
    let length = 0
    if (packet) length = Math.ceil(n / packet.samples) * packet.bytes
    else for (let k = next; k < next + n; k++) length += sizes.at(k)
    next += n
    // Above 2^53 it is not exact, and beyond any file.
    const offset = wide ? offsets.at(i) * 2 ** 32 + offsets.at(i, 1) : offsets.at(i)
    yield { offset, length, samples: n, description: run < 0 ? 0 : runs.at(run, 2) }
  }
}

/**
 * join gives the chunks as they are once the track lies in one piece: those with one description are one. Where samples
 * come in packets, the last of a chunk may not be full, so that chunks stay as they are.
 */
function join(layout) {
  const joined = []
  let sum = { length: 0, samples: 0, description: 0 }
  const add = () => sum.samples > 0 && joined.push(sum)
  for (const c of chunks(layout)) {
    if (!layout.packet && c.description === sum.description) {
      sum.length += c.length
      sum.samples += c.samples
    } else {
      add()
      sum = c
    }
  }
  add()
  return joined
}

// What the file says of itself

const fatal = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** validUTF8 leaves out the bytes that are none. */
function validUTF8(b) {
  const valid = x => {
    try {
      fatal.decode(x)
      return true
    } catch {
      return false
    }
  }
  if (valid(b)) return b
  const runes = []
  for (let i = 0; i < b.length;) {
    const n = b[i] < 0x80 ? 1 : b[i] < 0xe0 ? 2 : b[i] < 0xf0 ? 3 : 4
    const rune = b.subarray(i, i + n)
    const ok = valid(rune)
    if (ok) runes.push(rune)
    i += ok ? n : 1
  }
  return concat(runes)
}

/**
 * readTags reads iTunes' list (moov/udta/meta/ilst), and QuickTime's text atoms (moov/udta/©nam) for what is missing
 * there: bytes by kind.
 */
const moreItems = ['\xa9gen', 'gnre', 'trkn', 'disk', 'aART', '\xa9wrt', '\xa9cmt', '\xa9lyr', 'cprt', '----']
const maxMore = 256 << 10 // bytes of them

function readTags(moov) {
  const udta = find(moov, 'udta') ?? none
  let meta = find(udta, 'meta') ?? none
  if (meta.length >= 8 && u32(meta, 0) === 0) meta = meta.subarray(4) // version and flags, which QuickTime leaves out
  const ilst = find(meta, 'ilst') ?? none
  const item = kind => {
    const data = path(ilst, kind, 'data') ?? none
    return data.length < 8 ? [none, -1] : [data.subarray(8), u32(data, 0) & 0xffffff]
  }
  const tags = {}
  for (const kind of ['\xa9nam', '\xa9ART', '\xa9alb', '\xa9day']) {
    const [value, type] = item(kind)
    const text = find(udta, kind) ?? none
    if (type === 1) tags[kind] = validUTF8(value)
    else if (text.length >= 4 && 4 + u16(text, 0) <= text.length) {
      tags[kind] = validUTF8(text.subarray(4, 4 + u16(text, 0)))
    }
  }
  const [cover, type] = item('covr')
  if ([13, 14, 0].includes(type)) tags.covr = cover.length > 0 ? cover : refuse('an empty cover')
  let length = 0
  const more = [...boxes(ilst)].filter(b => moreItems.includes(b.kind) && length + b.body.length < maxMore &&
    (length += 8 + b.body.length)).map(b => makeBox(b.kind, b.body))
  return { tags, more }
}

/** scaled turns ticks of 1/timescale seconds into nanoseconds; what is not known or beyond sense is 0. */
function scaled(ticks, timescale) {
  const n = BigInt(ticks)
  const scale = BigInt(timescale)
  return scale === 0n || n / scale >= 1n << 32n || n === 0xffffffffn ? 0n : n * 1_000_000_000n / scale
}

function movieDuration(mvhd) {
  if (mvhd.length >= 32 && mvhd[0] === 1) return scaled(u64(mvhd, 24), u32(mvhd, 20))
  return mvhd.length >= 20 ? scaled(u32(mvhd, 16), u32(mvhd, 12)) : 0n
}

/** neroChapters reads a chpl box: starts in units of 100 ns, a chapter ends where the next begins. */
function neroChapters(b) {
  if (b.length >= 9 && b[0] === 1) b = b.subarray(9)
  else if (b.length >= 5) b = b.subarray(5)
  const chapters = []
  while (b.length >= 9 && b.length >= 9 + b[8] && chapters.length < maxChapters) {
    const next = 9 + b[8]
    chapters.push({ start: scaled(u64(b, 0), 1e7), title: validUTF8(b.subarray(9, next)) })
    b = b.subarray(next)
  }
  return chapters
}

/**
 * trackChapters reads the track of text that another names as its chapters (QuickTime File Format, chapter lists), one
 * sample a chapter; undefined where there are none, or they cannot be read.
 */
async function trackChapters(file, tracks) {
  for (const t of tracks) {
    const refs = path(t.trak, 'tref', 'chap') ?? none
    for (let i = 0; i + 4 <= Math.min(refs.length, 4 * maxChapterTracks); i += 4) {
      const track = tracks.find(c => c.id === u32(refs, i) && (c.handler === 'text' || c.handler === 'sbtl'))
      if (!track) continue
      let samples
      try {
        samples = textSamples(track, file.size)
      } catch {
        return
      }
      if (samples.length === 0) return
      return Promise.all(samples.map(async s => ({ ...s, title: await readTitle(file, s.offset, s.length) })))
    }
  }
}

function textSamples(track, size) {
  const layout = readLayout(track, size)
  const times = table(track, 'stts', 2) ?? { n: 0 }
  const samples = []
  let entry = 0
  let left = 0
  let each = 0
  let time = 0
  let sample = 0
  for (const c of chunks(layout)) {
    let { offset } = c
    for (let k = 0; k < c.samples; k++) {
      for (; left === 0 && entry < times.n; entry++) [left, each] = [times.at(entry), times.at(entry, 1)]
      if (left-- === 0 || samples.length === maxChapters) return samples
      const length = layout.packet ? layout.packet.bytes : layout.sizes.at(sample++)
      const [start, end] = [time, time + each].map(n => scaled(n, track.timescale))
      samples.push({ offset, length, start, end })
      offset += length
      time += each
    }
  }
  return samples
}

/** readTitle reads a sample of text: its length in 16 bits, then UTF-8, or UTF-16 after a byte order mark. */
async function readTitle(file, offset, length) {
  if (length < 2) return none
  const b = await read(file, offset, offset + Math.min(length, 2 + maxTitle))
  const text = b.subarray(2, 2 + u16(b, 0))
  if (text.length < 2 || u16(text, 0) !== 0xfeff) return validUTF8(text)
  let s = ''
  for (let i = 2; i + 2 <= text.length; i += 2) s += String.fromCharCode(u16(text, i))
  return new TextEncoder().encode(s)
}

// What is written

/** userData writes what readTags and neroChapters read, and refuses chapters that cannot be said so. */
function userData({ tags, more }, chapters, movieEnd) {
  const items = Object.entries(tags).filter(([, value]) => value.length > 0).map(([kind, value]) =>
    makeBox(kind, makeBox('data', numbers(kind === 'covr' ? 0 : 1, 0), value)))
  const list = chapters.map(({ start, end, title }, i) => {
    const next = chapters[i + 1]?.start ?? movieEnd
    const units = start / 100n
    if (title.length > 255 || (end ?? next) !== next || scaled(units, 1e7) !== start) refuse('chapters')
    return concat([numbers(Number(units >> 32n), Number(units & 0xffffffffn)), [title.length], title])
  })
  const handler = new TextEncoder().encode('\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0')
  const meta = makeBox('meta', numbers(0), makeBox('hdlr', handler), makeBox('ilst', ...items, ...more))
  const chpl = list.length > 0 ? makeBox('chpl', [1, 0, 0, 0, 0, 0, 0, 0, list.length], ...list) : none
  return makeBox('udta', meta, chpl)
}

/**
 * makeHead makes everything in front of the samples: ftyp, moov and the header of an mdat. The track's description,
 * times and edits stay as they are; only its chunks change.
 */
function makeHead(moov, { trak, stbl }, joined, more) {
  const keep = (b, ...kinds) => without(b, ...kinds).map(x => makeBox(x.kind, x.body))
  const mdia = find(trak, 'mdia')
  const tables = without(stbl, 'stsd', 'stsc', 'stco', 'co64').map(x =>
    u32(x.whole, 0) > 0 ? x.whole : refuse('a table without a length'))
  const runs = joined.map((c, i) => numbers(i + 1, c.samples, c.description))
  const index = makeBox('moov', makeBox('mvhd', find(moov, 'mvhd') ?? none), more,
    makeBox('trak', ...keep(trak, 'mdia', 'tref', 'udta', 'meta'),
      makeBox('mdia', ...keep(mdia, 'minf'),
        makeBox('minf', ...keep(find(mdia, 'minf'), 'stbl'),
          makeBox('stbl', makeBox('stsd', find(stbl, 'stsd')), ...tables,
            makeBox('stsc', numbers(0, joined.length), concat(runs)),
            makeBox('co64', numbers(0, joined.length), new Uint8Array(8 * joined.length)))))))
  if (kept(index.subarray(8)) > maxKept) refuse('a large index')
  const ftyp = makeBox('ftyp', new TextEncoder().encode('qt  \0\0\x02\0qt  '))
  const mdat = makeBox('mdat', new Uint8Array(8))
  // The offsets are the last of the index.
  let at = index.length - 8 * joined.length
  let offset = ftyp.length + index.length + mdat.length
  let length = mdat.length
  for (const c of joined) {
    putU64(index, at, offset)
    at += 8
    offset += c.length
    length += c.length
  }
  putU32(mdat, 0, 1) // the length has 64 bits
  putU64(mdat, 8, length)
  return concat([ftyp, index, mdat])
}
