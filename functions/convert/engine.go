package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// Engine makes the MP3 of a video.
type Engine interface {
	// Convert writes the MP3 to dst, which the caller commits or aborts, and tells progress in percent, 99 at most, rising,
	// and no more than once a second. The deadline of the context is that of the work. The error is a *Failure.
	Convert(ctx context.Context, src media.File, o eventing.Options, dst media.Writer, progress func(percent int)) (Result, error)
}

// Result is what became of a video.
type Result struct {
	Duration time.Duration // of the MP3
	Frames   int64         // of the MP3, the first, silent one not counted
	Plan     string        // see [PlanIndex]
}

// The ways a video takes through the converter.
const (
	PlanIndex = "mp4-index" // the sound is picked out of an MP4 by its index, and encoded
	PlanPipe  = "pipe"      // the file is fed as it is
	PlanFile  = "file"      // the file is laid down first, because its demuxer must seek
	PlanCopy  = "copy"      // the sound is MP3 already and taken as it is
)

// FFmpeg is the engine that ffmpeg drives.
type FFmpeg struct {
	tool *ffmpeg.Tool
	cfg  Config
}

// NewEngine finds ffmpeg; the error says how to get it. It does not run it, so that a converter starts from zero at once.
func NewEngine(cfg Config) (*FFmpeg, error) {
	tool, err := ffmpeg.Find(cfg.FFmpeg, cfg.Timeout)
	if err != nil {
		return nil, fmt.Errorf("converter: %w", err)
	}
	return &FFmpeg{tool: tool, cfg: cfg}, nil
}

// Check runs ffmpeg to see that it can make MP3s; the error says how to get one that can.
func (f *FFmpeg) Check(ctx context.Context) error { return f.tool.Check(ctx) }

// Convert implements [Engine]. An exit code of 0 proves nothing (a file that was cut exits so): the MP3 counts when its frames
// last as long as the source says, and no limit was met.
func (f *FFmpeg) Convert(ctx context.Context, src media.File, o eventing.Options, dst media.Writer, progress func(int)) (Result, error) {
	r, err := f.convert(ctx, src, o, dst, progress)
	if err != nil {
		return Result{}, f.failure(ctx, err)
	}
	return r, nil
}

func (f *FFmpeg) convert(ctx context.Context, src media.File, o eventing.Options, dst media.Writer, progress func(int)) (Result, error) {
	p, err := f.plan(ctx, &source{File: src, size: src.Info().Length})
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	e, expected, err := f.encoding(p, o)
	if err != nil {
		return Result{}, err
	}
	if e.Gain, err = f.gain(ctx, p, e, o); err != nil {
		return Result{}, err
	}
	out := &output{dst: dst, expected: expected, progress: progress}
	if err := out.begin(tagOf(p, o)); err != nil {
		return Result{}, err
	}
	samples, err := f.tool.Encode(ctx, p.input, e, out.take)
	if err != nil {
		return Result{}, err
	}
	if err := f.check(p, e, out); err != nil {
		return Result{}, err
	}
	plan, gaps := p.name, encoderGaps(out.info, samples)
	if e.Copy {
		plan, gaps = PlanCopy, copiedGaps(p, out)
	}
	if err := out.end(gaps); err != nil {
		return Result{}, err
	}
	heard := out.info.Samples
	if gaps != nil {
		heard -= int64(gaps.Delay + gaps.Padding)
	}
	return Result{Duration: out.duration(heard), Frames: out.info.Frames, Plan: plan}, nil
}

// encoding turns what the user wants into what ffmpeg is to do, and tells how long the MP3 will be; 0 when that is not known.
func (f *FFmpeg) encoding(p *plan, o eventing.Options) (e ffmpeg.Encoding, expected time.Duration, err error) {
	e = ffmpeg.Encoding{
		Stream:  p.stream,
		Bitrate: o.Bitrate,
		Quality: eventing.DefaultQuality,
		Mono:    o.Mono,
		// One second more than is allowed, so that what is too long shows in what was made.
		MaxDuration: f.cfg.MaxDuration + time.Second,
		MaxBytes:    f.cfg.MaxBytes,
		Copy:        p.mp3 && o.Bitrate == 0 && o.Quality == nil && o.Start == 0 && o.End == 0 && !o.Mono && !o.Normalize,
	}
	if o.Quality != nil {
		e.Quality = *o.Quality
	}
	expected = p.duration
	if o.Start > 0 || o.End > 0 || p.lead > 0 {
		start, end := o.Span()
		e.Start = max(p.lead, start-p.delay)
		if o.End > 0 {
			e.End = end - p.delay
		}
		if o.End > 0 && e.End <= p.lead || p.duration > 0 && e.Start-p.lead >= p.duration {
			return e, 0, outOfRange()
		}
		if expected > 0 {
			expected -= e.Start - p.lead
		}
		if e.End > 0 {
			expected = min(expected, e.End-e.Start)
		}
	}
	if expected > f.cfg.MaxDuration {
		return e, 0, f.tooLong()
	}
	return e, expected, nil
}

