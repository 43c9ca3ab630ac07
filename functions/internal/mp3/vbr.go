package mp3

import (
	"encoding/binary"
	"errors"
	"io"
)

// VBRHeader is what an encoder's first frame says of the frames that follow it: the Xing header, which is named Info at
// a constant bitrate, with LAME's extension, or Fraunhofer's VBRI header.
type VBRHeader struct {
	Bytes int64 // of the stream, this frame counted; 0 when it does not say
	Gaps  *Gaps // nil when it does not say
}

// ReadVBRHeader reads the header of the MP3 that begins at off; a zero one where there is none.
func ReadVBRHeader(r io.ReaderAt, off int64) (v VBRHeader, err error) {
	frame := make([]byte, HeaderLen+maxSideInfo+xingLen+lameLen)
	if n, err := r.ReadAt(frame, off); n < len(frame) && !errors.Is(err, io.EOF) {
		return v, err
	}
	h, ok := ParseHeader(frame)
	if !ok {
		return v, nil
	}
	const frames, bytes, all = 1, 2, 1 | 2 | 4 | 8
	be := binary.BigEndian
	if vbri := frame[HeaderLen+maxSideInfo:]; string(vbri[:4]) == "VBRI" {
		v.Bytes = int64(be.Uint32(vbri[10:]))
		return v, nil
	}
	xing := frame[HeaderLen+h.sideInfo():]
	if name := string(xing[:4]); name != "Xing" && name != "Info" {
		return v, nil
	}
	flags := be.Uint32(xing[4:])
	if flags&bytes != 0 {
		v.Bytes = int64(be.Uint32(xing[8+4*int(flags&frames):]))
	}
	if flags != all {
		return v, nil
	}
	lame := xing[xingLen:]
	switch string(lame[:4]) {
	case "LAME", "Lavf", "Lavc":
		v.Gaps = &Gaps{Delay: int(lame[21])<<4 | int(lame[22])>>4, Padding: int(lame[22]&0xf)<<8 | int(lame[23])}
	}
	return v, nil
}
