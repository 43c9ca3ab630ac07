package convert

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// whole tells by what a container says of its own length whether the end of the file is missing. ffmpeg reads such a file
// without complaint. Where a container does not say it (MPEG, Ogg, raw AAC, a live recording), the end is missing when the file
// ends within one of its pieces; otherwise what is there is taken for all.
func whole(container string, s *source) error {
	var end int64
	var err error
	switch container {
	case "matroska":
		end, err = matroskaEnd(s)
	case "avi", "wav":
		end, err = riffEnd(s, binary.LittleEndian)
	case "aiff":
		end, err = riffEnd(s, binary.BigEndian)
	case "asf":
		end, err = asfEnd(s)
	case "mp3":
		return wholeMP3(s)
	case "flv":
		return wholeFLV(s)
	case "mpegts":
		return wholeTS(s)
	case "ogg":
		return wholePieces(s, oggPage)
	case "mpeg":
		return wholePieces(s, mpegPacket)
	case "aac":
		return wholePieces(s, adtsFrame)
	}
	// Some writers count the header as well, or a byte of padding that is not there.
	const slack = 8
	if err == nil && end > s.size+slack {
		err = truncated(fmt.Errorf("%s of %d bytes has %d", container, end, s.size))
	}
	return err
}

// matroskaEnd is where the segment ends (RFC 9559, section 4; RFC 8794, section 6); 0 when that was not known to its writer.
func matroskaEnd(s *source) (int64, error) {
	const segment = 0x18538067
	head, err := s.read(0, 64<<10)
	if err != nil || len(head) < 4 {
		return 0, err
	}
	size, n := vint(head[4:])
	if n == 0 {
		return 0, nil
	}
	off := 4 + int64(n) + size
	b, err := s.read(off, 12)
	if err != nil || len(b) < 5 || binary.BigEndian.Uint32(b) != segment {
		return 0, err
	}
	if size, n = vint(b[4:]); n == 0 {
		return 0, nil
	}
	return off + 4 + int64(n) + size, nil
}

// vint reads a variable-size integer and tells its length; 0 when there is none or it stands for unknown.
func vint(b []byte) (v int64, n int) {
	if len(b) == 0 || b[0] == 0 {
		return 0, 0
	}
	for n = 1; b[0]&(0x80>>(n-1)) == 0; n++ {
	}
	if len(b) < n {
		return 0, 0
	}
	v = int64(b[0] & (0x7f >> (n - 1)))
	for _, c := range b[1:n] {
		v = v<<8 | int64(c)
	}
	if v == 1<<(7*n)-1 {
		return 0, 0
	}
	return v, n
}

// riffEnd is where the last of the chunks of a RIFF or FORM file ends, of which only an AVI has several (OpenDML AVI File Format
// Extensions 1.02, section 2.0); 0 when a live writer left it open.
func riffEnd(s *source, order binary.ByteOrder) (end int64, err error) {
	for end == 0 || end < s.size {
		b, err := s.read(end, 8)
		if err != nil || len(b) < 8 || end > 0 && string(b[:4]) != "RIFF" {
			return end, err
		}
		size := order.Uint32(b[4:])
		if size >= 1<<32-1-8 {
			return 0, nil
		}
		end += 8 + int64(size)
	}
	return end, nil
}

// asfEnd is where the packets end (Advanced Systems Format Specification, revision 01.20.05, sections 3.1 and 5.1); 0 when that was not
// known to their writer.
func asfEnd(s *source) (int64, error) {
	const object = 16 + 8
	at := int64(0)
	for range 2 { // header, data
		b, err := s.read(at, object)
		if err != nil || len(b) < object {
			return at, err
		}
		size := binary.LittleEndian.Uint64(b[object-8:])
		if size < object || size > 1<<60 {
			return 0, nil
		}
		at += int64(size)
	}
	return at, nil
}

// wholeMP3 checks that there are as many bytes as the first frame says, which Xing's, LAME's and Fraunhofer's encoders made for that.
// Without such a frame, one that is cut off at the end is no fault: many good files end so.
func wholeMP3(s *source) error {
	head, err := s.read(0, media.SniffLen)
	if err != nil {
		return err
	}
	tag := media.TagLen(head)
	const vbri, longest = 4 + 32, 4 + 32 + 4 + 14 // a frame's header and side information are in front
	b, err := s.read(tag, longest)
	if err != nil || len(b) < longest {
		return err
	}
	be := binary.BigEndian
	var size int64
	for _, at := range []int{4 + 9, 4 + 17, vbri} {
		const frames, bytes = 1, 2
		switch string(b[at : at+4]) {
		case "Xing", "Info":
			flags := be.Uint32(b[at+4:])
			if flags&bytes != 0 {
				size = int64(be.Uint32(b[at+8+4*int(flags&frames):]))
			}
		case "VBRI":
			if at == vbri {
				size = int64(be.Uint32(b[at+10:]))
			}
		}
	}
	// Some writers count the tag as well.
	if tag+size > s.size && size != s.size {
		return truncated(fmt.Errorf("mp3 of %d bytes has %d", tag+size, s.size))
	}
	return nil
}

