package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
)

// Config says which ffmpeg to use, and how much an MP3 may be.
type Config struct {
	FFmpeg      string        `env:"FFMPEG, default=ffmpeg"`                // name or path; ffprobe lies beside it
	MaxDuration time.Duration `env:"CONVERT_MAX_DURATION, default=12h"`     // of the sound
	MaxBytes    int64         `env:"CONVERT_MAX_BYTES, default=2147483648"` // of the MP3
}

// Validate reports every fault by variable name.
func (c Config) Validate() error {
	var errs []error
	if c.MaxDuration < time.Second {
		errs = append(errs, errors.New("CONVERT_MAX_DURATION: want at least 1s"))
	}
	if c.MaxBytes < 1<<20 {
		errs = append(errs, errors.New("CONVERT_MAX_BYTES: want at least 1048576"))
	}
	return errors.Join(errs...)
}

// Engine makes MP3s with ffmpeg.
type Engine struct {
	tool    *ffmpeg.Tool
	cfg     Config
	timeout time.Duration
}

// New finds ffmpeg; the error says how to get it. It does not run it, so that a converter starts from zero at once. A
// conversion may take as much CPU time as timeout.
func New(cfg Config, timeout time.Duration) (*Engine, error) {
	tool, err := ffmpeg.Find(cfg.FFmpeg, timeout)
	if err != nil {
		return nil, fmt.Errorf("converter: %w", err)
	}
	return &Engine{tool: tool, cfg: cfg, timeout: timeout}, nil
}

// Check runs ffmpeg to see that it can make MP3s; the error says how to get one that can.
func (e *Engine) Check(ctx context.Context) error { return e.tool.Check(ctx) }

// Destination takes the MP3, start to end.
type Destination interface {
	io.Writer
	// Reserve leaves room for n bytes, once a file.
	Reserve(n int) error
	// Patch fills that room.
	Patch(p []byte) error
}

// Result is what became of a file.
type Result struct {
	Duration time.Duration // of the MP3
	Plan     string        // [PlanIndex] and so on
}

// Convert writes the MP3 of a file of the given size in bytes to dst, which the caller keeps or throws away. It tells
// progress in percent, 99 at most, rising, and no more than once a second. The deadline of the context is that of the
// work. The error is a *Failure.
func (e *Engine) Convert(
	ctx context.Context, src io.ReaderAt, size int64, o eventing.Options, dst Destination, progress func(percent int),
) (Result, error) {
	r, err := e.convert(ctx, &source{src, size}, o, dst, progress)
	if err != nil {
		return Result{}, e.failure(ctx, err)
	}
	return r, nil
}

func (e *Engine) convert(
	ctx context.Context, src *source, o eventing.Options, dst Destination, progress func(percent int),
) (Result, error) {
	p, err := e.plan(ctx, src)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	x, expected, err := e.encoding(p, o)
	if err != nil {
		return Result{}, err
	}
	if x.Gain, err = e.gain(ctx, p, x, o); err != nil {
		return Result{}, err
	}
	out := &output{dst: dst, expected: expected, progress: progress}
	if err := out.begin(tagOf(p, o)); err != nil {
		return Result{}, err
	}
	samples, err := e.tool.Encode(ctx, p.input, x, out.take)
	if err != nil {
		return Result{}, err
	}
	if err := e.check(p, x, out); err != nil {
		return Result{}, err
	}
	r := Result{Plan: p.name}
	gaps := encoderGaps(out.info, samples)
	if x.Copy {
		r.Plan, gaps = PlanCopy, copiedGaps(p, out.rate)
	}
	heard := out.info.Samples
	if gaps != nil {
		heard -= int64(gaps.Delay + gaps.Padding)
	}
	r.Duration = out.duration(heard)
	return r, out.end(gaps)
}

// encoding turns what the user wants into what ffmpeg is to do, and tells how long the MP3 will be; 0 when that is not
// known.
func (e *Engine) encoding(p *plan, o eventing.Options) (x ffmpeg.Encoding, expected time.Duration, err error) {
	x = ffmpeg.Encoding{
		Stream:  p.stream,
		Bitrate: o.Bitrate,
		Quality: eventing.DefaultQuality,
		Mono:    o.Mono,
		Float:   p.float,
		// One second more than is allowed, so that what is too long shows in what was made.
		MaxDuration: e.cfg.MaxDuration + time.Second,
		MaxBytes:    e.cfg.MaxBytes,
		Copy:        p.mp3 && o.Bitrate == 0 && o.Quality == nil && o.Start == 0 && o.End == 0 && !o.Mono && !o.Normalize,
	}
	if o.Quality != nil {
		x.Quality = *o.Quality
	}
	expected = p.duration
	if o.Start > 0 || o.End > 0 || p.preroll > 0 {
		start, end := o.Span()
		x.Start = max(p.preroll, start-p.delay)
		if o.End > 0 {
			x.End = end - p.delay
		}
		if o.End > 0 && x.End <= p.preroll || p.duration > 0 && x.Start-p.preroll >= p.duration {
			return x, 0, outOfRange()
		}
		if expected > 0 {
			expected -= x.Start - p.preroll
		}
		if x.End > 0 {
			expected = min(expected, x.End-x.Start)
		}
	}
	if expected > e.cfg.MaxDuration {
		return x, 0, e.tooLong()
	}
	return x, expected, nil
}

// gain measures how much louder the sound is to be, in dB, if that was asked for.
func (e *Engine) gain(ctx context.Context, p *plan, x ffmpeg.Encoding, o eventing.Options) (float64, error) {
	if !o.Normalize {
		return 0, nil
	}
	loud, err := e.tool.Loudness(ctx, p.input, x)
	return normalGain(loud), err
}

// normalGain brings a programme to -23 LUFS, but no true peak above -1 dBTP (EBU R 128); silence stays what it is.
func normalGain(l ffmpeg.Loudness) float64 {
	const target, ceiling, silence = -23, -1, -70
	if l.Integrated <= silence {
		return 0
	}
	return min(target-l.Integrated, ceiling-l.Peak)
}

// tolerance is how much shorter than announced an MP3 may be: half a second, and a thousandth. A file that was cut
// shows by its structure; this shows one whose data is damaged.
func tolerance(expected time.Duration) time.Duration { return 500*time.Millisecond + expected/1000 }

// check tells whether all of the sound was made. More than expected is no fault: the headers of live recordings say too
// little.
func (e *Engine) check(p *plan, x ffmpeg.Encoding, out *output) error {
	var made time.Duration
	if out.info != nil {
		made = out.duration(out.info.Samples)
	}
	switch {
	case out.skipped > 0 && !x.Copy:
		return fmt.Errorf("ffmpeg wrote %d bytes that are no frames", out.skipped)
	case out.info != nil && out.info.Bytes >= e.cfg.MaxBytes:
		return permanent(nil, TooLarge,
			"the MP3 would be larger than %d MB: ask for a lower quality, or for less of it with start and "+
				"end", e.cfg.MaxBytes>>20)
	case made > e.cfg.MaxDuration+tolerance(0):
		return e.tooLong()
	case made < out.expected-p.silence()-tolerance(out.expected):
		return truncated(fmt.Errorf("%v of sound were made, %v expected", made, out.expected))
	case p.truncated() && x.End == 0:
		return truncated(errors.New("the last box is cut off"))
	case made == 0 && x.Start > p.preroll:
		return outOfRange()
	case made == 0:
		return permanent(nil, NoAudio, "the video's track of sound is empty: there is nothing to convert")
	}
	return nil
}
