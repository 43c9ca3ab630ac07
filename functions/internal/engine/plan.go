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
	duration time.Duration // of the sound; 0 when not known
	delay    time.Duration // of ffmpeg's time, which begins with the first stream fed to it, after the file's
	preroll  time.Duration // of sound that a decoder needs and nobody is to hear, at the beginning
	float    bool          // the samples are floating-point numbers as they are in the file, which may be none
	mp3      bool          // the sound is MP3 already
	gaps     *mp3.Gaps     // of that MP3, where its first frame tells them
	skip     time.Duration // at the beginning of that MP3, where its container's edit list tells it
	tag      mp3.Tag

	src     *source
	file    *container.File // fed by a pipe
	index   *mp4.Audio      // fed by its index
	framing *mp4.Framing    // of fragments that are fed as they are; nil where nothing is fed so
	pauses  bool            // the duration has pauses in it, which ffmpeg leaves out
	errs    atomic.Int64    // damage that was met
	copy    *os.File        // that the file was copied to
}

func (p *plan) close() {
	if p.copy != nil {
		_ = p.copy.Close() // it has no name, so that it goes with this
	}
}

// plan reads the container. ffmpeg is asked only about what the index of an MP4 does not tell.
func (e *Engine) plan(ctx context.Context, src *source) (*plan, error) {
	file, err := container.Open(src, src.size)
	if errors.Is(err, container.ErrUnknown) && src.size == 0 {
		return nil, permanent(nil, NotMedia, "the file is empty: upload it again")
	}
	if err != nil {
		return nil, err
	}
	if file.Format == container.MOV {
		return e.planMP4(ctx, src)
	}
	if err := file.Complete(); err != nil {
		return nil, err
	}
	return e.planPipe(ctx, src, file)
}

func (e *Engine) planPipe(ctx context.Context, src *source, file *container.File) (*plan, error) {
	p := &plan{name: PlanPipe, src: src, file: file}
	p.input = ffmpeg.Input{Demuxers: file.Format, Feed: p.feedFile}
	if err := e.probe(ctx, p); err != nil {
		return nil, err
	}
	switch file.Format {
	case container.MP3:
		first, err := file.VBRHeader()
		p.gaps = first.Gaps
		return p, err
	case container.Matroska, container.AVI, container.ASF, container.CAF:
		// They announce the time that the sound takes, with pauses, and frames that are not full.
		p.pauses, p.input.Errors = true, &p.errs
	}
	return p, nil
}

func (e *Engine) planMP4(ctx context.Context, src *source) (*plan, error) {
	x, err := mp4.Read(src, src.size)
	switch {
	case errors.Is(err, mp4.ErrUnsupported):
		return e.planTemporary(ctx, src)
	case err != nil:
		return nil, err
	case x.Audio == nil:
		return nil, noAudio()
	}
	p := &plan{
		name:     PlanIndex,
		duration: x.Audio.Duration,
		delay:    x.Audio.Delay,
		mp3:      x.Audio.MP3,
		skip:     x.Audio.Skip,
		float:    slices.Contains([]string{"fl32", "fl64", "lpcm"}, x.Audio.Codec),
		tag: mp3.Tag{Title: x.Tags.Title, Artist: x.Tags.Artist, Album: x.Tags.Album, Date: x.Tags.Date,
			Cover: x.Tags.Cover},
		src:   src,
		index: x.Audio,
	}
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
		if err := e.probe(ctx, p); err != nil {
			return nil, err
		}
		p.duration = 0 // it was that of the fragments that ffprobe looked at
	}
	return p, nil
}

// maxTemporary bounds a file that is copied, in bytes.
const maxTemporary = 2 << 30

// planTemporary copies an MP4, because its demuxer must seek. The copy has no name from the start, so that nothing
// finds it and nothing of it stays, whatever dies.
func (e *Engine) planTemporary(ctx context.Context, src *source) (*plan, error) {
	if src.size > maxTemporary {
		return nil, permanent(nil, Unsupported,
			"the video has an index that cannot be read at this size: save it as MP4 first")
	}
	file, err := os.CreateTemp("", "soundstrip-")
	if err != nil {
		return nil, fmt.Errorf("copy the video: %w", err)
	}
	p := &plan{name: PlanFile, src: src, input: ffmpeg.Input{Demuxers: container.MOV, File: file}, copy: file}
	if err = errors.Join(os.Remove(file.Name()), src.feed(file)); err == nil {
		err = e.probe(ctx, p)
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

// truncated reports whether the file that was fed ends within a box.
func (p *plan) truncated() bool {
	return p.framing != nil && !p.framing.Complete()
}

// silence is how much of the duration has turned out to have no sound. Where ffmpeg met an error, sound is missing
// instead.
func (p *plan) silence() time.Duration {
	switch {
	case p.index != nil && p.index.Stream != nil:
		return p.index.Stream.Silent()
	case p.pauses && p.errs.Load() == 0:
		return p.duration
	}
	return 0
}

// probe asks ffprobe what is in the input.
func (e *Engine) probe(ctx context.Context, p *plan) error {
	m, err := e.tool.Probe(ctx, p.input)
	if err != nil {
		return err
	}
	if m.Audio == nil {
		return noAudio()
	}
	switch m.Audio.Codec {
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
		long, err := e.tool.Overlong(ctx, p.input, m.Audio)
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
	p.stream, p.duration, p.delay = m.Audio.Index, m.Audio.Duration, min(0, m.Start)
	p.tag = mp3.Tag{Title: m.Title, Artist: m.Artist, Album: m.Album, Date: m.Date}
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