// tolerance is how much shorter than announced an MP3 may be: half a second, and a thousandth. A file that was cut shows by its
// structure; this shows one whose data is damaged.
func tolerance(expected time.Duration) time.Duration { return 500*time.Millisecond + expected/1000 }

// check tells whether what was made is all of it. More than expected is no fault: the headers of live recordings say too little.
func (f *FFmpeg) check(p *plan, e ffmpeg.Encoding, out *output) error {
	var made time.Duration
	if out.info != nil {
		made = out.duration(out.info.Samples)
	}
	switch {
	case out.skipped > 0 && !e.Copy:
		return fmt.Errorf("ffmpeg wrote %d bytes that are no frames", out.skipped)
	case out.info != nil && out.info.Bytes >= f.cfg.MaxBytes:
		return permanent(nil, TooLarge, "the MP3 would be larger than %d MB: ask for a lower quality, or for a part with start and end", f.cfg.MaxBytes>>20)
	case made > f.cfg.MaxDuration+tolerance(0):
		return f.tooLong()
	case made < p.sounding(out.expected)-tolerance(out.expected):
		return truncated(fmt.Errorf("%v of sound were made, %v expected", made, out.expected))
	case p.framing != nil && e.End == 0 && !p.framing.Whole():
		return truncated(errors.New("the last box is cut off"))
	case made == 0 && e.Start > p.lead:
		return outOfRange()
	case made == 0:
		return permanent(nil, NoAudio, "the video's track of sound is empty: there is nothing to convert")
	}
	return nil
}

// sounding is what has sound of so much of the plan's duration.
func (p *plan) sounding(d time.Duration) time.Duration {
	if p.silent == nil {
		return d
	}
	return d - p.silent()
}

func outOfRange() *Failure {
	return permanent(nil, OutOfRange, "there is no sound between the start and the end that were asked for: choose others")
}

func (f *FFmpeg) tooLong() *Failure {
	return permanent(nil, TooLong, "the video is longer than %v: ask for a part of it with start and end", f.cfg.MaxDuration)
}

func truncated(cause error) *Failure {
	return permanent(cause, Truncated, "the video is not complete: its end, or a part of it, is missing; upload the whole file again")
}

func unsupported(cause error) *Failure {
	return permanent(cause, Unsupported, "the video is of a kind that cannot be read, or damaged: try to save it as MP4 first")
}

// cannotLoad is what a program exits with whose libraries are missing.
const cannotLoad = 127

// failure reads what the run of ffmpeg, or the storage around it, returned.
func (f *FFmpeg) failure(ctx context.Context, err error) *Failure {
	var stopped *ffmpeg.Stopped
	var exit *ffmpeg.ExitError
	switch {
	case errors.As(err, &stopped) && errors.Is(err, context.DeadlineExceeded) && stopped.Busy:
		return f.timeout(err)
	case ctx.Err() != nil:
		// Whatever it looks like: a read of the storage that was cancelled, a process that was killed.
		return broken(errors.Join(context.Cause(ctx), err))
	case errors.Is(err, ffmpeg.ErrTooLarge):
		return unsupported(err)
	case !errors.As(err, &exit):
		return failureOf(err)
	case exit.CPU:
		return f.timeout(err)
	case exit.Code == cannotLoad || strings.Contains(exit.Lines, "Unknown encoder"):
		return broken(err) // an ffmpeg that is not fit is no fault of the video
	case exit.Killed:
		return passing(err, Killed, "the converter was stopped in the middle; it is tried again")
	}
	return unsupported(err)
}

func (f *FFmpeg) timeout(cause error) *Failure {
	return permanent(cause, Timeout, "the video takes longer than %v to convert: ask for a part of it with start and end", f.cfg.Timeout)
}

// gain measures how much louder the sound is to be, in dB, if that was asked for.
func (f *FFmpeg) gain(ctx context.Context, p *plan, e ffmpeg.Encoding, o eventing.Options) (float64, error) {
	if !o.Normalize {
		return 0, nil
	}
	loud, err := f.tool.Loudness(ctx, p.input, e)
	return gain(loud), err
}

// gain brings a programme to -23 LUFS, but no true peak above -1 dBTP (EBU R 128); silence stays what it is.
func gain(l ffmpeg.Loudness) float64 {
	const target, ceiling, silence = -23, -1, -70
	if l.Integrated <= silence {
		return 0
	}
	return min(target-l.Integrated, ceiling-l.Peak)
}

// maxGap is the most that the LAME tag can tell.
const maxGap = 1<<12 - 1

// encoderGaps are those that LAME makes around the samples. When the numbers do not fit the frames, there are none, and players
// get to hear it all.
func encoderGaps(info *mp3.Info, samples int64) *mp3.Gaps {
	padding := info.Samples - mp3.LAMEDelay - samples
	if samples == 0 || padding < 0 || padding > maxGap {
		return nil
	}
	return &mp3.Gaps{Delay: mp3.LAMEDelay, Padding: int(padding)}
}

