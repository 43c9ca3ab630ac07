package convert

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// whole tells by what a container says of its own length whether the end of the file is missing. ffmpeg reads such a file
// without complaint. Where a container says nothing (MPEG, Ogg, a live recording), what is there is taken for all.
func whole(container string, s *source) error {
	var end int64
	var err error
	switch container {
	case "matroska":
		end, err = matroskaEnd(s)
	case "avi", "wav":
		end, err = riffEnd(s, binary.LittleEndian)
	case "aiff":
		end, err = riffEnd(s, binary.BigEndian)
	case "flv":
		return wholeFLV(s)
	}
	// Some writers count the header as well, or a byte of padding that is not there.
	const slack = 8
	if err == nil && end > s.size+slack {
		err = truncated(fmt.Errorf("%s of %d bytes has %d", container, end, s.size))
	}
	return err
}

// matroskaEnd is where the segment ends (RFC 9559, section 4; RFC 8794, section 6); 0 when that was not known to its writer.
func matroskaEnd(s *source) (int64, error) {
	const segment = 0x18538067
	head, err := s.read(0, 64<<10)
	if err != nil || len(head) < 4 {
		return 0, err
	}
	size, n := vint(head[4:])
	if n == 0 {
		return 0, nil
	}
	off := 4 + int64(n) + size
	b, err := s.read(off, 12)
	if err != nil || len(b) < 5 || binary.BigEndian.Uint32(b) != segment {
		return 0, err
	}
	if size, n = vint(b[4:]); n == 0 {
		return 0, nil
	}
	return off + 4 + int64(n) + size, nil
}

// vint reads a variable-size integer and tells its length; 0 when there is none or it stands for unknown.
func vint(b []byte) (v int64, n int) {
	if len(b) == 0 || b[0] == 0 {
		return 0, 0
	}
	for n = 1; b[0]&(0x80>>(n-1)) == 0; n++ {
	}
	if len(b) < n {
		return 0, 0
	}
	v = int64(b[0] & (0x7f >> (n - 1)))
	for _, c := range b[1:n] {
		v = v<<8 | int64(c)
	}
	if v == 1<<(7*n)-1 {
		return 0, 0
	}
	return v, n
}

// riffEnd is where the first chunk of a RIFF or FORM file ends; 0 when a live writer left it open.
func riffEnd(s *source, order binary.ByteOrder) (int64, error) {
	b, err := s.read(0, 8)
	if err != nil || len(b) < 8 {
		return 0, err
	}
	size := order.Uint32(b[4:])
	if size >= 1<<32-1-8 {
		return 0, nil
	}
	return 8 + int64(size), nil
}

// wholeFLV checks that the file ends with a tag: the last four bytes are the length of the one before them (Adobe Flash Video
// File Format Specification 10.1, annex E.3).
func wholeFLV(s *source) error {
	last, err := s.read(s.size-4, 4)
	if err != nil || len(last) < 4 {
		return err
	}
	length := int64(binary.BigEndian.Uint32(last))
	tag, err := s.read(max(0, s.size-4-length), 4)
	if err != nil {
		return err
	}
	const tagHeader = 11
	if length < tagHeader || len(tag) < 4 || int64(binary.BigEndian.Uint32(tag)&0xffffff) != length-tagHeader {
		return truncated(errors.New("flv ends within a tag"))
	}
	return nil
}
