package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/container"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// pcm gives the samples of a file, both channels in turn.
func pcm(t *testing.T, path string) []byte {
	t.Helper()
	return []byte(run(t, "ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0:a:0", "-ac", "2", "-f", "s16le", "-"))
}

// difference is how loud the difference of two sounds of one length is beside the first, in dB.
func difference(a, b []byte) float64 {
	var signal, noise float64
	for ; len(a) > 0; a, b = a[2:], b[2:] {
		x, y := float64(int16(binary.LittleEndian.Uint16(a))), float64(int16(binary.LittleEndian.Uint16(b)))
		signal += x * x
		noise += (x - y) * (x - y)
	}
	return 10 * math.Log10(noise/signal)
}

// asPlain compares what the engine made with what ffmpeg makes of the file itself, at the same effort of LAME: the same
// frames with the same gaps. Where the engine's ffmpeg is another build, they differ by what rounding does to LAME's
// choices, most where the sound is noise. A copy is compared with ffmpeg's copy, whose gaps are those of its muxer and
// not of the source.
func asPlain(t *testing.T, src, out, plan string) {
	t.Helper()
	args := []string{"-q:a", "2", "-compression_level", "5"}
	if plan == PlanCopy {
		args = []string{"-c:a", "copy"}
	}
	plain := filepath.Join(t.TempDir(), "plain.mp3")
	run(t, "ffmpeg", append(append([]string{"-nostdin", "-v", "error", "-i", src, "-vn"}, args...), plain)...)
	got, gaps := framesOf(t, out)
	want, wantGaps := framesOf(t, plain)
	switch {
	case plan == PlanCopy:
		wantGaps = gaps
	case testConfig.FFmpeg != "ffmpeg":
		a, b := pcm(t, plain), pcm(t, out)
		if len(a) != len(b) {
			t.Errorf("Convert(%s): %d samples, want the %d of ffmpeg's", filepath.Base(src), len(b)/4, len(a)/4)
		} else if d := difference(a, b); d > -35 {
			t.Errorf("Convert(%s): differs from ffmpeg's by %.1f dB, want -35", filepath.Base(src), d)
		}
		return
	}
	if diff := cmp.Diff(wantGaps, gaps); diff != "" {
		t.Errorf("Convert(%s): gaps differ from ffmpeg's (-want +got):\n%s", filepath.Base(src), diff)
	}
	if !slices.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("Convert(%s): %d frames, not those of ffmpeg's %d", filepath.Base(src), len(got), len(want))
	}
}

// framesOf gives the frames of a file but the first, which is silent, and what that one tells of the gaps.
func framesOf(t *testing.T, path string) (frames [][]byte, gaps *mp3.Gaps) {
	t.Helper()
	b := read(t, path)
	file, err := container.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	first, err := file.VBRHeader()
	if err != nil {
		t.Fatal(err)
	}
	gaps = first.Gaps
	for r := mp3.NewReader(bytes.NewReader(b)); ; {
		_, f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames[1:], gaps
		}
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, bytes.Clone(f))
	}
}

// TestConvertAsPlain decodes what the engine makes and what ffmpeg makes of the file itself: there are as many samples,
// and at one effort of LAME they are the same; where the engine's ffmpeg is another build, they differ by what rounding
// does to LAME's choices. The greater effort that ffmpeg has by default brings the sound nearer to its source by less
// than half a dB.
func TestConvertAsPlain(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	const music = "aevalsrc=d=8:s=48000:c=stereo:exprs='.4*exp(-9*mod(t,.5))*sin(2*PI*50*mod(t,.5))+" +
		".2*exp(-40*mod(t,.25))*(2*random(0)-1)+" +
		".2*exp(-3*mod(t,.5))*(sin(st(0,2*PI*t*110*pow(2,mod(floor(2*t)*7,12)/12)))+sin(3*ld(0))/3+sin(5*ld(0))/5)|" +
		".3*sin(2*PI*(200+90*t)*t)*exp(-2*mod(t,1))+.02*(2*random(1)-1)'"
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"music_aac.mp4", []string{"-c:a", "aac"}},
		{"music_alac.mov", []string{"-c:a", "alac"}},
		{"music_pcm.mov", []string{"-c:a", "pcm_s24le"}},
		{"music_fragments.mp4", []string{"-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"}},
		{"music_opus.mkv", []string{"-c:a", "libopus"}},
		{"music_flac.mkv", []string{"-c:a", "flac"}},
		{"music_ac3.ts", []string{"-c:v", "mpeg2video", "-c:a", "ac3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := makeFile(t, tt.name, append([]string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", music, "-c:v",
				"mpeg4"}, tt.args...)...)
			_, out, err := convert(t, e, read(t, src), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			source, got := pcm(t, src), pcm(t, out)
			plain := func(args ...string) []byte {
				path := filepath.Join(t.TempDir(), "plain.mp3")
				run(t, "ffmpeg", append(append([]string{"-nostdin", "-v", "error", "-i", src, "-vn", "-q:a", "2"}, args...),
					path)...)
				return pcm(t, path)
			}
			same, usual := plain("-compression_level", "5"), plain()
			if len(got) != len(source) || len(got) != len(same) || len(got) != len(usual) {
				t.Fatalf("Convert(%s): %d samples, want the %d of the source, as ffmpeg makes (%d)", tt.name, len(got)/4,
					len(source)/4, len(same)/4)
			}
			most := math.Inf(-1)
			if testConfig.FFmpeg != "ffmpeg" {
				most = -40
			}
			if d := difference(same, got); d > most {
				t.Errorf("Convert(%s): differs from ffmpeg's by %.1f dB, want %.0f", tt.name, d, most)
			}
			ours, theirs := difference(source, got), difference(source, usual)
			if ours > theirs+.5 {
				t.Errorf("Convert(%s): differs from the source by %.2f dB, want no more than ffmpeg's %.2f", tt.name, ours, theirs)
			}
			t.Logf("%.1f dB from ffmpeg's at the same effort; %.2f dB from the source, ffmpeg's at its usual effort %.2f dB",
				difference(same, got), ours, theirs)
		})
	}
}
