package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// beats has attacks, tones and noise, so that an encoder uses all it has; music is more regular.
const (
	beats = "aevalsrc='.4*sin(2*PI*(220+40*floor(mod(t,4)))*t)*exp(-3*mod(t,.5))+.2*sin(2*PI*330*t)+.3*(random(0)-.5)*exp(-30*mod(t,.37))|" +
		".3*sin(2*PI*221*t)+.2*sin(2*PI*(500+200*sin(t))*t)+.3*(random(1)-.5)*exp(-20*mod(t,.61))'"
	music = "aevalsrc='.5*exp(-9*mod(t,.5))*sin(2*PI*50*mod(t,.5))+.2*exp(-40*mod(t,.25))*(2*random(0)-1)+.2*exp(-3*mod(t,.5))*" +
		"(sin(st(0,2*PI*t*110*pow(2,mod(floor(2*t)*7,12)/12)))+sin(2*ld(0))/2+sin(3*ld(0))/3)+.02*(2*random(1)-1)|" +
		".5*exp(-9*mod(t,.5))*sin(2*PI*50*mod(t,.5))+.1*exp(-40*mod(t,.25))*(2*random(2)-1)+.2*exp(-2*mod(t,1))*" +
		"(sin(st(1,2*PI*t*220*pow(2,mod(floor(t)*5,12)/12)))+sin(2*ld(1))/2)+.02*(2*random(3)-1)'"
	// Now one channel is silent, now both are, and then almost.
	pauses = "aevalsrc='gt(mod(t,7),2)*(.4*sin(2*PI*(220+40*floor(mod(t,4)))*t)*exp(-3*mod(t,.5))+.3*(random(0)-.5)*exp(-30*mod(t,.37)))|" +
		"gt(mod(t,11),5)*(.3*sin(2*PI*221*t)+.3*(random(1)-.5)*exp(-20*mod(t,.61)))*pow(10,-4*gt(mod(t,9),6))'"
)

// soundFile makes a file of so many times half a minute of a sound.
func soundFile(t *testing.T, name, sound string, rate, times int, args ...string) string {
	t.Helper()
	once := makeFile(t, fmt.Sprintf("%x.wav", sha256.Sum256([]byte(sound))), "-f", "lavfi", "-i", sound+":s=48000:d=30")
	return makeFile(t, name, append([]string{"-stream_loop", strconv.Itoa(times - 1), "-i", once, "-ar", strconv.Itoa(rate)}, args...)...)
}

// shared is what is encoded once by one encoder, and once by several.
type shared struct {
	tool     *FFmpeg
	input    ffmpeg.Input
	encoding ffmpeg.Encoding
	started  *atomic.Int64 // encoders
}

func newShared(t *testing.T, demuxer, path string, e ffmpeg.Encoding) shared {
	t.Helper()
	b := read(t, path)
	if e.MaxDuration == 0 {
		e.MaxDuration = time.Hour
	}
	if e.MaxBytes == 0 {
		e.MaxBytes = 1 << 30
	}
	var started atomic.Int64
	return shared{newEngine(t, testConfig), ffmpeg.Input{Demuxers: demuxer, Feed: func(w io.Writer) error {
		started.Add(1)
		_, err := w.Write(b)
		return err
	}}, e, &started}
}

// ours tells whether the ffmpeg under test is the one of config/images/ffmpeg, whose LAME writes zeros where it has room to spare, and
// agrees with others of its kind at a variable bitrate, too.
var ours = os.Getenv("TEST_FFMPEG") != ""

// deviation is what several encoders made otherwise than one.
type deviation struct {
	sound  float64 // dBFS
	frames bool    // any byte; filling bits do not count with a LAME that is not ours
	alone  bool    // they did not agree, and one made it all
}

// compare fails when the sound of both is not of one length.
func (s shared) compare(t *testing.T, encoders int, length int64) deviation {
	t.Helper()
	one := s.made(t, 1, 0)
	s.started.Store(0)
	many := s.made(t, encoders, length)
	if one.samples != many.samples || len(one.sound) != len(many.sound) {
		t.Fatalf("%d encoders made %d samples, %d decoded, of segments of %d, want %d and %d",
			encoders, many.samples, len(many.sound), length, one.samples, len(one.sound))
	}
	sum := 0.
	for i := range one.sound {
		d := float64(one.sound[i]) - float64(many.sound[i])
		sum += d * d
	}
	if !ours {
		one.frames, many.frames = unfilled(one.frames), unfilled(many.frames)
	}
	return deviation{10 * math.Log10(sum/float64(len(one.sound))), !bytes.Equal(one.frames, many.frames), s.started.Load() > int64(encoders)}
}

