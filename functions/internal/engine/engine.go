package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/mp4"
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
	Notice   string        // what its owner is to know of the MP3; usually nothing
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
	var first error
	for n := range maxTries {
		out := &output{dst: dst, progress: progress}
		r, err := e.convertTrack(ctx, src, o, n, out)
		if first != nil && errors.Is(err, errNoTrack) {
			return Result{}, first
		}
		if track := (*trackError)(nil); err == nil || out.info != nil || !errors.As(err, &track) || !aboutTrack(err) {
			return r, err
		}
		first = cmp.Or(first, err)
	}
	return Result{}, first
}

// maxTries is how many tracks are tried: a Blu-ray disc has 32 of sound, and what an MP4 may name are thousands.
const maxTries = 32

// trackError is why nothing was made of a track.
type trackError struct{ error }

func (e *trackError) Unwrap() error { return e.error }

// aboutTrack tells whether another track of sound may be heard although this one cannot.
func aboutTrack(err error) bool {
	if exit := (*ffmpeg.ExitError)(nil); errors.As(err, &exit) {
		return !exit.Killed && !exit.CPU
	}
	f := (*Failure)(nil)
	return errors.As(err, &f) && (f.Code == NoAudio || f.Code == Truncated) || errors.Is(err, mp4.ErrEncrypted)
}

// convertTrack takes the n-th of the tracks that may be meant.
func (e *Engine) convertTrack(
	ctx context.Context, src *source, o eventing.Options, n int, out *output,
) (Result, error) {
	p, err := e.plan(ctx, src, o, n)
	if errors.Is(err, mp4.ErrEncrypted) {
		err = &trackError{err}
	}
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	r, err := e.convertPlan(ctx, p, o, out)
	if err != nil {
		err = &trackError{err}
	}
	return r, err
}

func (e *Engine) convertPlan(ctx context.Context, p *plan, o eventing.Options, out *output) (Result, error) {
	if p.rate > maxRate {
		return Result{}, unsupported(fmt.Errorf("%d samples a second", p.rate))
	}
	if p.channels > maxChannels {
		return Result{}, unsupported(fmt.Errorf("%d channels", p.channels))
	}
	x, expected, err := e.encoding(p, o)
	if err != nil {
		return Result{}, err
	}
	if x.Gain, err = e.gain(ctx, p, x, o); err != nil {
		return Result{}, err
	}
	out.expected, out.copied, out.tag = expected, x.Copy, tagOf(p, o)
	if out.total = expected; expected == 0 {
		out.total = o.Length(p.video)
	}
	x.Jump = out.jump
	samples, err := e.tool.Encode(ctx, p.input, x, out.take)
	if err != nil {
		return Result{}, err
	}
	if err := e.check(p, x, out); err != nil {
		return Result{}, err
	}
	r := Result{Plan: p.name}
	gaps := encoderGaps(out.info, samples+out.silent)
	if x.Copy {
		r.Plan, gaps = PlanCopy, copiedGaps(p, out.rate)
	}
	heard := out.info.Samples
	if gaps != nil {
		heard -= int64(gaps.Delay + gaps.Padding)
	}
	if heard <= 0 {
		return Result{}, emptySound()
	}
	r.Duration = out.duration(heard)
	r.Notice = notice(p, x, o, out, r.Duration)
	return r, out.end(gaps, r.Duration)
}

// notice says what the owner of the MP3 is to know of it.
func notice(p *plan, x ffmpeg.Encoding, o eventing.Options, out *output, made time.Duration) string {
	var notices []string
	if p.cut() && o.End == 0 {
		start, _ := o.Span()
		notices = append(notices, fmt.Sprintf("the recording ends abruptly at %.1f s", (start+made).Seconds()))
	}
	if got := out.info.Bitrate(); x.Bitrate > 0 && !x.Copy && got != x.Bitrate {
		notices = append(notices, fmt.Sprintf("an MP3 of %d Hz cannot have %d kbit/s: it has %d", out.rate, x.Bitrate, got))
	}
	return strings.Join(notices, "; ")
}

