package container

import (
	"bytes"
	"errors"
	"io"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// within is a file of which nothing is read that is not there.
type within struct {
	*bytes.Reader
	t     *testing.T
	reads int
}

func (w *within) ReadAt(p []byte, off int64) (int, error) {
	if w.reads++; off < 0 || off > w.Size() && len(p) > 0 {
		w.t.Errorf("%d bytes are read at %d of %d", len(p), off, w.Size())
	}
	return w.Reader.ReadAt(p, off)
}

// taken is how many bytes of memory the process has taken by now, whether it has them still or not.
func taken() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// FuzzOpen asks anything of a file: what is not there is not read, and what it says of itself costs no more memory than
// it is long.
func FuzzOpen(f *testing.F) {
	chapters := mkv(matroskaChapters, mkv(matroskaEdition, mkv(matroskaAtom, mkv(matroskaStart, []byte{5}),
		mkv(matroskaDisplay, mkv(matroskaString, []byte("Ü"))))))
	seek := mkv(matroskaSeekHead, mkv(matroskaSeek, mkv(matroskaSeekID, []byte(matroskaChapters)),
		mkv(matroskaSeekTo, []byte{99})))
	head := []byte("\x1aE\xdf\xa3\x80")
	f.Add(slices.Concat(head, mkv(matroskaSegment, seek, chapters)))
	f.Add(slices.Concat(head, mkv(matroskaSegment, bytes.Repeat([]byte("\xec\x80"), 20), chapters)))
	f.Add([]byte("ID3\x04\x00\x00\x00\x00\x00\x05abcde\xff\xfb\x90\x00" + "\x00\x00\x00"))
	f.Add([]byte("ID3\x04\x00\x10\x7f\x7f\x7f\x7f"))
	f.Add([]byte("RIFF\x20\x00\x00\x00AVI LIST\x00\x00\x00\x00strlstrh\x38\x00\x00\x00auds" + string(make([]byte, 60))))
	f.Add([]byte("caff\x00\x01\x00\x00desc\x00\x00\x00\x00\x00\x00\x00\x20" + string(make([]byte, 32)) +
		"data\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(slices.Concat([]byte("\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"), make([]byte, 14),
		[]byte(asfEncryption), []byte{24, 0, 0, 0, 0, 0, 0, 0}))
	f.Add([]byte("fLaC\x80\xff\xff\xff"))
	f.Add(slices.Concat([]byte("OggS\x00\x02"), make([]byte, 20), []byte{1, 255}, make([]byte, 255)))
	f.Fuzz(func(t *testing.T, b []byte) {
		src, before := &within{Reader: bytes.NewReader(b), t: t}, taken()
		file, err := Open(src, int64(len(b)))
		if err != nil {
			return
		}
		_ = file.Complete()
		_ = file.Timed()
		cs, err := file.Chapters()
		if err != nil {
			t.Errorf("Chapters = %v", err)
		}
		for i, c := range cs {
			if i > 0 && c.Start/time.Millisecond < cs[i-1].Start/time.Millisecond || c.Start < 0 || c.End < 0 {
				t.Errorf("chapter %d is %+v, after %+v", i, c, cs[max(0, i-1)])
			}
		}
		if _, err := file.VBRHeader(); errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("VBRHeader = %v", err)
		}
		if _, err := file.SoundAlone(); err != nil &&
			!errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrUnknown) {
			t.Errorf("SoundAlone = %v", err)
		}
		if r, err := file.Sound(new(atomic.Int64)); err == nil {
			if n, err := io.Copy(io.Discard, r); n > int64(len(b)) {
				t.Errorf("%d bytes are fed as %d, %v", len(b), n, err)
			}
		}
		const each, always = 100, 8 << 20
		if n := taken() - before; n > uint64(each*len(b)+always) {
			t.Errorf("%d bytes took %d of memory", len(b), n)
		}
	})
}

// TestChaptersOfManyElements: a file of nothing but small elements is not read to its end.
func TestChaptersOfManyElements(t *testing.T) {
	t.Parallel()
	b := slices.Concat([]byte("\x1aE\xdf\xa3\x80"), mkv(matroskaSegment, bytes.Repeat([]byte("\xec\x80"), 100_000)))
	src := &within{Reader: bytes.NewReader(b), t: t}
	file, err := Open(src, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if cs, err := file.Chapters(); len(cs) != 0 || err != nil {
		t.Errorf("Chapters = %v, %v", cs, err)
	}
	if src.reads > 2000 {
		t.Errorf("%d reads for 100000 empty elements", src.reads)
	}
}
