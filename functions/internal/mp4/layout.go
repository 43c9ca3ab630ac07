package mp4

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
)

// layout tells where in the file the samples of a track are. It refers to the tables in the file and holds nothing of
// them.
type layout struct {
	offsets rows // of the chunks, 4 or 8 bytes each
	runs    rows // stsc: first chunk, samples a chunk, description
	samples uint64
	sizes   rows   // of the samples, 4 bytes each; none when all are alike
	packet  packet // when all are alike
	cut     bool   // there are more, but not in the file
}

// packet is the least piece of a track whose samples are all alike.
type packet struct{ samples, bytes uint64 }

// chunk is a run of samples that lie one after the other.
type chunk struct {
	off, len int64
	samples  uint64
	stsd     uint32 // number of the description of its samples
}

func (c chunk) within(size int64) bool {
	return c.off >= 0 && c.off <= size && c.len <= size-c.off
}

// layout finds the tables, and checks that all of the track lies within the file. Where partial is set, what lies
// behind its end is left out.
func (t track) layout(r io.ReaderAt, size int64, partial bool) (l layout, err error) {
	if l.offsets, err = t.table(r, "stco", 4); errors.Is(err, ErrUnsupported) {
		l.offsets, err = t.table(r, "co64", 8)
	}
	if err == nil {
		l.runs, err = t.table(r, "stsc", 12)
	}
	if err == nil {
		err = l.findSizes(t, r)
	}
	if err != nil {
		return l, err
	}
	var placed uint64
	var sum int64
	for c, err := range l.chunks(r) {
		if err != nil {
			return l, err
		}
		if !c.within(size) && partial {
			l.cut = true
			break
		}
		if !c.within(size) {
			return l, fmt.Errorf("samples at %d of a file of %d bytes: %w", c.off, size, ErrTruncated)
		}
		if sum += c.len; sum > size {
			return l, fmt.Errorf("samples share their bytes: %w", ErrUnsupported)
		}
		placed += c.samples
	}
	if l.cut {
		l.samples, err = l.within(r, size)
		return l, err
	}
	if placed != l.samples {
		return l, fmt.Errorf("%d of %d samples have a place: %w", placed, l.samples, ErrUnsupported)
	}
	return l, nil
}

// within counts the samples in front of the first one that is not in a file of the given size.
func (l *layout) within(r io.ReaderAt, size int64) (n uint64, err error) {
	for c, err := range l.sampleRuns(r, max(1, l.packet.samples)) {
		if err != nil {
			return 0, err
		}
		if !c.within(size) {
			break
		}
		n += c.samples
	}
	return n, nil
}

// findSizes finds the sizes of the samples, or the one that all have.
func (l *layout) findSizes(t track, r io.ReaderAt) error {
	stsz, ok := t.fileBox("stsz")
	if !ok || stsz.size-stsz.header < 12 {
		return fmt.Errorf("no sample sizes: %w", ErrUnsupported)
	}
	var b [8]byte
	if err := readFull(r, b[:], stsz.off+stsz.header+4); err != nil {
		return err
	}
	l.samples = uint64(be.Uint32(b[4:]))
	if size := uint64(be.Uint32(b[:])); size != 0 {
		if l.packet, ok = packetOf(t.description(), size); !ok {
			return fmt.Errorf("samples of a size that is not known: %w", ErrUnsupported)
		}
		return nil
	}
	var err error
	l.sizes, err = stsz.table(r, 8, 4)
	return err
}

// alike reports whether all samples are.
func (l *layout) alike() bool { return l.packet.samples > 0 }

// bytesAChannel are those of a sample of the codecs whose description (version 0) does not always say it.
var bytesAChannel = map[string]uint64{"alaw": 1, "ulaw": 1, "twos": 2, "sowt": 2, "in24": 3, "in32": 4, "fl32": 4,
	"fl64": 8}

// packetOf reads a sound description for the bytes of samples that are all alike: a size of 1 may only say that they
// are (QuickTime File Format, sound sample descriptions versions 0 to 2).
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

// run is that many chunks of the same make, from the first of that number on.
type run struct {
	first, samples uint64
	stsd           uint32
}

// nextRun reads a run; the last is followed by one that never comes.
func nextRun(c *cursor) run {
	if b := c.next(); b != nil {
		return run{uint64(be.Uint32(b)), uint64(be.Uint32(b[4:])), be.Uint32(b[8:])}
	}
	return run{first: math.MaxUint64}
}

// chunks iterates over the chunks in the order of the track, and ends with an error of the reader if there is one.
func (l *layout) chunks(r io.ReaderAt) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		offsets, runs, sizes := l.offsets.entries(r), l.runs.entries(r), l.sizes.entries(r)
		var now run
		next := nextRun(runs)
		left := l.samples
		for n := uint64(1); ; n++ {
			for next.first <= n {
				now, next = next, nextRun(runs)
			}
			c := chunk{samples: min(now.samples, left), stsd: now.stsd}
			b := offsets.next()
			switch len(b) {
			case 8:
				c.off = int64(be.Uint64(b))
			case 4:
				c.off = int64(be.Uint32(b))
			}
			c.len = l.bytes(sizes, c.samples)
			left -= c.samples
			err := cmp.Or(offsets.err, runs.err, sizes.err)
			if b == nil && err == nil || !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// joined iterates over the chunks as they are once the track lies in one piece, at no offset yet: those with one
// description are one. Where samples come in packets, the last of a chunk may not be full, so that chunks stay as they
// are.
func (l *layout) joined(r io.ReaderAt) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		var sum chunk
		for c, err := range l.chunks(r) {
			if err != nil {
				yield(c, err)
				return
			}
			if !l.alike() && c.stsd == sum.stsd {
				sum.len, sum.samples = sum.len+c.len, sum.samples+c.samples
				continue
			}
			if sum.samples > 0 && !yield(sum, nil) {
				return
			}
			sum = c
		}
		if sum.samples > 0 {
			yield(sum, nil)
		}
	}
}

// bytes is the length of the next n samples.
func (l *layout) bytes(sizes *cursor, n uint64) (sum int64) {
	if l.alike() {
		packets := (n + l.packet.samples - 1) / l.packet.samples
		if packets > math.MaxInt64/l.packet.bytes {
			return math.MaxInt64
		}
		return int64(packets * l.packet.bytes)
	}
	for range n {
		b := sizes.next()
		if b == nil {
			break
		}
		sum += int64(be.Uint32(b))
	}
	return sum
}

// sampleRuns iterates over the samples one by one, or as many as most of those that are all alike and lie together.
func (l *layout) sampleRuns(r io.ReaderAt, most uint64) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		if !l.alike() {
			most = 1
		}
		sizes := l.sizes.entries(r)
		for c, err := range l.chunks(r) {
			if err != nil {
				yield(c, err)
				return
			}
			for c.samples > 0 {
				p := c
				p.samples = min(most, c.samples)
				p.len = l.bytes(sizes, p.samples)
				c.off, c.samples = c.off+p.len, c.samples-p.samples
				if !yield(p, sizes.err) || sizes.err != nil {
					return
				}
			}
		}
	}
}
