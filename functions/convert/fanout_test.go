package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// joined makes each segment of a split, and joins them; the MP3 is a file.
func joined(t *testing.T, e *FFmpeg, src string, o eventing.Options, split job.Split) (Result, string) {
	t.Helper()
	rising := func() func(int) {
		last := 0
		return func(percent int) {
			if percent <= last || percent > 99 {
				t.Errorf("progress goes from %d to %d", last, percent)
			}
			last = percent
		}
	}
	s := newMemory()
	create := func() *memoryWriter {
		w, err := s.Create(t.Context(), media.Info{ID: media.NewID()})
		if err != nil {
			t.Fatal(err)
		}
		return w.(*memoryWriter)
	}
	var frames []io.Reader
	for i := range split.Segments {
		w := create()
		samples, err := e.Segment(t.Context(), store(t, src), o, split, i, w, rising())
		if err != nil {
			t.Fatalf("Segment(%d) = %v", i, err)
		}
		split.Segments[i].Samples = samples
		frames = append(frames, bytes.NewReader(w.buf.Bytes()))
	}
	w := create()
	r, err := e.Join(t.Context(), store(t, src), o, split, frames, w, rising())
	if err != nil {
		t.Fatalf("Join = %v", err)
	}
	path := filepath.Join(t.TempDir(), "joined.mp3")
	if err := os.WriteFile(path, w.buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return r, path
}

// TestFanout compares what several converters make of a long video with what one makes.
func TestFanout(t *testing.T) {
	t.Parallel()
	index := soundFile(t, "long.mov", music, 11025, 21, "-c:a", "pcm_mulaw")
	fragments := soundFile(t, "long_fragments.mp4", music, 11025, 21, "-c:a", "aac", "-movflags", "empty_moov+default_base_moof", "-frag_duration", "2000000")
	e := newEngine(t, testConfig)
	for _, tt := range []struct {
		name, src  string
		options    eventing.Options
		converters int
	}{
		{"constant", index, eventing.Options{Bitrate: 128}, 3},
		{"variable, mono, louder, without its beginning", index, eventing.Options{Mono: true, Normalize: true, Start: 3.21, Title: "a title"}, 4},
		{"fragments", fragments, eventing.Options{Bitrate: 128}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			split, err := e.Divide(t.Context(), store(t, tt.src), tt.options, tt.converters)
			if err != nil || split == nil {
				t.Fatalf("Divide = %v, %v, want it divided", split, err)
			}
			got, path := joined(t, e, tt.src, tt.options, *split)
			want, onePath, err := convert(t, e, store(t, tt.src), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if want.Plan += PlanFanout; got != want {
				t.Errorf("Join = %+v, want %+v", got, want)
			}
			if a, b := pcm(t, path), pcm(t, onePath); !bytes.Equal(a, b) {
				t.Errorf("%d converters make another sound of %d bytes than one, of %d", tt.converters, len(a), len(b))
			}
			if ours && !bytes.Equal(read(t, path), read(t, onePath)) {
				t.Errorf("%d converters make another MP3 than one", tt.converters)
			}
		})
	}
}

// TestFanoutEnd tries sounds that end where a segment does, and before the last one begins, as when a header says too much.
func TestFanoutEnd(t *testing.T) {
	t.Parallel()
	const rate, length = 16000, 6 * cycle
	path := soundFile(t, "ends.wav", music, rate, 3)
	e := newEngine(t, testConfig)
	for _, blocks := range []float64{1, 245, 294, 535, 536, 588, 830, 1100} {
		t.Run(fmt.Sprint(blocks), func(t *testing.T) {
			t.Parallel()
			o := eventing.Options{Bitrate: 32, End: (blocks*ffmpeg.BlockSamples + 1) / rate}
			got, joinedPath := joined(t, e, path, o, job.Split{Length: length, Segments: make([]job.Segment, 3)})
			want, onePath, err := convert(t, e, store(t, path), o)
			if err != nil {
				t.Fatal(err)
			}
			if want.Plan += PlanFanout; got != want {
				t.Errorf("Join = %+v, want %+v", got, want)
			}
			if !bytes.Equal(pcm(t, joinedPath), pcm(t, onePath)) {
				t.Error("the sound differs from what one converter makes")
			}
		})
	}
}

// TestFanoutMissing checks that frames which do not fit together are no MP3.
func TestFanoutMissing(t *testing.T) {
	t.Parallel()
	path := soundFile(t, "ends.wav", music, 16000, 3)
	e := newEngine(t, testConfig)
	split := job.Split{Length: 6 * cycle, Segments: make([]job.Segment, 2)}
	w, err := newMemory().Create(t.Context(), media.Info{ID: media.NewID()})
	if err != nil {
		t.Fatal(err)
	}
	frames := []io.Reader{bytes.NewReader(nil), bytes.NewReader(nil)}
	_, err = e.Join(t.Context(), store(t, path), eventing.Options{Bitrate: 32}, split, frames, w, func(int) {})
	if f := (*Failure)(nil); !errors.As(err, &f) {
		t.Errorf("Join of nothing = %v, want a failure", err)
	}
}

func TestDivideNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	for name, path := range map[string]string{
		"short":  soundFile(t, "ends.wav", music, 16000, 3),
		"copied": soundFile(t, "long.mp3", music, 11025, 21, "-b:a", "32k"),
	} {
		if split, err := e.Divide(t.Context(), store(t, path), eventing.Options{}, 4); split != nil || err != nil {
			t.Errorf("Divide(%s) = %+v, %v, want nothing", name, split, err)
		}
	}
}

