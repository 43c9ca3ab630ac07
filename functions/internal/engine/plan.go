package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/container"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
	"github.com/soundstrip/soundstrip/functions/internal/mp4"
)

// The ways of a file through the engine.
const (
	PlanIndex = "mp4-index" // the sound is picked out of an MP4 by its index, and encoded
	PlanPipe  = "pipe"      // the file is fed as it is
	PlanFile  = "file"      // the file is copied first, because its demuxer must seek
	PlanCopy  = "copy"      // the sound is MP3 already and taken as it is
)

// plan is how a file is to be read, and what it says about itself.
type plan struct {
	name     string
	input    ffmpeg.Input
	stream   int           // index of the sound in the input
	begin    time.Duration // of the sound, in the video's time
	end      time.Duration // in the same; 0 when not known
	video    time.Duration // how long the video is; 0 when not known
	delay    time.Duration // of ffmpeg's time, which begins with the first stream fed to it, after the file's
	preroll  time.Duration // of sound that a decoder needs and nobody is to hear, at the beginning
	last     time.Duration // where the sound ends, to the sample, in ffmpeg's time; 0 when that is the end of what is fed
	timed    bool          // the container tells when each packet is to be heard
	rate     int           // samples a second; 0 when not known
	channels int           // 0 when not known
	layout   string        // of them, by ffmpeg's name; empty when nobody says it
	float    bool          // the samples are floating-point numbers as they are in the file, which may be none
	mp3      bool          // the sound is MP3 already
	gaps     *mp3.Gaps     // of that MP3, where its first frame tells them
	skip     time.Duration // at the beginning of that MP3, where its container's edit list tells it
	tag      mp3.Tag

	src     *source
	partial bool            // what is there of the video is to be taken although its end is missing
	file    *container.File // fed by a pipe
	index   *mp4.Audio      // fed by its index
	framing *mp4.Framing    // of fragments that are fed as they are; nil where nothing is fed so
	abrupt  bool            // the end is missing, as far as that is known before it is fed
	errs    atomic.Int64    // damage that was met
	copy    *os.File        // that the file was copied to
}

func (p *plan) close() {
	if p.copy != nil {
		_ = p.copy.Close() // it has no name, so that it goes with this
	}
}

// plan reads the container, for the n-th of the tracks of sound that may be meant. ffmpeg is asked only about what the
// index of an MP4 does not tell. The error is errNoTrack where there is no n-th.
func (e *Engine) plan(ctx context.Context, src *source, o eventing.Options, n int) (*plan, error) {
	file, err := container.Open(src, src.size)
	if errors.Is(err, container.ErrUnknown) && src.size == 0 {
		return nil, permanent(nil, NotMedia, "the file is empty: upload it again")
	}
	if err != nil {
		return nil, err
	}
	p := &plan{src: src, partial: o.Partial}
	if file.Format == container.MOV {
		return e.planMP4(ctx, p, o, n)
	}
	file.Partial = o.Partial
	switch err := file.Complete(); {
	case errors.Is(err, container.ErrAbrupt), errors.Is(err, container.ErrTruncated) && o.Partial:
		p.abrupt = true
	case err != nil:
		return nil, err
	}
	p.file = file
	return e.planPipe(ctx, p, o, n)
}

var errNoTrack = errors.New("no other track of sound")

func (e *Engine) planPipe(ctx context.Context, p *plan, o eventing.Options, n int) (*plan, error) {
	p.name = PlanPipe
	p.input = ffmpeg.Input{Demuxers: p.file.Format, Feed: p.feedFile}
	if err := e.probe(ctx, p, o, n); err != nil {
		return nil, err
	}
	p.timed = p.file.Timed()
	switch p.file.Format {
	case container.MPEGTS, container.MPEGPS, container.Ogg:
		p.delay += p.begin // of containers whose times may jump, ffmpeg begins with the stream that is taken
	case container.AVI:
		p.end = max(0, p.end-p.begin) // counts from the beginning of the file
	case container.ASF, container.FLV:
		p.end = 0 // was that of the whole
	}
	switch p.file.Format {
	case container.MP3:
		first, err := p.file.VBRHeader()
		p.gaps = first.Gaps
		return p, err
	case container.Matroska, container.AVI, container.ASF, container.CAF:
		p.input.Errors = &p.errs
	}
	from, length, err := p.file.Window()
	if err == nil && length > 0 && p.rate > 0 {
		samples := func(n int64) time.Duration { return time.Duration(float64(n) / float64(p.rate) * float64(time.Second)) }
		p.preroll, p.last, p.end = samples(from), samples(from+length), samples(length)
		p.delay -= p.preroll
	}
	if err != nil {
		return nil, err
	}
	chapters, err := p.file.Chapters()
	if len(chapters) > len(p.tag.Chapters) {
		p.tag.Chapters = nil
		for _, c := range chapters {
			p.tag.Chapters = append(p.tag.Chapters, mp3.Chapter(c))
		}
	}
	return p, err
}

