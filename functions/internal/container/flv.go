package container

import (
	"encoding/binary"
	"fmt"
)

// flvComplete checks that the file ends with a tag: the last four bytes are the length of the tag in front of them
// (Adobe Flash Video File Format Specification 10.1, annex E.3).
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
	if length < header || len(tag) < 4 || int64(binary.BigEndian.Uint32(tag)&0xffffff) != length-header {
		return fmt.Errorf("%w: the flv ends within a tag", ErrTruncated)
	}
	return nil
}