func TestSegmentLength(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		whole   time.Duration
		rate, n int
		want    int64
	}{
		{time.Hour, 48000, 4, 765 * cycle},
		{time.Hour, 96000, 4, 765 * cycle},
		{time.Hour, 0, 4, 765 * cycle},
		{time.Hour, 22050, 4, 351 * cycle},
		{10 * time.Second, 8000, 16, cycle},
	} {
		if got := segmentLength(tt.whole, tt.rate, tt.n); got != tt.want {
			t.Errorf("segmentLength(%v, %d, %d) = %d, want %d", tt.whole, tt.rate, tt.n, got, tt.want)
		}
	}
}

// BenchmarkFanout compares what 59 minutes cost several converters with what they cost one: all of the CPU time, and that of the
// slowest way through (dividing, the longest segment, joining), which is the time it takes where each converter has a core.
func BenchmarkFanout(b *testing.B) {
	s := newMemory()
	src, err := s.Open(b.Context(), s.put(longSound(b, 59), media.Info{}))
	if err != nil {
		b.Fatal(err)
	}
	e, err := NewEngine(testConfig)
	if err != nil {
		b.Fatal(err)
	}
	measure := func(work func(w *memoryWriter) error) (*memoryWriter, time.Duration) {
		w, err := s.Create(b.Context(), media.Info{ID: media.NewID()})
		if err != nil {
			b.Fatal(err)
		}
		before := cpuTime(b)
		if err := work(w.(*memoryWriter)); err != nil {
			b.Fatal(err)
		}
		return w.(*memoryWriter), cpuTime(b) - before
	}
	silent := func(int) {}
	for _, n := range []int{2, 4, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var one, all, longest time.Duration
			for b.Loop() {
				_, alone := measure(func(w *memoryWriter) error {
					_, err := e.Convert(b.Context(), src, eventing.Options{}, w, silent)
					return err
				})
				var split *job.Split
				_, dividing := measure(func(*memoryWriter) (err error) {
					split, err = e.Divide(b.Context(), src, eventing.Options{}, n)
					return err
				})
				var frames []io.Reader
				var segments, slowest time.Duration
				for i := range n {
					w, cost := measure(func(w *memoryWriter) (err error) {
						split.Segments[i].Samples, err = e.Segment(b.Context(), src, eventing.Options{}, *split, i, w, silent)
						return err
					})
					frames = append(frames, bytes.NewReader(w.buf.Bytes()))
					segments, slowest = segments+cost, max(slowest, cost)
				}
				_, joining := measure(func(w *memoryWriter) error {
					_, err := e.Join(b.Context(), src, eventing.Options{}, *split, frames, w, silent)
					return err
				})
				one, all, longest = one+alone, all+dividing+segments+joining, longest+dividing+slowest+joining
			}
			b.ReportMetric(all.Seconds()/one.Seconds(), "cpu-ratio")
			b.ReportMetric(longest.Seconds()/one.Seconds(), "wall-ratio-idle")
		})
	}
}