func (e *Engine) planMP4(ctx context.Context, p *plan, o eventing.Options, n int) (*plan, error) {
	var chosen error
	choice := func(tracks []mp4.Track) int {
		var all []track
		for i, t := range tracks {
			all = append(all, track{index: i, codec: t.Codec, language: t.Language, title: t.Title, dead: t.Dead(),
				standard: t.Enabled, aside: t.Aside})
		}
		var i int
		if i, chosen = nth(all, o.Track, n); chosen != nil {
			return -1
		}
		return i
	}
	x, err := mp4.ReadTrack(p.src, p.src.size, choice, o.Partial)
	switch {
	case errors.Is(err, mp4.ErrUnsupported):
		return e.planTemporary(ctx, p, o, n)
	case err != nil:
		return nil, err
	case chosen != nil:
		return nil, chosen
	}
	p.name, p.index, p.timed = PlanIndex, x.Audio, true
	p.begin, p.video, p.delay = x.Audio.Delay, x.Duration, x.Audio.Delay
	if x.Audio.Duration > 0 {
		p.end = p.begin + x.Audio.Duration
	}
	p.rate, p.channels, p.last = x.Audio.Rate, x.Audio.Channels, x.Audio.Last
	p.mp3, p.skip, p.abrupt = x.Audio.MP3, x.Audio.Skip, x.Audio.Cut
	p.float = slices.Contains([]string{"fl32", "fl64", "lpcm"}, x.Audio.Codec)
	p.tag = mp3.Tag{Title: x.Tags.Title, Artist: x.Tags.Artist, Album: x.Tags.Album, Date: x.Tags.Date,
		Cover: x.Tags.Cover, Others: x.Tags.Others()}
	for _, c := range x.Chapters {
		p.tag.Chapters = append(p.tag.Chapters, mp3.Chapter(c))
	}
	switch {
	case x.Audio.Stream != nil:
		p.preroll = x.Audio.Stream.Preroll
		p.delay -= p.preroll
		p.input = ffmpeg.Input{Demuxers: container.Matroska, Feed: p.feedStream}
	case !x.Fragmented:
		p.input = ffmpeg.Input{Demuxers: container.MOV, Feed: p.feedIndex}
	default:
		p.name, p.index, p.framing = PlanPipe, nil, new(mp4.Framing)
		p.input = ffmpeg.Input{Demuxers: container.MOV, Feed: p.feedFragments}
		if err := e.probe(ctx, p, o, n); err != nil {
			return nil, err
		}
		p.end, p.video = 0, 0 // they were those of the fragments that ffprobe looked at
	}
	p.input.Errors = &p.errs
	if p.index != nil && p.channels == 0 && !p.mp3 {
		return p, e.describe(ctx, p)
	}
	return p, nil
}

// describe asks ffprobe about the sound of an MP4 where the index does not surely tell its channels.
func (e *Engine) describe(ctx context.Context, p *plan) error {
	m, err := e.tool.Probe(ctx, p.input)
	if err == nil && len(m.Audio) > 0 {
		p.rate, p.channels, p.layout = m.Audio[0].Rate, m.Audio[0].Channels, m.Audio[0].Layout
	}
	if exit := (*ffmpeg.ExitError)(nil); errors.As(err, &exit) && !exit.Killed {
		return nil // the run that is to come tells why
	}
	return err
}

// maxTemporary bounds a file that is copied, in bytes.
const maxTemporary = 2 << 30

