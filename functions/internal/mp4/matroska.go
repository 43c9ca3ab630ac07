package mp4

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"math"
	"sync/atomic"
	"time"
)

// Stream writes the sound as Matroska (RFC 9559), a frame at a time: its reader needs no table of them, and so no more
// memory for a long sound than for a short one. Frames and times are the same as in the file of [Audio.WriteFile].
type Stream struct {
	// Preroll is how much of the sound is written before what is to be heard, because a decoder needs it.
	Preroll time.Duration

	codec      codec
	timescale  uint32
	layout     layout
	times      times
	begin, end uint64        // samples between these times are written, and the one around each edge
	fragments  *fragments    // whose samples follow; nil when there are none
	last       time.Duration // see Audio.Last

	silent atomic.Int64 // see Silent
}

// Silent is how much of [Audio.Duration] no sound was found for, as far as the file has been written at any time:
// pauses, and what only overlaps the sound in front of it.
func (s *Stream) Silent() time.Duration { return time.Duration(s.silent.Load()) }

// Cut tells whether the fragments that were read so far have shown that the end of the file is missing.
func (s *Stream) Cut() bool { return s.fragments != nil && s.fragments.cut.Load() }

// blockSamples is how many samples are a block of Matroska: one, or where all are alike and small about as many as
// ffmpeg takes of an MP4.
func (s *Stream) blockSamples() uint64 {
	const most = 1024
	switch packet := s.layout.packet; {
	case s.codec.bits > 0:
		return most
	case packet.samples > 1:
		return max(1, most/packet.samples) * packet.samples
	}
	return 1
}

// stream is nil where Matroska cannot say the same.
func (a *Audio) stream(r io.ReaderAt, movieScale uint32, layer int, ts times, f *fragments) (*Stream, error) {
	s := &Stream{timescale: a.track.timescale, layout: a.layout, times: ts, end: math.MaxUint64, fragments: f}
	var ok bool
	if s.codec, ok = codecOf(a.track.description(), layer); !ok || s.timescale == 0 || s.codec.rate == 0 {
		return nil, nil
	}
	if s.codec.bits > 0 && s.codec.channels > 2 {
		return nil, nil // Matroska does not say which channels those of PCM are
	}
	var from, exact uint64
	if a.layout.samples > 0 {
		var length uint64
		from, length, ok = a.track.edit(movieScale)
		_, shifted := a.track.fileBox("ctts")
		if !ok || shifted || !ts.plain || ts.samples < a.layout.samples || s.codec.rate != s.timescale &&
			s.codec.core != s.timescale || from >= ts.sum {
			return nil, nil
		}
		if g := a.track.gapless; g.length > 0 && s.codec.id == "A_AAC" && from == 0 && length == math.MaxUint64 &&
			uint64(s.timescale) == uint64(s.codec.rate) && g.from+g.length <= ts.sum {
			from, length = g.from, g.length
			exact = from + length
		}
		if length < s.end-from {
			s.end = from + length
		}
		if s.codec.id == "A_OPUS" && s.end+uint64(s.timescale)/500 > ts.sum && f == nil {
			exact = ts.sum // the last packet does not last as long as what it holds
		}
	}
	// A second is enough for any decoder, and as much as ffmpeg takes.
	if from > uint64(s.timescale) {
		s.begin = from - uint64(s.timescale)
	}
	var first uint64
	began := false
	for f, err := range s.frames(r) {
		if err != nil {
			return nil, err
		}
		if !began {
			began, first = true, f.at
		}
		if s.codec.id == "A_VORBIS" && f.at < from {
			continue // ffmpeg leaves out whole frames of it
		}
		delay := scaled(s.codec.delay, s.codec.rate)
		s.Preroll = delay
		if from > 0 {
			s.Preroll = scaled(max(from, f.at)-first, s.timescale)
		}
		if s.Preroll < delay {
			return nil, nil // an edit list may not have the decoder leave out less
		}
		if exact > 0 {
			s.last = scaled(exact-first, s.timescale)
		}
		return s, nil
	}
	return nil, nil
}

// edit is the one part of the track that is heard, in its time: all when there is no edit list, and simple is false
// where there are several.
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
	unheard    bool // it is for the decoder only
}

