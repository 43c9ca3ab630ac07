package engine

import (
	"errors"
	"io"
	"math"
	"sync"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
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
	expected time.Duration // 0 when not known
	total    time.Duration // about what is to come, for the progress; 0 when not known
	copied   bool
	progress func(int)
	tag      mp3.Tag

	info      *mp3.Info // nil until the first frame
	rate      int
	frames    int64 // that were read; info counts the silent ones, too
	reservoir mp3.Reservoir
	silent    int64 // samples of silence that ffmpeg has not made
	chapters  int   // bytes that are reserved for them
	skipped   int64
	reported  time.Time
	percent   int

	jumps   sync.Mutex // ffmpeg tells of them beside its frames
	missing []ffmpeg.Jump
	left    time.Duration // of all jumps so far
	filled  time.Duration // silence
	moved   []ffmpeg.Jump // those that are not filled
}

// jump takes what ffmpeg tells of a place in the sound.
func (o *output) jump(j ffmpeg.Jump) {
	o.jumps.Lock()
	defer o.jumps.Unlock()
	if !j.Filled {
		o.moved = append(o.moved, j)
		return
	}
	if j.At == 0 && (o.frames > 0 || o.left > 0) {
		return // the sound has changed its kind, and the clock begins anew
	}
	o.filled += j.Length
	if j.Left > 0 {
		o.missing = append(o.missing, ffmpeg.Jump{At: j.At - o.left, Left: j.Left})
		o.left += j.Left
	}
}

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
			if err := o.begin(h); err != nil {
				return err
			}
		}
		if err := o.fill(h); err != nil {
			return err
		}
		if err := o.add(h, frame); err != nil {
			return err
		}
		o.frames++
		o.tell()
	}
}

// add writes a frame.
func (o *output) add(h mp3.Header, frame []byte) error {
	o.info.Add(h, frame)
	o.reservoir.Add(h, frame)
	return o.write(frame)
}

// fill writes what is left of a pause in front of the next frame, or within the silence that is encoded of it.
func (o *output) fill(next mp3.Header) error {
	o.jumps.Lock()
	defer o.jumps.Unlock()
	for len(o.missing) > 0 {
		j := o.missing[0]
		long := float64(next.Samples) / float64(next.Rate)
		at := int64(math.Round(j.At.Seconds() / long))
		if !o.copied && j.At > 0 {
			const second, decoderDelay = 1, 529
			at = int64((j.At.Seconds()+second)/long) + (mp3.LAMEDelay+decoderDelay)/int64(next.Samples) + 1
		}
		if o.frames < at {
			return nil
		}
		o.missing = o.missing[1:]
		n := int64(math.Round(j.Left.Seconds() / long))
		o.silent += n * int64(next.Samples)
		write := func(h mp3.Header, frame []byte) error {
			o.info.Add(h, frame)
			return o.write(frame)
		}
		if err := o.reservoir.Silence(next, !o.info.Variable(), n, write); err != nil {
			return err
		}
	}
	return nil
}

// begin writes the tag, and leaves room for what is known last: its chapters and the first frame.
func (o *output) begin(h mp3.Header) error {
	o.info, o.rate = mp3.NewInfo(h), h.Rate
	tag, chapters := o.tag.Encode()
	if err := o.write(tag); err != nil {
		return err
	}
	o.chapters = len(chapters)
	if err := o.dst.Reserve(o.chapters + o.info.Size()); err != nil {
		return StorageFailure(err)
	}
	return nil
}

// end fills that in.
func (o *output) end(g *mp3.Gaps, made time.Duration) error {
	t := o.tag
	t.Chapters = chaptersOf(t.Chapters, o.moved, made)
	_, chapters := t.Encode()
	room := append(chapters, make([]byte, o.chapters-len(chapters))...) // padding of the tag
	if err := o.dst.Patch(append(room, o.info.Frame(g)...)); err != nil {
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
	if o.total <= 0 || time.Since(o.reported) < time.Second {
		return
	}
	if p := min(99, int(100*o.duration(o.info.Samples).Seconds()/o.total.Seconds())); p > o.percent {
		o.reported, o.percent = time.Now(), p
		o.progress(p)
	}
}
