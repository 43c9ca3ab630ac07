package mp4

import (
	"io"
	"slices"
	"strings"
)

// Track is what the index says of a track of sound.
type Track struct {
	Codec    string // the sample description's four characters
	Language string // of ISO 639-2, or empty
	Title    string
	Enabled  bool // players take it by default
	Empty    bool // it has no samples
	Aside    bool // a commentary, or for those who see or hear little
}

// deaf are descriptions of sound that no ffmpeg decodes, or nobody may.
var deaf = []string{"apac", "ac-4", "mha1", "mha2", "mhm1", "mhm2", "enca", "drms", "aavd"}

// Dead tells whether there is nothing to hear: no samples, or none that can be decoded.
func (t Track) Dead() bool { return t.Empty || slices.Contains(deaf, t.Codec) }

// standard picks the track that players take, or another one when there is nothing to hear on it.
func standard(tracks []Track) int {
	best := -1
	for i, t := range tracks {
		if best < 0 || t.rank() < tracks[best].rank() {
			best = i
		}
	}
	return best
}

func (t Track) rank() (n int) {
	for _, worse := range []bool{t.Dead(), t.Aside, !t.Enabled} {
		if n *= 2; worse {
			n++
		}
	}
	return n
}

// about reads what a track says of itself. Of fragments it is not known whether they hold any of it.
func (t track) about(r io.ReaderAt, fragmented bool) (a Track, err error) {
	a = Track{Enabled: t.enabled, Language: t.language()}
	for d := range boxes(t.description()).all {
		a.Codec = d.kind
		break
	}
	if stsz, ok := t.fileBox("stsz"); ok && stsz.size-stsz.header >= 12 {
		var b [4]byte
		if err := readFull(r, b[:], stsz.off+stsz.header+8); err != nil {
			return a, err
		}
		a.Empty = be.Uint32(b[:]) == 0 && !fragmented
	}
	for b := range boxes(t.children.find("udta")).all {
		switch b.kind {
		case "kind": // ISO/IEC 14496-12, section 8.10.4; the roles are those of DASH (ISO/IEC 23009-1, section 5.8.5.5)
			scheme, value, _ := strings.Cut(string(b.body[min(4, len(b.body)):]), "\x00")
			value = strings.TrimRight(value, "\x00")
			a.Aside = a.Aside || scheme == "urn:mpeg:dash:role:2011" && slices.Contains([]string{"commentary", "description",
				"enhanced-audio-intelligibility"}, value)
		case "tagc": // QuickTime File Format, media characteristics
			a.Aside = a.Aside || slices.Contains([]string{"public.accessibility.describes-video",
				"public.accessibility.enhances-speech-intelligibility", "public.auxiliary-content"}, string(b.body))
		case "name":
			a.Title = strings.ToValidUTF8(string(b.body[:min(len(b.body), maxTitle)]), "")
		}
	}
	return a, nil
}

// language reads the three letters of five bits that the media's header has.
func (t track) language() string {
	h := boxes(t.children.find("mdia")).find("mdhd")
	at := 20
	if len(h) > 0 && h[0] == 1 {
		at = 32
	}
	if len(h) < at+2 {
		return ""
	}
	code := be.Uint16(h[at:])
	b := []byte{byte(code>>10&31) + 0x60, byte(code>>5&31) + 0x60, byte(code&31) + 0x60}
	odd := slices.ContainsFunc(b, func(c byte) bool { return c < 'a' || c > 'z' })
	if code < 0x400 || code == 0x7fff || string(b) == "und" || odd {
		return "" // QuickTime's numbers of languages
	}
	return string(b)
}