// unfilled gives the headers and side information of frames, and then their data with zeros for the bits that belong to no
// frame. LAME alternates those, and so each depends on all before it.
func unfilled(stream []byte) (said []byte) {
	var data, used []byte
	for r := mp3.NewReader(bytes.NewReader(stream)); ; {
		h, frame, err := r.Next()
		if err != nil {
			break
		}
		// ISO/IEC 11172-3 and 13818-3, section 2.4.1.7. LAME writes no CRC here.
		side, begin, parts, first, each := 32, 9, 4, 20, 59
		switch lsf := h.Samples < ffmpeg.BlockSamples; {
		case lsf && h.Mono:
			side, begin, parts, first, each = 9, 8, 1, 9, 63
		case lsf:
			side, begin, parts, first, each = 17, 8, 2, 10, 63
		case h.Mono:
			side, parts, first = 17, 2, 18
		}
		side += mp3.HeaderLen
		at := 8 * (len(data) - bitsAt(frame[mp3.HeaderLen:], 0, begin))
		for i := range parts {
			for range bitsAt(frame[mp3.HeaderLen:], first+i*each, 12) {
				for len(used) <= at/8 {
					used = append(used, 0)
				}
				used[at/8] |= 0x80 >> (at % 8)
				at++
			}
		}
		said = append(said, frame[:side]...)
		data = append(data, frame[side:]...)
	}
	for i := range min(len(data), len(used)) {
		said = append(said, data[i]&used[i])
	}
	return said
}

func bitsAt(b []byte, at, n int) int {
	return int(binary.BigEndian.Uint32(b[at/8:]) << (at % 8) >> (32 - n))
}

type madeSound struct {
	samples int64
	frames  []byte
	sound   []float32
}

// made encodes with so many encoders, and decodes.
func (s shared) made(t *testing.T, encoders int, length int64) (m madeSound) {
	t.Helper()
	var frames bytes.Buffer
	take := func(r io.Reader) error {
		_, err := frames.ReadFrom(r)
		return err
	}
	var err error
	if encoders > 1 {
		m.samples, err = s.tool.encodeSegments(t.Context(), s.input, s.encoding, encoders, length, take)
	} else {
		m.samples, err = s.tool.tool.Encode(t.Context(), s.input, s.encoding, take)
	}
	if err != nil {
		t.Fatal(err)
	}
	var sound, stderr bytes.Buffer
	cmd := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-f", "mp3", "-i", "pipe:0", "-f", "f32le", "pipe:1")
	m.frames = frames.Bytes()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(m.frames), &sound, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("decode: %v: %s", err, stderr.String())
	}
	m.sound = make([]float32, sound.Len()/4)
	if _, err := binary.Decode(sound.Bytes(), binary.LittleEndian, m.sound); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSegments compares what several encoders make of segments of any length with what one makes of the whole.
