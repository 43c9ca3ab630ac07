package convert

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// Several converters share a sound as several encoders do, but each makes one segment, and decodes no further than to its end.

// Divide implements [Engine]. The gain is measured here, because no converter of a segment hears all of the sound.
func (f *FFmpeg) Divide(ctx context.Context, src media.File, o eventing.Options, n int) (*job.Split, error) {
	split, err := f.divide(ctx, src, o, n)
	if err != nil {
		return nil, f.failure(ctx, err)
	}
	return split, nil
}

func (f *FFmpeg) divide(ctx context.Context, src media.File, o eventing.Options, n int) (*job.Split, error) {
	s, err := f.sound(ctx, src, o)
	if err != nil {
		return nil, err
	}
	defer s.plan.close()
	if !s.worthSharing() {
		return nil, nil
	}
	m, err := f.tool.Probe(ctx, s.plan.input)
	if err != nil {
		return nil, err
	}
	if m.Audio == nil {
		return nil, noAudio()
	}
	rate := m.Audio.Rate
	n = min(n, int(segmentLength(s.expected, rate, 1)/(3*most(s.Encoding))))
	if n < 2 {
		return nil, nil
	}
	split := &job.Split{Length: segmentLength(s.expected, rate, n), Segments: make([]job.Segment, n)}
	split.Gain, err = f.gain(ctx, s, o)
	return split, err
}

// segmentLength is that of one of n segments, in blocks.
func segmentLength(whole time.Duration, rate, n int) int64 {
	if !slices.Contains(lameRates, rate) {
		rate = 48000 // to which ffmpeg brings higher ones
	}
	blocks := int64(whole.Seconds() * float64(rate) / ffmpeg.BlockSamples)
	return max(1, blocks/int64(n)/cycle) * cycle
}

// lameRates are the rates of sound that LAME takes, in samples a second.
var lameRates = []int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}

// partOfSplit is what the encoder of a segment gets.
func partOfSplit(s job.Split, number int, e ffmpeg.Encoding) *ffmpeg.Part {
	p := &ffmpeg.Part{First: int64(number)*s.Length - warmUp, Length: warmUp + s.Length + overlap(e, s.Length)}
	if number == len(s.Segments)-1 {
		p.Length = 0
	}
	return p
}

// Segment implements [Engine].
func (f *FFmpeg) Segment(ctx context.Context, src media.File, o eventing.Options, split job.Split, number int, dst media.Writer, progress func(int)) (int64, error) {
	samples, err := f.segment(ctx, src, o, split, number, dst, progress)
	if err != nil {
		return 0, f.failure(ctx, err)
	}
	return samples, nil
}

func (f *FFmpeg) segment(ctx context.Context, src media.File, o eventing.Options, split job.Split, number int, dst media.Writer, progress func(int)) (int64, error) {
	s, err := f.sound(ctx, src, o)
	if err != nil {
		return 0, err
	}
	defer s.plan.close()
	f.busy.Add(1)
	defer f.busy.Add(-1)
	s.Gain, s.Part = split.Gain, partOfSplit(split, number, s.Encoding)
	out := &output{dst: dst, expected: s.expected / time.Duration(len(split.Segments)), progress: progress, bare: true}
	samples, err := f.tool.Encode(ctx, s.plan.input, s.Encoding, out.take)
	if err == nil && out.skipped > 0 {
		err = fmt.Errorf("ffmpeg wrote %d bytes that are no frames", out.skipped)
	}
	return samples, err
}

// Join implements [Engine].
func (f *FFmpeg) Join(ctx context.Context, src media.File, o eventing.Options, split job.Split, frames []io.Reader, dst media.Writer, progress func(int)) (Result, error) {
	return f.convert(ctx, src, o, dst, progress, func(s sound, out func(io.Reader) error) (int64, string, error) {
		all := &segments{length: split.Length, limit: s.Encoding}
		for i, r := range frames {
			share := s.Encoding
			share.Part = partOfSplit(split, i, share)
			x := newEncoder(share)
			x.frames, x.samples = mp3.NewReader(r), split.Segments[i].Samples
			all.encoders = append(all.encoders, x)
		}
		if err := out(all); err != nil || all.cut {
			return 0, PlanFanout, err
		}
		samples, err := all.total()
		return samples, PlanFanout, err
	})
}
