package mp4

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"
)

var be = binary.BigEndian

// box is one box in memory; body is what follows its header.
type box struct {
	kind string
	body []byte
}

// boxes are those that lie one after the other in the body of another. They are found as they are looked for: an index
// of nothing but small boxes costs no more memory than its bytes.
type boxes []byte

// all iterates over the boxes. What does not divide into boxes, like the zero bytes that may end QuickTime's user data,
// is left out.
func (bs boxes) all(yield func(box) bool) {
	for b := []byte(bs); len(b) >= 8; {
		n, header := uint64(be.Uint32(b)), 8
		switch {
		case n == 1 && len(b) >= 16:
			n, header = be.Uint64(b[8:]), 16
		case n == 0:
			n = uint64(len(b))
		}
		if n < uint64(header) || n > uint64(len(b)) || !yield(box{string(b[4:8]), b[header:n]}) {
			return
		}
		b = b[n:]
	}
}

// find gives the body of the first box of a kind, or nil.
func (bs boxes) find(kind string) []byte {
	for b := range bs.all {
		if b.kind == kind {
			return b.body
		}
	}
	return nil
}

// path finds a box below others.
func (bs boxes) path(kinds ...string) []byte {
	for _, k := range kinds {
		bs = bs.find(k)
	}
	return bs
}

// without iterates over the boxes of other kinds than those named.
func (bs boxes) without(kinds ...string) iter.Seq[box] {
	return func(yield func(box) bool) {
		for b := range bs.all {
			if !slices.Contains(kinds, b.kind) && !yield(b) {
				return
			}
		}
	}
}

// makeBox makes a box; its bodies are small: an index is bounded well below 4 GiB.
func makeBox(kind string, bodies ...[]byte) []byte {
	n := 8
	for _, p := range bodies {
		n += len(p)
	}
	b := make([]byte, 8, n)
	be.PutUint32(b, uint32(n))
	copy(b[4:], kind)
	for _, p := range bodies {
		b = append(b, p...)
	}
	return b
}

// uintOf reads a field that is 64 bits wide in version 1 of a box and 32 in version 0; 0 when it is cut off.
func uintOf(b []byte, wide bool) uint64 {
	switch {
	case wide && len(b) >= 8:
		return be.Uint64(b)
	case !wide && len(b) >= 4:
		return uint64(be.Uint32(b))
	}
	return 0
}

// rows are the entries of a table in the file.
type rows struct {
	off, n int64
	record int
}

// fileBox is a box that is left in the file.
type fileBox struct {
	kind      string
	off, size int64 // of all of it
	header    int64
}

// fileBoxes iterates over the boxes between two places; the error of one that is cut off there is that given.
func fileBoxes(r io.ReaderAt, off, end int64, cut error) iter.Seq2[fileBox, error] {
	return func(yield func(fileBox, error) bool) {
		for end-off >= 8 {
			p, err := fileBoxAt(r, off, end)
			switch {
			case err != nil:
			case p.header > end-off || p.size > end-off:
				err = fmt.Errorf("box %q at %d has %d bytes of %d: %w", p.kind, off, end-off, p.size, cut)
			case p.size < p.header:
				err = fmt.Errorf("box %q of %d bytes: %w", p.kind, p.size, ErrUnsupported)
			}
			if !yield(p, err) || err != nil {
				return
			}
			off += p.size
		}
	}
}

// fileBoxes iterates over the boxes in a box.
func (p fileBox) fileBoxes(r io.ReaderAt) iter.Seq2[fileBox, error] {
	return fileBoxes(r, p.off+p.header, p.off+p.size, ErrUnsupported)
}

func (p fileBox) cutOff() error {
	return fmt.Errorf("box %q at %d is cut off: %w", p.kind, p.off, ErrUnsupported)
}

// numbers reads the first n bytes of a box, or all if there are fewer.
func (p fileBox) numbers(r io.ReaderAt, n int64) (numbers, error) {
	b := make([]byte, min(n, p.size-p.header))
	return numbers{b: b}, readFull(r, b, p.off+p.header)
}

