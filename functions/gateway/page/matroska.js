// Leaves out of a Matroska or WebM file what is of other tracks than those of sound, as soundstrip send does
// (functions/internal/container, SoundAlone): the same bytes, of which the same MP3 is made. Where that cannot surely
// be told it throws, and the file is sent as it is.
//
// Sources: RFC 9559 (Matroska), RFC 8794 (EBML).
import { Splice, read } from './splice.js'

const probed = 5_000_000 + (1 << 20) // bytes of packets at which ffmpeg looks first, of all tracks: all are kept
const maxElements = 1 << 24
const maxMetadata = 8 << 20 // bytes
const maxTracks = 64
const windowSize = 1 << 20 // bytes that are read at a time
const longestHeader = 4 + 8 // bytes

const ebmlHead = 0x1a45dfa3
const ebmlVoid = 0xec
const ebmlCRC = 0xbf
const segmentID = 0x18538067
const clusterID = 0x1f43b675
const seekHeadID = 0x114d9b74
const cuesID = 0x1c53bb6b
const tracksID = 0x1654ae6b
const entryID = 0xae
const numberID = 0xd7
const typeID = 0x83
const codecID = 0x86
const encodingsID = 0x6d80
const positionID = 0xa7
const prevSizeID = 0xab
const simpleBlockID = 0xa3
const groupID = 0xa0
const blockID = 0xa1

function refuse(why) {
  throw new Error(why)
}

/** widthOf is the length of a number by its first byte. */
const widthOf = byte => Math.clz32(byte) - 23

function uint(b) {
  let n = 0
  for (const x of b) n = n * 256 + x
  return n <= Number.MAX_SAFE_INTEGER ? n : refuse('a number that is too large')
}

/** ebmlSize writes the length of an element in so many bytes (RFC 8794, section 6). */
function ebmlSize(n, width) {
  const b = new Uint8Array(width)
  for (let i = width - 1; i >= 0; i--) {
    b[i] = n % 256
    n = Math.floor(n / 256)
  }
  b[0] |= 1 << (8 - width)
  return b
}

/** readHeader reads the header that b begins with, if it is whole; a size that its writer did not know is -1. */
function readHeader(b) {
  if (b.length === 0 || b[0] < 0x10) return null
  const idLength = widthOf(b[0])
  if (b.length <= idLength || b[idLength] === 0) return null
  const width = widthOf(b[idLength])
  const header = idLength + width
  if (b.length < header) return null
  const mask = 0xff >> width
  let size = b[idLength] & mask
  let unknown = size === mask
  for (let i = idLength + 1; i < header; i++) {
    size = size * 256 + b[i]
    unknown &&= b[i] === 0xff
  }
  return { id: uint(b.subarray(0, idLength)), idLength, header, size: unknown ? -1 : size }
}

/** elements gives the elements that b consists of. */
function elements(b) {
  const found = []
  while (b.length > 0) {
    const e = readHeader(b)
    if (!e || e.size < 0 || e.size > b.length - e.header) refuse('a track that is cut off')
    found.push({ id: e.id, body: b.subarray(e.header, e.header + e.size) })
    b = b.subarray(e.header + e.size)
  }
  return found
}

/** matroskaSound gives the file without pictures, as a Splice. */
export async function matroskaSound(file) {
  const sound = new MatroskaSound(file)
  await sound.all()
  return sound.out
}

class MatroskaSound {
  #file
  #window = new Uint8Array()
  #windowAt = 0
  #end = 0 // of the segment
  #live = false // its writer did not know that
  #tracks = null
  #left = probed // bytes of packets that are kept, whatever they are
  #largest = 0 // packet, in bytes
  #elements = 0

  constructor(file) {
    this.#file = file
    this.out = new Splice(file)
  }

