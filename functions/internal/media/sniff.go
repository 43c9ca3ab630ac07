package media

import (
	"bytes"
	"encoding/binary"
)

// SniffLen is how many bytes of a file's beginning [Sniff] wants to see.
const SniffLen = 4096

// Sniff tells the container of a file from its first bytes, by the name that ffmpeg gives its demuxer, or "" when it is
// none that may hold sound and that we take. It does not say that the file is whole or has sound.
func Sniff(head []byte) string {
	has := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	switch {
	case len(head) >= 8 && isMP4Box(string(head[4:8])):
		return "mov"
	case has(0, "\x1aE\xdf\xa3"):
		return "matroska"
	case has(0, "RIFF") && has(8, "AVI "):
		return "avi"
	case has(0, "RIFF") && has(8, "WAVE"), has(0, "RF64") && has(8, "WAVE"):
		return "wav"
	case has(0, "riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"):
		return "w64"
	case has(0, "FORM") && (has(8, "AIFF") || has(8, "AIFC")):
		return "aiff"
	case has(0, "caff"):
		return "caf"
	case has(0, "FLV\x01"):
		return "flv"
	case has(0, "OggS"):
		return "ogg"
	case has(0, "fLaC"):
		return "flac"
	case has(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"):
		return "asf"
	case has(0, "\x00\x00\x01\xba"):
		return "mpeg"
	case isMPEGTS(head, 188, 0), isMPEGTS(head, 192, 4):
		return "mpegts"
	case has(0, "\x0b\x77"):
		return "ac3"
	case len(head) >= 2 && head[0] == 0xff && head[1]&0xf6 == 0xf0:
		return "aac"
	case has(0, "ID3"), isMP3(head):
		return "mp3"
	}
	return ""
}

// isMP4Box knows the boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12, section 4.3; QuickTime File Format).
func isMP4Box(t string) bool {
	switch t {
	case "ftyp", "moov", "mdat", "wide", "free", "skip", "pnot", "styp":
		return true
	}
	return false
}

// isMPEGTS looks for the sync byte at the start of each packet (ISO/IEC 13818-1, section 2.4.3.2).
func isMPEGTS(head []byte, packet, first int) bool {
	n := 0
	for off := first; off < len(head); off += packet {
		if head[off] != 0x47 {
			return false
		}
		n++
	}
	return n >= 3 || n >= 1 && len(head) <= first+packet
}

// isMP3 looks for two Layer III frame headers of one stream within reach of each other; junk in front is skipped.
func isMP3(head []byte) bool {
	const mask = 0xfffe0c00 // sync, version, layer, sampling rate
	for off := range min(len(head), 512) {
		if len(head) < off+4 || head[off] != 0xff || head[off+1]&0xe6 != 0xe2 {
			continue
		}
		h := binary.BigEndian.Uint32(head[off:])
		if h>>12&0xf == 0xf || h>>10&3 == 3 {
			continue
		}
		var want [4]byte
		binary.BigEndian.PutUint32(want[:], h&mask)
		rest := head[off+24 : min(len(head), off+24+1800)]
		for i := bytes.IndexByte(rest, 0xff); i >= 0 && i+4 <= len(rest); {
			if binary.BigEndian.Uint32(rest[i:])&mask == h&mask {
				return true
			}
			next := bytes.IndexByte(rest[i+1:], 0xff)
			if next < 0 {
				break
			}
			i += 1 + next
		}
	}
	return false
}
