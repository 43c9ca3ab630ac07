package mp4

import (
	"bufio"
	"fmt"
	"io"
)

// WriteFile writes the track as a file of its own, from the reader that the index was read from. The track's description,
// times and edits stay as they are; only the offsets of the chunks change.
func (a *Audio) WriteFile(w io.Writer, r io.ReaderAt) error {
	if _, err := w.Write(a.head()); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	out := bufio.NewWriterSize(w, 64<<10) // a chunk may be a frame of a few hundred bytes
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

// head makes everything in front of the samples: ftyp, moov, and the header of an mdat as long as they are.
func (a *Audio) head() []byte {
	ftyp := makeBox("ftyp", []byte("qt  \x00\x00\x02\x00qt  "))
	moov := a.moov()
	off := int64(len(ftyp) + len(moov) + 16)
	// The offsets are the last thing in the index.
	offsets := moov[len(moov)-8*a.layout.count():]
	sum := int64(16)
	for c := range a.layout.chunks {
		be.PutUint64(offsets, uint64(off))
		offsets = offsets[8:]
		off += c.len
		sum += c.len
	}
	mdat := be.AppendUint64([]byte("\x00\x00\x00\x01mdat"), uint64(sum))
	return append(append(ftyp, moov...), mdat...)
}

// moov makes an index of this track only, whose chunk offsets are to be filled in and are its last bytes.
func (a *Audio) moov() []byte {
	co64 := make([]byte, 8+8*a.layout.count())
	be.PutUint32(co64[4:], uint32(a.layout.count()))
	box := makeBox("co64", co64)
	around := []struct {
		kind string
		have boxes
		drop []string
	}{
		{"stbl", a.track.stbl, []string{"stco", "co64"}},
		{"minf", children(children(a.track.children.find("mdia")).find("minf")), []string{"stbl"}},
		{"mdia", children(a.track.children.find("mdia")), []string{"minf"}},
		{"trak", a.track.children, []string{"mdia", "tref", "udta", "meta"}},
	}
	for _, x := range around {
		box = makeBox(x.kind, x.have.without(x.drop...), box)
	}
	return makeBox("moov", makeBox("mvhd", a.mvhd), box)
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
