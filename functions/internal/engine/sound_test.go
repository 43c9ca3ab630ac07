package engine

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/eventing"
)

// TestSoundAlone converts a video, and the file that has its sound alone: the MP3s are equal to the bit.
func TestSoundAlone(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	meta := strings.Fields("-metadata title=Über -metadata artist=Ann -metadata album=Talks -metadata date=2026")
	files := map[string][]string{
		"alone_delayed.mp4":   {"-c:a", "aac", "-af", "asetpts=PTS+1.5/TB"},
		"alone_mp3.mov":       {"-c:a", "libmp3lame"},
		"alone_float.mov":     {"-c:a", "pcm_f32le"},
		"alone_g726.mov":      {"-c:a", "g726", "-ar", "8000"},
		"alone_names.mp4":     append([]string{"-c:a", "aac"}, meta...),
		"alone_fragments.mp4": append(strings.Fields("-c:a aac -bf 2 -movflags frag_keyframe+empty_moov -g 25"), meta...),
		"alone_base.mp4": strings.Fields("-c:a aac -af asetpts=PTS+0.5/TB -g 50 " +
			"-movflags frag_keyframe+empty_moov+default_base_moof+global_sidx"),
		"alone_hybrid.mp4": strings.Fields("-c:a ac3 -movflags frag_keyframe -g 25"),
		"alone_opus.mp4":   strings.Fields("-c:a libopus -movflags frag_keyframe+delay_moov -g 25"),
		"alone_dash.mp4":   strings.Fields("-c:a aac -movflags frag_every_frame+empty_moov+dash"),
	}
	videos(t, files)
	for name := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			video := read(t, filepath.Join(made.dir, name))
			s, err := Sound(bytes.NewReader(video), int64(len(video)))
			if err != nil {
				t.Fatal(err)
			}
			sound, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
			if err != nil {
				t.Fatal(err)
			}
			if s.Size() > int64(len(video))/10*9 {
				t.Errorf("the sound has %d bytes of %d", s.Size(), len(video))
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
