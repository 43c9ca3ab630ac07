package mp4

import (
	"fmt"
	"math"
)

// layout tells where in the file the samples of a track are. It refers to the tables of the index and copies none.
type layout struct {
	offsets []byte // of the chunks
	wide    bool   // 8 bytes each, not 4
	runs    []byte // stsc: first chunk, samples a chunk, description
	samples uint64
	sizes   []byte // of the samples, 4 bytes each; nil when all are alike
	packet  packet // when all are alike
}

// packet is the least piece of a track whose samples are all alike.
type packet struct{ samples, bytes uint64 }

// chunk is a run of samples that lie one after the other.
type chunk struct {
	off, len int64
	first    uint64 // number of its first sample
	samples  uint64
	stsd     uint32 // number of the description of its samples
}

func (c chunk) within(size int64) bool {
	return c.off >= 0 && c.off <= size && c.len <= size-c.off
}

func (t track) layout(description []byte) (layout, error) {
	var l layout
	var ok bool
	if l.offsets, ok = entries(t.stbl.find("stco"), 4); !ok {
		l.wide = true
		if l.offsets, ok = entries(t.stbl.find("co64"), 8); !ok {
			return l, fmt.Errorf("no chunk offsets: %w", ErrUnsupported)
		}
	}
	if l.runs, ok = entries(t.stbl.find("stsc"), 12); !ok {
		return l, fmt.Errorf("no table of chunks: %w", ErrUnsupported)
	}
	stsz := t.stbl.find("stsz")
	if len(stsz) < 12 {
		return l, fmt.Errorf("no sample sizes: %w", ErrUnsupported)
	}
	l.samples = uint64(be.Uint32(stsz[8:]))
	if size := uint64(be.Uint32(stsz[4:])); size != 0 {
		if l.packet, ok = packetOf(description, size); !ok {
			return l, fmt.Errorf("samples of a size that is not known: %w", ErrUnsupported)
		}
	} else if l.sizes, ok = entries(stsz[4:], 4); !ok {
		return l, fmt.Errorf("sample sizes are cut off: %w", ErrUnsupported)
	}
	var placed uint64
	for c := range l.chunks {
		placed += c.samples
	}
	if placed != l.samples {
		return l, fmt.Errorf("%d of %d samples have a place: %w", placed, l.samples, ErrUnsupported)
	}
	return l, nil
}

// bytesAChannel are those of a sample of the codecs whose description (version 0) does not always say it.
var bytesAChannel = map[string]uint64{"alaw": 1, "ulaw": 1, "twos": 2, "sowt": 2, "in24": 3, "in32": 4, "fl32": 4, "fl64": 8}

// packetOf reads a sound description for the bytes of samples that are all alike: a size of 1 may only say that they are
// (QuickTime File Format, sound sample descriptions versions 0 to 2).
func packetOf(d []byte, size uint64) (packet, bool) {
	if len(d) < 36 {
		return packet{}, false
	}
	if size > 1 {
		return packet{samples: 1, bytes: size}, true
	}
	var p packet
	channels, bits := uint64(be.Uint16(d[24:])), uint64(be.Uint16(d[26:]))
	switch version := be.Uint16(d[16:]); {
	case version == 1 && len(d) >= 52:
		p = packet{samples: uint64(be.Uint32(d[36:])), bytes: uint64(be.Uint32(d[44:]))}
	case version == 2 && len(d) >= 72:
		p = packet{samples: uint64(be.Uint32(d[68:])), bytes: uint64(be.Uint32(d[64:]))}
	case string(d[4:8]) == "raw " || string(d[4:8]) == "NONE":
		p = packet{samples: 1, bytes: channels * bits / 8}
	default:
		p = packet{samples: 1, bytes: channels * bytesAChannel[string(d[4:8])]}
	}
	return p, p.samples > 0 && p.bytes > 0
}

// count is the number of chunks.
func (l *layout) count() int {
	if l.wide {
		return len(l.offsets) / 8
	}
	return len(l.offsets) / 4
}

// chunks iterates over the chunks in the order of the track.
func (l *layout) chunks(yield func(chunk) bool) {
	runs := l.runs
	var per, first uint64
	var stsd uint32
	for i := range l.count() {
		for len(runs) > 0 && uint64(be.Uint32(runs)) <= uint64(i)+1 {
			per, stsd = uint64(be.Uint32(runs[4:])), be.Uint32(runs[8:])
			runs = runs[12:]
		}
		c := chunk{first: first, samples: min(per, l.samples-first), stsd: stsd}
		if l.wide {
			c.off = int64(be.Uint64(l.offsets[8*i:]))
		} else {
			c.off = int64(be.Uint32(l.offsets[4*i:]))
		}
		c.len = l.bytes(first, c.samples)
		first += c.samples
		if !yield(c) {
			return
		}
	}
}

// joined iterates over the chunks as they are once the track lies in one piece, at no offset yet: those with one description
// are one. Where samples come in packets, the last of a chunk may not be full, so that chunks stay as they are.
func (l *layout) joined(yield func(chunk) bool) {
	var sum chunk
	for c := range l.chunks {
		if l.sizes != nil && c.stsd == sum.stsd {
			sum.len, sum.samples = sum.len+c.len, sum.samples+c.samples
			continue
		}
		if sum.samples > 0 && !yield(sum) {
			return
		}
		sum = c
	}
	if sum.samples > 0 {
		yield(sum)
	}
}

// bytes is the length of n samples from the first.
func (l *layout) bytes(first, n uint64) int64 {
	if l.sizes == nil {
		packets := (n + l.packet.samples - 1) / l.packet.samples
		if packets > math.MaxInt64/l.packet.bytes {
			return math.MaxInt64
		}
		return int64(packets * l.packet.bytes)
	}
	var sum int64
	for s := l.sizes[4*first : 4*(first+n)]; len(s) > 0; s = s[4:] {
		sum += int64(be.Uint32(s))
	}
	return sum
}
