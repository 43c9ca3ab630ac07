package splice

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzFile makes a file by any steps: it reads as what was put together, from every place.
func FuzzFile(f *testing.F) {
	f.Add([]byte{0, 3, 1, 2, 4, 1, 6, 1, 0, 2, 2, 5, 0, 9}, 2, 5)
	f.Add([]byte{1, 0, 0, 1, 0, 9}, -1, 1)
	source := []byte("0123456789abcdefghijklmnopqrstuvwxyz")
	f.Fuzz(func(t *testing.T, steps []byte, off, n int) {
		s := New(bytes.NewReader(source))
		var want []byte
		for len(steps) >= 3 {
			a, b := int(steps[1])%len(source), int(steps[2])%len(source)
			a, b = min(a, b), max(a, b)
			var err error
			switch steps[0] % 3 {
			case 0:
				_, err = s.Write(source[a:b])
			default:
				err = s.Copy(int64(a), int64(b-a))
			}
			if err != nil {
				t.Fatal(err)
			}
			if want = append(want, source[a:b]...); steps[0]%3 == 0 && a < b { // and the last byte of it anew
				s.Patch(s.Size()-1, []byte("!"))
				want[len(want)-1] = '!'
			}
			steps = steps[3:]
		}
		if s.Size() != int64(len(want)) {
			t.Fatalf("%d bytes, want %d", s.Size(), len(want))
		}
		p := make([]byte, max(0, min(n, 2*len(want)+1)))
		k, err := s.ReadAt(p, int64(off))
		if off < 0 {
			if k != 0 || err == nil {
				t.Errorf("ReadAt(%d) = %d, %v", off, k, err)
			}
			return
		}
		rest := want[min(off, len(want)):]
		if k != min(len(p), len(rest)) || !bytes.Equal(p[:k], rest[:k]) || k < len(p) && !errors.Is(err, io.EOF) ||
			k == len(p) && err != nil {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v: %q, want %q", len(p), off, k, err, p[:k], rest)
		}
	})
}
