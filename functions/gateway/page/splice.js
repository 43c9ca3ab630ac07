// Makes a file of parts of another, and of bytes in between, as functions/internal/splice does in Go.

const most = 64 << 20 // bytes that a file may hold: its own, and 16 for each part
const maxWindow = 8 << 20 // bytes of the other file that are read at a time
const maxGap = 256 << 10 // bytes between two parts that are read with them: another read takes longer

/** read reads the bytes between two places of a file; it throws when they are not there. */
export async function read(file, from, to) {
  const b = new Uint8Array(await file.slice(from, to).arrayBuffer())
  if (b.length !== to - from) throw new Error('it ends early')
  return b
}

/**
 * Splice is written to its end first, and then like a Blob, but slice gives a promise. Browsers can make a Blob of
 * slices, but of the 180,000 of a lecture that takes Chromium minutes and gigabytes.
 */
export class Splice {
  size = 0
  #file
  #own = new Uint8Array(1 << 12)
  #owned = 0 // bytes of #own that are written
  #at = [] // where each part begins
  #from = [] // and where that is in the other file; below 0 in #own, -1 is its first byte

  constructor(file) {
    this.#file = file
  }

  /** write adds bytes. */
  write(b) {
    this.#add(b.length, -1 - this.#owned, b.length)
    if (this.#owned + b.length > this.#own.length) {
      const more = new Uint8Array(2 * (this.#owned + b.length))
      more.set(this.#own)
      this.#own = more
    }
    this.#own.set(b, this.#owned)
    this.#owned += b.length
  }

  /** copy adds n bytes of the other file. */
  copy(offset, n) {
    this.#add(n, offset, 0)
  }

  #add(n, from, own) {
    if (n === 0) return
    const last = this.#at.length - 1
    if (last < 0 || this.#source(last, this.size) !== from) {
      this.#at.push(this.size)
      this.#from.push(from)
    }
    if (16 * this.#at.length + this.#owned + own > most) throw new Error('too many parts')
    this.size += n
  }

  /** patch replaces bytes that one write added at the place. */
  patch(at, b) {
    this.#own.set(b, -1 - this.#source(this.#part(at), at))
  }

  /** slice reads the bytes between two places; it throws when the other file cannot be read. */
  async slice(begin = 0, end = this.size) {
    end = Math.min(end, this.size)
    begin = Math.min(begin, end)
    const out = new Uint8Array(end - begin)
    let parts = [] // that lie together in the other file
    const flush = async () => {
      if (parts.length === 0) return
      const window = await read(this.#file, parts[0].from, parts.at(-1).to)
      for (const p of parts) out.set(window.subarray(p.from - parts[0].from, p.to - parts[0].from), p.at - begin)
      parts = []
    }
    for (let at = begin, i = this.#part(begin); at < end; i++) {
      const next = Math.min(end, this.#at[i + 1] ?? this.size)
      const from = this.#source(i, at)
      if (from < 0) out.set(this.#own.subarray(-1 - from, -1 - from + next - at), at - begin)
      else {
        const to = from + next - at
        const last = parts.at(-1)
        if (last && (from < last.to || from - last.to > maxGap || to - parts[0].from > maxWindow)) await flush()
        parts.push({ from, to, at })
      }
      at = next
    }
    await flush()
    return new Blob([out])
  }

  /** source is where a byte of a part is. */
  #source(i, at) {
    const n = at - this.#at[i]
    return this.#from[i] < 0 ? this.#from[i] - n : this.#from[i] + n
  }

  /** part finds the part that has the byte at a place. */
  #part(at) {
    let low = 0
    let high = this.#at.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#at[middle] > at) high = middle
      else low = middle + 1
    }
    return low - 1
  }
}