// wholeFLV checks that the file ends with a tag: the last four bytes are the length of the one before them (Adobe Flash Video
// File Format Specification 10.1, annex E.3).
func wholeFLV(s *source) error {
	last, err := s.read(max(0, s.size-4), 4)
	if err != nil || len(last) < 4 {
		return err
	}
	length := int64(binary.BigEndian.Uint32(last))
	tag, err := s.read(max(0, s.size-4-length), 4)
	if err != nil {
		return err
	}
	const tagHeader = 11
	if length < tagHeader || len(tag) < 4 || int64(binary.BigEndian.Uint32(tag)&0xffffff) != length-tagHeader {
		return truncated(errors.New("flv ends within a tag"))
	}
	return nil
}

// wholeTS checks that the file ends with a packet (ISO/IEC 13818-1, section 2.4.3.2): they have 188 bytes, or 192 with a time in
// front. Padding at the end, which is no packet, says nothing.
func wholeTS(s *source) error {
	const sync = 0x47
	head, err := s.read(0, 1)
	if err != nil || len(head) == 0 {
		return err
	}
	packet, first := int64(188), 0
	if head[0] != sync {
		packet, first = 192, 4
	}
	rest, err := s.read(s.size-s.size%packet, int(packet))
	if err == nil && len(rest) > first && rest[first] == sync {
		err = truncated(errors.New("mpegts ends within a packet"))
	}
	return err
}

// wholePieces checks that the file does not end within one of its pieces. length tells that of the piece that bytes begin with, 0
// when they are too few to tell, -1 when they begin with none. Something else at the end, such as a tag, says nothing.
func wholePieces(s *source, length func([]byte) int) error {
	const longest = 1 << 16
	const inARow = 3 // chance makes the head of a piece, but not of several one after the other
	tail, err := s.read(max(0, s.size-(inARow+1)*longest), (inARow+1)*longest)
	if err != nil {
		return err
	}
	for len(tail) > 0 {
		rest, n := tail, 0
		for len(rest) > 0 {
			k := length(rest)
			if n >= inARow && (k == 0 || k > len(rest)) {
				return truncated(errors.New("the file ends within a piece"))
			}
			if k <= 0 || k > len(rest) {
				break
			}
			rest, n = rest[k:], n+1
		}
		if n >= inARow {
			tail = rest
		} else {
			tail = tail[1:]
		}
	}
	return nil
}

// oggPage is the length of a page (RFC 3533, section 6).
func oggPage(b []byte) int {
	const header, magic = 27, "OggS\x00"
	if !strings.HasPrefix(magic, string(b[:min(len(b), len(magic))])) {
		return -1
	}
	if len(b) < header || len(b) < header+int(b[header-1]) {
		return 0
	}
	n := header + int(b[header-1])
	for _, k := range b[header:n] {
		n += int(k)
	}
	return n
}

// mpegPacket is the length of a pack's header or of a packet of a program stream (ISO/IEC 13818-1, section 2.5.3; 11172-1, section
// 2.4.3).
func mpegPacket(b []byte) int {
	const end, pack, system = 0xb9, 0xba, 0xbb
	switch {
	case len(b) < 4 || b[0] != 0 || b[1] != 0 || b[2] != 1 || b[3] < end:
		return -1
	case b[3] == end:
		return 4
	case len(b) < 14:
		return 0
	case b[3] >= system:
		return 6 + int(binary.BigEndian.Uint16(b[4:]))
	case b[4]>>6 == 1:
		return 14 + int(b[13]&7)
	}
	return 12
}

// adtsFrame is the length of a frame of AAC (ISO/IEC 13818-7, section 6.2).
func adtsFrame(b []byte) int {
	switch {
	case b[0] != 0xff || len(b) > 1 && b[1]&0xf6 != 0xf0:
		return -1
	case len(b) < 7:
		return 0
	}
	n := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
	if n < 7 {
		return -1
	}
	return n
}