//
// It is the same to the bit. At a variable bitrate a LAME that is not ours makes of a frame that needs more than the longest one holds
// what its bit reservoir has room for, and that differs: such frames are rare below quality 0.
func TestSegments(t *testing.T) {
	t.Parallel()
	equal := math.Inf(-1)
	const variable = -75 // dBFS by which the sound may differ with a LAME that is not ours
	aac := []string{"-c:a", "aac", "-movflags", "+faststart"}
	surround := []string{"-af", "pan=5.1|FL=c0|FR=c1|FC=.5*c0|LFE=.2*c0|BL=.6*c0|BR=.6*c1"}
	for i, tt := range []struct {
		name, demuxer, sound string
		rate                 int
		args                 []string
		encoding             ffmpeg.Encoding
		cycles               int64   // of a segment
		others               float64 // dBFS
	}{
		{"32k.m4a", "mov", music, 44100, aac, ffmpeg.Encoding{Bitrate: 32}, 20, equal},
		{"64k.m4a", "mov", music, 44100, aac, ffmpeg.Encoding{Bitrate: 64}, 12, equal},
		{"96k.m4a", "mov", music, 44100, aac, ffmpeg.Encoding{Bitrate: 96}, 9, equal},
		{"128k.m4a", "mov", music, 44100, aac, ffmpeg.Encoding{Bitrate: 128}, 7, equal},
		{"320k.m4a", "mov", music, 44100, aac, ffmpeg.Encoding{Bitrate: 320}, 8, equal},
		{"mono.m4a", "mov", music, 48000, aac, ffmpeg.Encoding{Bitrate: 64, Mono: true}, 9, equal},
		{"softer part.m4a", "mov", music, 44100, aac, ffmpeg.Encoding{Bitrate: 128, Gain: -3.21, Start: 1234 * time.Millisecond, End: 23 * time.Second}, 6, equal},
		{"half the rate.wav", "wav", music, 22050, nil, ffmpeg.Encoding{Bitrate: 64}, 7, equal},
		{"mixed and resampled.wav", "wav", music, 96000, surround, ffmpeg.Encoding{Bitrate: 128}, 8, equal},
		{"24 bits.flac", "flac", music, 48000, []string{"-sample_fmt", "s32"}, ffmpeg.Encoding{Bitrate: 192}, 9, equal},
		{"beats.m4a", "mov", beats, 44100, aac, ffmpeg.Encoding{Bitrate: 128}, 9, equal},
		{"beats at a low bitrate.m4a", "mov", beats, 44100, aac, ffmpeg.Encoding{Bitrate: 64, Mono: true}, 17, equal},
		{"best.m4a", "mov", beats, 44100, aac, ffmpeg.Encoding{Quality: 0}, 8, variable},
		{"best music.m4a", "mov", music, 48000, aac, ffmpeg.Encoding{Quality: 0}, 5, variable},
		{"variable.mkv", "matroska", beats, 48000, []string{"-c:a", "libopus"}, ffmpeg.Encoding{Quality: 2}, 7, variable},
		{"variable music.m4a", "mov", music, 44100, aac, ffmpeg.Encoding{Quality: 4}, 5, variable},
		{"low and variable.m4a", "mov", beats, 22050, aac, ffmpeg.Encoding{Quality: 6}, 6, variable},
		{"lowest.m4a", "mov", beats, 44100, aac, ffmpeg.Encoding{Quality: 9, Mono: true}, 6, variable},
		{"pauses.wav", "wav", pauses, 44100, nil, ffmpeg.Encoding{Quality: 2}, 4, variable},
		{"slow pauses.wav", "wav", pauses, 44100, nil, ffmpeg.Encoding{Bitrate: 128}, 9, equal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShared(t, tt.demuxer, soundFile(t, "segments "+tt.name, tt.sound, tt.rate, int(tt.cycles+5)/6, tt.args...), tt.encoding)
			encoders, differ := 2+i%2, tt.others
			if ours {
				differ = equal
			}
			d := s.compare(t, encoders, cycle*tt.cycles)
			if d.sound > differ || (d.frames || d.alone) && math.IsInf(differ, -1) {
				t.Errorf("%d encoders with segments of %d: %+v, want %.1f dBFS", encoders, tt.cycles, d, differ)
			}
		})
	}
}

// TestSegmentsDisagree checks that where encoders do not agree one makes the same of the whole.
func TestSegmentsDisagree(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		encoding ffmpeg.Encoding
		length   int64
	}{
		{"too short", ffmpeg.Encoding{Quality: 2}, 2 * cycle},
		{"too short for a low bitrate", ffmpeg.Encoding{Bitrate: 32, Mono: true}, 3 * cycle},
		{"not a multiple of the cycle", ffmpeg.Encoding{Bitrate: 128}, 6*cycle + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShared(t, "wav", soundFile(t, "disagree.wav", beats, 44100, 2), tt.encoding)
			if d := s.compare(t, 2, tt.length); d.sound > math.Inf(-1) || d.frames || !d.alone {
				t.Errorf("segments that are %s: %+v, want no difference, and one that makes it all", tt.name, d)
			}
		})
	}
}

