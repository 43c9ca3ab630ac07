package container

import "encoding/binary"

// tagLength is the length of the ID3v2 tag that a file begins with, in bytes (ID3 tag version 2.4.0, section 3.1); 0
// when there is none.
func tagLength(head []byte) int64 {
	const header, footer = 10, 0x10
	if len(head) < header || string(head[:3]) != "ID3" {
		return 0
	}
	size := header + syncsafe(head[6:])
	if head[5]&footer != 0 {
		size += header
	}
	return size
}

// syncsafe reads the four bytes of seven bits that ID3v2 has for a number.
func syncsafe(b []byte) (n int64) {
	for _, x := range b[:4] {
		n = n<<7 | int64(x&0x7f)
	}
	return n
}

// behindTag scans the frames of the ID3v2 tag in front of the file (ID3 tag versions 2.3.0 and 2.4.0), and what is
// behind it by scan. Of a tag that is too large only large frames are masked, unless its frames cannot be told apart. A
// file that is no MP3 loses a tag behind which ffmpeg would not see what it is.
func (f *File) behindTag(scan scanner) scanner {
	const header, frameHeader, padding, unknown = 10, 10, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "JUNK"
	var version byte
	return func(at int64, b []byte) (element, bool) {
		switch {
		case at >= f.tag:
			return scan(at, b)
		case at == 0 && f.Format != MP3 && f.tag >= SniffLen:
			return element{size: f.tag, holds: refuses}, true
		case at == 0:
			const unsynchronised, extended = 0x80, 0x40
			version = b[3]
			if f.tag > maxMetadata && (version == 3 || version == 4) && b[5]&(unsynchronised|extended) == 0 {
				return element{size: header}, true
			}
			return element{size: f.tag, holds: keeps}, true
		}
		rest := element{size: f.tag - at, holds: keeps, mask: []byte(padding)}
		if len(b) < frameHeader || b[0] == 0 {
			return rest, true
		}
		size := int64(binary.BigEndian.Uint32(b[4:]))
		if version == 4 {
			size = syncsafe(b[4:])
		}
		if size += frameHeader; size > rest.size {
			return rest, true
		}
		return element{size: size, holds: keeps, mask: []byte(unknown)}, true
	}
}
