// Picks the sound out of the fragments of an MP4 whose samples are described along the way (ISO/IEC 14496-12, section
// 8.8), as functions/internal/mp4/pick.go does. Of other tracks it keeps when they begin and end in each fragment.

import { boxes, concat, description, find, makeBox, none, numbers, path, putU32, putU64, refuse, sizeOf, text4, u16,
  u32 } from './sound.js'
import { read } from './splice.js'

const atOnce = 16 << 10 // bytes that are read where a fragment may begin
const maxFragment = 16 << 20 // bytes that describe one
const maxRuns = 1 << 16 // in a fragment

/** tell gives what the index has to say of fragments, and by track how long and large samples are when nothing says. */
export function tell(moov, tracks, sound) {
  const mvex = find(moov, 'mvex')
  if (find(sound.stbl, 'stsz')?.some((x) => x)) refuse('samples before the fragments')
  const said = new Map()
  for (const { kind, body } of boxes(mvex)) if (kind === 'trex' && body.length >= 20) said.set(u32(body, 4), body)
  const known = new Map()
  const more = [makeBox('mvex', mvex)]
  for (const t of tracks) {
    const trex = said.get(t.id)
    if (!trex) continue
    known.set(t.id, { each: u32(trex, 12), size: u32(trex, 16) })
    if (t === sound) continue
    const edits = find(t.trak, 'edts')
    more.push(makeBox('trak', makeBox('tkhd', find(t.trak, 'tkhd') ?? none), edits ? makeBox('edts', edits) : none,
      makeBox('mdia', makeBox('mdhd', path(t.trak, 'mdia', 'mdhd') ?? none))))
  }
  if (!known.has(sound.id) || !sound.timescale) refuse('a track of which nothing is said')
  return { more: concat(more), known }
}

/** plain tells whether the service surely reads the codec a sample at a time. */
export function plain(track) {
  const d = description(track)
  if (d.length < 36 || u32(d, 0) !== d.length || u16(d, 16) !== 0) return false
  const kind = text4(d, 4)
  const inside = d.subarray(36)
  if (kind === 'Opus') {
    const dops = find(inside, 'dOps') ?? none
    return dops.length >= 11 && dops[0] === 0
  }
  if (kind !== 'mp4a') return false
  const es = descriptor((find(inside, 'esds') ?? none).subarray(4), 3)
  if (es.length < 3 || es[2] & 0xe0) return false
  const config = descriptor(es.subarray(3), 4)
  if (config.length < 13 || config[0] !== 0x40) return false
  const aac = descriptor(config.subarray(13), 5)
  return aac.length >= 2 && aac[0] >> 3 === 2 && (u16(aac, 0) >> 7 & 15) < 13 // LC, of a rate that has a number
}

/** descriptor gives the content of one that begins with a tag (ISO/IEC 14496-1, section 8.3.3). */
function descriptor(b, tag) {
  if (b[0] !== tag) return none
  let size = 0
  for (let i = 1; i < Math.min(5, b.length); i++) {
    size = size << 7 | b[i] & 0x7f
    if (!(b[i] & 0x80)) return b.subarray(i + 1, i + 1 + size)
  }
  return none
}

/** pickFragments copies the fragments behind the index, from at on, with the samples of one track only. */
export async function pickFragments(file, at, track, known, to) {
  let here = none
  let from = 0
  const have = async (n) => {
    if (at < from || at + n > from + here.length) {
      from = at
      here = await read(file, at, Math.min(file.size, at + Math.max(n, atOnce)))
    }
    return here.subarray(at - from, at - from + n)
  }
  let sum = 0
  while (file.size - at >= 8) {
    const head = await have(Math.min(16, file.size - at))
    const [size, header] = sizeOf(head, file.size - at)
    const kind = text4(head, 4)
    if (size < header || size > file.size - at) refuse('cut off')
    if (kind === 'moof' || kind === 'sidx') {
      if (size > maxFragment) refuse('a large fragment')
      const b = await have(size)
      if (kind === 'sidx') checkIndex(b.subarray(header), at + size, file.size)
      else sum += write(picked(b, header, at, track, known, file.size), to)
      if (sum > file.size) refuse('samples share their bytes')
    }
    at += size
  }
  if (at < file.size) refuse('cut off')
}

/** checkIndex checks that all that an index of fragments refers to lies within the file. */
function checkIndex(b, at, size) {
  const n = new Numbers(b)
  const wide = n.u32() >>> 24 === 1
  n.at += 8 // track and timescale
  n.either(wide)
  let end = at + n.either(wide)
  for (let left = n.u32() & 0xffff; left > 0; left--) {
    end += n.u32() & 0x7fffffff
    n.at += 8
  }
  if (end > size) refuse('cut off')
}

/** Numbers are read one after the other. */
class Numbers {
  at = 0
  constructor(b) {
    this.b = b
  }

  u32() {
    if (this.at + 4 > this.b.length) refuse('a box is cut off')
    this.at += 4
    return u32(this.b, this.at - 4)
  }

  either(wide) {
    const n = wide ? this.u32() * 2 ** 32 + this.u32() : this.u32()
    return n < 2 ** 52 ? n : refuse('a number without sense')
  }
}

