package convert

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/bits"
	"sync/atomic"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// maxBallast is how much a file may carry besides its sound that ffmpeg holds in memory, in bytes: covers, texts, tables. It has
// room for a cover that goes into the MP3, and some more.
const maxBallast = 8 << 20

// unladen reads a file as ffmpeg is to see it: what it carries besides the sound is left out, or hidden, where it is too much to
// hold in memory. ffmpeg itself reads tags, attachments, indexes and pictures of any size whole.
type unladen struct {
	src    *source
	pieces pieces // nil where nothing more is to be left out
	off    int64  // of what is read next
	next   int64  // where the next piece begins
	left   int64  // of maxBallast
	cover  []byte
	at     int64 // where cover goes
}

// pieces tells what a file has at a place from the bytes there, of which there are pieceHead where the file has as many; ok is false
// where nothing more is to be looked for.
type pieces func(at int64, b []byte) (p piece, ok bool)

const pieceHead = 27 + 255 // as long as the longest header, a page's of Ogg

// piece is an element, chunk, block or page.
type piece struct {
	size  int64 // of its header only where there are pieces in it
	kind  kind
	cover []byte // goes over its first bytes when it is too heavy; without that it is left out
}

type kind int

const (
	plain    kind = iota
	lasting       // ffmpeg keeps it: all of these together may have maxBallast
	fleeting      // ffmpeg forgets it: each may have maxBallast
	heavy
)

// newUnladen counts in errs what ffmpeg does not tell of.
func newUnladen(container string, s *source, errs *atomic.Int64) *unladen {
	u := &unladen{src: s, left: maxBallast}
	switch container {
	case "matroska":
		u.pieces = matroskaPieces
	case "avi":
		u.pieces = aviPieces(errs)
	case "wav":
		u.pieces = riffPieces(binary.LittleEndian, "data")
	case "aiff":
		u.pieces = riffPieces(binary.BigEndian, "SSND")
	case "flac":
		u.pieces = flacPieces
	case "asf":
		u.pieces = asfPieces
	case "ogg":
		u.pieces = oggPieces(s)
	default:
		u.pieces = func(int64, []byte) (piece, bool) { return piece{}, false }
	}
	u.pieces = tagged(container, u.pieces)
	return u
}

