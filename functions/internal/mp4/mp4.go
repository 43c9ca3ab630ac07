// Package mp4 reads the index of an MP4 or QuickTime file in place, wherever in the file it is, and writes the sound of
// it for a program that reads from a pipe: as Matroska, a frame at a time, or where that cannot say the same, as an MP4
// whose index comes first.
//
// Only the index and the bytes of the sound are read, and of a table no more than a part at a time is in memory: long
// sounds take no more of it than short ones. Sources: ISO/IEC 14496-12 (boxes), ISO/IEC 14496-14 (mp4a), and Apple's
// QuickTime File Format (sound descriptions, chapter tracks, text atoms).
package mp4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// What is wrong with a file. Any other error is of the reader under it.
var (
	ErrTruncated   = errors.New("the file ends before its index says")
	ErrUnsupported = errors.New("the index is of a kind not read here")
	ErrEncrypted   = errors.New("the sound is encrypted")
	ErrElsewhere   = errors.New("the sound is in another file")
	ErrMixed       = errors.New("the sound is of one codec here and of another there")
)

// maxMoov bounds the index, in bytes: 12 hours at 60 frames a second need about 40 MiB, and as much again for a few
// tracks of sound. maxKept bounds what of it is not a table, and kept in memory: pictures mostly.
const (
	maxMoov = 256 << 20
	maxKept = 16 << 20
)

// maxTracks is how many tracks are looked at; no real file has nearly as many.
const maxTracks = 1 << 14

// Index is what a file says about itself.
type Index struct {
	Fragmented bool          // samples are described along the way: without a [Stream] the file is read as it is
	Duration   time.Duration // of the whole; 0 when not known
	Tracks     []Track       // of sound
	Audio      *Audio        // the track to hear; nil when there is none
	Tags       Tags
	Chapters   []Chapter
}

// Tags are what a file says about its content.
type Tags struct {
	Title, Artist, Album, Date string
	Cover                      []byte // as it is in the file
	More                       []byte // other items of iTunes' list, as they are: see Others
}

// Chapter is a named part of the file.
type Chapter struct {
	Start, End time.Duration
	Title      string
}

// Read reads the index of a file of the given size, in bytes. The sound that the index names lies within the file, or
// the error is ErrTruncated.
func Read(r io.ReaderAt, size int64) (*Index, error) {
	return ReadTrack(r, size, standard, false)
}

// ReadTrack is [Read] that takes the track of sound which choose gives the place of, if any. Where partial is set, it
// takes what is there of a file whose end is missing.
func ReadTrack(r io.ReaderAt, size int64, choose func([]Track) int, partial bool) (*Index, error) {
	moov, end, err := readMoov(r, size)
	if err != nil {
		return nil, err
	}
	top := boxes(moov)
	if top.find("cmov") != nil {
		return nil, fmt.Errorf("compressed: %w", ErrUnsupported)
	}
	timescale, duration := movieHeader(top.find("mvhd"))
	mvex := top.find("mvex")
	x := &Index{Duration: duration, Tags: readTags(top), Fragmented: mvex != nil}
	var announced time.Duration // by the index, of all fragments
	if d := boxes(mvex).find("mehd"); len(d) >= 8 {
		announced = scaled(uintOf(d[4:], d[0] == 1), timescale)
		x.Duration = max(x.Duration, announced)
	}
	var tracks []track
	for b := range top.all {
		if b.kind == "trak" && len(tracks) < maxTracks {
			tracks = append(tracks, readTrack(b.body))
		}
	}
	var sounds []track
	for _, t := range tracks {
		if t.handler != "soun" {
			continue
		}
		about, err := t.about(r, x.Fragmented)
		if err != nil {
			return nil, err
		}
		sounds, x.Tracks = append(sounds, t), append(x.Tracks, about)
	}
	if i := choose(x.Tracks); i >= 0 {
		t := readTrack(bytes.Clone(sounds[i].children))
		t.gapless = readGapless(top)
		var f *fragments
		if x.Fragmented {
			f = t.fragments(end, size, mvex, timescale, tracks)
			f.open, f.partial = partial || announced == 0, partial // nobody else says how long a recording is
		}
		if x.Audio, err = t.audio(r, size, timescale, f, announced, partial); err != nil {
			return nil, err
		}
		x.Audio.mvhd = bytes.Clone(top.find("mvhd"))
		if x.Fragmented {
			x.Audio.inMovie = f.inMovie(mvex, tracks)
			x.Duration = max(x.Duration, x.Audio.Delay+x.Audio.Duration)
		}
	}
	if x.Chapters, err = trackChapters(r, size, tracks); len(x.Chapters) == 0 {
		x.Chapters = neroChapters(top.path("udta", "chpl"), x.Duration)
	}
	return x, err
}

