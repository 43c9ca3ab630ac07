package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// A long sound can be cut into segments that several encoders take turns in. Each encoder decodes all of it, a small part of
// the work, and so gets its samples to the bit as the only encoder would have, from any container. It does not begin anew with
// each segment: it hears the end of the one before, until nothing is left in it of what it heard earlier, and the beginning of
// the next one, which is where the frames of both are joined.
//
// All lengths are in blocks of [ffmpeg.BlockSamples]. They are multiples of cycle, after which LAME's pattern of longer and
// shorter frames repeats itself at 44.1, 22.05 and 11.025 kHz; at other rates it has none.
const (
	cycle  = 49
	warmUp = cycle
	// agreed is how long both encoders of a seam must say the same before it. They never did for longer than 11 blocks before
	// they had come to one state. What they know of the loudness takes 95 frames at most to be forgotten.
	agreed = cycle
	// The last frames of an overlap already know of what comes after it.
	blurred = 4
)

// overlap is how long both encoders of a seam are at work behind it, with segments of that length.
//
// At a variable bitrate they say the same after 4 blocks. At a constant one they do from where their bit reservoirs came to be alike
// by chance, the later the fewer bits there are: of 18,000 starts (speech, music, beats, noise) none took longer than 923 blocks below
// 128 kbit/s, and 318 from there on. Each cycle more leaves about two thirds of those that took the longest, or fewer, so that less than one
// hour of 400 is to have a seam where this is too short.
func overlap(e ffmpeg.Encoding, length int64) int64 {
	return min(most(e), length-warmUp) // the next seam comes after it
}

// most is the overlap of segments that are long enough.
func most(e ffmpeg.Encoding) int64 {
	switch {
	case e.Bitrate == 0:
		return 3 * cycle
	case e.Bitrate < 128:
		return 28 * cycle
	}
	return 14 * cycle
}

// segmentOf is how long a segment is when n encoders share a sound: two minutes or more, but no longer than an equal share.
func segmentOf(e ffmpeg.Encoding, whole time.Duration, n int) int64 {
	const typical = 48000 // samples a second
	return max(3*most(e), min(segmentLength(whole, typical, n), max(100*cycle, 10*most(e))))
}

const (
	// longEnough is the length of sound from which the time won is worth the work added.
	longEnough = 10 * time.Minute
	// maxAuto is how many encoders share a sound when nobody said how many: each decodes all of it, and so adds less than the
	// one before.
	maxAuto = 4
	// maxHeld bounds the frames in memory that wait for those in front of them, in bytes.
	maxHeld = 16 << 20
)

// worthSharing tells whether it is worth it to share a sound. One of unknown length, or in a file that is laid down, is not
// shared.
func (s sound) worthSharing() bool {
	return !s.Copy && s.plan.input.Feed != nil && s.expected >= longEnough
}

// encoders tells how many encoders are to share the sound; done must be called when they have ended.
func (f *FFmpeg) encoders(s sound) (n int, done func()) {
	n = 1
	others := int(f.busy.Add(1)) - 1
	if s.worthSharing() {
		n = f.cfg.Segments.encoders(runtime.GOMAXPROCS(0), others)
	}
	f.busy.Add(int64(n - 1))
	return n, func() { f.busy.Add(int64(-n)) }
}

// encoders tells how many encoders may share a sound on so many cores, when so many others are at work already.
func (s Segments) encoders(cores, others int) int {
	switch {
	case s != AutoSegments:
		return max(1, int(s))
	case cores <= 2:
		return 1
	}
	return max(1, min(cores-others, maxAuto))
}

// encode makes the MP3 with so many encoders.
func (f *FFmpeg) encode(ctx context.Context, s sound, encoders int, out func(io.Reader) error) (samples int64, err error) {
	if encoders > 1 {
		return f.encodeSegments(ctx, s.plan.input, s.Encoding, encoders, segmentOf(s.Encoding, s.expected, encoders), out)
	}
	return f.tool.Encode(ctx, s.plan.input, s.Encoding, out)
}

// segments are the frames of several encoders put in order.
type segments struct {
	encoders []*encoder
	length   int64 // of a segment, in blocks
	limit    ffmpeg.Encoding
	alone    func() *encoder // starts one that makes the whole; nil where there is none

	current int64 // number of the segment
	next    int64 // the next frame to read of it, counted in the whole
	last    bool  // it goes on to the end
	packer  mp3.Packer
	pending bytes.Buffer
	ended   bool
	cut     bool // by the limit

	bytes, samples int64
}

