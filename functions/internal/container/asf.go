package container

import "encoding/binary"

// The GUIDs of objects (Advanced Systems Format Specification, revision 01.20.05, section 10).
const (
	asfHeader    = "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
	asfExtension = "\xb5\x03\xbf\x5f\x2e\xa9\xcf\x11\x8e\xe3\x00\xc0\x0c\x20\x53\x65"
	asfData      = "\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
)

const asfObjectHeader = 16 + 8 // GUID and length of the object, in bytes

// asfComplete looks for the end of the packets (section 5.1), which follow the header object. Their writer may not have
// known it.
func (f *File) asfComplete() error {
	var end int64
	for range 2 {
		b, err := f.read(end, asfObjectHeader)
		if err != nil {
			return err
		}
		if len(b) < asfObjectHeader {
			break
		}
		size := binary.LittleEndian.Uint64(b[16:])
		if size < asfObjectHeader || size > 1<<60 {
			return nil
		}
		end += int64(size)
	}
	return f.endsAt(end)
}

// asfObject scans the header and its extension (sections 3.1 and 3.4). An object there that is too large becomes one
// that nobody knows.
func asfObject(_ int64, b []byte) (element, bool) {
	if len(b) < asfObjectHeader {
		return element{}, false
	}
	switch string(b[:16]) {
	case asfHeader:
		return element{size: asfObjectHeader + 6}, true
	case asfExtension:
		return element{size: asfObjectHeader + 22}, true
	case asfData:
		return element{}, false
	}
	size := binary.LittleEndian.Uint64(b[16:])
	return element{size: int64(min(size, 1<<62)), holds: keeps, mask: make([]byte, 16)}, true
}