// encoding turns what the user wants into what ffmpeg is to do, and tells how long the MP3 will be; 0 when that is not
// known.
func (e *Engine) encoding(p *plan, o eventing.Options) (x ffmpeg.Encoding, expected time.Duration, err error) {
	start, end := o.Span()
	x = ffmpeg.Encoding{
		Stream:  p.stream,
		Bitrate: o.Bitrate,
		Quality: eventing.DefaultQuality,
		Mono:    o.Mono,
		Float:   p.float,
		Timed:   p.timed,
		Zero:    start - p.delay,
		Last:    start - p.delay + e.cfg.MaxDuration,
		Rate:    rateFor(p.rate),
		// One second more than is allowed, so that what is too long shows in what was made.
		MaxDuration: e.cfg.MaxDuration + time.Second,
		MaxBytes:    e.cfg.MaxBytes,
		Copy:        p.mp3 && o.Bitrate == 0 && o.Quality == nil && o.Start == 0 && o.End == 0 && !o.Mono && !o.Normalize,
	}
	x.Mix, x.Channels = mixOf(p, o), p.channels
	if p.video > 0 {
		x.Last = min(x.Last, p.video+time.Second-p.delay)
	}
	if o.Quality != nil {
		x.Quality = *o.Quality
	}
	if o.Start > 0 || o.End > 0 || p.preroll > 0 || p.last > 0 {
		x.Start, x.End = max(p.preroll, start-p.delay), p.last
		if o.End > 0 && (x.End == 0 || end-p.delay < x.End) {
			x.End = end - p.delay
		}
		if o.End > 0 && x.End <= p.preroll || p.end > 0 && start >= p.end {
			return x, 0, outOfRange()
		}
	}
	if p.end > 0 {
		expected = p.end - start
		if !p.timed {
			expected -= p.begin
		}
		if o.End > 0 {
			expected = min(expected, end-start)
		}
	}
	if expected > e.cfg.MaxDuration {
		return x, 0, e.tooLong()
	}
	return x, expected, nil
}

// mixOf tells how the channels become one or two.
func mixOf(p *plan, o eventing.Options) ffmpeg.Mix {
	switch {
	case p.channels > 2 && !slices.Contains(mixable, p.layout):
		return ffmpeg.MixAll
	case p.channels > 2, o.Mono && p.channels != 1:
		return ffmpeg.MixDown
	}
	return ffmpeg.MixNone
}

// mixable are the layouts of which ffmpeg leaves out nothing but the channel for low frequencies, by its names.
var mixable = []string{"2.1", "3.0", "3.0(back)", "3.1", "4.0", "4.1", "quad", "quad(side)", "5.0", "5.0(side)", "5.1",
	"5.1(side)", "6.0", "6.0(front)", "hexagonal", "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)", "7.1",
	"7.1(wide)", "7.1(wide-side)", "octagonal", "downmix"}

// rates are those of MP3, in samples a second.
var rates = []int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}

// maxRate is more samples a second than any sound has: DSD512 in WavPack has 2,822,400. To make 48,000 of a thousand
// million, ffmpeg takes more than a gigabyte of memory.
const maxRate = 4_000_000

// maxChannels is as many as ffmpeg mixes (SWR_CH_MAX of libswresample).
const maxChannels = 64

// rateFor is the rate that an MP3 of a sound must have so that it loses none of its highs, or the highest; 0 when it is
// the sound's own, or that is not known.
func rateFor(rate int) int {
	i, same := slices.BinarySearch(rates, rate)
	if same || rate == 0 {
		return 0
	}
	return rates[min(i, len(rates)-1)]
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
	case made < out.expected-tolerance(out.expected) && !p.abrupt:
		return truncated(fmt.Errorf("%v of sound were made, %v expected", made, out.expected))
	case p.damaged() && out.filled > p.pauses()+tolerance(out.expected) && !p.partial && !p.abrupt:
		// The silence stands for what could not be decoded.
		return truncated(fmt.Errorf("%v of sound are missing", out.filled))
	case made == 0 && x.Start > p.preroll:
		return outOfRange()
	case made == 0:
		return emptySound()
	}
	return nil
}
