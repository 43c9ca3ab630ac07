package container

import "encoding/binary"

const flacMagic = "fLaC"

// flacBlock scans the blocks of metadata (RFC 9639, section 8). Those that are too large become padding.
func flacBlock(_ int64, b []byte) (element, bool) {
	const header, last, padding, frame = 4, 0x80, 1, 0xff
	switch {
	case len(b) < header || b[0] == frame:
		return element{}, false
	case string(b[:header]) == flacMagic:
		return element{size: int64(len(flacMagic))}, true
	}
	size := header + int64(binary.BigEndian.Uint32(b)&0xffffff)
	return element{size: size, holds: keeps, mask: []byte{b[0]&last | padding}}, true
}
