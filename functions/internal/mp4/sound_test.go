package mp4

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// itunes is user data with tags, a cover and chapters.
func itunes(t *testing.T, tags Tags, cs ...Chapter) []byte {
	t.Helper()
	b, err := userData(tags, cs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSound(t *testing.T) {
	t.Parallel()
	tags := Tags{Title: "Über", Artist: "Ann", Album: "Talks", Date: "2026", Cover: []byte("\x89PNG")}
	chapters := []Chapter{{Title: "One"}, {Start: 5e8}}
	for _, more := range [][]byte{nil, itunes(t, tags), itunes(t, tags, chapters...)} {
		m := newMovie()
		m.more = more
		video := m.indexLast()
		x, err := Read(bytes.NewReader(video), int64(len(video)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := x.NewSound(bytes.NewReader(video))
		if err != nil {
			t.Fatal(err)
		}
		file, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
		if err != nil || int64(len(file)) != s.Size() {
			t.Fatalf("%d bytes are read, %v, want %d", len(file), err, s.Size())
		}
		if err := iotest.TestReader(io.NewSectionReader(s, 0, s.Size()), file); err != nil {
			t.Error(err)
		}
		if !bytes.HasSuffix(file, []byte("first second third")) || bytes.Contains(file, []byte("video ")) {
			t.Errorf("the file ends with %q, want the sound alone", file[len(file)-30:])
		}
		y, err := Read(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x.Tags, y.Tags); diff != "" {
			t.Errorf("tags differ (-video +sound):\n%s", diff)
		}
		if diff := cmp.Diff(x.Chapters, y.Chapters); diff != "" {
			t.Errorf("chapters differ (-video +sound):\n%s", diff)
		}
	}
}

// TestSoundUnsupported has files of which the sound alone would not say the same.
func TestSoundUnsupported(t *testing.T) {
	t.Parallel()
	long := []Chapter{{Title: strings.Repeat("a", 256)}}
	m := newMovie()
	video := m.indexLast()
	x, err := Read(bytes.NewReader(video), int64(len(video)))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]*Index{
		"no sound":                           {},
		"fragments of what is read as it is": {Fragmented: true, Audio: x.Audio},
		"a long title of a chapter":          {Audio: x.Audio, Chapters: long},
		"chapters with a pause":              {Audio: x.Audio, Chapters: []Chapter{{End: 1}, {Start: 5e8}}},
	} {
		if s, err := x.NewSound(bytes.NewReader(video)); s != nil || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: NewSound = %v, %v, want %v", name, s, err, ErrUnsupported)
		}
	}
}

// beside is a movie that has a second track, of sound, and no samples.
func beside(id uint32) movie {
	m := newMovie()
	m.bare = true
	m.more = makeBox("trak", makeBox("tkhd", u32(1, 0, 0, id), make([]byte, 68)),
		makeBox("edts", table("elst", 1, 0, 200, 1<<16)),
		makeBox("mdia", makeBox("mdhd", u32(0, 0, 0, 1000, 0, 0)), makeBox("hdlr", u32(0, 0), []byte("soun"),
			make([]byte, 13))))
	return m
}

// TestSoundFragments picks the sound out of fragments: ffmpeg is fed the same.
func TestSoundFragments(t *testing.T) {
	t.Parallel()
	fed := func(x *Index, r io.ReaderAt) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := x.Audio.Stream.WriteFile(&b, r); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	late := beside(9)
	late.more = slices.Concat(late.more, itunes(t, Tags{Title: "Über"}))
	picture := func(at, length, shift uint32) []byte {
		return makeBox("traf", makeBox("tfhd", u32(0, 9)), tfdt(at), trun(entrySize|entryLength|entryShift, 2, length, 1,
			shift, length, 1, 0))
	}
	tests := append(arrangements(), arranged{name: "beside another track", data: fragmented(late, func(uint32) []byte {
		both := moof(picture(3000, 500, 100), makeBox("traf", makeBox("tfhd", u32(0, 8)), trun(entrySize, 1, 1)),
			picture(4000, 500, 7))
		return slices.Concat(three(5000), both, makeBox("mdat", make([]byte, 5)), three(6500))
	}, makeBox("mehd", u32(0, 4800)), makeBox("trex", u32(0, 9, 1, 40, 0, 0)))})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x, err := read(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			s, err := x.NewSound(bytes.NewReader(tt.data))
			if err != nil {
				t.Fatal(err)
			}
			y, err := Read(s, s.Size())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fed(x, bytes.NewReader(tt.data)), fed(y, s)); diff != "" {
				t.Errorf("what is fed differs (-video +sound):\n%s", diff)
			}
			if x.Audio.Stream.Silent() != y.Audio.Stream.Silent() || x.Audio.Delay != y.Audio.Delay ||
				x.Audio.Duration != y.Audio.Duration || x.Tags.Title != y.Tags.Title {
				t.Errorf("the sound alone has %+v, want %+v", y.facts(), x.facts())
			}
			if file, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size())); err != nil || bytes.Contains(file,
				[]byte("video ")) {
				t.Errorf("there is more than the sound: %q, %v", file, err)
			}
		})
	}
}

// TestSoundFragmentsBroken has fragments that the engine refuses: it refuses their sound as well, if there is one.
func TestSoundFragmentsBroken(t *testing.T) {
	t.Parallel()
	cut := bare(func(uint32) []byte { return slices.Concat(three(0), three(1500)) })
	tests := append(brokenFragments(), broken{"cut off", cut[:len(cut)-1], ErrTruncated},
		broken{"a track with a time here and none there", fragmented(beside(9), func(uint32) []byte {
			picture := makeBox("tfhd", u32(0, 9))
			timed := makeBox("traf", picture, tfdt(0), trun(0, 1))
			return slices.Concat(three(0), moof(timed, makeBox("traf", picture, trun(0, 1))))
		}, makeBox("trex", u32(0, 9, 1, 40, 0, 0))), ErrUnsupported})
	for _, tt := range tests {
		x, err := read(tt.data)
		if err != nil {
			continue
		}
		s, err := x.NewSound(bytes.NewReader(tt.data))
		if err == nil {
			y, failed := Read(s, s.Size())
			if err = failed; err == nil {
				err = y.Audio.Stream.WriteFile(io.Discard, s)
			}
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
