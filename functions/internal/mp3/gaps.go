package mp3

import (
	"encoding/binary"
	"errors"
	"io"
)

// ReadGaps reads the gaps of an MP3 file from the frame that LAME or ffmpeg puts first, or nil where there is none.
func ReadGaps(r io.ReaderAt) (*Gaps, error) {
	var head [10]byte
	off := int64(0)
	if n, err := r.ReadAt(head[:], 0); n < len(head) {
		return nil, ignoreEOF(err)
	}
	if string(head[:3]) == "ID3" {
		size := int64(head[6])<<21 | int64(head[7])<<14 | int64(head[8])<<7 | int64(head[9])
		off = size + int64(len(head))
		if head[5]&0x10 != 0 {
			off += int64(len(head)) // a footer
		}
	}
	frame := make([]byte, HeaderLen+32+xingLen+lameLen)
	n, err := r.ReadAt(frame, off)
	if n < len(frame) {
		return nil, ignoreEOF(err)
	}
	h, ok := ParseHeader(frame)
	if !ok {
		return nil, nil
	}
	xing := frame[HeaderLen+h.sideInfo():]
	if name := string(xing[:4]); name != "Xing" && name != "Info" || binary.BigEndian.Uint32(xing[4:]) != 1|2|4|8 {
		return nil, nil
	}
	lame := xing[xingLen:]
	switch string(lame[:4]) {
	case "LAME", "Lavf", "Lavc":
		return &Gaps{Delay: int(lame[21])<<4 | int(lame[22])>>4, Padding: int(lame[22]&0xf)<<8 | int(lame[23])}, nil
	}
	return nil, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