// encoder is one that gets a part of the sound.
type encoder struct {
	part    ffmpeg.Part
	blocks  chan []byte // of what it writes
	block   []byte      // the rest of the current one
	frames  *mp3.Reader
	apart   mp3.Unpacker
	read    int64 // how many were
	header  mp3.Header
	samples int64 // what it encoded
	err     error
}

// encodeSegments is [ffmpeg.Tool.Encode] with n encoders at once and segments of the given length. Where two of them do not come to
// say the same, one makes it all anew.
func (f *FFmpeg) encodeSegments(ctx context.Context, in ffmpeg.Input, e ffmpeg.Encoding, n int, length int64, out func(io.Reader) error) (int64, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	sharing, stopSharing := context.WithCancel(running)
	defer stopSharing()
	s := &segments{length: length, limit: e}
	var wg sync.WaitGroup
	const block = 64 << 10
	start := func(ctx context.Context, share ffmpeg.Encoding, failed func()) *encoder {
		x := newEncoder(share)
		x.blocks = make(chan []byte, maxHeld/block/n)
		x.frames = mp3.NewReader(x)
		wg.Go(func() {
			defer close(x.blocks)
			x.samples, x.err = f.tool.Encode(ctx, in, share, func(r io.Reader) error { return x.hold(ctx, r, block) })
			if x.err != nil {
				failed()
			}
		})
		return x
	}
	for i := range n {
		share, part := e, partOf(i, n, length, e)
		share.Part = &part
		s.encoders = append(s.encoders, start(sharing, share, stopSharing))
	}
	s.alone = func() *encoder {
		slog.InfoContext(ctx, "encoders do not agree: one makes it all")
		stopSharing()
		s.drain()
		return start(running, e, stop)
	}
	err := out(s)
	if err != nil || s.cut {
		stop()
	}
	s.drain()
	wg.Wait()
	failed, stopped := s.failures()
	switch {
	case failed != nil:
		return 0, failed
	case ctx.Err() != nil && stopped != nil:
		return 0, stopped
	case err != nil || s.cut:
		return 0, err
	}
	return s.total()
}

func newEncoder(e ffmpeg.Encoding) *encoder {
	x := &encoder{apart: mp3.Unpacker{Variable: e.Bitrate == 0}}
	if e.Part != nil {
		x.part = *e.Part
	}
	return x
}

// drain reads what encoders write to its end, which tells whether all went well.
func (s *segments) drain() {
	for _, x := range s.encoders {
		for range x.blocks {
		}
	}
}

// partOf is what encoder i of n gets.
func partOf(i, n int, length int64, e ffmpeg.Encoding) ffmpeg.Part {
	return ffmpeg.Part{First: int64(i)*length - warmUp, Length: warmUp + length + overlap(e, length), Period: int64(n) * length}
}

// failures tells what befell an encoder by itself, and how the others were stopped. Of these one that was busy comes first: the
// others waited for it.
func (s *segments) failures() (failed, stopped error) {
	for _, x := range s.encoders {
		e := (*ffmpeg.Stopped)(nil)
		switch {
		case x.err != nil && !errors.As(x.err, &e):
			failed = x.err
		case e != nil && (stopped == nil || e.Busy):
			stopped = e
		}
	}
	return failed, stopped
}

// total tells how many samples were encoded, those heard twice counted once. Each encoder must have got its part of them.
func (s *segments) total() (int64, error) {
	last := s.encoder(s.current)
	if last.samples == 0 {
		return 0, nil // ffmpeg did not say
	}
	whole := last.samples + last.part.Shift(s.current/int64(len(s.encoders)))*ffmpeg.BlockSamples
	for i, x := range s.encoders {
		if want := x.part.Samples(whole); x.samples != want {
			return 0, fmt.Errorf("encoder %d got %d samples, want %d of %d", i, x.samples, want, whole)
		}
	}
	return whole, nil
}

