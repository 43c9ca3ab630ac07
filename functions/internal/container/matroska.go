package container

import "math/bits"

// The ids of elements (RFC 9559, section 5.1; RFC 8794, section 11.3).
const (
	ebmlVoid        = 0xec
	matroskaSegment = "\x18\x53\x80\x67"
	matroskaCluster = "\x1f\x43\xb6\x75"
)

// ebml is the header of an element (RFC 8794, sections 4 to 6).
type ebml struct {
	id     string
	header int   // its length, in bytes
	size   int64 // of what follows it, in bytes; -1 when its writer did not know
}

// readEBML reads the header that b begins with, if it is whole.
func readEBML(b []byte) (e ebml, ok bool) {
	if len(b) == 0 || b[0] < 0x10 {
		return e, false
	}
	id := bits.LeadingZeros8(b[0]) + 1
	if len(b) <= id || b[id] == 0 {
		return e, false
	}
	width := bits.LeadingZeros8(b[id]) + 1
	e = ebml{id: string(b[:id]), header: id + width}
	if len(b) < e.header {
		return e, false
	}
	for _, c := range b[id:e.header] {
		e.size = e.size<<8 | int64(c)
	}
	if e.size &= 1<<(7*width) - 1; e.size == 1<<(7*width)-1 {
		e.size = -1
	}
	return e, true
}

// ebmlHeader is the length of the longest header, in bytes.
const ebmlHeader = 4 + 8

// matroskaComplete looks for the end of the segment, which follows the EBML header.
func (f *File) matroskaComplete() error {
	var off int64
	for range 2 {
		b, err := f.read(off, ebmlHeader)
		if err != nil {
			return err
		}
		e, ok := readEBML(b)
		if !ok || e.size < 0 || off > 0 && e.id != matroskaSegment {
			return nil
		}
		off += int64(e.header) + e.size
	}
	return f.endsAt(off)
}

// matroskaElement scans the segment and its clusters. What is too large becomes a void element: attachments, cues,
// chapters and tags together, and the frames of pictures each.
func matroskaElement(_ int64, b []byte) (element, bool) {
	h, ok := readEBML(b)
	if !ok {
		return element{}, false
	}
	if h.id == matroskaSegment || h.id == matroskaCluster {
		return element{size: int64(h.header)}, true
	}
	if h.size < 0 {
		return element{}, false // nobody knows where it ends
	}
	e := element{size: int64(h.header) + h.size, holds: keeps}
	if len(h.id) < len(matroskaCluster) {
		e.holds = loads // it is within a cluster
	}
	width := min(8, h.header-1)
	e.mask = append([]byte{ebmlVoid}, ebmlSize(e.size-1-int64(width), width)...)
	return e, true
}
