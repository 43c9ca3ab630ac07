package engine

import (
	"bytes"
	"slices"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/container"
)

// TestConvertCutEnds cuts the end off files of containers that say nothing of their length, at every place.
func TestConvertCutEnds(t *testing.T) {
	t.Parallel()
	tagged := func(b []byte) []byte { return slices.Concat(b, []byte("TAG"), make([]byte, 125)) }
	for _, tt := range []struct {
		name   string
		args   []string
		missed int // of the cuts that take up to a thousand bytes, at most: those between two packets
	}{
		{"cut.ts", []string{"-c:v", "mpeg2video", "-c:a", "mp2"}, 5},
		{"cut.m2ts", []string{"-c:v", "mpeg2video", "-c:a", "mp2", "-mpegts_m2ts_mode", "1"}, 25},
		{"cut.mpg", []string{"-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob"}, 4},
		{"cut.mpeg", []string{"-c:v", "mpeg1video", "-c:a", "mp2", "-f", "mpeg"}, 4},
		{"cut.ogg", []string{"-map", "1:a", "-c:a", "libopus", "-page_duration", "20000"}, 5},
		{"cut.aac", []string{"-map", "1:a", "-c:a", "aac"}, 10},
		{"cut.mp3", []string{"-map", "1:a", "-c:a", "libmp3lame"},
			1}, // as many bytes are left as the first frame says, with the tag
		{"cut.asf", []string{"-c:v", "wmv2", "-c:a", "wmav2"}, 1000}, // an index is at the end
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := read(t, video(t, tt.name, tt.args...))
			check := func(b []byte) error {
				f, err := container.Open(bytes.NewReader(b), int64(len(b)))
				if err != nil {
					t.Fatal(err)
				}
				return f.Complete()
			}
			for _, b := range [][]byte{b, tagged(b)} {
				if err := check(b); err != nil {
					t.Errorf("Complete(%s) = %v, want it taken for complete", tt.name, err)
				}
			}
			missed := 0
			for n := len(b) - 1000; n < len(b); n++ {
				if err := check(b[:n]); err == nil {
					missed++
				}
			}
			if missed > tt.missed {
				t.Errorf("Complete(%s): %d of 1000 cuts are not seen, want %d at most", tt.name, missed, tt.missed)
			}
		})
	}
}