  /** has tells whether n bytes at a place are in memory, or as many as there are. */
  #has(at, n) {
    return at >= this.#windowAt && Math.min(at + n, this.#file.size) <= this.#windowAt + this.#window.length
  }

  async #load(at) {
    this.#window = await read(this.#file, at, Math.min(at + windowSize, this.#file.size))
    this.#windowAt = at
  }

  /** bytes gives up to n of them, fewer at the end of the file. Most are in memory, for which nobody waits. */
  #bytes(at, n) {
    const from = at - this.#windowAt
    return this.#window.subarray(from, from + n)
  }

  /** element reads the header at a place; null where the element is not whole. */
  async #element(at, end) {
    if (++this.#elements > maxElements) refuse('too many elements')
    const n = Math.min(longestHeader, end - at)
    if (!this.#has(at, n)) await this.#load(at)
    const b = this.#bytes(at, n)
    const e = readHeader(b)
    if (!e) return b.length < longestHeader ? null : refuse('what is no element')
    return at + e.header + e.size > end ? null : e
  }

  async all() {
    const { size } = this.#file
    const head = (await this.#element(0, size)) ?? refuse('no header')
    let at = head.header + head.size
    if (head.id !== ebmlHead || head.size < 0) refuse('no header')
    const segment = (await this.#element(at, size)) ?? refuse('no segment')
    const body = at + segment.header
    this.#end = size
    this.#live = segment.size < 0
    if (segment.id !== segmentID || !this.#live && body + segment.size !== size) refuse('more than one segment')
    this.out.copy(0, at)
    const patch = await this.#begin(at, segment)
    for (at = body; at < this.#end;) {
      const e = await this.#element(at, this.#end)
      if (!e) {
        if (!this.#live) refuse('cut off')
        this.out.copy(at, this.#end - at)
        break
      }
      at = await this.#level1(at, e)
    }
    patch()
  }

  /** level1 takes an element of the segment, and gives where the next one is. */
  async #level1(at, e) {
    const next = at + e.header + e.size
    if (e.id === clusterID) return this.#cluster(at, e)
    if (e.size < 0) refuse('an element of unknown length')
    if (e.id === seekHeadID || e.id === cuesID) {
      this.#hollow(at, e)
      return next
    }
    if (e.id === tracksID) await this.#readTracks(at + e.header, e.size)
    else if (e.idLength < 4 && e.id !== ebmlVoid && e.id !== ebmlCRC) refuse('a block outside of a cluster')
    else if (e.id === ebmlHead || e.id === segmentID) refuse('more than one segment')
    this.out.copy(at, next - at)
    return next
  }

  /** begin writes the header of an element whose content comes next. Called at its end, patch writes its length. */
  async #begin(at, e) {
    if (!this.#has(at, e.header)) await this.#load(at)
    const start = this.out.size
    this.out.write(this.#bytes(at, e.header))
    return () => {
      const size = this.out.size - start - e.header
      if (e.size >= 0) this.out.patch(start + e.idLength, ebmlSize(size, e.header - e.idLength))
    }
  }

  /** hollow copies an element with nothing but a void in it. */
  #hollow(at, e) {
    this.out.copy(at, e.header)
    const size = e.size < 2 ? [] : e.size - 2 <= 126 ? ebmlSize(e.size - 2, 1) : ebmlSize(e.size - 9, 8)
    const head = e.size < 2 ? [] : [ebmlVoid, ...size]
    this.out.write(head)
    this.out.copy(at + e.header + head.length, e.size - head.length)
  }

  /**
   * cluster takes a cluster, and gives where what follows it is. One of unknown length ends with the first element that
   * cannot be in it.
   */
  async #cluster(at, cluster) {
    if (!this.#tracks) refuse('clusters in front of the tracks')
    const patch = await this.#begin(at, cluster)
    at += cluster.header
    const end = cluster.size < 0 ? this.#end : at + cluster.size
    while (at < end) {
      const e = await this.#element(at, end)
      if (!e) {
        if (cluster.size >= 0 || !this.#live) refuse('cut off')
        this.out.copy(at, end - at)
        return end
      }
      if (e.idLength === 4) {
        if (cluster.size >= 0) refuse('a cluster with what cannot be in it')
        break
      }
      if (e.size < 0) refuse('an element of unknown length')
      const n = e.header + e.size
      if (await this.#keeps(at, e)) this.out.copy(at, n)
      at += n
    }
    patch()
    return at
  }

  /** keeps tells whether an element of a cluster is kept: what would be wrong is not, nor a packet of another track. */
  async #keeps(at, e) {
    const whole = e.header + e.size
    if (e.id === simpleBlockID) return this.#keepsBlock(at + e.header, e.size, whole)
    if (e.id !== groupID) return ![ebmlCRC, positionID, prevSizeID, ebmlVoid].includes(e.id)
    let keep = false
    let blocks = 0
    const end = at + whole
    for (at += e.header; at < end;) {
      const part = (await this.#element(at, end)) ?? refuse('cut off')
      if (part.size < 0) refuse('an element of unknown length')
      if (part.id === blockID) {
        blocks++
        keep = await this.#keepsBlock(at + part.header, part.size, whole)
      }
      at += part.header + part.size
    }
    return blocks === 1 ? keep : refuse('a group that has not one block')
  }

  /** keepsBlock reads the header of a block, in an element of so many bytes: the track's number, a time, and flags. */
  async #keepsBlock(at, size, whole) {
    const timeAndFlags = 3
    const n = Math.min(8 + timeAndFlags, size)
    if (!this.#has(at, n)) await this.#load(at)
    const b = this.#bytes(at, n)
    const width = widthOf(b[0])
    if (!b[0] || b.length < width + timeAndFlags) refuse('a block without a header')
    const number = uint([b[0] & (0xff >> width), ...b.subarray(1, width)])
    const track = this.#tracks.get(number)
    const keep = !track || track.type === 2 || this.#left > -2 * this.#largest
    if (keep) {
      const packet = size - width - timeAndFlags
      this.#largest = Math.max(this.#largest, packet)
      const lacing = b[width + timeAndFlags - 1] & 0x06
      if (track?.probed && whole <= maxMetadata && !lacing) this.#left -= packet
    }
    return keep
  }

  /** readTracks finds the tracks. */
  async #readTracks(at, size) {
    if (this.#tracks || size > maxMetadata) refuse('too many tracks')
    this.#tracks = new Map()
    for (const e of elements(await read(this.#file, at, at + size))) {
      if (e.id !== entryID) continue
      const t = readTrack(e.body)
      if (!t.number || this.#tracks.has(t.number)) refuse('tracks that have no numbers of their own')
      this.#tracks.set(t.number, t)
      if (this.#tracks.size > maxTracks) refuse('too many tracks')
    }
    if (![...this.#tracks.values()].some(t => t.type === 2)) refuse('no sound')
  }
}

function readTrack(b) {
  const t = { number: 0, type: 0, codec: '' }
  const seen = new Set()
  for (const { id, body } of elements(b)) {
    const isNumber = id === numberID || id === typeID
    if (!isNumber && id !== codecID && id !== encodingsID) continue
    const odd = body.length === 0 || isNumber && body.length > 8
    if (odd || seen.has(id)) refuse('a track that says a thing twice, or nothing')
    seen.add(id)
    if (id === numberID) t.number = uint(body)
    else if (id === typeID) t.type = uint(body)
    else if (id === codecID) t.codec = String.fromCharCode(...body.subarray(0, 64))
  }
  // Whether its packets are surely as long for ffmpeg as they are here.
  t.probed = !seen.has(encodingsID) && (t.type === 1 && t.codec.startsWith('V_') ||
    t.type === 2 && t.codec.startsWith('A_'))
  return t
}