// copiedGaps are those that the source tells, in a frame of its own or by an edit list; of an edit list only the beginning is
// exact.
func copiedGaps(p *plan, out *output) *mp3.Gaps {
	const decoderDelay = 529
	delay := int(math.Round(p.skip.Seconds()*float64(out.rate))) - decoderDelay
	if p.gaps != nil || delay < 0 || delay > maxGap {
		return p.gaps
	}
	return &mp3.Gaps{Delay: delay, Padding: decoderDelay}
}

// output is the MP3 on its way into the store: tag, a frame that is made last, frames.
type output struct {
	dst      media.Writer
	expected time.Duration
	progress func(int)

	info    *mp3.Info // nil until the first frame
	rate    int
	skipped int64
	told    time.Time
	percent int
}

// begin writes the tag.
func (o *output) begin(t mp3.Tag) error { return o.write(t.Encode()) }

// take reads the frames that ffmpeg writes.
func (o *output) take(r io.Reader) error {
	frames := mp3.NewReader(r)
	for {
		h, frame, err := frames.Next()
		if errors.Is(err, io.EOF) {
			o.skipped = frames.Skipped
			return nil
		}
		if err != nil {
			return err
		}
		if o.info == nil {
			o.info, o.rate = mp3.NewInfo(h), h.Rate
			if err := o.reserve(); err != nil {
				return err
			}
		}
		o.info.Add(h, frame)
		if err := o.write(frame); err != nil {
			return err
		}
		o.tell()
	}
}

// reserve leaves room for the first frame.
func (o *output) reserve() error {
	if err := o.dst.Reserve(o.info.Size()); err != nil {
		return passing(err, Storage, storageMessage)
	}
	return nil
}

// end fills in the first frame.
func (o *output) end(g *mp3.Gaps) error {
	if err := o.dst.Patch(o.info.Frame(g)); err != nil {
		return passing(err, Storage, storageMessage)
	}
	return nil
}

const storageMessage = "the storage did not answer; the conversion is tried again"

func (o *output) write(p []byte) error {
	if _, err := o.dst.Write(p); err != nil {
		return passing(err, Storage, storageMessage)
	}
	return nil
}

// duration is that of a number of samples.
func (o *output) duration(samples int64) time.Duration {
	return time.Duration(float64(samples) / float64(o.rate) * float64(time.Second))
}

// tell reports progress. 100 is for when the MP3 is stored.
func (o *output) tell() {
	if o.expected <= 0 || time.Since(o.told) < time.Second {
		return
	}
	if p := min(99, int(100*o.duration(o.info.Samples).Seconds()/o.expected.Seconds())); p > o.percent {
		o.told, o.percent = time.Now(), p
		o.progress(p)
	}
}

// maxCover bounds the picture that goes into the tag, in bytes.
const maxCover = 4 << 20

// tagOf makes the tag: what the user gave wins over what the source says.
func tagOf(p *plan, o eventing.Options) mp3.Tag {
	t := p.tag
	for _, x := range []struct {
		to   *string
		from string
	}{{&t.Title, o.Title}, {&t.Artist, o.Artist}, {&t.Album, o.Album}} {
		if x.from != "" {
			*x.to = x.from
		}
		*x.to = strings.ToValidUTF8((*x.to)[:min(len(*x.to), maxText)], "")
	}
	if len(t.Cover) > maxCover {
		t.Cover = nil
	}
	start, end := o.Span()
	t.Chapters = part(t.Chapters, max(start, p.delay+p.lead), end)
	return t
}

// maxText bounds each text of the tag, in bytes.
const maxText = 1024

// part keeps the chapters between start and end (0 means open), in the time of what is left.
func part(cs []mp3.Chapter, start, end time.Duration) (kept []mp3.Chapter) {
	for _, c := range cs {
		if end > 0 {
			c.End = min(c.End, end)
		}
		c.Start = max(0, c.Start-start)
		c.End -= start
		if c.End > c.Start {
			kept = append(kept, c)
		}
	}
	return kept
}

// source is the video; a failure to read it is passing and never one of the video.
type source struct {
	media.File
	size int64
}

// ReadAt reads within the file.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.File.ReadAt(p, off)
	if n < len(p) && off+int64(n) < s.size {
		return n, passing(fmt.Errorf("read video %s at %d: %w", s.Info().ID, off, err), Storage, storageMessage)
	}
	return n, err
}

// feed writes the whole file.
func (s *source) feed(w io.Writer) error { return copyAll(w, io.NewSectionReader(s, 0, s.size)) }

func copyAll(w io.Writer, r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
	return err
}

// read reads up to n bytes at off; fewer at the end of the file.
func (s *source) read(off int64, n int) ([]byte, error) {
	b := make([]byte, min(int64(n), max(0, s.size-off)))
	if k, err := s.ReadAt(b, off); k < len(b) {
		return nil, err
	}
	return b, nil
}