function* strictly(b) {
  for (const x of boxes(b)) {
    yield x
    b = b.subarray(x.whole.length)
  }
  if (b.length >= 8) refuse('a box that is none')
}

/** runs iterates over the runs of all tracks in a fragment. */
function* runs(moof, header, at, known, size) {
  const place = (b) => at + b.byteOffset - moof.byteOffset
  let end = at // of the run before
  for (const traf of strictly(moof.subarray(header))) {
    if (traf.kind !== 'traf') continue
    let next = { track: 0, timed: false, at: 0, each: 0, size: 0 }
    let base = end
    for (const { kind, body } of strictly(traf.body)) {
      const n = new Numbers(body)
      if (kind === 'tfhd') {
        const flags = n.u32()
        const id = n.u32()
        next = { ...next, track: id, each: 0, size: 0, ...known.get(id) }
        if (flags & 1) base = n.either(true)
        else if (flags & 0x20000) base = at
        if (flags & 2) n.u32()
        if (flags & 8) next.each = n.u32()
        if (flags & 0x10) next.size = n.u32()
        end = base
      } else if (kind === 'tfdt') {
        next.at = n.either(n.u32() >>> 24 === 1)
        next.timed = true
      } else if (kind === 'trun') {
        const run = readRun(n, { ...next }, base, end, size, place)
        yield run
        end = run.off + run.len
        next.at = run.at + run.length
      }
    }
  }
}

function readRun(n, run, base, end, size, place) {
  const flags = n.u32()
  run.n = n.u32()
  run.off = flags & 1 ? base + (n.u32() | 0) : end
  if (flags & 4) n.u32()
  run.fields = flags & 0xf00
  run.record = 4 * [0x100, 0x200, 0x400, 0x800].filter((f) => flags & f).length
  const entries = n.b.subarray(n.at)
  if (run.n * run.record > entries.length) refuse('a box is cut off')
  run.entries = place(entries)
  const sizeAt = run.fields & 0x100 ? 4 : 0
  run.shift = run.n && run.fields & 0x800 ? u32(entries, run.record - 4) : 0
  run.len = run.n * run.size
  run.length = run.n * run.each
  if (run.fields & 0x300) {
    run.len = run.length = 0
    for (let i = 0, k = 0; i < run.n; i++, k += run.record) {
      run.length += run.fields & 0x100 ? u32(entries, k) : run.each
      run.len += run.fields & 0x200 ? u32(entries, k + sizeAt) : run.size
    }
  }
  if (run.off < 0 || run.off > size || run.len > size - run.off) refuse('cut off')
  return run
}

/** picked gives the runs of the sound, and one for each other track, which has one sample at most, without bytes. */
function picked(moof, header, at, track, known, size) {
  const sound = []
  const others = new Map()
  for (const run of runs(moof, header, at, known, size)) {
    if (sound.length + others.size > maxRuns) refuse('a fragment of many runs')
    if (!known.has(run.track)) continue
    if (!run.timed) refuse('a run without a time')
    const first = others.get(run.track)
    if (run.track === track) sound.push(run)
    else if (!first) others.set(run.track, run)
    else others.set(run.track, { ...first.n ? first : run, length: run.at + run.length - (first.n ? first : run).at })
  }
  for (const o of others.values()) {
    if (o.length < 0 || o.length > 0xffffffff) refuse('a time without sense')
    Object.assign(o, { each: o.length, size: 0, len: 0, n: Math.min(1, o.n), record: 0, fields: 0 })
  }
  return { sound, others: [...others.values()] }
}

const tableOf = (run) => run.n * run.record

/** traf describes a run as if it were alone in the fragment, but for its entries. */
function traf(run, data, shift) {
  const fields = shift ? 0x800 : run.fields
  const time = new Uint8Array(12)
  time[0] = 1
  putU64(time, 4, run.at)
  const trun = makeBox('trun', numbers(1 | fields, run.n, data), shift ? shift.subarray(0, 4 * run.n) : none)
  putU32(trun, 0, trun.length + tableOf(run))
  const tfhd = makeBox('tfhd', numbers(0x20018, run.track, run.each, run.size))
  const b = makeBox('traf', tfhd, makeBox('tfdt', time), trun)
  putU32(b, 0, b.length + tableOf(run))
  return b
}

/** write writes what was picked, and gives how many bytes the samples have. */
function write({ sound, others }, to) {
  const inMoof = concat([makeBox('mfhd', new Uint8Array(8)), ...others.map((o) => traf(o, 0, numbers(o.shift)))])
  let size = 8 + inMoof.length
  let bytes = 0
  for (const run of sound) {
    size += traf(run, 0).length + tableOf(run)
    bytes += run.len
  }
  let data = size + 8 // where the next samples are, from the beginning of the fragment
  if (data + bytes > 0x7fffffff) refuse('a large fragment')
  const moof = makeBox('moof', inMoof)
  putU32(moof, 0, size)
  to.write(moof)
  for (const run of sound) {
    to.write(traf(run, data))
    to.copy(run.entries, tableOf(run))
    data += run.len
  }
  const mdat = makeBox('mdat')
  putU32(mdat, 0, 8 + bytes)
  to.write(mdat)
  for (const run of sound) to.copy(run.off, run.len)
  return bytes
}
