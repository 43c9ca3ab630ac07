package container

import (
	"encoding/binary"
	"fmt"

	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// tsSync is the byte that each packet of a transport stream begins with (ISO/IEC 13818-1, section 2.4.3.2). A packet
// has 188 bytes, or 192 with a time in front of it.
const tsSync = 0x47

// isTS looks for the sync byte of each of at least three packets.
func isTS(head []byte, packet, first int) bool {
	n := 0
	for off := first; off < len(head); off += packet {
		if head[off] != tsSync {
			return false
		}
		n++
	}
	return n >= 3
}

// tsComplete looks for a packet that the end of the file cuts. Padding at the end, which is no packet, says nothing.
func (f *File) tsComplete() error {
	head, err := f.read(0, 1)
	if err != nil || len(head) == 0 {
		return err
	}
	packet, first := int64(188), 0
	if head[0] != tsSync {
		packet, first = 192, 4
	}
	rest, err := f.read(f.size-f.size%packet, int(packet))
	if err == nil && len(rest) > first && rest[first] == tsSync {
		err = fmt.Errorf("%w: the mpegts ends within a packet", ErrTruncated)
	}
	return err
}

// psPacket is the length of a pack's header or of a packet of a program stream (ISO/IEC 13818-1, section 2.5.3;
// 11172-1, section 2.4.3), as [File.tailComplete] wants it.
func psPacket(b []byte) int {
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

// adtsFrame is the length of a frame of AAC (ISO/IEC 13818-7, section 6.2), as [File.tailComplete] wants it.
func adtsFrame(b []byte) int {
	const header, rates = 7, 13
	switch {
	case len(b) == 0:
		return 0
	case b[0] != 0xff || len(b) > 1 && b[1]&0xf6 != 0xf0 || len(b) > 2 && b[2]>>2&0xf >= rates:
		return -1
	case len(b) < header:
		return 0
	}
	n := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
	if n < header {
		return -1
	}
	return n
}

// isADTS looks for two frames, the second where the first says.
func isADTS(head []byte) bool {
	n := adtsFrame(head)
	return n > 0 && adtsFrame(head[min(n, len(head)):]) >= 0
}

// isAC3 looks for a sync frame whose bit stream is AC-3 and not Enhanced AC-3, which another demuxer reads (ETSI TS 102
// 366, sections 4.4.1 and E.1.3.1.6).
func isAC3(head []byte) bool {
	return len(head) >= 6 && head[0] == 0x0b && head[1] == 0x77 && head[4]&0x3f < 38 && head[5]>>3 <= 10
}

// isMP3 looks for two Layer III frames of one stream, the second where the first says. Bytes in front of them are
// passed over.
func isMP3(head []byte) bool {
	for off := range min(len(head), 512) {
		first, ok := mp3.ParseHeader(head[off:])
		if !ok || len(head) < off+first.Size {
			continue
		}
		if second, ok := mp3.ParseHeader(head[off+first.Size:]); ok && second.SameStream(first) {
			return true
		}
	}
	return false
}

// VBRHeader reads what the first frame of an MP3 says of the others.
func (f *File) VBRHeader() (mp3.VBRHeader, error) { return mp3.ReadVBRHeader(f.src, f.tag) }

// mp3Complete compares the file with the number of bytes that its first frame says. Some writers count the tag as well.
func (f *File) mp3Complete() error {
	h, err := f.VBRHeader()
	if err == nil && f.tag+h.Bytes > f.size && h.Bytes != f.size {
		err = fmt.Errorf("%w: the mp3 has %d bytes of %d", ErrTruncated, f.size, f.tag+h.Bytes)
	}
	return err
}
