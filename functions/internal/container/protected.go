package container

import "encoding/binary"

// The GUIDs of the objects that tell of copy protection (Advanced Systems Format Specification, sections 3.14 to 3.16).
const (
	asfEncryption         = "\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e"
	asfExtendedEncryption = "\x14\xe6\x8a\x29\x22\x26\x17\x4c\xb9\x35\xda\xe0\x7e\xe9\x28\x9c"
	asfAdvancedEncryption = "\x33\x85\x05\x43\x81\x69\xe6\x49\x9b\x74\xad\x12\xcb\x86\xd5\x8c"
)

// protected returns ErrProtected when an ASF says so.
func (f *File) protected() error {
	if f.Format != ASF {
		return nil
	}
	const header, most = asfObjectHeader + 6, 1000
	off := int64(header)
	for range most {
		b, err := f.read(off, asfObjectHeader)
		if err != nil {
			return err
		}
		if len(b) < asfObjectHeader || string(b[:16]) == asfData {
			break
		}
		switch string(b[:16]) {
		case asfEncryption, asfExtendedEncryption, asfAdvancedEncryption:
			return ErrProtected
		}
		size := binary.LittleEndian.Uint64(b[16:])
		if size < asfObjectHeader || size > uint64(f.size) {
			break
		}
		off += int64(size)
	}
	return nil
}