// hold keeps what ffmpeg writes until it is read; when that is too much, ffmpeg has to wait.
func (x *encoder) hold(ctx context.Context, r io.Reader, size int) error {
	for {
		b := make([]byte, size)
		n, err := io.ReadFull(r, b)
		select {
		case x.blocks <- b[:n]:
		case <-ctx.Done():
			return nil // the run tells why
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Read gives what is held.
func (x *encoder) Read(p []byte) (int, error) {
	for len(x.block) == 0 {
		b, ok := <-x.blocks
		if !ok {
			return 0, io.EOF
		}
		x.block = b
	}
	n := copy(p, x.block)
	x.block = x.block[n:]
	return n, nil
}

// frame gives the next frame.
func (x *encoder) frame() (mp3.Frame, error) {
	h, b, err := x.frames.Next()
	if x.frames.Skipped > 0 {
		return mp3.Frame{}, errors.New("ffmpeg wrote bytes that are no frames")
	}
	if err != nil {
		return mp3.Frame{}, err
	}
	x.header = h
	x.read++
	return x.apart.Unpack(h, b)
}

// Read gives the frames of the whole.
func (s *segments) Read(p []byte) (int, error) {
	for s.pending.Len() == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if err := s.advance(); err != nil {
			return 0, err
		}
	}
	return s.pending.Read(p)
}

// encoder is the one of a segment.
func (s *segments) encoder(number int64) *encoder {
	return s.encoders[number%int64(len(s.encoders))]
}

// advance takes the next frames of the current segment, or goes to the next one.
func (s *segments) advance() error {
	x := s.encoder(s.current)
	if !s.last && x.part.Length > 0 && x.read > 0 && s.next == s.frames(x, (s.current+1)*s.length) {
		return s.turn()
	}
	f, err := x.frame()
	if errors.Is(err, io.EOF) {
		s.put(s.packer.Flush())
		s.ended = true
		return nil
	}
	if err != nil {
		return err
	}
	return s.give(f)
}

// frames is how many frames blocks are.
func (s *segments) frames(x *encoder, blocks int64) int64 {
	return blocks * int64(ffmpeg.BlockSamples/x.header.Samples)
}

// give gives frames.
func (s *segments) give(frames ...mp3.Frame) error {
	for _, f := range frames {
		done, err := s.packer.Pack(f)
		if err != nil {
			return err
		}
		s.next++
		s.put(done)
	}
	return nil
}

// put lets frames be read, as long as the limits are not reached.
func (s *segments) put(frames [][]byte) {
	for _, frame := range frames {
		if s.ended {
			return
		}
		h, _ := mp3.ParseHeader(frame)
		s.pending.Write(frame)
		s.bytes += int64(len(frame))
		s.samples += int64(h.Samples)
		if s.bytes >= s.limit.MaxBytes || s.samples >= int64(s.limit.MaxDuration/time.Second)*int64(h.Rate) {
			s.ended, s.cut = true, true
		}
	}
}

// turn goes from the current segment to the next one, or finds that the sound ends before that is of use.
func (s *segments) turn() error {
	edge := (s.current + 1) * s.length
	to := edge + overlap(s.limit, s.length) - blurred
	a, err := s.take(s.current, edge, to)
	if err != nil {
		return err
	}
	b, err := s.take(s.current+1, edge, to)
	if err != nil {
		return err
	}
	x := s.encoder(s.current)
	if int64(len(b)) < s.frames(x, to-edge) {
		s.last = true
		return s.give(a...)
	}
	at := mp3.Seam(a, b, int(s.frames(x, agreed)))
	if at < 0 {
		return s.fallBack()
	}
	s.current++
	return s.give(slices.Concat(a[:at], b[at:])...)
}

// fallBack has one encoder make all anew, and goes on with what it makes where the others are.
func (s *segments) fallBack() error {
	if s.alone == nil {
		return fmt.Errorf("segment %d: %w", s.current, mp3.ErrSeam)
	}
	x := s.alone()
	for range s.next {
		if _, err := x.frame(); err != nil {
			return err
		}
	}
	s.encoders, s.current, s.last = []*encoder{x}, 0, true
	return nil
}

// take reads the frames of a segment from one block of the whole up to another, fewer at the end of the sound.
func (s *segments) take(number, from, to int64) (frames []mp3.Frame, err error) {
	x := s.encoder(number)
	shift := x.part.Shift(number / int64(len(s.encoders)))
	for {
		f, err := x.frame()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		if x.read > s.frames(x, from-shift) {
			frames = append(frames, f)
		}
		if x.read == s.frames(x, to-shift) {
			return frames, nil
		}
	}
}
