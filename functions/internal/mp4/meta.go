package mp4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// maxChapters bounds what is read of chapters; maxTitle the length of each name, in bytes; maxChapterTracks how many
// tracks of them a track may have, of which the first is read.
const (
	maxChapters      = 1000
	maxTitle         = 1024
	maxChapterTracks = 8
)

// readTags reads iTunes' list (moov/udta/meta/ilst), and QuickTime's text atoms (moov/udta/©nam) for what is missing
// there.
func readTags(moov boxes) (t Tags) {
	udta := boxes(moov.find("udta"))
	ilst := boxes(boxes(fullBox(udta.find("meta"))).find("ilst"))
	for _, x := range []struct {
		kind string
		to   *string
	}{{"\xa9nam", &t.Title}, {"\xa9ART", &t.Artist}, {"\xa9alb", &t.Album}, {"\xa9day", &t.Date}} {
		if v, kind := itemValue(ilst.find(x.kind)); kind == 1 {
			*x.to = strings.ToValidUTF8(string(v), "")
		} else if b := udta.find(x.kind); len(b) >= 4 && int(be.Uint16(b)) <= len(b)-4 {
			*x.to = strings.ToValidUTF8(string(b[4:4+be.Uint16(b)]), "")
		}
	}
	if v, kind := itemValue(ilst.find("covr")); kind == 13 || kind == 14 || kind == 0 {
		t.Cover = bytes.Clone(v)
	}
	for b := range ilst.all {
		if slices.Contains(more, b.kind) && len(t.More)+len(b.body) < maxMore {
			t.More = append(t.More, makeBox(b.kind, b.body)...)
		}
	}
	return t
}

// more are the kinds of items that are read besides. maxMore bounds them, in bytes.
var more = []string{"\xa9gen", "gnre", "trkn", "disk", "aART", "\xa9wrt", "\xa9cmt", "\xa9lyr", "cprt", "----"}

const maxMore = 256 << 10

// Others gives what the items of [Tags.More] say, by ffmpeg's names.
func (t Tags) Others() map[string]string {
	names := map[string]string{"\xa9gen": "genre", "aART": "album_artist", "\xa9wrt": "composer", "\xa9cmt": "comment",
		"\xa9lyr": "lyrics", "cprt": "copyright"}
	others := map[string]string{}
	for b := range boxes(t.More).all {
		v, kind := itemValue(b.body)
		name := names[b.kind]
		if own := boxes(b.body).find("name"); b.kind == "----" && len(own) > 4 {
			name = strings.ToValidUTF8(string(own[4:]), "")
		}
		switch {
		case (b.kind == "trkn" || b.kind == "disk") && len(v) >= 6 && be.Uint16(v[2:]) > 0:
			s := strconv.Itoa(int(be.Uint16(v[2:])))
			if of := be.Uint16(v[4:]); of > 0 {
				s += "/" + strconv.Itoa(int(of))
			}
			others[map[string]string{"trkn": "track", "disk": "disc"}[b.kind]] = s
		case b.kind == "gnre" && len(v) >= 2 && be.Uint16(v) > 0:
			others["genre"] = strconv.Itoa(int(be.Uint16(v)) - 1) // of ID3v1
		case name != "" && kind == 1 && len(v) > 0:
			others[name] = strings.ToValidUTF8(string(v), "")
		}
	}
	return others
}

// gapless is which samples of a track are to be heard, as iTunes' list tells it where no edit list does.
type gapless struct{ from, length uint64 }

// readGapless reads iTunSMPB: in hex a zero, the samples that the encoder put in front, those that it put behind, and
// how many are between them.
func readGapless(moov boxes) (g gapless) {
	ilst := boxes(boxes(fullBox(boxes(moov.find("udta")).find("meta"))).find("ilst"))
	for b := range ilst.all {
		item := boxes(b.body)
		if name := item.find("name"); b.kind != "----" || len(name) < 4 || string(name[4:]) != "iTunSMPB" {
			continue
		}
		v, _ := itemValue(b.body)
		var zero, behind uint64
		if n, _ := fmt.Sscanf(string(v), "%x %x %x %x", &zero, &g.from, &behind, &g.length); n == 4 && g.from < 1<<16 {
			return g
		}
		g = gapless{}
	}
	return g
}

