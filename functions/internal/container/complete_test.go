package container

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzComplete checks that no file makes it fail but by saying that the file was cut.
func FuzzComplete(f *testing.F) {
	for _, head := range []string{"\x1aE\xdf\xa3\x81\x00\x18S\x80g\x10\x00\x00\x05", "RIFF\x20\x00\x00\x00AVI ",
		"FORM\x00\x00\x00\x20AIFF", "FLV\x01\x00\x00\x00\x0b",
		"\x47\x00\x11", "OggS\x00", "\x00\x00\x01\xba\x44", "\x00\x00\x01\xbc\x00\x02", "\xff\xf1\x50\x80\x01\x1f\xfc",
		"RIFF\x04\x00\x00\x00AVI " +
			"RIFF\xff\x00\x00\x00", "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c" +
			"\x18\x00\x00\x00\x00\x00\x00\x00",
		"\xff\xfb\x50\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
			"Info\x00\x00\x00\x03\x00\x00\x00\x09\x00\x00\xff\xff"} {
		f.Add(bytes.Repeat([]byte(head), 5))
	}
	f.Add([]byte("FL")) // shorter than what is looked for at the end
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, format := range []string{Matroska, AVI, AIFF, FLV, MPEGTS, Ogg, MPEGPS, AAC, ASF, MP3, CAF} {
			err := newFile(format, b).Complete()
			if err != nil && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrAbrupt) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("Complete(%s) = %v, want nothing, or %v", format, err, ErrTruncated)
			}
		}
	})
}