// readMoov walks the boxes of the file up to the index and reads that, without its tables; it ends at end.
func readMoov(r io.ReaderAt, size int64) (moov []byte, end int64, err error) {
	for p, err := range fileBoxes(r, 0, size, ErrTruncated) {
		switch {
		case err != nil:
			return nil, 0, err
		case p.kind == "moof":
			return nil, 0, fmt.Errorf("fragments without an index: %w", ErrUnsupported)
		case p.kind == "moov" && p.size > maxMoov:
			return nil, 0, fmt.Errorf("index of %d bytes: %w", p.size, ErrUnsupported)
		case p.kind == "moov":
			s := skeleton{r: r}
			err := s.read(p.off+p.header, p.off+p.size, 0)
			return s.b, p.off + p.size, err
		}
	}
	return nil, 0, fmt.Errorf("no index: %w", ErrTruncated)
}

// fileBoxAt reads the header of a box of which at least 8 bytes are in front of end.
func fileBoxAt(r io.ReaderAt, off, end int64) (fileBox, error) {
	var head [16]byte
	if err := readFull(r, head[:min(16, end-off)], off); err != nil {
		return fileBox{}, err
	}
	p := fileBox{kind: string(head[4:8]), off: off, size: int64(be.Uint32(head[:])), header: 8}
	switch p.size {
	case 0:
		p.size = end - off
	case 1:
		p.size, p.header = int64(be.Uint64(head[8:])), 16
	}
	return p, nil
}

var errKept = fmt.Errorf("index of more than %d bytes beside its tables: %w", maxKept, ErrUnsupported)

// skeleton is an index without its tables, which are nearly all of a long one: in the place of each box of stbl but
// stsd is one that tells where in the file it is.
type skeleton struct {
	r io.ReaderAt
	b []byte
}

// read adds the boxes between off and end; depth is how far below moov they are. Like [boxes] it leaves out what is no
// box.
func (s *skeleton) read(off, end int64, depth int) error {
	levels := [...]string{"trak", "mdia", "minf", "stbl", ""}
	for end-off >= 8 {
		p, err := fileBoxAt(s.r, off, end)
		if err != nil {
			return err
		}
		if p.size < p.header || p.size > end-off {
			return nil
		}
		at, inner := len(s.b), p.kind == levels[depth]
		switch {
		case levels[depth] == "" && p.kind != "stsd":
			s.b = append(s.b, p.stub()...)
		case inner || int64(at)+p.size <= maxKept:
			s.b = append(s.b, makeBox(p.kind)...)
			if inner {
				err = s.read(off+p.header, off+p.size, depth+1)
			} else {
				s.b = append(s.b, make([]byte, p.size-p.header)...)
				err = readFull(s.r, s.b[at+8:], off+p.header)
			}
			if err != nil {
				return err
			}
			be.PutUint32(s.b[at:], uint32(len(s.b)-at))
		default:
			return errKept
		}
		if len(s.b) > maxKept {
			return errKept
		}
		off += p.size
	}
	return nil
}

// stub is a box that stands for the part.
func (p fileBox) stub() []byte {
	b := be.AppendUint64(makeBox(p.kind), uint64(p.off))
	b = be.AppendUint64(be.AppendUint64(b, uint64(p.size)), uint64(p.header))
	be.PutUint32(b, uint32(len(b)))
	return b
}

// fileBoxOf reads a stub.
func fileBoxOf(b box) fileBox {
	return fileBox{kind: b.kind, off: int64(be.Uint64(b.body)), size: int64(be.Uint64(b.body[8:])),
		header: int64(be.Uint64(b.body[16:]))}
}

// readFull reads len(p) bytes that are within the file: less is a failure of the reader and not of the file.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}

func movieHeader(b []byte) (timescale uint32, d time.Duration) {
	if len(b) >= 32 && b[0] == 1 {
		return be.Uint32(b[20:]), scaled(be.Uint64(b[24:]), be.Uint32(b[20:]))
	}
	if len(b) >= 20 {
		return be.Uint32(b[12:]), scaled(uint64(be.Uint32(b[16:])), be.Uint32(b[12:]))
	}
	return 0, 0
}

// scaled turns n ticks of 1/timescale seconds into a duration; what is not known or beyond sense is 0.
func scaled(n uint64, timescale uint32) time.Duration {
	const never = 1 << 32 // seconds: 136 years
	if timescale == 0 || n/uint64(timescale) >= never || n == 1<<32-1 {
		return 0
	}
	s, rest := n/uint64(timescale), n%uint64(timescale)
	return time.Duration(s)*time.Second + time.Duration(rest*uint64(time.Second)/uint64(timescale))
}
