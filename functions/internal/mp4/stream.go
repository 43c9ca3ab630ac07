package mp4

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"slices"
)

// WriteFile writes the track as a file of its own, from the reader that the index was read from. The track's description,
// times and edits stay as they are; only its chunks change.
func (a *Audio) WriteFile(w io.Writer, r io.ReaderAt) error {
	out := bufio.NewWriterSize(w, 64<<10) // a chunk may be a frame of a few hundred bytes
	a.writeHead(out)
	buf := make([]byte, 256<<10)
	for c := range a.layout.chunks {
		for c.len > 0 {
			p := buf[:min(int64(len(buf)), c.len)]
			if err := readFull(r, p, c.off); err != nil {
				return err
			}
			if _, err := out.Write(p); err != nil {
				return fmt.Errorf("write sound: %w", err)
			}
			c.off += int64(len(p))
			c.len -= int64(len(p))
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write sound: %w", err)
	}
	return nil
}

// writeHead writes everything in front of the samples: ftyp, moov, and the header of an mdat as long as they are. The tables of
// a long track are large: they are written from where they are. An error is that of the next flush.
func (a *Audio) writeHead(w *bufio.Writer) {
	mdia := boxes(a.track.children.find("mdia"))
	levels := []struct {
		kind string
		kept iter.Seq[box]
		size int
	}{
		{kind: "moov", kept: boxes(makeBox("mvhd", a.mvhd)).all},
		{kind: "trak", kept: a.track.children.without("mdia", "tref", "udta", "meta")},
		{kind: "mdia", kept: mdia.without("minf")},
		{kind: "minf", kept: boxes(mdia.find("minf")).without("stbl")},
		{kind: "stbl", kept: a.track.stbl.without("stsc", "stco", "co64")},
	}
	count, length := 0, int64(16)
	for c := range a.layout.joined {
		count++
		length += c.len
	}
	const header, table = 8, 16 // bytes in front of a box's content, and of a table's entries
	size := table + 12*count + table + 8*count
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
	put(uint32(table+12*count), be.Uint32([]byte("stsc")), 0, uint32(count))
	n := uint32(0)
	for c := range a.layout.joined {
		n++
		put(n, uint32(c.samples), c.stsd)
	}
	put(uint32(table+8*count), be.Uint32([]byte("co64")), 0, uint32(count))
	off := int64(len(ftyp) + size + 16)
	for c := range a.layout.joined {
		_, _ = w.Write(be.AppendUint64(b[:0], uint64(off)))
		off += c.len
	}
	put(1, be.Uint32([]byte("mdat")))
	_, _ = w.Write(be.AppendUint64(b[:0], uint64(length)))
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

// Whole reports whether the stream ended with a box.
func (f *Framing) Whole() bool { return f.open || f.left == 0 && len(f.head) == 0 }