// TestSegmentsEnd tries sounds that end around where a segment, its overlap or what is looked at of that does, and at places
// in between that have no meaning.
func TestSegmentsEnd(t *testing.T) {
	t.Parallel()
	const rate, length = 16000, 6 * cycle
	path := soundFile(t, "ends.wav", music, rate, 3)
	ends := []int{1, 577, 1151, 300_000, 677_777}
	const overlapping = 2*length - warmUp
	for _, blocks := range []int{length - warmUp, length, overlapping - blurred, overlapping, 2*length - warmUp - 1, 2 * length} {
		for _, samples := range []int{-1153, -1152, -577, -576, -1, 0, 1, 575, 576, 1151, 1152} {
			ends = append(ends, blocks*ffmpeg.BlockSamples+samples)
		}
	}
	for _, samples := range ends {
		t.Run(fmt.Sprint(samples), func(t *testing.T) {
			t.Parallel()
			end := time.Duration(float64(samples) / rate * float64(time.Second)).Round(time.Microsecond)
			s := newShared(t, "wav", path, ffmpeg.Encoding{Bitrate: 32, Mono: true, End: end})
			if d := s.compare(t, 3, length); d.frames || !math.IsInf(d.sound, -1) {
				t.Errorf("the sound of %d samples differs by %.1f dBFS (the frames: %t)", samples, d.sound, d.frames)
			}
		})
	}
}

// TestConvertSegments converts a long video, whose sound is not much work.
func TestConvertSegments(t *testing.T) {
	t.Parallel()
	index := soundFile(t, "long.mov", music, 11025, 21, "-c:a", "pcm_mulaw")
	fragments := soundFile(t, "long_fragments.mp4", music, 11025, 21, "-c:a", "aac", "-movflags", "empty_moov+default_base_moof", "-frag_duration", "2000000")
	c := testConfig
	c.Segments = 2
	for _, tt := range []struct {
		name, src string
		options   eventing.Options
	}{
		{"whole", index, eventing.Options{Bitrate: 32}},
		{"mono, louder, without its beginning", index, eventing.Options{Bitrate: 32, Mono: true, Normalize: true, Start: 3.21}},
		{"fragments, without their beginning", fragments, eventing.Options{Bitrate: 32, Start: 3.21}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dst, err := newMemory().Create(t.Context(), media.Info{ID: media.NewID()})
			if err != nil {
				t.Fatal(err)
			}
			last := 0
			r, err := newEngine(t, c).Convert(t.Context(), store(t, tt.src), tt.options, dst, func(percent int) {
				if percent <= last || percent > 99 {
					t.Errorf("progress goes from %d to %d", last, percent)
				}
				last = percent
			})
			if err != nil {
				t.Fatal(err)
			}
			one, oneMP3, err := convert(t, newEngine(t, testConfig), store(t, tt.src), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if one.Plan += PlanSegments; r != one {
				t.Errorf("Convert = %+v, want %+v", r, one)
			}
			if got, want := len(dst.(*memoryWriter).buf.Bytes()), len(read(t, oneMP3)); got != want {
				t.Errorf("Convert made %d bytes, want %d", got, want)
			}
		})
	}
}

func TestSegmentsEncoders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		segments            Segments
		cores, others, want int
	}{
		{AutoSegments, 1, 0, 1},
		{AutoSegments, 2, 0, 1},
		{AutoSegments, 3, 0, 3},
		{AutoSegments, 16, 0, 4},
		{AutoSegments, 8, 5, 3},
		{AutoSegments, 8, 9, 1},
		{0, 8, 0, 1},
		{1, 8, 0, 1},
		{3, 2, 7, 3},
	} {
		if got := tt.segments.encoders(tt.cores, tt.others); got != tt.want {
			t.Errorf("Segments(%d).encoders(%d, %d) = %d, want %d", tt.segments, tt.cores, tt.others, got, tt.want)
		}
	}
	f := &FFmpeg{cfg: Config{Segments: 3}}
	feed := ffmpeg.Input{Feed: func(io.Writer) error { return nil }}
	for _, tt := range []struct {
		name     string
		input    ffmpeg.Input
		copied   bool
		expected time.Duration
		want     int
	}{
		{"long", feed, false, longEnough, 3},
		{"short", feed, false, longEnough - 1, 1},
		{"copied", feed, true, time.Hour, 1},
		{"laid down", ffmpeg.Input{}, false, time.Hour, 1},
	} {
		n, done := f.encoders(sound{plan: &plan{input: tt.input}, Encoding: ffmpeg.Encoding{Copy: tt.copied}, expected: tt.expected})
		if n != tt.want || f.busy.Load() != int64(tt.want) {
			t.Errorf("encoders(%s) = %d (%d busy), want %d", tt.name, n, f.busy.Load(), tt.want)
		}
		if done(); f.busy.Load() != 0 {
			t.Errorf("encoders(%s): %d are busy after they ended", tt.name, f.busy.Load())
		}
	}
}

