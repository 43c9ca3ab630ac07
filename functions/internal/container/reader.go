package container

import "io"

// maxMetadata is how much a file may carry besides its sound that ffmpeg holds in memory, in bytes: covers, texts,
// indexes. It has room for a cover that goes into the MP3, and some more.
const maxMetadata = 8 << 20

// element is what a container is made of: an element of Matroska, a chunk of RIFF, a page of Ogg, an object of ASF, a
// block of metadata of FLAC, a frame of ID3.
type element struct {
	size  int64 // bytes; of its header only, where the elements in it are looked at too
	holds holds
	mask  []byte // written over its first bytes when it is too large; without a mask it is left out
}

// holds tells what ffmpeg does with an element.
type holds int

const (
	passes  holds = iota // it is read as it comes
	keeps                // it stays in memory: all such elements together may have maxMetadata bytes
	loads                // it is in memory for a while: each such element may have maxMetadata bytes
	refuses              // it must not be there
)

// scanner reads the header of the element at a place in the file. It gets headerLen bytes there, fewer at the end of
// the file. It returns false where no more elements are to be looked for.
type scanner func(at int64, b []byte) (element, bool)

// headerLen is the length of the longest header, that of a page of Ogg, in bytes.
const headerLen = 27 + 255

func noElement(int64, []byte) (element, bool) { return element{}, false }

// reader reads a file without what is too large. ffmpeg itself reads tags, attachments, indexes and pictures of any
// size whole.
type reader struct {
	file *File
	scan scanner // nil where no more elements are looked for
	off  int64   // of the byte that is read next
	next int64   // where the next element begins
	left int64   // of maxMetadata, in bytes
	mask []byte
	at   int64 // where mask goes
}

// without makes a reader that leaves out what scan finds too large, and first what is too large in the tag in front.
func (f *File) without(scan scanner) io.Reader {
	return &reader{file: f, scan: f.behindTag(scan), left: maxMetadata, off: f.junk, next: f.junk}
}

func (r *reader) Read(p []byte) (int, error) {
	for r.off < r.file.size {
		from := r.off
		n := int(min(int64(len(p)), r.file.size-from))
		if k, err := r.file.src.ReadAt(p[:n], from); k < n {
			return 0, err
		}
		r.off += int64(n)
		r.hide(p[:n], from)
		for r.scan != nil && r.next < from+int64(n) {
			head := p[r.next-from : n]
			if len(head) < headerLen {
				var err error
				if head, err = r.file.read(r.next, headerLen); err != nil {
					return 0, err
				}
			}
			e, ok := r.scan(r.next, head)
			if !ok || e.size <= 0 {
				r.scan = nil
				break
			}
			at := r.next
			r.next += e.size
			switch large := r.tooLarge(e); {
			case large && e.mask == nil:
				n, r.off = int(at-from), r.next
			case large:
				r.mask, r.at = e.mask, at
				r.hide(p[:n], from)
			}
		}
		if n > 0 {
			return n, nil
		}
	}
	if r.scan != nil && r.next > r.file.size {
		r.file.Cut.Store(true)
	}
	return 0, io.EOF
}

// hide writes the mask over the part of its place that p has.
func (r *reader) hide(p []byte, from int64) {
	switch skip := from - r.at; {
	case skip <= 0 && -skip < int64(len(p)):
		copy(p[-skip:], r.mask)
	case skip > 0 && skip < int64(len(r.mask)):
		copy(p, r.mask[skip:])
	}
}

// tooLarge decides about an element, and counts what ffmpeg keeps.
func (r *reader) tooLarge(e element) bool {
	switch {
	case e.holds == keeps && e.size <= r.left:
		r.left -= e.size
		return false
	case e.holds == loads:
		return e.size > maxMetadata
	}
	return e.holds != passes
}
