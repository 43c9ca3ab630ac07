package mp4

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/splice"
)

// NewSound makes a file with nothing but the sound of the one that the index was read from, and what that says about
// it. What is made of the one must be what is made of the other, to the bit. Where that cannot be the error is
// ErrUnsupported.
func (x *Index) NewSound(video io.ReaderAt) (*splice.File, error) {
	if x.Audio == nil || x.Fragmented && (x.Audio.Stream == nil || x.several()) {
		return nil, fmt.Errorf("no sound that can be told from the rest: %w", ErrUnsupported)
	}
	more, err := userData(x.Tags, x.Chapters)
	if err != nil {
		return nil, err
	}
	if x.Fragmented {
		more = slices.Concat(x.Audio.inMovie, more)
	}
	s := splice.New(video)
	w := bufio.NewWriter(s)
	if err := x.Audio.writeHead(w, video, more); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, unsupported(err)
	}
	for c, err := range x.Audio.layout.chunks(video) {
		if err != nil {
			return nil, err
		}
		if err := s.Copy(c.off, c.len); err != nil {
			return nil, unsupported(err)
		}
	}
	if x.Fragmented {
		if err := x.Audio.Stream.fragments.pick(video, s); err != nil {
			return nil, err
		}
		if x.Audio.Stream.Cut() {
			return nil, fmt.Errorf("its end is missing: %w", ErrTruncated)
		}
	}
	y, err := Read(s, s.Size())
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(x.facts(), y.facts()) {
		return nil, fmt.Errorf("the sound alone says something else: %w", ErrUnsupported)
	}
	return s, nil
}

// several tells whether there is more than one track of sound: which of them hold any, fragments tell later.
func (x *Index) several() bool {
	n := 0
	for _, t := range x.Tracks {
		if t.Codec != "" {
			n++
		}
	}
	return n > 1
}

// unsupported is what a file is that would take too much memory.
func unsupported(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

// facts are what a reader makes use of, beside the sound itself.
func (x *Index) facts() any {
	type facts struct {
		tags            Tags
		chapters        []Chapter
		codec           string
		mp3, stream     bool
		duration, delay time.Duration
		skip, preroll   time.Duration
	}
	a := x.Audio
	f := facts{tags: x.Tags, chapters: x.Chapters, codec: a.Codec, mp3: a.MP3, stream: a.Stream != nil,
		duration: a.Duration, delay: a.Delay, skip: a.Skip}
	if a.Stream != nil {
		f.preroll = a.Stream.Preroll
	}
	return f
}

// userData writes what [readTags] and [neroChapters] read.
func userData(t Tags, cs []Chapter) ([]byte, error) {
	const text, picture = 1, 0
	var items, chapters []byte
	add := func(kind string, value []byte, class uint32) {
		if len(value) > 0 {
			head := be.AppendUint32(be.AppendUint32(nil, class), 0)
			items = append(items, makeBox(kind, makeBox("data", head, value))...)
		}
	}
	add("\xa9nam", []byte(t.Title), text)
	add("\xa9ART", []byte(t.Artist), text)
	add("\xa9alb", []byte(t.Album), text)
	add("\xa9day", []byte(t.Date), text)
	add("covr", t.Cover, picture)
	items = append(items, t.More...)
	for _, c := range cs {
		if len(c.Title) > 255 {
			return nil, fmt.Errorf("a chapter's title of %d bytes: %w", len(c.Title), ErrUnsupported)
		}
		chapters = be.AppendUint64(chapters, uint64(c.Start/100)) // in units of 100 ns
		chapters = append(append(chapters, byte(len(c.Title))), c.Title...)
	}
	hdlr := makeBox("hdlr", make([]byte, 8), []byte("mdirappl"), make([]byte, 9))
	boxes := makeBox("meta", make([]byte, 4), hdlr, makeBox("ilst", items))
	if len(cs) > 0 {
		boxes = append(boxes, makeBox("chpl", []byte{1, 0, 0, 0, 0, 0, 0, 0, byte(len(cs))}, chapters)...)
	}
	return makeBox("udta", boxes), nil
}
