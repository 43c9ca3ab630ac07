package container

import "strings"

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
	case has(0, ".snd"):
		return AU
	case has(0, "#!AMR\n"), has(0, "#!AMR-WB\n"):
		return AMR
	case has(0, "wvpk"):
		return WavPack
	case has(0, "TTA1"):
		return TTA
	case has(0, mxfPartition):
		return MXF
	case has(0, ".RMF"), has(0, ".ra\xfd"):
		return RM
	case has(0, "\x7f\xfe\x80\x01"), has(0, "\xfe\x7f\x01\x80"), has(0, "\x1f\xff\xe8\x00"),
		has(0, "\xff\x1f\x00\xe8"):
		return DTS // ETSI TS 102 114, section 5.3, and by words or in 14 bits
	case isAC3(head):
		if head[5]>>3 > 10 {
			return EAC3
		}
		return AC3
	case isADTS(head):
		return AAC
	case Other(head) == "" && mpegAudio(head) >= 0:
		return MP3
	}
	return ""
}

// mxfPartition is the key that a partition of a header begins with (SMPTE ST 377-1, section 7.1).
const mxfPartition = "\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02"

// others are media that are known and not taken, by what they begin with.
var others = []struct{ magic, name string }{
	{"MPCK", "Musepack"}, {"MP+", "Musepack"}, {"MAC ", "Monkey's Audio"}, {"DSD ", "DSF"}, {"FRM8", "DSDIFF"},
	{"MThd", "MIDI"}, {"tBaK", "TAK"}, {"OFR ", "OptimFROG"},
	{"ajkg", "Shorten"}, {"qoaf", "QOA"}, {"ADIF", "AAC in ADIF"},
	{"Creative Voice File", "VOC"}, {"\xb7\xd8\x00\x20\x37\x49\xda\x11", "WTV"}, {"nut/multimedia container", "NUT"},
	{"DKIF", "IVF"}, {"BIK", "Bink"}, {"KB2", "Bink"}, {"FWS", "Flash"}, {"CWS", "Flash"}, {"ZWS", "Flash"},
	{"YUV4MPEG2", "raw video"}, {"\x00\x00\x01\xb3", "raw MPEG video"}, {"\x00\x00\x00\x01\x67", "raw H.264"},
	{"\x00\x00\x00\x01\x09", "raw H.264"}, {"\x00\x00\x00\x01\x40\x01", "raw H.265"}, {"\x1f\x07\x00", "DV"},
	{"TWIN97012000", "TwinVQ"}, {"FLV", "this version of FLV"}, {"TTA2", "TTA2"},
	{"\x00\x00\x00\x00\x01\xbc\x01\x00", "GXF"}, {"\x56\xe0", "raw LATM"}, {"caff", "this version of CAF"},
}

// Other names a kind of media that is not taken, by the first bytes of a file; empty when it is none that is known.
func Other(head []byte) string {
	for _, o := range others {
		if strings.HasPrefix(string(head[:min(len(head), 32)]), o.magic) {
			return o.name
		}
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
