package container

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// newFile is a file whose container is known.
func newFile(format string, b []byte) *File {
	return &File{Format: format, src: bytes.NewReader(b), size: int64(len(b)), tag: tagLength(b)}
}

// FuzzSound reads anything in blocks of any size: it is the same as in one, and no longer than the file.
func FuzzSound(f *testing.F) {
	f.Add("matroska", []byte("\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"+
		"\x1f\x43\xb6\x75\x84\xa3\x82\x00\x00\x19\x41\xa4\x69\x08\xff\xff\xff\xff"))
	f.Add("avi", []byte("RIFF\x00\x01\x00\x00AVI "+
		"LIST\x00\x01\x00\x00movi00dc\x00\x00\x00\x7f01wb\x02\x00\x00\x00ab\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add("wav", []byte("RIFF\x00\x01\x00\x00WAVEid3 \x00\x00\x00\x7fdata\x00\x00\x00\x00"))
	f.Add("flac", []byte("fLaC\x80\x00\x00\x22\x06\xff\xff\xff"))
	f.Add("asf", []byte("\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"+
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+
		"soundstrip test.\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add("ogg", slices.Concat([]byte("OggS\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+
		"abcd\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff"), make([]byte, 255)))
	f.Add("mp3", []byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7fAPIC\x7f\x7f\x7f\x7f\x00\x00"))
	f.Fuzz(func(t *testing.T, format string, b []byte) {
		read := func(wrap func(io.Reader) io.Reader) ([]byte, error) {
			r, err := newFile(format, b).Sound(new(atomic.Int64))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(wrap(r))
		}
		want, err := read(func(r io.Reader) io.Reader { return r })
		if err != nil && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrUnsupported) || len(want) > len(b) {
			t.Fatalf("%s of %d bytes is fed as %d (%v)", format, len(b), len(want), err)
		}
		if got, err2 := read(iotest.OneByteReader); (err == nil) != (err2 == nil) || !bytes.Equal(got, want) {
			t.Errorf("%s is fed by bytes as %q, and at once as %q (%v)", format, got, want, err2)
		}
	})
}
