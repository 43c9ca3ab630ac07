package mp4

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"time"
)

// Stream writes the sound as Matroska (RFC 9559), a frame at a time: its reader needs no table of them, and so no more memory for
// a long sound than for a short one. Frames and times are the same as in the file of [Audio.WriteFile].
type Stream struct {
	// Lead is how much of the sound is written before what is to be heard, because a decoder needs it.
	Lead time.Duration

	codec      codec
	timescale  uint32
	layout     layout
	times      times
	begin, end uint64 // what is written of the samples' time: those that begin or end in between, and the one around each edge
}

// pieceSamples is how many samples of PCM are a frame: as many as ffmpeg takes of an MP4, so that the last is the same.
const pieceSamples = 1024

// stream is nil where Matroska cannot say the same.
func (a *Audio) stream(r io.ReaderAt, movieScale uint32, ts times) (*Stream, error) {
	s := &Stream{timescale: a.track.timescale, layout: a.layout, times: ts}
	var ok bool
	s.codec, ok = codecOf(a.track.description(), a.MP3)
	from, length, simple := a.track.edit(movieScale)
	_, shifted := a.track.part("ctts")
	if !ok || s.timescale == 0 || !simple || shifted || !ts.plain || ts.samples < a.layout.samples || s.codec.rate != s.timescale || from >= ts.sum ||
		a.layout.packet.samples > 1 {
		return nil, nil
	}
	s.end = math.MaxUint64
	if length < s.end-from {
		s.end = from + length
	}
	// A second is enough for any decoder, and as much as ffmpeg takes.
	if from > uint64(s.timescale) {
		s.begin = from - uint64(s.timescale)
	}
	for f, err := range s.frames(r) {
		if err != nil {
			return nil, err
		}
		lead := from - f.at
		if from == 0 {
			lead = s.codec.delay
		}
		s.Lead = scaled(lead, s.timescale)
		if lead < s.codec.delay {
			return nil, nil // an edit list may not have the decoder leave out less
		}
		return s, nil
	}
	return nil, nil
}

// edit is the one part of the track that is heard, in its time: all when there is no edit list, and simple is false where there
// are several.
func (t track) edit(movieScale uint32) (from, length uint64, simple bool) {
	n := 0
	length = math.MaxUint64
	t.edits(func(d uint64, at int64) {
		if n == 0 && at == -1 {
			return
		}
		if n++; at < 0 {
			n = 2
		}
		from, length = uint64(at), math.MaxUint64
		if d < 1<<40 && movieScale > 0 {
			length = (d*uint64(t.timescale) + uint64(movieScale)/2) / uint64(movieScale)
		}
	})
	return from, length, n == 0 || n == 1 && length > 0
}

// frame is a piece of the track with its time.
type frame struct {
	off, len   int64
	at, length uint64
}

// frames iterates over the frames to write, and ends with an error of the reader if there is one.
func (s *Stream) frames(r io.ReaderAt) func(func(frame, error) bool) {
	return func(yield func(frame, error) bool) {
		clock := s.times.clock(r)
		most := uint64(1)
		if s.codec.bits > 0 {
			most = pieceSamples
		}
		for p, err := range s.layout.pieces(r, most) {
			f := frame{off: p.off, len: p.len}
			var ok bool
			f.at, f.length, ok = clock.tick(p.samples)
			if err == nil {
				err = clock.c.err
			}
			switch {
			case err != nil:
				yield(f, err)
				return
			case !ok:
				return
			case f.at+f.length <= s.begin:
				continue
			}
			if !yield(f, nil) || f.at+f.length >= s.end {
				return
			}
		}
	}
}

// The elements of Matroska that are written.
const (
	ebml           = 0x1a45dfa3
	docType        = 0x4282
	segment        = 0x18538067
	info           = 0x1549a966
	timestampScale = 0x2ad7b1
	tracks         = 0x1654ae6b
	trackEntry     = 0xae
	trackNumber    = 0xd7
	trackUID       = 0x73c5
	trackType      = 0x83
	codecID        = 0x86
	codecPrivate   = 0x63a2
	audio          = 0xe1
	frequency      = 0xb5
	channels       = 0x9f
	bitDepth       = 0x6264
	cluster        = 0x1f43b675
	timestamp      = 0xe7
	simpleBlock    = 0xa3
)

// unknown is the size of what ends with the file.
const unknown = math.MaxUint64 >> 8

// WriteFile writes the file, from the reader that the index was read from.
func (s *Stream) WriteFile(w io.Writer, r io.ReaderAt) error {
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.Write(s.head())
	buf := make([]byte, 256<<10)
	var b []byte
	var origin uint64
	first := true
	for f, err := range s.frames(r) {
		if err != nil {
			return err
		}
		if first {
			first, origin = false, f.at
		}
		const block = 4 // track, time and flags in front of a frame
		const clock = 1 + 8 + 8
		b = appendHead(b[:0], cluster, clock+1+8+block+uint64(f.len))
		b = appendUint(b, timestamp, nanoseconds(f.at-origin, s.timescale))
		b = appendHead(b, simpleBlock, block+uint64(f.len))
		b = append(b, 0x81, 0, 0, 0x80)
		_, _ = out.Write(b)
		if err := copyRange(out, r, f.off, f.len, buf); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write sound: %w", err)
	}
	return nil
}

// nanoseconds turns ticks of 1/timescale seconds into the nearest.
func nanoseconds(n uint64, timescale uint32) uint64 {
	t := uint64(timescale)
	return n/t*1e9 + (n%t*1e9+t/2)/t
}

// head is what is in front of the frames. Times are in nanoseconds: other than milliseconds, which are usual, these tell the
// samples apart.
func (s *Stream) head() []byte {
	sound := appendHead(nil, frequency, 8)
	sound = be.AppendUint64(sound, math.Float64bits(float64(s.codec.rate)))
	sound = appendUint(sound, channels, uint64(s.codec.channels))
	if s.codec.bits > 0 {
		sound = appendUint(sound, bitDepth, uint64(s.codec.bits))
	}
	entry := appendUint(nil, trackNumber, 1)
	entry = appendUint(entry, trackUID, 1)
	entry = appendUint(entry, trackType, 2)
	entry = appendBytes(entry, codecID, []byte(s.codec.id))
	if len(s.codec.private) > 0 {
		entry = appendBytes(entry, codecPrivate, s.codec.private)
	}
	entry = appendBytes(entry, audio, sound)
	b := appendBytes(nil, ebml, appendBytes(nil, docType, []byte("matroska")))
	b = appendHead(b, segment, unknown)
	b = appendBytes(b, info, appendUint(nil, timestampScale, 1))
	return appendBytes(b, tracks, appendBytes(nil, trackEntry, entry))
}

// appendHead begins an element of the given size (RFC 8794, sections 4 and 5).
func appendHead(b []byte, id uint32, size uint64) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		if id>>shift > 0 {
			b = append(b, byte(id>>shift))
		}
	}
	return be.AppendUint64(b, 1<<56|size)
}

func appendBytes(b []byte, id uint32, body []byte) []byte {
	return append(appendHead(b, id, uint64(len(body))), body...)
}

func appendUint(b []byte, id uint32, v uint64) []byte {
	return be.AppendUint64(appendHead(b, id, 8), v)
}
