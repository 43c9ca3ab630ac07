// Package mp3 reads the frames of an MPEG Layer III stream, and writes what a player wants in front of them: an ID3v2.4
// tag and the frame that tells length, seek points and gaps (Xing, Info, LAME).
//
// Sources: ISO/IEC 11172-3 and 13818-3 (frames), the LAME tag's specification
// (http://gabriel.mp3-tech.org/mp3infotag.html), and ID3v2.4.0 with its chapter frame addendum (https://id3.org).
package mp3

import (
	"bufio"
	"errors"
	"io"
)

// HeaderLen is the length of a frame's header, in bytes.
const HeaderLen = 4

// maxFrame is the length of the longest frame with a bitrate of the table: 320 kbit/s at 32 kHz and padding.
const maxFrame = 1441

// Header is what the four bytes at the start of a frame say.
type Header struct {
	Samples  int // a channel
	Rate     int // samples a second
	Bitrate  int // kbit/s
	Mono     bool
	Size     int  // of the whole frame, in bytes
	lsf      bool // MPEG-2 or 2.5: lower sampling frequencies
	identity [HeaderLen]byte
}

var (
	bitrates = [2][15]int{{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}, {0, 8, 16, 24, 32, 40,
		48, 56, 64, 80, 96, 112, 128, 144, 160}}
	sampleRates = [3]int{44100, 48000, 32000}
)

// ParseHeader reads the header of a Layer III frame, or says that there is none. A stream of free format is not known
// here.
func ParseHeader(b []byte) (Header, bool) {
	if len(b) < HeaderLen || b[0] != 0xff || b[1]&0xe0 != 0xe0 {
		return Header{}, false
	}
	version, layer, bitrate, rate := b[1]>>3&3, b[1]>>1&3, b[2]>>4, b[2]>>2&3
	if version == 1 || layer != 1 || bitrate == 0 || bitrate == 15 || rate == 3 {
		return Header{}, false
	}
	h := Header{Samples: 1152, Rate: sampleRates[rate], Mono: b[3]>>6 == 3, lsf: version != 3,
		identity: [HeaderLen]byte(b)}
	switch version {
	case 3:
		h.Bitrate = bitrates[0][bitrate]
	case 2:
		h.Rate /= 2
	case 0:
		h.Rate /= 4
	}
	if h.lsf {
		h.Samples = 576
		h.Bitrate = bitrates[1][bitrate]
	}
	h.Size = h.Samples/8*1000*h.Bitrate/h.Rate + int(b[2]>>1&1)
	return h, true
}

// maxSideInfo is the length of the longest side information, in bytes.
const maxSideInfo = 32

// sideInfo is the length of the side information, in bytes.
func (h Header) sideInfo() int {
	switch {
	case h.lsf && h.Mono:
		return 9
	case h.lsf || h.Mono:
		return 17
	}
	return maxSideInfo
}

// SameStream reports whether both may be frames of one stream: version, layer and sampling rate are alike.
func (h Header) SameStream(o Header) bool { return h.lsf == o.lsf && h.Rate == o.Rate }

// Reader reads a stream frame by frame. What lies between frames is skipped.
type Reader struct {
	r       *bufio.Reader
	synced  bool  // what was read last was a frame
	Skipped int64 // bytes that belong to no frame
}

// NewReader makes a reader of the frames of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Next gives the next whole frame, which is valid until the next call; io.EOF after the last.
func (r *Reader) Next() (Header, []byte, error) {
	for {
		b, err := r.r.Peek(maxFrame + HeaderLen)
		if err != nil && !errors.Is(err, io.EOF) {
			return Header{}, nil, err
		}
		if len(b) == 0 {
			return Header{}, nil, io.EOF
		}
		h, ok := ParseHeader(b)
		ok = ok && h.Size <= len(b)
		if ok && !r.synced && h.Size < len(b) {
			// Chance makes a header every few thousand bytes: two of one stream in a row it does not.
			next, follows := ParseHeader(b[h.Size:])
			ok = follows && next.SameStream(h)
		}
		if r.synced = ok; !ok {
			n, _ := r.r.Discard(1)
			r.Skipped += int64(n)
			continue
		}
		frame := b[:h.Size]
		_, _ = r.r.Discard(h.Size) // leaves what was peeked at in place until the next read
		return h, frame, nil
	}
}
