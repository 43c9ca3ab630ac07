package container

// SniffLen is how many bytes of a file's beginning [Sniff] wants to see.
const SniffLen = 4096

// Sniff tells the container of a file from its first bytes, or "" when it is none that we take. It does not say that
// the file is complete or has sound.
func Sniff(head []byte) string {
	has := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	switch {
	case len(head) >= 8 && isMP4Box(string(head[4:8])):
		return MOV
	case has(0, "\x1aE\xdf\xa3"):
		return Matroska
	case has(0, "RIFF") && has(8, "AVI "):
		return AVI
	case (has(0, "RIFF") || has(0, "RF64") || has(0, "BW64")) && has(8, "WAVE"):
		return WAV
	case has(0, "riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"):
		return W64
	case has(0, "FORM") && (has(8, "AIFF") || has(8, "AIFC")):
		return AIFF
	case has(0, "caff"):
		return CAF
	case has(0, "FLV\x01"):
		return FLV
	case has(0, "OggS"):
		return Ogg
	case has(0, flacMagic):
		return FLAC
	case has(0, asfHeader):
		return ASF
	case has(0, "\x00\x00\x01\xba"):
		return MPEGPS
	case isTS(head, 188, 0), isTS(head, 192, 4):
		return MPEGTS
	case has(0, "ID3"):
		return sniffTagged(head)
	case isAC3(head):
		return AC3
	case isADTS(head):
		return AAC
	case isMP3(head):
		return MP3
	}
	return ""
}

// sniffTagged looks behind an ID3v2 tag, which AAC and FLAC files carry too. Where nothing is to be seen there, because
// a cover fills the head, the tag is taken for that of an MP3.
func sniffTagged(head []byte) string {
	size := tagLength(head)
	if size == 0 {
		return ""
	}
	if size < int64(len(head)) {
		if kind := Sniff(head[size:]); kind != "" {
			return kind
		}
	}
	return MP3
}

// isMP4Box knows the boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12, section 4.3; QuickTime File
// Format).
func isMP4Box(t string) bool {
	switch t {
	case "ftyp", "moov", "mdat", "wide", "free", "skip", "pnot", "styp":
		return true
	}
	return false
}
