package convert

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// variable reports whether the packets of a CAF file are not all of one size, so that a table of them is needed (Apple Core Audio
// Format Specification 1.0, audio description chunk).
func variable(head []byte) bool {
	const bytesPerPacket, framesPerPacket = 36, 40
	return len(head) < framesPerPacket+4 || binary.BigEndian.Uint32(head[bytesPerPacket:]) == 0 || binary.BigEndian.Uint32(head[framesPerPacket:]) == 0
}

// chunk is a part of a file.
type chunk struct{ off, size int64 }

// cafChunks finds what ffmpeg reads of a CAF file, and puts it into the order in which that can be read from a pipe: the sound comes
// last. Its table of packets follows it in many files.
func cafChunks(s *source) (chunks []chunk, err error) {
	const fileHeader, header = 8, 12
	chunks = []chunk{{0, fileHeader}}
	var sound []chunk
	for off := int64(fileHeader); off < s.size; {
		b, err := s.read(off, header)
		if err != nil {
			return nil, err
		}
		if len(b) < header {
			return nil, truncated(errors.New("caf ends within the header of a chunk"))
		}
		c := chunk{off, int64(binary.BigEndian.Uint64(b[4:]))}
		id := string(b[:4])
		switch left := s.size - off - header; {
		case id == "data" && c.size == -1:
			c.size = left
		case c.size < 0 || c.size > left:
			return nil, truncated(errors.New("caf ends within a chunk"))
		}
		c.size += header
		switch {
		case id == "data":
			sound = append(sound, c)
		case slices.Contains([]string{"desc", "chan", "kuki", "pakt"}, id), id == "info" && c.size <= maxBallast:
			chunks = append(chunks, c)
		}
		if len(chunks) > maxChunks {
			return nil, unsupported(errors.New("caf has too many chunks"))
		}
		off += c.size
	}
	return append(chunks, sound...), nil
}

// maxChunks bounds those of a CAF, of which there are seldom more than one of a kind.
const maxChunks = 64

func inOrder(s *source, chunks []chunk) io.Reader {
	var rs []io.Reader
	for _, c := range chunks {
		rs = append(rs, io.NewSectionReader(s, c.off, c.size))
	}
	return io.MultiReader(rs...)
}
