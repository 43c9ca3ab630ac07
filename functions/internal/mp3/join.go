package mp3

import (
	"bytes"
	"errors"
)

// ErrSeam says that frames cannot be joined.
var ErrSeam = errors.New("mp3: the frames cannot be joined")

// Frame is what a frame says, wherever in the stream its data lies. It may begin in the frames in front of it, the bit reservoir
// (ISO/IEC 11172-3, section 2.4.3.4).
type Frame struct {
	Header
	side     []byte // side information, without where the data begins
	begin    int    // how many bytes in front of the frame's own room that is
	data     []byte // ends with zeros
	bits     int    // how long it is
	variable bool   // bitrate
	fixed    bool   // bitrate and begin are to stay as they are
	silent   bool   // otherwise: nothing of it can be heard
}

// same tells whether two frames say the same to a decoder. At a variable bitrate they can do so at different bitrates.
func (f Frame) same(o Frame) bool {
	x, y := f.identity, o.identity
	if f.variable {
		x[2], y[2] = x[2]&0x0f, y[2]&0x0f
	} else if f.begin != o.begin {
		return false
	}
	return x == y && bytes.Equal(f.side, o.side) && bytes.Equal(f.data, o.data)
}

// Seam finds where to go from a to b, the same frames of one sound by two encoders: where n in a row are the same, as late as there are
// such. It is -1 when there is none.
//
// At a constant bitrate all must be the same from there on, which shows that the encoders have come to one state. At a variable one
// that does not take long, if they are ours. Otherwise they differ now and then for ever, and the seam is where there is room for
// what the next frame has in front of it.
func Seam(a, b []Frame, n int) int {
	same, seam := 0, -1
	for i := min(len(a), len(b)) - 1; i >= 0; i-- {
		if !a[i].same(b[i]) {
			if !a[i].variable {
				return -1
			}
			same, seam = 0, -1
			continue
		}
		if seam < 0 && (!b[i].fixed || b[i].begin <= a[i].begin) {
			seam = i
		}
		if same++; same >= n && seam >= 0 {
			return seam
		}
	}
	return -1
}

// area is the frame's own room for data, in bytes.
func (h Header) area() int { return h.Size - HeaderLen - h.sideInfo() }

// Unpacker takes the frames of an encoder's stream apart, from the first one on.
type Unpacker struct {
	Variable bool // bitrate

	main  []byte // what is left of the frames' rooms so far
	saved reservoir
	other bool // the encoder is not ours, which writes zeros where it has room to spare, and reckons as reservoir does
}

// Unpack takes the next frame.
func (u *Unpacker) Unpack(h Header, b []byte) (Frame, error) {
	if b[1]&1 == 0 { // a CRC
		return Frame{}, ErrSeam
	}
	f := Frame{Header: h, side: bytes.Clone(b[HeaderLen : HeaderLen+h.sideInfo()]), variable: u.Variable}
	f.readSide()
	u.main = append(u.main, b[HeaderLen+h.sideInfo():]...)
	at := len(u.main) - h.area() - f.begin
	to := at + (f.bits+7)/8
	if at < 0 || to > len(u.main) {
		return Frame{}, ErrSeam
	}
	f.data = bytes.Clone(u.main[at:to])
	u.main = append(u.main[:0], u.main[max(0, len(u.main)-maxBegin):]...)
	if over := f.bits % 8; over > 0 {
		last := &f.data[len(f.data)-1]
		u.other = u.other || *last<<over != 0
		*last &= 0xff << (8 - over)
	}
	if u.Variable && !u.other {
		var ok bool
		var begin int
		f.silent, ok = u.saved.silent(f)
		begin, u.saved = u.saved.add(f)
		u.other = !ok || begin != f.begin
	}
	f.fixed = !u.Variable || u.other
	return f, nil
}

// maxBegin is the furthest that a frame's data can begin in front of its room, in bytes.
const maxBegin = 511

// readSide reads the side information (ISO/IEC 11172-3, section 2.4.1.7; 13818-3, section 2.4.1.7): where the data begins, and
// the length of each part of it.
func (f *Frame) readSide() {
	r := bitReader{b: f.side}
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

// Packer makes a stream of frames that may come from several ones. What no frame needs of it is zero.
//
// Frames of our encoder at a variable bitrate get the one that it would have given them: the stream is what it makes of all. Others stay
// as they are.
type Packer struct {
	heads []packedHead // of frames whose room is not full yet
	main  []byte       // what is in there
	room  int          // how much there is of it
	saved reservoir
}

type packedHead struct {
	bytes []byte // header and side information
	area  int
}

// Pack adds a frame, and gives those that are complete by that.
func (p *Packer) Pack(f Frame) (done [][]byte, err error) {
	if !f.fixed {
		f.Header = p.saved.choose(f, f.silent)
		f.begin, p.saved = p.saved.add(f)
	}
	at := p.room - f.begin
	if at < len(p.main) || len(f.data) > f.begin+f.area() {
		return nil, ErrSeam
	}
	p.room += f.area()
	p.fill(at)
	p.main = append(p.main, f.data...)
	head := append(f.identity[:], f.side...)
	if f.lsf {
		head[HeaderLen] = byte(f.begin)
	} else {
		head[HeaderLen] = byte(f.begin >> 1)
		head[HeaderLen+1] |= byte(f.begin << 7)
	}
	p.heads = append(p.heads, packedHead{head, f.area()})
	return p.done(), nil
}

// Flush gives the last frames.
func (p *Packer) Flush() [][]byte {
	p.fill(p.room)
	return p.done()
}

// fill lets the data go on at a place.
func (p *Packer) fill(to int) { p.main = append(p.main, make([]byte, to-len(p.main))...) }

func (p *Packer) done() (frames [][]byte) {
	for len(p.heads) > 0 && len(p.main) >= p.heads[0].area {
		h := p.heads[0]
		frames = append(frames, append(h.bytes, p.main[:h.area]...))
		p.heads, p.main, p.room = p.heads[1:], p.main[h.area:], p.room-h.area
	}
	return frames
}