// fullBox skips version and flags, which QuickTime's meta box does not have.
func fullBox(b []byte) []byte {
	if len(b) >= 8 && be.Uint32(b) == 0 {
		return b[4:]
	}
	return b
}

// itemValue gives the first value of an item and its type: 1 is UTF-8, 13 JPEG, 14 PNG.
func itemValue(item []byte) ([]byte, uint32) {
	data := boxes(item).find("data")
	if len(data) < 8 {
		return nil, 1<<32 - 1
	}
	return data[8:], be.Uint32(data) & 0xffffff
}

// neroChapters reads a chpl box: starts in units of 100 ns, a chapter ends where the next begins.
func neroChapters(b []byte, end time.Duration) (cs []Chapter) {
	switch {
	case len(b) >= 9 && b[0] == 1:
		b = b[9:]
	case len(b) >= 5:
		b = b[5:]
	}
	for len(b) >= 9 && len(b) >= 9+int(b[8]) && len(cs) < maxChapters {
		title := b[9 : 9+int(b[8])]
		cs = append(cs, Chapter{Start: scaled(be.Uint64(b), 1e7), Title: strings.ToValidUTF8(string(title), "")})
		b = b[9+len(title):]
	}
	for i := range cs {
		cs[i].End = end
		if i+1 < len(cs) {
			cs[i].End = cs[i+1].Start
		}
	}
	return cs
}

// trackChapters reads the track of text that another names as its chapters (QuickTime File Format, chapter lists).
func trackChapters(r io.ReaderAt, size int64, tracks []track) ([]Chapter, error) {
	texts := map[uint32]int{} // the first of an id
	for i, t := range tracks {
		if _, there := texts[t.id]; !there && (t.handler == "text" || t.handler == "sbtl") {
			texts[t.id] = i
		}
	}
	for _, t := range tracks {
		refs := t.children.path("tref", "chap")
		for refs = refs[:min(len(refs), 4*maxChapterTracks)]; len(refs) >= 4; refs = refs[4:] {
			if i, there := texts[be.Uint32(refs)]; there {
				return tracks[i].chapters(r, size)
			}
		}
	}
	return nil, nil
}

// chapters reads a track of text, one sample a chapter. What of it cannot be read is left out: chapters are no reason
// to fail.
func (t track) chapters(r io.ReaderAt, size int64) (cs []Chapter, err error) {
	l, err := t.layout(r, size, false)
	if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrTruncated) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stts, err := t.times(r)
	if err != nil {
		return nil, err
	}
	clock := stts.clock(r)
	for p, err := range l.sampleRuns(r, 1) {
		if err != nil {
			return nil, err
		}
		at, length, ok := clock.tick(1)
		if !ok || len(cs) == maxChapters {
			return cs, clock.c.err
		}
		title, err := readTitle(r, p.off, p.len)
		if err != nil {
			return nil, err
		}
		cs = append(cs, Chapter{Start: scaled(at, t.timescale), End: scaled(at+length, t.timescale), Title: title})
	}
	return cs, nil
}

// readTitle reads a sample of text: its length in 16 bits, then UTF-8, or UTF-16 after a byte order mark.
func readTitle(r io.ReaderAt, off, size int64) (string, error) {
	if size < 2 {
		return "", nil
	}
	b := make([]byte, min(size, 2+maxTitle))
	if err := readFull(r, b, off); err != nil {
		return "", err
	}
	text := b[2:min(len(b), 2+int(be.Uint16(b)))]
	if len(text) >= 2 && text[0] == 0xfe && text[1] == 0xff {
		var u []uint16
		for text = text[2:]; len(text) >= 2; text = text[2:] {
			u = append(u, be.Uint16(text))
		}
		return string(utf16.Decode(u)), nil
	}
	return strings.ToValidUTF8(string(text), ""), nil
}
