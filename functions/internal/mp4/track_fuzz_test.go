package mp4

import (
	"bytes"
	"io"
	"runtime/metrics"
	"testing"
)

// within is a file of which nothing is read that is not there.
type within struct {
	*bytes.Reader
	t *testing.T
}

func (w within) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > 0 && (off < 0 || off+int64(len(p)) > w.Size()) {
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

// FuzzReadTrack reads any of the tracks of a file, whole or cut off: what is not there is not read, and what the file
// says costs no more memory than it is long.
func FuzzReadTrack(f *testing.F) {
	for _, b := range [][]byte{newMovie().indexFirst(), newMovie().indexLast()} {
		f.Add(b, 0, false)
		f.Add(b[:len(b)*3/4], 0, true)
	}
	for _, x := range arrangements() {
		f.Add(x.data, 0, true)
	}
	for _, x := range brokenFragments() {
		f.Add(x.data, 1, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, choice int, partial bool) {
		r, before := within{bytes.NewReader(b), t}, taken()
		x, err := ReadTrack(r, int64(len(b)), func(all []Track) int { return min(max(-1, choice), len(all)-1) }, partial)
		if err != nil {
			return
		}
		for i, c := range x.Chapters {
			if c.Start < 0 || i > 0 && c.Start < x.Chapters[i-1].Start {
				t.Errorf("chapter %d is %+v", i, c)
			}
		}
		if x.Duration < 0 {
			t.Errorf("it lasts %v", x.Duration)
		}
		if a := x.Audio; a != nil {
			if a.Duration < 0 || a.Delay < 0 {
				t.Errorf("the sound lasts %v, after %v", a.Duration, a.Delay)
			}
			if sound, err := x.NewSound(r); err == nil {
				if n, err := io.Copy(io.Discard, io.NewSectionReader(sound, 0, sound.Size())); n != sound.Size() || err != nil {
					t.Errorf("the sound alone has %d bytes of %d, %v", n, sound.Size(), err)
				}
			}
		}
		const each, always = 200, 4 << 20
		if n := taken() - before; n > uint64(each*len(b)+always) {
			t.Errorf("%d bytes took %d of memory", len(b), n)
		}
	})
}
