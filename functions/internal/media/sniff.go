package media

import "encoding/binary"

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
	case (has(0, "RIFF") || has(0, "RF64") || has(0, "BW64")) && has(8, "WAVE"):
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
	case has(0, "ID3"):
		return sniffTagged(head)
	case isAC3(head):
		return "ac3"
	case isADTS(head):
		return "aac"
	case isMP3(head):
		return "mp3"
	}
	return ""
}

// sniffTagged looks behind an ID3v2 tag, which AAC and FLAC files carry too. Where nothing is to be seen there, because a cover
// fills the head, the tag is taken for that of an MP3.
func sniffTagged(head []byte) string {
	size := TagLen(head)
	if size == 0 {
		return ""
	}
	if size < int64(len(head)) {
		if kind := Sniff(head[size:]); kind != "" {
			return kind
		}
	}
	return "mp3"
}

// TagLen is the length of the ID3v2 tag that a file begins with (ID3 tag version 2.4.0, section 3.1); 0 when there is none.
func TagLen(head []byte) int64 {
	const header, footer = 10, 0x10
	if len(head) < header || string(head[:3]) != "ID3" {
		return 0
	}
	size := header + Syncsafe(head[6:])
	if head[5]&footer != 0 {
		size += header
	}
	return size
}

// Syncsafe reads the four bytes of seven bits that ID3v2 has for a number.
func Syncsafe(b []byte) (n int64) {
	for _, x := range b[:4] {
		n = n<<7 | int64(x&0x7f)
	}
	return n
}

// isMP4Box knows the boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12, section 4.3; QuickTime File Format).
func isMP4Box(t string) bool {
	switch t {
	case "ftyp", "moov", "mdat", "wide", "free", "skip", "pnot", "styp":
		return true
	}
	return false
}

// isMPEGTS looks for the sync byte at the start of each of at least three packets (ISO/IEC 13818-1, section 2.4.3.2).
func isMPEGTS(head []byte, packet, first int) bool {
	n := 0
	for off := first; off < len(head); off += packet {
		if head[off] != 0x47 {
			return false
		}
		n++
	}
	return n >= 3
}

// isAC3 looks for a sync frame whose bit stream is AC-3 and not Enhanced AC-3 (ETSI TS 102 366, sections 4.4.1 and E.1.3.1.6),
// which is another demuxer's.
func isAC3(head []byte) bool {
	return len(head) >= 6 && head[0] == 0x0b && head[1] == 0x77 && head[4]&0x3f < 38 && head[5]>>3 <= 10
}

// isADTS looks for two frame headers, the second where the first says (ISO/IEC 13818-7, section 6.2).
func isADTS(head []byte) bool {
	sync := func(off int) bool {
		return len(head) >= off+6 && head[off] == 0xff && head[off+1]&0xf6 == 0xf0 && head[off+2]>>2&0xf < 13
	}
	if !sync(0) {
		return false
	}
	length := int(head[3]&3)<<11 | int(head[4])<<3 | int(head[5])>>5
	return length >= 7 && (sync(length) || len(head) < length+6)
}

// isMP3 looks for two Layer III frame headers of one stream, the second where the first says; junk in front is skipped.
func isMP3(head []byte) bool {
	const same = 0xfffe0c00 // sync, version, layer and sampling rate
	for off := range min(len(head), 512) {
		length := mp3FrameLength(head[off:])
		if length == 0 || len(head) < off+length+4 {
			continue
		}
		if (binary.BigEndian.Uint32(head[off:])^binary.BigEndian.Uint32(head[off+length:]))&same == 0 {
			return true
		}
	}
	return false
}

// mp3FrameLength is the length of the Layer III frame that b begins with, 0 when it begins with none (ISO/IEC 11172-3, section
// 2.4.1.3; 13818-3, section 2.4.2.3; MPEG-2.5 as ffmpeg and LAME have it).
func mp3FrameLength(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	h := binary.BigEndian.Uint32(b)
	version, layer, rate, frequency, padding := h>>19&3, h>>17&3, h>>12&0xf, h>>10&3, int(h>>9&1)
	if h>>21 != 0x7ff || version == 1 || layer != 1 || rate == 0 || rate == 0xf || frequency == 3 {
		return 0
	}
	hertz := [...]int{44100, 48000, 32000}[frequency]
	kbits := [...]int{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}[rate]
	switch version {
	case 3: // MPEG-1
		kbits = [...]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}[rate]
		return 144000*kbits/hertz + padding
	case 2: // MPEG-2
		return 72000*kbits/(hertz/2) + padding
	}
	return 72000*kbits/(hertz/4) + padding
}
