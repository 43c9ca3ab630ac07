package mp4

import (
	"bytes"
	"errors"
	"io"
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
		"no sound":                  {},
		"fragments":                 {Fragmented: true, Audio: x.Audio},
		"a long title of a chapter": {Audio: x.Audio, Chapters: long},
		"chapters with a pause":     {Audio: x.Audio, Chapters: []Chapter{{End: 1}, {Start: 5e8}}},
	} {
		if s, err := x.NewSound(bytes.NewReader(video)); s != nil || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: NewSound = %v, %v, want %v", name, s, err, ErrUnsupported)
		}
	}
}
