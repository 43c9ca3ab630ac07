package convert

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// TestWhole cuts the end off files of containers that say nothing of their length, at every place.
func TestWhole(t *testing.T) {
	t.Parallel()
	tagged := func(b []byte) []byte { return slices.Concat(b, []byte("TAG"), make([]byte, 125)) }
	for _, tt := range []struct {
		name, container string
		args            []string
		missed          int // of the cuts that take up to a thousand bytes, at most: those between two pieces
	}{
		{"whole.ts", "mpegts", []string{"-c:v", "mpeg2video", "-c:a", "mp2"}, 5},
		{"whole.m2ts", "mpegts", []string{"-c:v", "mpeg2video", "-c:a", "mp2", "-mpegts_m2ts_mode", "1"}, 25},
		{"whole.mpg", "mpeg", []string{"-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob"}, 4},
		{"whole.mpeg", "mpeg", []string{"-c:v", "mpeg1video", "-c:a", "mp2", "-f", "mpeg"}, 4},
		{"whole.ogg", "ogg", []string{"-map", "1:a", "-c:a", "libopus", "-page_duration", "20000"}, 5},
		{"whole.aac", "aac", []string{"-map", "1:a", "-c:a", "aac"}, 10},
		{"whole.mp3", "mp3", []string{"-map", "1:a", "-c:a", "libmp3lame"}, 1}, // as many bytes are left as the first frame says, with the tag
		{"whole.asf", "asf", []string{"-c:v", "wmv2", "-c:a", "wmav2"}, 1000},  // an index is at the end
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := read(t, video(t, tt.name, tt.args...))
			check := func(b []byte) error { return whole(tt.container, &source{File: storeBytes(t, b), size: int64(len(b))}) }
			for _, b := range [][]byte{b, tagged(b)} {
				if err := check(b); err != nil {
					t.Errorf("whole(%s) = %v, want it taken for whole", tt.name, err)
				}
			}
			missed := 0
			for n := len(b) - 1000; n < len(b); n++ {
				if check(b[:n]) == nil {
					missed++
				}
			}
			if missed > tt.missed {
				t.Errorf("whole(%s): %d of 1000 cuts are not seen, want %d at most", tt.name, missed, tt.missed)
			}
		})
	}
}

// FuzzWhole checks that no file makes it fail but by saying that the file was cut.
func FuzzWhole(f *testing.F) {
	for _, head := range []string{"\x1aE\xdf\xa3\x81\x00\x18S\x80g\x10\x00\x00\x05", "RIFF\x20\x00\x00\x00AVI ", "FORM\x00\x00\x00\x20AIFF", "FLV\x01\x00\x00\x00\x0b",
		"\x47\x00\x11", "OggS\x00", "\x00\x00\x01\xba\x44", "\x00\x00\x01\xbc\x00\x02", "\xff\xf1\x50\x80\x01\x1f\xfc",
		"RIFF\x04\x00\x00\x00AVI RIFF\xff\x00\x00\x00", "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c\x18\x00\x00\x00\x00\x00\x00\x00",
		"\xff\xfb\x50\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Info\x00\x00\x00\x03\x00\x00\x00\x09\x00\x00\xff\xff"} {
		f.Add(bytes.Repeat([]byte(head), 5))
	}
	f.Add([]byte("FL")) // shorter than what is looked for at the end
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, container := range []string{"matroska", "avi", "aiff", "flv", "mpegts", "ogg", "mpeg", "aac", "asf", "mp3"} {
			err := whole(container, &source{File: storeBytes(t, b), size: int64(len(b))})
			if f := (*Failure)(nil); err != nil && (!errors.As(err, &f) || f.Code != Truncated) {
				t.Errorf("whole(%s) = %v, want nothing, or %s", container, err, Truncated)
			}
		}
	})
}
