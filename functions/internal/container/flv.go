package container

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// flvComplete checks that the file ends with a tag: the last four bytes are the length of the tag in front of them
// (Adobe Flash Video File Format Specification 10.1, annex E.3). A writer that came to its end has told a duration.
func (f *File) flvComplete() error {
	last, err := f.read(max(0, f.size-4), 4)
	if err != nil || len(last) < 4 {
		return err
	}
	length := int64(binary.BigEndian.Uint32(last))
	tag, err := f.read(max(0, f.size-4-length), 4)
	if err != nil {
		return err
	}
	const header = 11
	if length >= header && len(tag) == 4 && int64(binary.BigEndian.Uint32(tag)&0xffffff) == length-header {
		return nil
	}
	begin, err := f.read(0, SniffLen)
	if err != nil {
		return err
	}
	if d := flvDuration(begin); d > 0 {
		return fmt.Errorf("%w: the flv of %.1f s ends within a tag", ErrTruncated, d)
	}
	return fmt.Errorf("%w: the flv", ErrAbrupt)
}

// flvDuration reads what onMetaData tells (annex E.5), in seconds; 0 when it does not.
func flvDuration(begin []byte) float64 {
	const name, number = "\x00\x08duration", 0 // a string of AMF with its length, and the mark of a number
	_, value, found := bytes.Cut(begin, []byte(name))
	if !found || len(value) < 9 || value[0] != number {
		return 0
	}
	return math.Float64frombits(binary.BigEndian.Uint64(value[1:]))
}
