package mp3

import (
	"bytes"
	"errors"
)

// ErrSeam says that no frame of the one stream can be followed by one of the other.
var ErrSeam = errors.New("mp3: the streams cannot be joined")

// Join goes from one stream to another. Frames a and b with the same index are the same piece of one sound, encoded twice. The
// frames to write are those of head, which takes the place of the first ones of a, and then those of b from next on.
//
// A frame's data may begin in the frames in front of it, the bit reservoir (ISO/IEC 11172-3, section 2.4.3.4), so the bytes of b
// that lie there move to the end of head. Where two encoders of one constant bitrate have come to the same state, nothing
// changes by that, and the whole is what one encoder would have made. Otherwise the seam lies where the frames around it, or in
// front of it, say the same, if there is such a place, and where there is room for the bytes. A frame gets a higher bitrate for want of
// room: at a variable bitrate rather than that frames differ, at a constant one if there is no other place.
func Join(a, b [][]byte) (head [][]byte, next int, err error) {
	x, y := newSpan(a), newSpan(b)
	best := seam{rank: impossible}
	for i := 1; i < min(len(x.frames), len(y.frames)); i++ {
		// Of equals the last: the encoder of b has heard the most by then.
		if s := seamAt(x, y, i); s.rank != impossible && !best.better(s) {
			best = s
		}
	}
	if best.rank == impossible {
		return nil, 0, ErrSeam
	}
	for _, f := range a[:best.at] {
		head = append(head, bytes.Clone(f))
	}
	last := len(head) - 1
	if best.raised.Size > 0 {
		copy(head[last], best.raised.identity[:])
		head[last] = append(head[last], make([]byte, best.raised.Size-len(head[last]))...)
	}
	borrowed := y.main[y.frames[best.at].own-y.frames[best.at].begin : y.frames[best.at].own]
	for i := last; len(borrowed) > 0; i-- {
		room := head[i][x.frames[i].area:]
		n := min(len(room), len(borrowed))
		copy(room[len(room)-n:], borrowed[len(borrowed)-n:])
		borrowed = borrowed[:len(borrowed)-n]
	}
	return head, best.at, nil
}

// seam is a place to go from one stream to the other.
type seam struct {
	at     int
	rank   rank
	waste  int    // bytes that are no frame's any more
	raised Header // of the frame in front, when it must be longer
}

// rank is how good a seam is.
type rank int

const (
	impossible rank = iota
	raising         // a frame gets a bitrate that is not that of the others
	fitting         // the frames in front of the seam are not alike
	alike           // they are
	among           // those behind it are as well
	equal           // and as many bytes are in front of the seam: nothing changes
)

func (s seam) better(o seam) bool { return s.rank > o.rank || s.rank == o.rank && s.waste < o.waste }

func seamAt(a, b span, i int) seam {
	before, after := a.frames[i-1], b.frames[i]
	room := a.frames[i].own - before.end()
	s := seam{at: i, waste: room - after.begin}
	switch {
	case room < 0 || after.begin > min(after.own, a.frames[i].own):
		// A frame is damaged, or its data begins before the span, or would.
	case s.waste < 0:
		if h, ok := raise(before.Header, -s.waste); ok {
			s.rank, s.raised, s.waste = raising, h, h.Size-before.Size+s.waste
			if a.variable && alikeAround(a, b, i) { // where one bitrate more is no harm
				s.rank = among
			}
		}
	case !same(a, b, i-1):
		s.rank = fitting
	case after.begin == a.frames[i].begin && after.identity == a.frames[i].identity:
		s.rank, s.waste = equal, 0
	case alikeAround(a, b, i):
		s.rank = among
	default:
		s.rank = alike
	}
	return s
}

// alikeAround tells whether what the two frames on either side of a seam say is the same in both streams. The sound of a frame
// depends on the one in front of it.
func alikeAround(a, b span, i int) bool {
	for k := i - 2; k < i+2; k++ {
		if k < 0 || k >= min(len(a.frames), len(b.frames)) || !same(a, b, k) {
			return false
		}
	}
	return true
}

// raise gives the header of the next higher bitrate at which the frame has more room by so many bytes. A frame with a CRC, which
// covers the header, stays as it is.
func raise(h Header, more int) (Header, bool) {
	b := h.identity
	for b[1]&1 != 0 && b[2]>>4 < 14 {
		b[2] += 1 << 4
		if r, _ := ParseHeader(b[:]); r.Size >= h.Size+more {
			return r, true
		}
	}
	return Header{}, false
}

// span is a run of frames of one stream, with their data one after the other.
type span struct {
	frames   []spanFrame
	main     []byte
	variable bool // bitrate
}

type spanFrame struct {
	Header
	side  []byte // side information, without where the data begins
	area  int    // where in the frame there is room for data
	own   int    // where in the span that room begins
	begin int    // how many bytes before it the frame's data begins
	bits  int    // how long that is
}

// end is where in the span the frame's data ends.
func (f spanFrame) end() int { return f.own - f.begin + (f.bits+7)/8 }

// newSpan reads frames up to the first that is none.
func newSpan(frames [][]byte) (s span) {
	for _, b := range frames {
		h, ok := ParseHeader(b)
		f := spanFrame{Header: h, area: HeaderLen + h.sideInfo()}
		if ok && b[1]&1 == 0 {
			f.area += 2 // a CRC lies in front of the side information
		}
		if !ok || len(b) != h.Size || len(b) < f.area {
			return s
		}
		s.variable = s.variable || len(s.frames) > 0 && f.Bitrate != s.frames[0].Bitrate
		f.own = len(s.main)
		f.readSide(b[f.area-h.sideInfo() : f.area])
		s.frames = append(s.frames, f)
		s.main = append(s.main, b[f.area:]...)
	}
	return s
}

// readSide reads the side information (ISO/IEC 11172-3, section 2.4.1.7; 13818-3, section 2.4.1.7): where the data begins, and
// the length of each part of it.
func (f *spanFrame) readSide(b []byte) {
	r := bitReader{b: b}
	channels := 2
	if f.Mono {
		channels = 1
	}
	granules, granule := 2, 59
	if f.lsf {
		f.begin = r.read(8)
		r.at += channels // private
		granules, granule = 1, 63
	} else {
		f.begin = r.read(9)
		r.at += 7 - 2*channels + 4*channels // private, and what is shared with the granule before
	}
	for range granules * channels {
		start := r.at
		f.bits += r.read(12)
		r.at = start + granule
	}
	f.side = bytes.Clone(b)
	if f.side[0] = 0; !f.lsf {
		f.side[1] &= 0x7f
	}
}

type bitReader struct {
	b  []byte
	at int // in bits
}

func (r *bitReader) read(bits int) (v int) {
	for range bits {
		v = v<<1 | int(r.b[r.at/8]>>(7-r.at%8)&1)
		r.at++
	}
	return v
}

// same tells whether two frames say the same to a decoder, wherever their data lies. Up to seven last bits are not looked at.
func same(a, b span, i int) bool {
	x, y := a.frames[i], b.frames[i]
	p, q := a.data(i), b.data(i)
	return x.lsf == y.lsf && x.Rate == y.Rate && x.identity[3] == y.identity[3] && bytes.Equal(x.side, y.side) &&
		p != nil && bytes.Equal(p, q)
}

// data is that of a frame, or nil where the span does not have it all.
func (s span) data(i int) []byte {
	f := s.frames[i]
	from, to := f.own-f.begin, f.own-f.begin+f.bits/8
	if from < 0 || to > len(s.main) {
		return nil
	}
	return s.main[from:to:to]
}