// frames iterates over the frames to write, and ends with an error of the reader, or of the fragments, if there is one.
func (s *Stream) frames(r io.ReaderAt) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		last := int64(-1)
		for f, err := range s.indexed(r) {
			if !yield(f, err) || err != nil {
				return
			}
			last = int64(f.at)
		}
		if s.fragments == nil {
			return
		}
		for f, err := range s.fragments.frames(r, int64(s.times.sum), last) {
			if !yield(f, err) {
				return
			}
		}
	}
}

// indexed iterates over the frames that the index tells of.
func (s *Stream) indexed(r io.ReaderAt) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		clock := s.times.clock(r)
		for p, err := range s.layout.sampleRuns(r, s.blockSamples()) {
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
	blockGroup     = 0xa0
	block          = 0xa1
	discardPadding = 0x75a2
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
	var padding int64
	var silent pauses
	for f, err := range s.frames(r) {
		if err != nil {
			return err
		}
		if !silent.began {
			origin = f.at
		}
		silent.add(f, s.longest())
		if d := scaled(silent.sum, s.timescale); d > s.Silent() {
			s.silent.Store(int64(d))
		}
		switch {
		case f.unheard:
			padding = s.allPadding()
		case padding < 0:
			padding = noPadding
		default:
			padding = 0
		}
		b = appendCluster(b[:0], nanoseconds(max(f.at, origin)-origin, s.timescale), f.len, padding)
		_, _ = out.Write(b)
		if err := copyRange(out, r, f.off, f.len, buf); err != nil {
			return err
		}
		if padding != 0 {
			_, _ = out.Write(appendUint(b[:0], discardPadding, uint64(padding)))
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write sound: %w", err)
	}
	return nil
}

// pauses adds up the time in which there is no sound.
type pauses struct {
	began bool
	end   uint64 // of the sound so far
	sum   uint64
}

// add adds what is in front of a frame, or that frame when it is not heard. One that claims to last clearly longer than
// the longest is followed by a pause.
func (p *pauses) add(f frame, longest uint64) {
	if p.began && f.at > p.end {
		p.sum += f.at - p.end
	}
	if f.unheard {
		p.sum += f.length
	}
	p.began, p.end = true, f.at+f.length
	if longest > 0 && f.length > longest+longest/2 {
		p.end = f.at + longest
	}
}

// longest is how long a frame lasts at most, in the track's time; 0 when that is not known.
func (s *Stream) longest() uint64 { return s.codec.frame * uint64(s.timescale) / uint64(s.codec.rate) }

// noPadding is said of a frame behind one that is not heard, because ffmpeg leaves out what is said of the beginning of
// a frame beyond its end too, until another block says anything. It is less than a sample, in nanoseconds.
const noPadding = 1

// allPadding is said of a frame that is not heard, in nanoseconds; below 0 it is at the beginning of the frame.
func (s *Stream) allPadding() int64 {
	if s.codec.id == "A_AC3" || s.codec.id == "A_EAC3" {
		// Their parser is a frame late: what is said beyond one would take that for another.
		return -int64(nanoseconds(s.codec.frame, s.codec.rate))
	}
	return -60e9 // more than a frame lasts
}

// appendCluster begins a cluster with one frame, up to its bytes; behind them its padding is still to come, if it is
// not 0.
func appendCluster(b []byte, at uint64, size, padding int64) []byte {
	const in, head, number = 4, 1 + 8, 1 + 8 +
		8 // bytes of a block in front of its frame, in front of an element, and of a number
	length := in + uint64(size)
	if padding == 0 {
		b = appendUint(appendHead(b, cluster, number+head+length), timestamp, at)
		return append(appendHead(b, simpleBlock, length), 0x81, 0, 0, 0x80)
	}
	group := head + length + number + 1 // the last has a longer name
	b = appendUint(appendHead(b, cluster, number+head+group), timestamp, at)
	return append(appendHead(appendHead(b, blockGroup, group), block, length), 0x81, 0, 0, 0)
}

// nanoseconds turns ticks of 1/timescale seconds into the nearest.
func nanoseconds(n uint64, timescale uint32) uint64 {
	t := uint64(timescale)
	return n/t*1e9 + (n%t*1e9+t/2)/t
}

// head is what is in front of the frames. Times are in nanoseconds: other than milliseconds, which are usual, these
// tell the samples apart.
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