// numbers are read one after the other; one that is cut off is 0.
type numbers struct {
	b    []byte
	read int
	cut  bool
}

func (n *numbers) next(size int) []byte {
	var none [8]byte
	if n.cut = n.cut || n.read+size > len(n.b); n.cut {
		return none[:size]
	}
	n.read += size
	return n.b[n.read-size : n.read]
}

func (n *numbers) skip(size int) { _ = n.next(size) }
func (n *numbers) u32() uint32   { return be.Uint32(n.next(4)) }
func (n *numbers) u64() uint64   { return be.Uint64(n.next(8)) }

// either reads a number of 64 bits when it is wide, and of 32 otherwise.
func (n *numbers) either(wide bool) uint64 {
	if wide {
		return n.u64()
	}
	return uint64(n.u32())
}

// nearby reads a file in blocks of some kilobytes, for one who looks at small ones that lie together.
type nearby struct {
	r         io.ReaderAt
	off, size int64 // of what was read, and of the file
	b         []byte
}

// ReadAt reads within the file.
func (n *nearby) ReadAt(p []byte, off int64) (int, error) {
	const block = 8 << 10
	if len(p) > block/2 {
		return n.r.ReadAt(p, off)
	}
	if off < n.off || off+int64(len(p)) > n.off+int64(len(n.b)) {
		if n.b == nil {
			n.b = make([]byte, block)
		}
		b := n.b[:max(0, min(block, n.size-off))]
		k, err := n.r.ReadAt(b, off)
		if n.off, n.b = off, b[:k]; k < min(len(p), len(b)) {
			return copy(p, n.b), err
		}
	}
	k := copy(p, n.b[off-n.off:])
	if k < len(p) {
		return k, io.EOF
	}
	return k, nil
}

// table finds the entries of a box that begins with so many bytes and their count; version and flags are 4 of these. It
// is ErrUnsupported when the box is cut off.
func (p fileBox) table(r io.ReaderAt, before int64, record int) (rows, error) {
	t := rows{off: p.off + p.header + before + 4, record: record}
	room := p.off + p.size - t.off
	if room < 0 {
		return rows{}, fmt.Errorf("table %q is cut off: %w", p.kind, ErrUnsupported)
	}
	var count [4]byte
	if err := readFull(r, count[:], t.off-4); err != nil {
		return rows{}, err
	}
	if t.n = int64(be.Uint32(count[:])); t.n*int64(record) > room {
		return rows{}, fmt.Errorf("table %q is cut off: %w", p.kind, ErrUnsupported)
	}
	return t, nil
}

// maxWindow is how much of a table is in memory at a time, in bytes.
const maxWindow = 128 << 10

// cursor reads a table from its start.
type cursor struct {
	b      *bufio.Reader
	record int
	left   int64
	err    error // of the reader
}

func (t rows) entries(r io.ReaderAt) *cursor {
	size := t.n * int64(t.record)
	return &cursor{
		b:      bufio.NewReaderSize(io.NewSectionReader(r, t.off, size), int(min(size, maxWindow))),
		record: t.record,
		left:   t.n,
	}
}

// next gives the next entry, until the next call; nil at the end, and after an error.
func (c *cursor) next() []byte {
	if c.left == 0 || c.err != nil {
		return nil
	}
	b, err := c.b.Peek(c.record)
	if err != nil {
		c.err = fmt.Errorf("read index: %w", err)
		return nil
	}
	_, _ = c.b.Discard(c.record)
	c.left--
	return b
}

// records gives the entries of a table in memory that begins with version, flags and their count; none when it is cut
// off.
func records(b []byte, record int) []byte {
	if len(b) < 8 {
		return nil
	}
	n := uint64(be.Uint32(b[4:]))
	if n*uint64(record) > uint64(len(b)-8) {
		return nil
	}
	return b[8 : 8+n*uint64(record)]
}
