package mp4

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sort"
	"time"
)

// Sound is a file with nothing but the sound of another, and what that says about it. It is read as it is made: of the
// other file nothing but the sound is read, and only the index is in memory.
type Sound struct {
	video io.ReaderAt
	head  []byte // all in front of the samples
	parts []part
	size  int64
}

// part is where a run of samples begins, here and in the video.
type part struct{ at, from int64 }

// NewSound picks the sound out of the file that the index was read from. What is made of the one must be what is made
// of the other, to the bit. Where that cannot be the error is ErrUnsupported.
func (x *Index) NewSound(video io.ReaderAt) (*Sound, error) {
	if x.Fragmented || x.Audio == nil {
		return nil, fmt.Errorf("no sound in one piece: %w", ErrUnsupported)
	}
	said, err := userData(x.Tags, x.Chapters)
	if err != nil {
		return nil, err
	}
	var head bytes.Buffer
	w := bufio.NewWriter(&head)
	if err := x.Audio.writeHead(w, video, said); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	s := &Sound{video: video, head: head.Bytes(), size: int64(head.Len())}
	var end int64 // in the video
	for c, err := range x.Audio.layout.chunks(video) {
		if err != nil {
			return nil, err
		}
		if c.off != end || len(s.parts) == 0 {
			s.parts = append(s.parts, part{at: s.size, from: c.off})
		}
		end = c.off + c.len
		s.size += c.len
	}
	y, err := Read(s, s.size)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(x.facts(), y.facts()) {
		return nil, fmt.Errorf("the sound alone says something else: %w", ErrUnsupported)
	}
	return s, nil
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

// Size is the length of the file, in bytes.
func (s *Sound) Size() int64 { return s.size }

// ReadAt is of [io.ReaderAt].
func (s *Sound) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read sound: the offset is negative")
	}
	for n < len(p) && off < s.size {
		k, err := s.read(p[n:], off)
		n, off = n+k, off+int64(k)
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read reads no further than to the end of the head, or of a part.
func (s *Sound) read(p []byte, off int64) (int, error) {
	if off < int64(len(s.head)) {
		return copy(p, s.head[off:]), nil
	}
	next := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].at > off })
	end := s.size
	if next < len(s.parts) {
		end = s.parts[next].at
	}
	p = p[:min(int64(len(p)), end-off)]
	here := s.parts[next-1]
	return len(p), readFull(s.video, p, here.from+off-here.at)
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
