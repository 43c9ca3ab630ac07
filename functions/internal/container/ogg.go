package container

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"strings"
)

const oggMagic = "OggS\x00" // with the version

// Where the fields of a page's header are (RFC 3533, section 6).
const (
	oggGranule = 6
	oggSerial  = 14
	oggCRC     = 22
	oggCount   = 26 // of the lacing values
	oggLacing  = 27
)

// oggPage is the length of the page that b begins with, as [File.tailComplete] wants it.
func oggPage(b []byte) int {
	if !strings.HasPrefix(oggMagic, string(b[:min(len(b), len(oggMagic))])) {
		return -1
	}
	if len(b) < oggLacing || len(b) < oggLacing+int(b[oggCount]) {
		return 0
	}
	n := oggLacing + int(b[oggCount])
	for _, k := range b[oggLacing:n] {
		n += int(k)
	}
	return n
}

// lacing are the lengths of the segments of a page.
func lacing(page []byte) []byte { return page[oggLacing : oggLacing+int(page[oggCount])] }

// oggPages scans the pages in front of the sound. A packet that is too large there, which can be a comment only, ends
// with its first page, and the others that hold nothing else are left out.
func (f *File) oggPages() scanner {
	var cut []byte // the stream whose packet was ended
	return func(at int64, b []byte) (element, bool) {
		n := oggPage(b)
		if n <= 0 {
			return element{}, false
		}
		if g := int64(binary.LittleEndian.Uint64(b[oggGranule:])); g != 0 && g != -1 {
			return element{}, false // this is sound
		}
		e := element{size: int64(n)}
		segments := lacing(b)
		stream := b[oggSerial : oggSerial+4]
		switch open := len(segments) > 0 && segments[len(segments)-1] == 255; {
		case bytes.Equal(stream, cut):
			if open && bytes.Count(segments, segments[:1]) == len(segments) {
				e.holds = refuses
			} else {
				cut = nil
			}
		case open && f.oggPacketTooLarge(at, stream):
			page, err := f.read(at, n)
			if err != nil || len(page) < n {
				return element{}, false
			}
			cut = bytes.Clone(stream)
			e.holds, e.mask = refuses, closedPage(page)[:oggLacing+len(segments)]
		}
		return e, true
	}
}

// closedPage ends the last packet of a page with the page, one byte shorter than it was.
func closedPage(page []byte) []byte {
	page[oggLacing+len(lacing(page))-1]--
	page = page[:len(page)-1]
	setOggCRC(page)
	return page
}

// oggPacketTooLarge reports whether the packet at the end of a page has more than maxMetadata bytes.
func (f *File) oggPacketTooLarge(at int64, stream []byte) bool {
	size := 0
	for first := true; size <= maxMetadata; first = false {
		b, err := f.read(at, headerLen)
		n := oggPage(b)
		if err != nil || n <= 0 {
			return false
		}
		at += int64(n)
		if !bytes.Equal(b[oggSerial:oggSerial+4], stream) {
			continue
		}
		segments := lacing(b)
		if first {
			segments = segments[len(segments)-1:]
		}
		for _, k := range segments {
			size += int(k)
			if k < 255 {
				return false
			}
		}
	}
	return true
}

// setOggCRC writes the checksum of a page into it: that of Ethernet, from the other end of each byte, begun with zero
// and not inverted.
func setOggCRC(page []byte) {
	binary.LittleEndian.PutUint32(page[oggCRC:], 0)
	b := make([]byte, len(page))
	for i, c := range page {
		b[i] = bits.Reverse8(c)
	}
	sum := bits.Reverse32(^crc32.Update(1<<32-1, crc32.IEEETable, b))
	binary.LittleEndian.PutUint32(page[oggCRC:], sum)
}
