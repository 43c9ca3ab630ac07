package container

import (
	"encoding/binary"
	"fmt"
	"io"

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
		err = fmt.Errorf("%w: the mpegts", ErrAbrupt)
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

// isAC3 looks for a sync frame of AC-3 or Enhanced AC-3, which has another number (ETSI TS 102 366, sections 4.4.1 and
// E.1.3.1.6).
func isAC3(head []byte) bool {
	return len(head) >= 6 && head[0] == 0x0b && head[1] == 0x77 && head[5]>>3 <= 16 &&
		(head[5]>>3 > 10 || head[4]&0x3f < 38)
}

// mpegAudio looks for the first of several frames of one stream, of Layer III or II, the next where each says; -1 when
// there is none. Bytes in front of them are passed over. The more there are, the more frames are wanted: chance makes
// some.
func mpegAudio(head []byte) int {
	for first := range head {
		if head[first] != 0xff {
			continue
		}
		frames, off := 0, first
		for wanted := 2 + first/512; ; frames++ {
			if frames >= min(wanted, 4) {
				return first
			}
			n := mpegFrame(head[off:])
			if n <= 0 || frames > 0 && !sameStream(head[first:], head[off:]) {
				break
			}
			if off += n; off+mp3.HeaderLen > len(head) {
				if frames++; frames >= min(wanted, 4) {
					return first
				}
				break
			}
		}
	}
	return -1
}

// mpegFrame is the length of a frame of Layer III or II (ISO/IEC 11172-3, section 2.4.2.3); -1 when there is none.
func mpegFrame(b []byte) int {
	if h, ok := mp3.ParseHeader(b); ok {
		return h.Size
	}
	rates := [2][15]int{{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}}
	if len(b) < mp3.HeaderLen || b[0] != 0xff || b[1]&0xe6 != 0xe4 {
		return -1
	}
	version, bitrate, rate := b[1]>>3&3, b[2]>>4, b[2]>>2&3
	if version == 1 || bitrate == 0 || bitrate == 15 || rate == 3 {
		return -1
	}
	hz := []int{44100, 48000, 32000}[rate]
	low := 0
	if version != 3 {
		low, hz = 1, hz>>((4-version)/2)
	}
	return 144000*rates[low][bitrate]/hz + int(b[2]>>1&1)
}

// sameStream compares version, layer and rate.
func sameStream(a, b []byte) bool { return a[1]&0xfe == b[1]&0xfe && a[2]&0x0c == b[2]&0x0c }

// VBRHeader reads what the first frame of an MP3 says of the others.
func (f *File) VBRHeader() (mp3.VBRHeader, error) {
	return mp3.ReadVBRHeader(io.NewSectionReader(f.src, 0, f.size), f.tag+f.junk)
}

// mp3Complete compares the file with the number of bytes that its first frame says. Some writers count the tag as well.
// A recorder that was killed has not told it.
func (f *File) mp3Complete() error {
	h, err := f.VBRHeader()
	switch {
	case err != nil:
		return err
	case h.Bytes == 0:
		return f.tailComplete(mp3Frame)
	case f.tag+h.Bytes > f.size && h.Bytes != f.size:
		return fmt.Errorf("%w: the mp3 has %d bytes of %d", ErrTruncated, f.size, f.tag+h.Bytes)
	}
	return nil
}

// mp3Frame is the length of a frame of MP3, as [File.tailComplete] wants it.
func mp3Frame(b []byte) int {
	switch h, ok := mp3.ParseHeader(b); {
	case ok:
		return h.Size
	case len(b) < mp3.HeaderLen && (len(b) == 0 || b[0] == 0xff):
		return 0
	}
	return -1
}
