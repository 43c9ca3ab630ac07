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
	src := soundFile(t, "long.mov", music, 11025, 21, "-c:a", "pcm_mulaw")
	e := newEngine(t, testConfig)
	for _, tt := range []struct {
		name       string
		options    eventing.Options
		converters int
	}{
		{"whole", eventing.Options{Bitrate: 32}, 4},
		{"mono, louder, without its beginning", eventing.Options{Bitrate: 32, Mono: true, Normalize: true, Start: 3.21, Title: "a title"}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			split, err := e.Divide(t.Context(), store(t, src), tt.options, tt.converters)
			if err != nil || split == nil {
				t.Fatalf("Divide = %v, %v, want it divided", split, err)
			}
			got, path := joined(t, e, src, tt.options, *split)
			want, onePath, err := convert(t, e, store(t, src), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if want.Plan += PlanFanout; got != want {
				t.Errorf("Join = %+v, want %+v", got, want)
			}
			if a, b := pcm(t, path), pcm(t, onePath); !bytes.Equal(a, b) {
				t.Errorf("%d converters make another sound of %d bytes than one, of %d", tt.converters, len(a), len(b))
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
