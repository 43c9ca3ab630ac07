package mp3

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzTag writes any texts as a tag: it is made of whole frames, whose texts are UTF-8 and single.
func FuzzTag(f *testing.F) {
	f.Add("Ü", "a\x00b", "\xff", "2026-03-01T12:00:00+02:00", "comment", "x", []byte("\xff\xd8\xff\xe0"), int64(1e9), 3)
	f.Add("", "", " ", "26", "lyrics-eng", "la\nla", []byte("\x89PNG\r\n\x1a\n"), int64(-1), 0)
	f.Add("", "", "", "", "TMOO", "x", []byte(nil), int64(1)<<60, 300)
	f.Fuzz(func(t *testing.T, title, artist, album, date, name, value string, cover []byte, start int64, chapters int) {
		tag := Tag{Title: title, Artist: artist, Album: album, Date: date, Others: map[string]string{name: value},
			All: len(title)%2 == 0, Cover: cover}
		for i := range min(max(chapters, 0), 300) {
			at := time.Duration(start)
			tag.Chapters = append(tag.Chapters, Chapter{Start: at, End: at + time.Duration(i), Title: title})
		}
		head, rest := tag.Encode()
		b := append(bytes.Clone(head), rest...)
		if len(b) == 0 {
			return
		}
		size, ok := tagFrames(t, b)
		if !ok || size != len(b) {
			t.Fatalf("%+v is written as % x", tag, b)
		}
		again, chaptersAgain := tag.Encode()
		if !bytes.Equal(head, again) || !bytes.Equal(rest, chaptersAgain) {
			t.Errorf("%+v is written in two ways", tag)
		}
	})
}

// tagFrames walks the frames of a tag (ID3v2.4.0 structure, sections 3 and 4), and tells how long it says that it is.
func tagFrames(t *testing.T, b []byte) (size int, ok bool) {
	t.Helper()
	number := func(b []byte) (n int, ok bool) {
		return int(b[0])<<21 | int(b[1])<<14 | int(b[2])<<7 | int(b[3]), binary.BigEndian.Uint32(b)&0x80808080 == 0
	}
	if len(b) < 10 || string(b[:6]) != "ID3\x04\x00\x00" {
		return 0, false
	}
	if size, ok = number(b[6:]); !ok {
		return 0, false
	}
	size += 10
	for b = b[10:]; len(b) > 0; {
		if len(b) < 10 {
			return 0, false
		}
		id := string(b[:4])
		n, ok := number(b[4:])
		if !ok || n == 0 || n > len(b)-10 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
			return 0, false
		}
		body := b[10 : 10+n]
		if id[0] == 'T' && (body[0] != 3 || !utf8.Valid(body[1:])) {
			t.Errorf("%s is %q, want UTF-8", id, body)
		}
		if id[0] == 'T' && id != "TXXX" && bytes.IndexByte(body, 0) >= 0 {
			t.Errorf("%s has two texts: %q", id, body)
		}
		if id == "TDRC" && timestamp(string(body[1:])) != string(body[1:]) {
			t.Errorf("TDRC is %q", body)
		}
		b = b[10+n:]
	}
	return size, true
}