func (u *unladen) Read(p []byte) (int, error) {
	for u.off < u.src.size {
		from := u.off
		n := int(min(int64(len(p)), u.src.size-from))
		if k, err := u.src.ReadAt(p[:n], from); k < n {
			return 0, err
		}
		u.off += int64(n)
		u.hide(p[:n], from)
		for u.pieces != nil && u.next < from+int64(n) {
			head := p[u.next-from : n]
			if len(head) < pieceHead {
				var err error
				if head, err = u.src.read(u.next, pieceHead); err != nil {
					return 0, err
				}
			}
			x, ok := u.pieces(u.next, head)
			if !ok || x.size <= 0 {
				u.pieces = nil
				break
			}
			at := u.next
			u.next += x.size
			switch over := u.heavy(x); {
			case over && x.cover == nil:
				n, u.off = int(at-from), u.next
			case over:
				u.cover, u.at = x.cover, at
				u.hide(p[:n], from)
			}
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// hide puts the cover over the part of it that was read.
func (u *unladen) hide(p []byte, from int64) {
	switch skip := from - u.at; {
	case skip <= 0 && -skip < int64(len(p)):
		copy(p[-skip:], u.cover)
	case skip > 0 && skip < int64(len(u.cover)):
		copy(p, u.cover[skip:])
	}
}

func (u *unladen) heavy(p piece) bool {
	switch {
	case p.kind == lasting && p.size <= u.left:
		u.left -= p.size
		return false
	case p.kind == fleeting:
		return p.size > maxBallast
	}
	return p.kind != plain
}

// tagged looks into an ID3v2 tag in front of the file (ID3 tag versions 2.3.0 and 2.4.0), and then for the pieces behind it. Of a tag
// that is too heavy only heavy frames are hidden, unless they cannot be told. ffmpeg takes a file for an MP3 when it does not soon see
// what is behind the tag.
func tagged(container string, behind pieces) pieces {
	var end int64
	var version byte
	const header, frameHeader = 10, 10
	return func(at int64, b []byte) (piece, bool) {
		if at == 0 {
			end = media.TagLen(b)
			const unsynchronised, extended = 0x80, 0x40
			switch {
			case end == 0:
			case container != "mp3" && end >= media.SniffLen:
				return piece{size: end, kind: heavy}, true
			case end > maxBallast && (b[3] == 3 || b[3] == 4) && b[5]&(unsynchronised|extended) == 0:
				version = b[3]
				return piece{size: header}, true
			default:
				return piece{size: end, kind: lasting}, true
			}
		}
		if at >= end {
			return behind(at, b)
		}
		rest := piece{size: end - at, kind: lasting, cover: make([]byte, frameHeader)} // as padding
		if len(b) < frameHeader || b[0] == 0 {
			return rest, true
		}
		size := int64(binary.BigEndian.Uint32(b[4:]))
		if version == 4 {
			size = media.Syncsafe(b[4:])
		}
		if size += frameHeader; size > rest.size {
			return rest, true
		}
		return piece{size: size, kind: lasting, cover: []byte("JUNK")}, true
	}
}

// matroskaPieces looks into the segment and its clusters (RFC 9559, section 5.1; RFC 8794, sections 4 to 6). What is heavy becomes an
// element that is void: attachments, cues, chapters and tags together, and the frames of pictures each.
func matroskaPieces(_ int64, b []byte) (piece, bool) {
	const segment, cluster, void = "\x18\x53\x80\x67", "\x1f\x43\xb6\x75", 0xec
	if len(b) < 12 || b[0] < 0x10 {
		return piece{}, false
	}
	id := bits.LeadingZeros8(b[0]) + 1
	if b[id] == 0 {
		return piece{}, false
	}
	header := id + bits.LeadingZeros8(b[id]) + 1
	if name := string(b[:id]); name == segment || name == cluster {
		return piece{size: int64(header)}, true
	}
	size, n := vint(b[id:])
	if n == 0 {
		return piece{}, false // it is not known where it ends
	}
	p := piece{size: int64(header) + size, kind: lasting}
	if id < len(segment) {
		p.kind = fleeting // within a cluster
	}
	width := min(8, header-1)
	p.cover = binary.BigEndian.AppendUint64(nil, uint64(p.size-1-int64(width))|1<<(7*width))
	p.cover = append([]byte{void}, p.cover[8-width:]...)
	return p, true
}

// aviPieces looks into all lists (Microsoft, AVI RIFF File Reference). Chunks of pictures are hidden when they are heavy, those of
// sound never. Where a chunk should begin and does not, ffmpeg goes on to the next one without a word.
func aviPieces(errs *atomic.Int64) pieces {
	var end int64
	return func(at int64, b []byte) (piece, bool) {
		if len(b) < 12 {
			return piece{}, false
		}
		size := int64(binary.LittleEndian.Uint32(b[4:]))
		p := piece{size: 8 + size + size&1, kind: lasting, cover: []byte("JUNK")}
		id := string(b[:4])
		switch stream := id[:2] >= "00" && id[:2] <= "99"; {
		case id == "RIFF":
			end = at + p.size
			return piece{size: 12}, true
		case id == "LIST":
			return piece{size: 12}, true
		case stream && id[2:] == "wb":
			p.kind = plain
		case stream:
			p.kind = fleeting
		case id[0] < ' ' || id[0] > '~':
			if at < end {
				errs.Add(1)
			}
			return piece{}, false
		}
		return p, true
	}
}

// riffPieces looks into a RIFF or FORM file up to its sound.
func riffPieces(order binary.ByteOrder, sound string) pieces {
	return func(_ int64, b []byte) (piece, bool) {
		if len(b) < 12 || string(b[:4]) == sound {
			return piece{}, false
		}
		if id := string(b[:4]); id == "RIFF" || id == "RF64" || id == "BW64" || id == "FORM" {
			return piece{size: 12}, true
		}
		size := int64(order.Uint32(b[4:]))
		return piece{size: 8 + size + size&1, kind: lasting}, true
	}
}

// flacPieces looks at the blocks of metadata (RFC 9639, section 8). The heavy ones become padding.
func flacPieces(_ int64, b []byte) (piece, bool) {
	const magic, last, padding = "fLaC", 0x80, 1
	switch {
	case len(b) < 4 || b[0] == 0xff:
		return piece{}, false
	case string(b[:4]) == magic:
		return piece{size: 4}, true
	}
	size := 4 + int64(binary.BigEndian.Uint32(b)&0xffffff)
	return piece{size: size, kind: lasting, cover: []byte{b[0]&last | padding}}, true
}

// asfPieces looks into the header and its extension (Advanced Systems Format Specification, revision 01.20.05, sections 3.1 and 3.4).
// What is heavy there becomes an object that nobody knows.
func asfPieces(_ int64, b []byte) (piece, bool) {
	const (
		header    = "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
		extension = "\xb5\x03\xbf\x5f\x2e\xa9\xcf\x11\x8e\xe3\x00\xc0\x0c\x20\x53\x65"
		data      = "\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
	)
	if len(b) < 24 {
		return piece{}, false
	}
	switch string(b[:16]) {
	case header:
		return piece{size: 30}, true
	case extension:
		return piece{size: 46}, true
	case data:
		return piece{}, false
	}
	size := binary.LittleEndian.Uint64(b[16:])
	return piece{size: int64(min(size, 1<<62)), kind: lasting, cover: make([]byte, 16)}, true
}

// oggPieces looks at the pages in front of the sound (RFC 3533, section 6). A packet that is heavy there, which can be a comment only,
// ends with its first page, and the others that hold nothing else are left out.
func oggPieces(s *source) pieces {
	const granule, serial, lacing = 6, 14, 27
	var cut []byte // the stream whose packet was ended
	return func(at int64, b []byte) (piece, bool) {
		n := oggPage(b)
		if n <= 0 {
			return piece{}, false
		}
		if g := int64(binary.LittleEndian.Uint64(b[granule:])); g != 0 && g != -1 {
			return piece{}, false // this is sound
		}
		p := piece{size: int64(n)}
		segments := b[lacing : lacing+int(b[lacing-1])]
		stream := b[serial : serial+4]
		switch open := len(segments) > 0 && segments[len(segments)-1] == 255; {
		case bytes.Equal(stream, cut):
			if open && bytes.Count(segments, segments[:1]) == len(segments) {
				p.kind = heavy
			} else {
				cut = nil
			}
		case open && longPacket(s, at, stream):
			page, err := s.read(at, n)
			if err != nil || len(page) < n {
				return piece{}, false
			}
			cut = bytes.Clone(stream)
			head := lacing + len(segments)
			page[head-1]--
			page = page[:n-1]
			copy(page[lacing-5:], make([]byte, 4))
			binary.LittleEndian.PutUint32(page[lacing-5:], oggCRC(page))
			p.kind, p.cover = heavy, page[:head]
		}
		return p, true
	}
}

// longPacket tells whether the packet at the end of a page is heavy.
func longPacket(s *source, at int64, stream []byte) bool {
	const serial, lacing = 14, 27
	size := 0
	for first := true; size <= maxBallast; first = false {
		b, err := s.read(at, pieceHead)
		n := oggPage(b)
		if err != nil || n <= 0 {
			return false
		}
		at += int64(n)
		if !bytes.Equal(b[serial:serial+4], stream) {
			continue
		}
		segments := b[lacing : lacing+int(b[lacing-1])]
		if first {
			segments = segments[len(segments)-1:]
		}
		for _, k := range segments {
			size += int(k)
			if k < 255 {
				return false
			}
		}
	}
	return true
}

// oggCRC is the checksum of a page whose own checksum is zero: that of Ethernet, from the other end of each byte, begun with zero and not
// inverted.
func oggCRC(page []byte) uint32 {
	b := make([]byte, len(page))
	for i, c := range page {
		b[i] = bits.Reverse8(c)
	}
	return bits.Reverse32(^crc32.Update(1<<32-1, crc32.IEEETable, b))
}
