package container

import (
	"bytes"
	"encoding/binary"
)

// Timed tells whether the file says of each packet when it is to be heard, so that late sound and pauses show.
func (f *File) Timed() bool {
	switch f.Format {
	case ASF, FLV, Matroska, MPEGPS, MPEGTS, MXF, Ogg, RM:
		return true
	case AVI:
		return f.aviTimed()
	}
	return false
}

// aviTimed tells whether each chunk of sound is a packet, an empty one where there is none: the header of a stream of
// anything else tells the size of a sample (Microsoft, AVISTREAMHEADER).
func (f *File) aviTimed() bool {
	const longest, sampleSize = 64 << 10, aviSampleSize - 4
	b, err := f.read(0, longest)
	timed := false
	for err == nil {
		var found bool
		if _, b, found = bytes.Cut(b, []byte("strh")); !found || len(b) < sampleSize {
			break
		}
		if string(b[4:8]) == "auds" {
			if binary.LittleEndian.Uint32(b[sampleSize-4:]) != 0 {
				return false
			}
			timed = true
		}
	}
	return timed
}