func TestSegmentsUnmarshalText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Segments{"auto": AutoSegments, "0": 0, "4": 4, "16": 16} {
		if got := Segments(99); got.UnmarshalText([]byte(text)) != nil || got != want {
			t.Errorf("UnmarshalText(%s) gives %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"", "-1", "17", "many"} {
		if got := Segments(0); got.UnmarshalText([]byte(text)) == nil {
			t.Errorf("UnmarshalText(%q) gives %d, want an error", text, got)
		}
	}
}

func discard(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// second picks out the second of two encoders in a script.
const second = `case "$*" in *"gte(n,245)"*) %s;; esac; exec ffmpeg "$@"`

// TestSegmentsFail checks that what befalls one encoder is the failure of all, and that what does not fit together is none of
// the video's.
func TestSegmentsFail(t *testing.T) {
	t.Parallel()
	path := soundFile(t, "fail.wav", music, 16000, 2)
	broken := errors.New("broken")
	for _, tt := range []struct {
		name, befalls string
		out           func(io.Reader) error
		limit         ffmpeg.Encoding
		want          string
	}{
		{"nothing", ":", discard, ffmpeg.Encoding{}, ""},
		{"killed at once", "kill -9 $$", discard, ffmpeg.Encoding{}, Killed},
		{"killed after a while", `ffmpeg "$@" | head -c 40000; kill -9 $$`, discard, ffmpeg.Encoding{}, Killed},
		{"failed", "echo '[error] no' >&2; exit 1", discard, ffmpeg.Encoding{}, Unsupported},
		{"hears only a part", `head -c 700000 | ffmpeg "$@"; exit`, discard, ffmpeg.Encoding{}, Interrupted},
		{"makes only a part", `ffmpeg "$@" | head -c 40000; cat >/dev/null; exit`, discard, ffmpeg.Encoding{}, Interrupted},
		{"makes no frames", "echo no frames; cat >/dev/null; exit", discard, ffmpeg.Encoding{}, Interrupted},
		{"cannot be stored", ":", func(io.Reader) error { return passing(broken, Storage, storageMessage) }, ffmpeg.Encoding{}, Storage},
		{"reached the limit of bytes", ":", discard, ffmpeg.Encoding{MaxBytes: 180000}, ""},
		{"reached the limit of time", ":", discard, ffmpeg.Encoding{MaxDuration: 25 * time.Second}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.limit.Bitrate = 64
			s := newShared(t, "wav", path, tt.limit)
			f := fakeFFmpeg(t, fmt.Sprintf(second, tt.befalls))
			_, err := f.encodeSegments(t.Context(), s.input, s.encoding, 2, 6*cycle, tt.out)
			got := ""
			if err != nil {
				got = f.failure(t.Context(), err).Code
			}
			if got != tt.want {
				t.Errorf("encodeSegments when one encoder %s = %v (%s), want %s", tt.name, err, got, tt.want)
			}
		})
	}
}

// TestSegmentsLimits checks that what is made ends where a limit is reached, as it does with one encoder.
func TestSegmentsLimits(t *testing.T) {
	t.Parallel()
	path := soundFile(t, "fail.wav", music, 16000, 2)
	for _, tt := range []struct {
		name  string
		limit ffmpeg.Encoding
		bytes int64 // of the frames
	}{
		{"bytes", ffmpeg.Encoding{MaxBytes: 180000}, 180000},
		{"time", ffmpeg.Encoding{MaxDuration: 25 * time.Second}, 25 * 8000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.limit.Bitrate = 64
			s := newShared(t, "wav", path, tt.limit)
			var n int64
			_, err := s.tool.encodeSegments(t.Context(), s.input, s.encoding, 2, 6*cycle, func(r io.Reader) (err error) {
				n, err = io.Copy(io.Discard, r)
				return err
			})
			const frame = 288
			if err != nil || n < tt.bytes || n >= tt.bytes+frame {
				t.Errorf("encodeSegments made %d bytes, %v, want %d and less than a frame", n, err, tt.bytes)
			}
		})
	}
}