// planTemporary copies an MP4, because its demuxer must seek. The copy has no name from the start, so that nothing
// finds it and nothing of it stays, whatever dies.
func (e *Engine) planTemporary(ctx context.Context, p *plan, o eventing.Options, n int) (*plan, error) {
	if p.src.size > maxTemporary {
		return nil, permanent(nil, Unsupported,
			"the video has an index that cannot be read at this size: save it as MP4 first")
	}
	file, err := os.CreateTemp("", "soundstrip-")
	if err != nil {
		return nil, fmt.Errorf("copy the video: %w", err)
	}
	p.name, p.copy, p.timed = PlanFile, file, true
	p.input = ffmpeg.Input{Demuxers: container.MOV, File: file}
	if err = errors.Join(os.Remove(file.Name()), p.src.feed(file)); err == nil {
		err = e.probe(ctx, p, o, n)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// feedFile feeds ffmpeg with the file.
func (p *plan) feedFile(w io.Writer) error {
	r, err := p.file.Sound(&p.errs)
	if err != nil {
		return err
	}
	return copyAll(w, r)
}

// feedStream feeds ffmpeg with the sound of an MP4, as Matroska.
func (p *plan) feedStream(w io.Writer) error { return p.index.Stream.WriteFile(w, p.src) }

// feedIndex feeds ffmpeg with the sound of an MP4 that Matroska cannot hold, as an MP4 whose index comes first.
func (p *plan) feedIndex(w io.Writer) error { return p.index.WriteFile(w, p.src) }

// feedFragments feeds ffmpeg with a fragmented MP4 as it is, and looks whether its last box is whole.
func (p *plan) feedFragments(w io.Writer) error {
	*p.framing = mp4.Framing{}
	return p.src.feed(io.MultiWriter(p.framing, w))
}

// cut reports whether the end of the file that was fed is missing.
func (p *plan) cut() bool {
	return p.abrupt || p.framing != nil && !p.framing.Complete() || p.file != nil && p.file.Cut.Load() ||
		p.index != nil && p.index.Stream != nil && p.index.Stream.Cut()
}

// damaged reports whether ffmpeg met errors. It takes an empty chunk of AVI for one.
func (p *plan) damaged() bool {
	n := p.errs.Load()
	if p.file != nil {
		n -= p.file.Empty.Load()
	}
	return n > 0
}

// pauses is how much of the sound the index has said to be missing.
func (p *plan) pauses() time.Duration {
	if p.index != nil && p.index.Stream != nil {
		return p.index.Stream.Silent()
	}
	return 0
}

// nth gives the place of the n-th track to try.
func nth(all []track, wanted string, n int) (int, error) {
	chosen, err := choose(all, wanted)
	switch {
	case err != nil:
		return 0, err
	case n >= len(chosen):
		return 0, errNoTrack
	}
	return chosen[n].index, nil
}

// probe asks ffprobe what is in the input, and picks the n-th track to try.
func (e *Engine) probe(ctx context.Context, p *plan, o eventing.Options, n int) error {
	m, err := e.tool.Probe(ctx, p.input)
	if err != nil {
		return err
	}
	var all []track
	for i, a := range m.Audio {
		all = append(all, track{index: i, codec: a.Codec, language: a.Language, title: a.Title,
			dead: a.Codec == "" || a.Codec == "unknown" || a.Rate == 0, standard: a.Default, aside: a.Aside})
	}
	i, err := nth(all, o.Track, n)
	if err != nil {
		return err
	}
	a := m.Audio[i]
	switch a.Codec {
	case "tta":
		if p.input.Demuxers == container.Matroska {
			// ffmpeg takes the number of samples for that of whole milliseconds, and then cannot decode the last of them, up to
			// a second.
			return permanent(nil, Unsupported,
				"the sound is TTA, which cannot be read to its end from Matroska: save the video with FLAC first")
		}
	case "speex":
		// FFmpeg 7.1's own decoder doubles a wideband frame's length that the header tells, as Ogg's does, and fills the
		// frame up with noise (parse_speex_extradata in libavcodec/speexdec.c). Distributions build it with libspeex, too.
		long, err := e.tool.Overlong(ctx, p.input, &a)
		if err != nil {
			return err
		}
		if long {
			p.input.Decoder = "libspeex"
		}
	case "mp3":
		p.mp3 = true
	case "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be":
		p.float = true
	}
	p.stream, p.begin, p.end, p.video, p.delay = a.Index, a.Begin, a.End, m.Duration, min(0, m.Start)
	p.rate, p.channels, p.layout = a.Rate, a.Channels, a.Layout
	p.tag = mp3.Tag{Title: m.Title, Artist: m.Artist, Album: m.Album, Date: m.Date,
		Others: m.Others, All: p.file != nil && p.file.Format == container.MP3}
	for _, c := range m.Chapters {
		p.tag.Chapters = append(p.tag.Chapters, mp3.Chapter(c))
	}
	if m.Picture < 0 {
		return nil
	}
	p.tag.Cover, err = e.tool.Picture(ctx, p.input, m.Picture, maxCover)
	if exit := (*ffmpeg.ExitError)(nil); errors.As(err, &exit) && !exit.Killed {
		return nil // a picture that cannot be read is no reason to fail
	}
	return err
}

// source is the file. An error of reading it says nothing about what is in it.
type source struct {
	io.ReaderAt
	size int64 // bytes
}

// ReadAt reads within the file.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(p, off)
	if n < len(p) && off+int64(n) < s.size {
		return n, StorageFailure(fmt.Errorf("read the video at %d: %w", off, err))
	}
	return n, err
}

// feed writes the whole file.
func (s *source) feed(w io.Writer) error { return copyAll(w, io.NewSectionReader(s, 0, s.size)) }

// copyAll copies in blocks of a size that a store reads well, whatever else reader and writer can do.
func copyAll(w io.Writer, r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
	return err
}
