package container

import (
	"encoding/binary"
	"fmt"
	"io"
)

// cafReader reads what ffmpeg needs of a CAF file in an order that a pipe can have: the sound comes last. In many files
// the table of its packets follows it (Apple Core Audio Format Specification 1.0).
func (f *File) cafReader() (io.Reader, error) {
	chunks, err := f.cafChunks()
	if err != nil {
		return nil, err
	}
	var rs []io.Reader
	for _, c := range chunks {
		rs = append(rs, io.NewSectionReader(f.src, c.off, c.size))
	}
	return io.MultiReader(rs...), nil
}

// span is a place in the file, in bytes.
type span struct{ off, size int64 }

// maxChunks bounds the chunks of a CAF, of which there is seldom more than one of a kind.
const maxChunks = 64

// cafChunks finds the file's header and the chunks that [File.cafReader] reads, in its order. An end that is missing is
// ErrTruncated.
func (f *File) cafChunks() ([]span, error) {
	const fileHeader, header = 8, 12
	chunks, sound := []span{{0, fileHeader}}, []span(nil)
	for off := int64(fileHeader); off < f.size; {
		b, err := f.read(off, header)
		if err != nil {
			return nil, err
		}
		if len(b) < header && f.Partial {
			break
		}
		if len(b) < header {
			return nil, fmt.Errorf("%w: the caf ends within the header of a chunk", ErrTruncated)
		}
		size, left := int64(binary.BigEndian.Uint64(b[4:])), f.size-off-header
		id := string(b[:4])
		if id == "data" && size == -1 {
			size = left // up to the end, wherever it is
		}
		if size > left && f.Partial && id == "data" {
			size = left
		}
		if size < 0 || size > left {
			return nil, fmt.Errorf("%w: the caf ends within a chunk", ErrTruncated)
		}
		c := span{off, header + size}
		switch id {
		case "data":
			sound = append(sound, c)
		case "desc", "chan", "kuki", "pakt":
			chunks = append(chunks, c)
		case "info":
			if c.size <= maxMetadata {
				chunks = append(chunks, c)
			}
		}
		if len(chunks) > maxChunks {
			return nil, fmt.Errorf("%w: the caf has more than %d chunks", ErrUnsupported, maxChunks)
		}
		off += c.size
	}
	return append(chunks, sound...), nil
}

// Window tells which samples of a CAF are to be heard, from one on and as many as length, where its table of packets
// says that its encoder put others around them (section 2.4.6, packet table chunk); a length of 0 means all.
func (f *File) Window() (from, length int64, err error) {
	if f.Format != CAF {
		return 0, 0, nil
	}
	chunks, err := f.cafChunks()
	if err != nil {
		return 0, 0, err
	}
	for _, c := range chunks {
		const header, packets = 12, 8
		b, err := f.read(c.off, header+packets+16)
		if err != nil {
			return 0, 0, err
		}
		if len(b) < header+packets+16 || string(b[:4]) != "pakt" {
			continue
		}
		valid := int64(binary.BigEndian.Uint64(b[header+packets:]))
		priming := int64(int32(binary.BigEndian.Uint32(b[header+packets+8:])))
		remainder := int64(int32(binary.BigEndian.Uint32(b[header+packets+12:])))
		if valid > 0 && priming >= 0 && remainder >= 0 && priming+remainder > 0 {
			return priming, valid, nil
		}
	}
	return 0, 0, nil
}