// TestSegmentsStop checks that every encoder's process group is gone when the context ends.
func TestSegmentsStop(t *testing.T) {
	t.Parallel()
	s := newShared(t, "wav", soundFile(t, "fail.wav", music, 16000, 2), ffmpeg.Encoding{Bitrate: 64})
	pipe := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f := fakeFFmpeg(t, "echo $$ >"+pipe+"\nsleep 600 & wait")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var groups []string
	started := make(chan struct{})
	go func() {
		defer close(started)
		defer cancel()
		for len(groups) < 2 {
			b, err := os.ReadFile(pipe)
			if err != nil {
				return
			}
			groups = append(groups, strings.Fields(string(b))...)
		}
	}()
	_, err := f.encodeSegments(ctx, s.input, s.encoding, 2, 6*cycle, discard)
	<-started
	if failed := f.failure(ctx, err); failed.Code != Interrupted || !failed.Passing {
		t.Errorf("encodeSegments = %v (passing: %v), want %s, passing", failed, failed.Passing, Interrupted)
	}
	for _, group := range groups {
		waitGone(t, group)
	}
}

// BenchmarkSegments measures what it costs to share ten minutes of sound, and what it wins, as a multiple of what one encoder
// takes: CPU time (that of ffmpeg as well), wall time, and the CPU time of the first encoder alone, which is what the wall time
// comes to where there are as many idle cores as encoders. Then, what two files at once with an encoder each win over one after
// the other with two each: how many times as many get done in a time.
func BenchmarkSegments(b *testing.B) {
	data := longSound(b, 10)
	in := ffmpeg.Input{Demuxers: "mov", Feed: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
	const length = 10 * time.Minute
	f, err := NewEngine(testConfig)
	if err != nil {
		b.Fatal(err)
	}
	e := ffmpeg.Encoding{Quality: eventing.DefaultQuality, MaxDuration: time.Hour, MaxBytes: 1 << 30}
	type times struct{ cpu, wall time.Duration }
	measure := func(to *times, e ffmpeg.Encoding, encoders int) {
		began, before := time.Now(), cpuTime(b)
		if _, err := f.encode(b.Context(), sound{e, &plan{input: in}, length}, encoders, discard); err != nil {
			b.Fatal(err)
		}
		to.cpu += cpuTime(b) - before
		to.wall += time.Since(began)
	}
	for _, n := range []int{2, 3, 4} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var one, shared, alone times
			first := e
			part := partOf(0, n, segmentOf(e, length, n), e)
			first.Part = &part
			for b.Loop() {
				measure(&one, e, 1)
				measure(&shared, e, n)
				measure(&alone, first, 1)
			}
			b.ReportMetric(shared.cpu.Seconds()/one.cpu.Seconds(), "cpu-ratio")
			b.ReportMetric(shared.wall.Seconds()/one.wall.Seconds(), "wall-ratio")
			b.ReportMetric(alone.cpu.Seconds()/one.cpu.Seconds(), "wall-ratio-idle")
		})
	}
	b.Run("files", func(b *testing.B) {
		var atOnce time.Duration
		var inTurn times
		for b.Loop() {
			began := time.Now()
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					if _, err := f.tool.Encode(b.Context(), in, e, discard); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			atOnce += time.Since(began)
			for range 2 {
				measure(&inTurn, e, 2)
			}
		}
		b.ReportMetric(inTurn.wall.Seconds()/atOnce.Seconds(), "throughput-ratio")
	})
}

// longSound is so many minutes of AAC.
func longSound(b *testing.B, minutes int) []byte {
	b.Helper()
	minute, path := filepath.Join(b.TempDir(), "minute.m4a"), filepath.Join(b.TempDir(), "sound.m4a")
	for _, args := range [][]string{
		{"-f", "lavfi", "-i", music + ":s=48000:d=60", "-c:a", "aac", minute},
		{"-stream_loop", strconv.Itoa(minutes - 1), "-i", minute, "-c", "copy", "-movflags", "+faststart", path},
	} {
		if out, err := exec.Command("ffmpeg", append([]string{"-nostdin", "-v", "error"}, args...)...).CombinedOutput(); err != nil {
			b.Fatalf("ffmpeg: %v: %s", err, out)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// cpuTime is what this process and its children used so far.
func cpuTime(b *testing.B) (sum time.Duration) {
	b.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
