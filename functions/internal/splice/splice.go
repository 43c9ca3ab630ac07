// Package splice makes a file of parts of another, and of bytes in between. Only these bytes, and where the parts are,
// are in memory; the other file is read as the new one is.
package splice

import (
	"errors"
	"fmt"
	"io"
	"sort"
)

// maxMemory bounds what a file holds, in bytes: twelve hours of sound that has a picture between each two of its
// packets need about half of it.
const maxMemory = 64 << 20

// ErrTooLarge says that a file has too many parts, or too many bytes of its own.
var ErrTooLarge = errors.New("the file has too many parts")

// File is a file made of another. It is written to its end first, and then read.
type File struct {
	src   io.ReaderAt
	own   []byte // what was written
	parts []part
	size  int64
}

// part is a run of bytes that begins at a place here, and from one there: in the source, or below 0 in own.
type part struct{ at, from int64 }

const partSize = 16 // bytes

// New begins a file that is to have parts of src.
func New(src io.ReaderAt) *File { return &File{src: src} }

// Write adds bytes. The error is ErrTooLarge.
func (f *File) Write(p []byte) (int, error) {
	if err := f.add(int64(len(p)), ^int64(len(f.own)), len(p)); err != nil {
		return 0, err
	}
	f.own = append(f.own, p...)
	return len(p), nil
}

// Copy adds n bytes of the source at off. The error is ErrTooLarge.
func (f *File) Copy(off, n int64) error { return f.add(n, off, 0) }

func (f *File) add(n, from int64, own int) error {
	if n == 0 {
		return nil
	}
	if last := len(f.parts) - 1; last < 0 || f.parts[last].after(f.size) != from {
		f.parts = append(f.parts, part{f.size, from})
	}
	if partSize*len(f.parts)+len(f.own)+own > maxMemory {
		return ErrTooLarge
	}
	f.size += n
	return nil
}

// after is where a part goes on that ends here.
func (p part) after(end int64) int64 {
	if p.from < 0 {
		return p.from - (end - p.at)
	}
	return p.from + (end - p.at)
}

// Patch replaces bytes that one call of Write added at the place.
func (f *File) Patch(at int64, p []byte) {
	here := f.parts[f.part(at)]
	copy(f.own[^here.after(at):], p)
}

// Size is the length of the file, in bytes.
func (f *File) Size() int64 { return f.size }

// part finds the part that has the byte at the place.
func (f *File) part(at int64) int {
	return sort.Search(len(f.parts), func(i int) bool { return f.parts[i].at > at }) - 1
}

// ReadAt is of [io.ReaderAt].
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read at a place below 0")
	}
	for i := f.part(off); n < len(p) && off < f.size; i++ {
		k, err := f.read(p[n:], off, i)
		n, off = n+k, off+int64(k)
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read reads no further than to the end of the part.
func (f *File) read(p []byte, off int64, i int) (int, error) {
	end := f.size
	if i+1 < len(f.parts) {
		end = f.parts[i+1].at
	}
	p = p[:min(int64(len(p)), end-off)]
	from := f.parts[i].after(off)
	if from < 0 {
		return copy(p, f.own[^from:]), nil
	}
	if n, err := f.src.ReadAt(p, from); n < len(p) {
		return n, fmt.Errorf("read %d bytes at %d: %w", len(p), from, err)
	}
	return len(p), nil
}
