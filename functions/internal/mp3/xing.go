package mp3

import "encoding/binary"

// Gaps are the samples at both ends of a stream that are not of the source, as LAME counts them: the decoder's own
// delay of 529 is not among them.
type Gaps struct{ Delay, Padding int }

// LAMEDelay is how many samples LAME puts in front.
const LAMEDelay = 576

const (
	xingLen      = 4 + 4 + 4 + 4 + 100 + 4 // name, flags, frames, bytes, seek points, quality
	lameLen      = 36
	maxSeekSteps = 512
)

// Info gathers from the frames of a stream what the frame in front of them tells. Its memory does not grow with the
// stream.
type Info struct {
	first    Header
	Frames   int64
	Bytes    int64
	Samples  int64 // a channel
	variable bool
	crc      uint16
	steps    []int64 // where every stride-th frame begins
	stride   int64
}

// NewInfo begins with the header of the first frame.
func NewInfo(first Header) *Info { return &Info{first: first, stride: 1} }

// Size is the length of the frame that [Info.Frame] makes, in bytes: known from the beginning, so that room can be
// kept.
func (x *Info) Size() int { return x.header().Size }

// header is that of the first frame, raised to a bitrate that has room, without CRC and padding.
func (x *Info) header() Header {
	b := x.first.identity
	b[1] |= 1
	b[2] &^= 2
	for {
		h, _ := ParseHeader(b[:])
		if h.Size >= HeaderLen+h.sideInfo()+xingLen+lameLen || b[2]>>4 == 14 {
			return h
		}
		b[2] += 1 << 4
	}
}

// Add takes the next frame.
func (x *Info) Add(h Header, frame []byte) {
	x.variable = x.variable || h.Bitrate != x.first.Bitrate
	if x.Frames%x.stride == 0 {
		if len(x.steps) == maxSeekSteps {
			for i := range maxSeekSteps / 2 {
				x.steps[i] = x.steps[2*i]
			}
			x.steps = x.steps[:maxSeekSteps/2]
			x.stride *= 2
		}
		if x.Frames%x.stride == 0 {
			x.steps = append(x.steps, x.Bytes)
		}
	}
	x.Frames++
	x.Samples += int64(h.Samples)
	x.Bytes += int64(len(frame))
	x.crc = crc16(x.crc, frame)
}

// Bitrate is that of the first frame, in kbit/s.
func (x *Info) Bitrate() int { return x.first.Bitrate }

// Variable tells whether the bitrate has varied so far.
func (x *Info) Variable() bool { return x.variable }

// Frame makes the frame to put in front of the stream: Info at a constant bitrate, Xing at a variable one. Where the
// gaps are not known (nil) LAME's part is left out, and players play every sample.
func (x *Info) Frame(g *Gaps) []byte {
	h := x.header()
	b := make([]byte, h.Size)
	copy(b, h.identity[:])
	at := HeaderLen + h.sideInfo()
	xing, lame := b[at:at+xingLen], b[at+xingLen:]
	copy(xing, "Info")
	if x.variable {
		copy(xing, "Xing")
	}
	total := x.Bytes + int64(h.Size)
	be := binary.BigEndian
	be.PutUint32(xing[4:], 1|2|4|8)
	be.PutUint32(xing[8:], uint32(x.Frames))
	be.PutUint32(xing[12:], uint32(total))
	for i := range 100 {
		xing[16+i] = byte(min(255, 256*x.position(int64(i), int64(h.Size))/total))
	}
	if g == nil {
		return b
	}
	copy(lame, "LAME3.100")
	lame[9] = 1 // constant bitrate
	if x.variable {
		lame[9] = 4 // VBR by the mtrh method
	}
	lame[20] = byte(min(255, x.first.Bitrate))
	lame[21] = byte(g.Delay >> 4)
	lame[22] = byte(g.Delay<<4) | byte(g.Padding>>8)
	lame[23] = byte(g.Padding)
	be.PutUint32(lame[28:], uint32(total))
	be.PutUint16(lame[32:], x.crc)
	be.PutUint16(lame[34:], crc16(0, b[:at+xingLen+34]))
	return b
}

// position is where in the file the given percentage of its time is, ID3 tag not counted.
func (x *Info) position(percent, front int64) int64 {
	if percent == 0 {
		return 0
	}
	return front + x.steps[x.Frames*percent/100/x.stride]
}

// crc16 continues a CRC-16 (ARC: polynomial 0x8005, reflected), which the LAME tag has of the music and of itself.
func crc16(c uint16, p []byte) uint16 {
	for _, b := range p {
		c = c>>8 ^ crcTable[byte(c)^b]
	}
	return c
}

var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			c = c>>1 ^ 0xa001*(c&1)
		}
		t[i] = c
	}
	return t
}()
