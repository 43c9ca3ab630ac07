package engine

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// maxGap is the most that the LAME tag can tell.
const maxGap = 1<<12 - 1

// encoderGaps are those that LAME makes around the samples. When the numbers do not fit the frames, there are none, and
// players get to hear it all.
func encoderGaps(info *mp3.Info, samples int64) *mp3.Gaps {
	padding := info.Samples - mp3.LAMEDelay - samples
	if samples == 0 || padding < 0 || padding > maxGap {
		return nil
	}
	return &mp3.Gaps{Delay: mp3.LAMEDelay, Padding: int(padding)}
}

// copiedGaps are those that the source tells, in its first frame or by an edit list; of an edit list only the beginning
// is exact.
func copiedGaps(p *plan, rate int) *mp3.Gaps {
	const decoderDelay = 529 // samples
	delay := int(math.Round(p.skip.Seconds()*float64(rate))) - decoderDelay
	if p.gaps != nil || delay < 0 || delay > maxGap {
		return p.gaps
	}
	return &mp3.Gaps{Delay: delay, Padding: decoderDelay}
}

// output is the MP3 on its way to where it goes: the tag, a frame that is made last, and the frames.
type output struct {
	dst      Destination
	expected time.Duration
	progress func(int)

	info     *mp3.Info // nil until the first frame
	rate     int
	skipped  int64
	reported time.Time
	percent  int
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
		return StorageFailure(err)
	}
	return nil
}

// end fills in the first frame.
func (o *output) end(g *mp3.Gaps) error {
	if err := o.dst.Patch(o.info.Frame(g)); err != nil {
		return StorageFailure(err)
	}
	return nil
}

func (o *output) write(p []byte) error {
	if _, err := o.dst.Write(p); err != nil {
		return StorageFailure(err)
	}
	return nil
}

// duration is that of a number of samples.
func (o *output) duration(samples int64) time.Duration {
	return time.Duration(float64(samples) / float64(o.rate) * float64(time.Second))
}

// tell reports progress. 100 is for when the MP3 is stored.
func (o *output) tell() {
	if o.expected <= 0 || time.Since(o.reported) < time.Second {
		return
	}
	if p := min(99, int(100*o.duration(o.info.Samples).Seconds()/o.expected.Seconds())); p > o.percent {
		o.reported, o.percent = time.Now(), p
		o.progress(p)
	}
}
