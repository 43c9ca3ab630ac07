package mp3

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Tag is what an ID3v2.4 tag tells about the music.
type Tag struct {
	Title, Artist, Album string
	Date                 string // ISO 8601, or the beginning of it; another is left out
	Cover                []byte // JPEG or PNG; another is left out
	Chapters             []Chapter
}

// Chapter is a named part.
type Chapter struct {
	Start, End time.Duration
	Title      string
}

// maxChapters is how many entries a table of contents can have.
const maxChapters = 255

// timestamp is what a TDRC frame may hold (ID3v2.4.0 structure, section 4).
var timestamp = regexp.MustCompile(`^\d{4}(-\d{2}(-\d{2}(T\d{2}(:\d{2}(:\d{2})?)?)?)?)?`)

// Encode makes the tag, or nothing when it is empty.
func (t Tag) Encode() []byte {
	var b []byte
	b = appendText(b, "TIT2", t.Title)
	b = appendText(b, "TPE1", t.Artist)
	b = appendText(b, "TALB", t.Album)
	b = appendText(b, "TDRC", timestamp.FindString(t.Date))
	switch mime := http.DetectContentType(t.Cover); mime {
	case "image/jpeg", "image/png":
		const utf8, frontCover = "\x03", "\x03"
		b = appendFrame(b, "APIC", []byte(utf8+mime+"\x00"+frontCover+"\x00"), t.Cover)
	}
	b = appendChapters(b, t.Chapters[:min(len(t.Chapters), maxChapters)])
	if len(b) == 0 {
		return nil
	}
	return append(appendSyncsafe([]byte("ID3\x04\x00\x00"), len(b)), b...)
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
	s = strings.TrimSpace(strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", ""))
	if s == "" {
		return b
	}
	const utf8 = 3
	return appendFrame(b, id, []byte{utf8}, []byte(s))
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
