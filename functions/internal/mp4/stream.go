package mp4

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"slices"
)

// WriteFile writes the track as a file of its own, from the reader that the index was read from. The track's
// description, times and edits stay as they are; only its chunks change.
func (a *Audio) WriteFile(w io.Writer, r io.ReaderAt) error {
	out := bufio.NewWriterSize(w, 64<<10) // a chunk may be a frame of a few hundred bytes
	if err := a.writeHead(out, r, nil); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for c, err := range a.layout.chunks(r) {
		if err == nil {
			err = copyRange(out, r, c.off, c.len, buf)
		}
		if err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write sound: %w", err)
	}
	return nil
}

// copyRange copies a part of the file.
func copyRange(w io.Writer, r io.ReaderAt, off, size int64, buf []byte) error {
	for size > 0 {
		p := buf[:min(int64(len(buf)), size)]
		if err := readFull(r, p, off); err != nil {
			return err
		}
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("write sound: %w", err)
		}
		off += int64(len(p))
		size -= int64(len(p))
	}
	return nil
}

// writeHead writes everything in front of the samples: ftyp, moov with more boxes or none, and the header of an mdat as
// long as they are. An error of w is that of the next flush.
func (a *Audio) writeHead(w *bufio.Writer, r io.ReaderAt, more []byte) error {
	mdia := boxes(a.track.children.find("mdia"))
	levels := []struct {
		kind string
		kept iter.Seq[box]
		size int
	}{
		{kind: "moov", kept: boxes(slices.Concat(makeBox("mvhd", a.mvhd), more)).all},
		{kind: "trak", kept: a.track.children.without("mdia", "tref", "udta", "meta")},
		{kind: "mdia", kept: mdia.without("minf")},
		{kind: "minf", kept: boxes(mdia.find("minf")).without("stbl")},
		{kind: "stbl", kept: boxes(makeBox("stsd", a.track.stbl.find("stsd"))).all},
	}
	count, length := 0, int64(16)
	for c, err := range a.layout.joined(r) {
		if err != nil {
			return err
		}
		count++
		length += c.len
	}
	const header, table = 8, 16 // bytes in front of a box's content, and of a table's entries
	size := table + 12*count + table + 8*count
	tables := a.track.stbl.without("stsd", "stsc", "stco", "co64")
	for b := range tables {
		size += int(fileBoxOf(b).size)
	}
	for i := range slices.Backward(levels) {
		size += header
		for b := range levels[i].kept {
			size += header + len(b.body)
		}
		levels[i].size = size
	}
	ftyp := makeBox("ftyp", []byte("qt  \x00\x00\x02\x00qt  "))
	var b [16]byte
	put := func(vs ...uint32) {
		for _, v := range vs {
			_, _ = w.Write(be.AppendUint32(b[:0], v))
		}
	}
	_, _ = w.Write(ftyp)
	for _, l := range levels {
		put(uint32(l.size))
		_, _ = w.WriteString(l.kind)
		for b := range l.kept {
			put(uint32(header + len(b.body)))
			_, _ = w.WriteString(b.kind)
			_, _ = w.Write(b.body)
		}
	}
	buf := make([]byte, 64<<10)
	for b := range tables {
		p := fileBoxOf(b)
		if err := copyRange(w, r, p.off, p.size, buf); err != nil {
			return err
		}
	}
	put(uint32(table+12*count), be.Uint32([]byte("stsc")), 0, uint32(count))
	n := uint32(0)
	for c, err := range a.layout.joined(r) {
		if err != nil {
			return err
		}
		n++
		put(n, uint32(c.samples), c.stsd)
	}
	put(uint32(table+8*count), be.Uint32([]byte("co64")), 0, uint32(count))
	off := int64(len(ftyp) + size + 16)
	for c, err := range a.layout.joined(r) {
		if err != nil {
			return err
		}
		_, _ = w.Write(be.AppendUint64(b[:0], uint64(off)))
		off += c.len
	}
	put(1, be.Uint32([]byte("mdat")))
	_, _ = w.Write(be.AppendUint64(b[:0], uint64(length)))
	return nil
}

// Framing follows a file as it is streamed and tells whether it ended where one of its boxes ends.
type Framing struct {
	head []byte // of the next box, as far as it has come
	left uint64 // bytes of the current box still to come
	open bool   // the current box lasts to the end
}

// Write follows the next bytes; it never fails.
func (f *Framing) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !f.open {
		if f.left > 0 {
			k := min(f.left, uint64(len(p)))
			f.left -= k
			p = p[k:]
			continue
		}
		f.head = append(f.head, p[0])
		p = p[1:]
		f.begin()
	}
	return n, nil
}

// begin starts a box once its header is complete.
func (f *Framing) begin() {
	if len(f.head) < 8 {
		return
	}
	size := uint64(be.Uint32(f.head))
	switch {
	case size == 1 && len(f.head) < 16:
		return
	case size == 1:
		size = be.Uint64(f.head[8:])
	}
	// What is no box says nothing about where it ends; neither does 0, which is all the rest.
	f.open = size < uint64(len(f.head))
	f.left = size - uint64(len(f.head))
	f.head = f.head[:0]
}

// Complete reports whether the stream ended with a box.
func (f *Framing) Complete() bool { return f.open || f.left == 0 && len(f.head) == 0 }
