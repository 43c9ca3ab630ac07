package container

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
)

// riffHeader reads the header of a chunk (Microsoft, RIFF; Apple, AIFF 1.3): an id of four bytes, and the length of
// what follows.
const riffHeader = 8

// riffComplete looks for the end of the last chunk of a RIFF or FORM file. Only an AVI has several (OpenDML AVI File
// Format Extensions 1.02, section 2.0). A live writer leaves the length open.
func (f *File) riffComplete(order binary.ByteOrder) error {
	const open = 1<<32 - 1 - riffHeader
	var end int64
	for end == 0 || end < f.size {
		b, err := f.read(end, riffHeader)
		if err != nil {
			return err
		}
		if len(b) < riffHeader || end > 0 && string(b[:4]) != "RIFF" {
			break
		}
		size := order.Uint32(b[4:])
		if size >= open {
			return nil
		}
		end += riffHeader + int64(size)
	}
	return f.endsAt(end)
}

// riffChunk scans the chunks of a RIFF or FORM file up to its sound.
func riffChunk(order binary.ByteOrder, sound string) scanner {
	return func(_ int64, b []byte) (element, bool) {
		if len(b) < 12 || string(b[:4]) == sound {
			return element{}, false
		}
		if id := string(b[:4]); id == "RIFF" || id == "RF64" || id == "BW64" || id == "FORM" {
			return element{size: 12}, true
		}
		return element{size: paddedChunk(order.Uint32(b[4:])), holds: keeps}, true
	}
}

// paddedChunk is the length of a chunk with header and padding.
func paddedChunk(size uint32) int64 { return riffHeader + int64(size) + int64(size&1) }

const (
	aviSampleSize = riffHeader + 48 // end of the size of a sample in the header of a stream (AVISTREAMHEADER)
	waveBlock     = 14              // end of the size of a block in a WAVEFORMAT
)

// onePacket knows the numbers that AAC and MP3 have in a WAVEFORMAT.
func onePacket(tag uint16) bool {
	return tag == 0x0050 || tag == 0x0055 || tag == 0x00ff || tag == 0x706d || tag >= 0x1600 && tag <= 0x1602
}

// aviChunk scans all lists (Microsoft, AVI RIFF File Reference). Chunks of pictures are masked when they are too large,
// those of sound never. Where a chunk should begin and does not, ffmpeg goes on to the next one without a word. Of AAC
// and MP3 it takes an empty chunk for no time, unless the size of a block is not told.
func (f *File) aviChunk(errs *atomic.Int64) scanner {
	var end int64
	packets := false // the last header of a stream was of sound of which each chunk is a packet
	f.Empty.Store(0)
	return func(at int64, b []byte) (element, bool) {
		if len(b) < 12 {
			return element{}, false
		}
		e := element{size: paddedChunk(binary.LittleEndian.Uint32(b[4:])), holds: keeps, mask: []byte("JUNK")}
		id := string(b[:4])
		switch stream := id[:2] >= "00" && id[:2] <= "99"; {
		case id == "RIFF":
			end = at + e.size
			return element{size: 12}, true
		case id == "LIST":
			return element{size: 12}, true
		case stream && id[2:] == "wb":
			if e.holds = passes; e.size == riffHeader {
				f.Empty.Add(1)
			}
		case id == "strh" && len(b) >= aviSampleSize:
			packets = string(b[8:12]) == "auds" && binary.LittleEndian.Uint32(b[aviSampleSize-4:]) == 0
		case id == "strf" && packets && len(b) >= riffHeader+waveBlock &&
			onePacket(binary.LittleEndian.Uint16(b[riffHeader:])):
			mask := append(bytes.Clone(b[:riffHeader+waveBlock-2]), 0, 0)
			return element{size: e.size, holds: refuses, mask: mask}, true
		case stream:
			e.holds = loads
		case id[0] < ' ' || id[0] > '~':
			if at < end {
				errs.Add(1)
			}
			return element{}, false
		}
		return e, true
	}
}
