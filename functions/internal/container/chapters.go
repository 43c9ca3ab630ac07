package container

import (
	"slices"
	"strings"
	"time"
)

// Chapter is a named part of the file.
type Chapter struct {
	Start, End time.Duration
	Title      string
}

// More ids of elements (RFC 9559, section 5.1).
const (
	matroskaChapters = "\x10\x43\xa7\x70"
	matroskaEdition  = "\x45\xb9"
	matroskaAtom     = "\xb6"
	matroskaStart    = "\x91"
	matroskaEnd      = "\x92"
	matroskaHidden   = "\x98"
	matroskaDisplay  = "\x80"
	matroskaString   = "\x85"
	matroskaSeek     = "\x4d\xbb"
	matroskaSeekID   = "\x53\xab"
	matroskaSeekTo   = "\x53\xac"
)

// maxAtoms bounds how many chapters are read, and maxPassed how many elements are passed over in search of them.
const maxAtoms, maxPassed = 1000, 1000

// Chapters reads those of Matroska, two at one time among them, of which ffmpeg leaves out all but the first. It gives
// none where they cannot be read, and of other containers.
func (f *File) Chapters() ([]Chapter, error) {
	if f.Format != Matroska || f.tag > 0 {
		return nil, nil
	}
	var off int64
	level := 0 // below the segment it is 2
	for range maxPassed {
		b, err := f.read(off, ebmlHeader)
		if err != nil {
			return nil, err
		}
		e, ok := readEBML(b)
		if !ok || e.id == matroskaCluster || e.size < 0 && e.id != matroskaSegment {
			return nil, nil
		}
		body := off + int64(e.header)
		off = body + e.size
		switch {
		case e.id == matroskaSegment && level < 2:
			level, off = 2, body
			if b, err := f.chaptersAt(body); b != nil || err != nil {
				return readChapters(b), err
			}
		case e.id == matroskaChapters && e.size <= maxMetadata:
			b, err := f.read(body, int(e.size))
			return readChapters(b), err
		}
	}
	return nil, nil
}

// chaptersAt reads the chapters that the list at the beginning of the segment leads to; nil when it does not.
func (f *File) chaptersAt(segment int64) (chapters []byte, err error) {
	b, err := f.read(segment, SniffLen)
	if err != nil {
		return nil, err
	}
	list, ok := readEBML(b)
	if !ok || list.id != matroskaSeekHead || list.size < 0 || int64(list.header)+list.size > int64(len(b)) {
		return nil, nil
	}
	to := int64(-1)
	_ = ebmlElements(b[list.header:int64(list.header)+list.size], func(_ string, seek []byte) error {
		var id string
		var at int64
		err := ebmlElements(seek, func(kind string, body []byte) error {
			switch kind {
			case matroskaSeekID:
				id = string(body)
			case matroskaSeekTo:
				at = int64(ebmlUint(body))
			}
			return nil
		})
		if id == matroskaChapters && at > 0 {
			to = at
		}
		return err
	})
	if to < 0 || to > f.size-segment {
		return nil, nil
	}
	if b, err = f.read(segment+to, ebmlHeader); err != nil {
		return nil, err
	}
	e, ok := readEBML(b)
	if !ok || e.id != matroskaChapters || e.size < 0 || e.size > maxMetadata {
		return nil, nil
	}
	return f.read(segment+to+int64(e.header), int(e.size))
}

// readChapters reads the chapters of the first edition. One without an end ends where the next begins.
func readChapters(b []byte) (cs []Chapter) {
	done := false
	_ = ebmlElements(b, func(id string, edition []byte) error {
		if id != matroskaEdition || done {
			return nil
		}
		done = true
		return ebmlElements(edition, func(id string, atom []byte) error {
			if id == matroskaAtom && len(cs) < maxAtoms {
				if c, shown := readChapter(atom); shown {
					cs = append(cs, c)
				}
			}
			return nil
		})
	})
	slices.SortStableFunc(cs, func(a, b Chapter) int { return int(a.Start/time.Millisecond - b.Start/time.Millisecond) })
	for i := range cs {
		if cs[i].End == 0 && i+1 < len(cs) {
			cs[i].End = cs[i+1].Start
		}
	}
	return cs
}

func readChapter(atom []byte) (c Chapter, shown bool) {
	shown = true
	_ = ebmlElements(atom, func(id string, body []byte) error {
		switch {
		case len(body) > 8 && (id == matroskaStart || id == matroskaEnd):
		case id == matroskaStart:
			c.Start = time.Duration(min(ebmlUint(body), 1<<60))
		case id == matroskaEnd:
			c.End = time.Duration(min(ebmlUint(body), 1<<60))
		case id == matroskaHidden:
			shown = ebmlUint(body) == 0
		case id == matroskaDisplay && c.Title == "":
			return ebmlElements(body, func(id string, text []byte) error {
				if id == matroskaString {
					c.Title = strings.ToValidUTF8(string(text), "")
				}
				return nil
			})
		}
		return nil
	})
	return c, shown
}
