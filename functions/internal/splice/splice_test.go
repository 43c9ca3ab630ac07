package splice

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFile(t *testing.T) {
	t.Parallel()
	f := New(strings.NewReader("0123456789"))
	write := func(s string) {
		if n, err := f.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	cut := func(off, n int64) {
		if err := f.Copy(off, n); err != nil {
			t.Fatal(err)
		}
	}
	write("he")
	write("ad")
	cut(0, 2)
	cut(2, 1) // goes on
	cut(9, 1)
	cut(5, 0)
	write("")
	write("mid")
	cut(0, 1) // from the beginning again
	write("end")
	f.Patch(1, []byte("E"))
	f.Patch(9, []byte("I"))
	const want = "hEad0129mId0end"
	if f.Size() != int64(len(want)) || len(f.parts) != 6 {
		t.Errorf("%d bytes in %d parts, want %d in 6", f.Size(), len(f.parts), len(want))
	}
	if err := iotest.TestReader(io.NewSectionReader(f, 0, f.Size()), []byte(want)); err != nil {
		t.Error(err)
	}
	if n, err := f.ReadAt(make([]byte, 1), -1); n != 0 || err == nil {
		t.Errorf("ReadAt(-1) = %d, %v", n, err)
	}
	if n, err := f.ReadAt(make([]byte, 1), 1000); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt(1000) = %d, %v", n, err)
	}
	cut(8, 5) // beyond its end
	if n, err := f.ReadAt(make([]byte, 20), 0); n != len(want)+2 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt = %d, %v, want %d and the source's error", n, err, len(want)+2)
	}
}

func TestFileTooLarge(t *testing.T) {
	t.Parallel()
	f := New(strings.NewReader(""))
	var err error
	n := int64(0)
	for ; err == nil && n <= maxMemory/partSize; n++ {
		err = f.Copy(2*n, 1)
	}
	if !errors.Is(err, ErrTooLarge) || n != maxMemory/partSize+1 {
		t.Errorf("Copy = %v after %d parts, want %v", err, n, ErrTooLarge)
	}
	if _, err := New(nil).Write(make([]byte, maxMemory)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Write = %v, want %v", err, ErrTooLarge)
	}
}
