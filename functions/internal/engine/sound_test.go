package engine

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mp4"
)

// TestSoundAlone converts a video, and the file that has its sound alone: the MP3s are equal to the bit.
func TestSoundAlone(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	meta := strings.Fields("-metadata title=Über -metadata artist=Ann -metadata album=Talks -metadata date=2026")
	files := map[string][]string{
		"alone_delayed.mp4": {"-c:a", "aac", "-af", "asetpts=PTS+1.5/TB"},
		"alone_mp3.mov":     {"-c:a", "libmp3lame"},
		"alone_float.mov":   {"-c:a", "pcm_f32le"},
		"alone_g726.mov":    {"-c:a", "g726", "-ar", "8000"},
		"alone_names.mp4":   append([]string{"-c:a", "aac"}, meta...),
	}
	videos(t, files)
	for name := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			video := read(t, filepath.Join(made.dir, name))
			x, err := mp4.Read(bytes.NewReader(video), int64(len(video)))
			if err != nil {
				t.Fatal(err)
			}
			s, err := x.NewSound(bytes.NewReader(video))
			if err != nil {
				t.Fatal(err)
			}
			sound, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []eventing.Options{{}, {Bitrate: 64, Mono: true, Start: 0.5}} {
				_, want, err := convert(t, e, video, o)
				if err != nil {
					t.Fatal(err)
				}
				_, got, err := convert(t, e, sound, o)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(read(t, got), read(t, want)) {
					t.Errorf("%+v: the MP3 of the sound alone differs", o)
				}
			}
		})
	}
}
