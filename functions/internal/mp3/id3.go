package mp3

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Tag is what an ID3v2.4 tag tells about the music.
type Tag struct {
	Title, Artist, Album string
	Date                 string            // ISO 8601, or the beginning of it; another is left out
	Others               map[string]string // what else is said, by ffmpeg's names; what has no frame is left out
	All                  bool              // it is not left out
	Cover                []byte            // JPEG or PNG; another is left out
	Chapters             []Chapter
}

// Chapter is a named part.
type Chapter struct {
	Start, End time.Duration
	Title      string
}

// maxChapters is how many entries a table of contents can have.
const maxChapters = 255

// timestamp is what a TDRC frame may hold: the beginning of a date and time in UTC (ID3v2.4.0 structure, section 4).
// What cannot be read of it is left out.
func timestamp(date string) string {
	const whole = "2006-01-02T15:04:05"
	date = strings.TrimSpace(date)
	for _, zoned := range []string{time.RFC3339, "2006-01-02T15:04:05-0700", "2006-01-02 15:04:05Z07:00",
		"2006-01-02 15:04:05-0700"} {
		if t, err := time.Parse(zoned, date); err == nil {
			return t.UTC().Format(whole)
		}
	}
	date = strings.Replace(date, " ", "T", 1)
	for _, n := range []int{19, 16, 13, 10, 7, 4} {
		if len(date) < n {
			continue
		}
		if _, err := time.Parse(whole[:n], date[:n]); err == nil {
			return date[:n]
		}
	}
	return ""
}

// frames are those of ID3v2.4 for ffmpeg's names.
var frames = map[string]string{"genre": "TCON", "track": "TRCK", "disc": "TPOS", "album_artist": "TPE2",
	"composer":  "TCOM",
	"copyright": "TCOP", "isrc": "TSRC", "publisher": "TPUB", "performer": "TPE3", "grouping": "TIT1",
	"compilation": "TCMP", "title-sort": "TSOT", "artist-sort": "TSOP", "album-sort": "TSOA", "language": "TLAN",
	"encoded_by": "TENC", "bpm": "TBPM", "lyricist": "TEXT"}

// text is the name of a frame of text.
var text = regexp.MustCompile(`^T[A-Z0-9]{3}$`)

// known are frames that the tag has for itself.
var known = []string{"TIT2", "TPE1", "TALB", "TDRC", "TXXX", "TSSE", "TLEN"}

// appendOthers writes what else is said.
func (t Tag) appendOthers(b []byte) []byte {
	const utf8, language = "\x03", "und"
	for _, name := range slices.Sorted(maps.Keys(t.Others)) {
		lower, value := strings.ToLower(name), clean(t.Others[name])
		frame := frames[lower]
		switch {
		case value == "":
		case frame != "" && !(frame == "TLAN" && !t.All):
			b = appendText(b, frame, value)
		case lower == "comment":
			b = appendFrame(b, "COMM", []byte(utf8+language+"\x00"+value))
		case lower == "lyrics" || strings.HasPrefix(lower, "lyrics-"):
			of := language
			if _, l, _ := strings.Cut(lower, "-"); len(l) == 3 {
				of = l
			}
			b = appendFrame(b, "USLT", []byte(utf8+of+"\x00"+value))
		case text.MatchString(name) && !slices.Contains(known, name) && t.All:
			b = appendText(b, name, value)
		case strings.HasPrefix(lower, "replaygain_"),
			t.All && !slices.Contains(ownNames, lower) && !strings.HasPrefix(lower, "id3v2_priv"):
			b = appendFrame(b, "TXXX", []byte(utf8+clean(name)+"\x00"+value))
		}
	}
	return b
}

// ownNames are ffmpeg's for what the tag has for itself, or what is true of the source only.
var ownNames = []string{"title", "artist", "album", "date", "encoder", "tlen", "tsse", "duration"}

// Encode makes the tag, or nothing when it is empty. Its chapters come last: the same ones have the same length
// whatever their times are, and fewer of them with zeros behind them are as good.
func (t Tag) Encode() (tag, chapters []byte) {
	var b []byte
	b = appendText(b, "TIT2", t.Title)
	b = appendText(b, "TPE1", t.Artist)
	b = appendText(b, "TALB", t.Album)
	b = appendText(b, "TDRC", timestamp(t.Date))
	b = t.appendOthers(b)
	switch mime := http.DetectContentType(t.Cover); mime {
	case "image/jpeg", "image/png":
		const utf8, frontCover = "\x03", "\x03"
		b = appendFrame(b, "APIC", []byte(utf8+mime+"\x00"+frontCover+"\x00"), t.Cover)
	}
	chapters = appendChapters(nil, t.Chapters[:min(len(t.Chapters), maxChapters)])
	if len(b)+len(chapters) == 0 {
		return nil, nil
	}
	return append(appendSyncsafe([]byte("ID3\x04\x00\x00"), len(b)+len(chapters)), b...), chapters
}

// appendChapters writes the chapters and the table that puts them in order (ID3v2 Chapter Frame Addendum 1.0).
func appendChapters(b []byte, cs []Chapter) []byte {
	if len(cs) == 0 {
		return b
	}
	const topLevel, ordered = 2, 1
	toc := append([]byte("toc\x00"), topLevel|ordered, byte(len(cs)))
	for i, c := range cs {
		id := fmt.Sprintf("ch%d\x00", i)
		toc = append(toc, id...)
		body := []byte(id)
		body = binary.BigEndian.AppendUint32(body, uint32(c.Start.Milliseconds()))
		body = binary.BigEndian.AppendUint32(body, uint32(c.End.Milliseconds()))
		body = append(body, bytes.Repeat([]byte{0xff}, 8)...) // byte offsets: use the times
		b = appendFrame(b, "CHAP", appendText(body, "TIT2", c.Title))
	}
	return appendFrame(b, "CTOC", toc)
}

// appendText writes a text frame in UTF-8, or none for an empty text. A zero byte would begin a second text.
func appendText(b []byte, id, s string) []byte {
	s = clean(s)
	if s == "" {
		return b
	}
	const utf8 = 3
	return appendFrame(b, id, []byte{utf8}, []byte(s))
}

func clean(s string) string {
	return strings.TrimSpace(strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", ""))
}

func appendFrame(b []byte, id string, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b = appendSyncsafe(append(b, id...), len(body))
	b = append(b, 0, 0) // flags
	return append(b, body...)
}

// appendSyncsafe writes a size with seven bits a byte.
func appendSyncsafe(b []byte, n int) []byte {
	return append(b, byte(n>>21&0x7f), byte(n>>14&0x7f), byte(n>>7&0x7f), byte(n&0x7f))
}
