package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/container"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

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

// reading is how ffmpeg is to read a file.
type reading struct {
	path   string
	args   []string // of the input
	filter string   // of the sound
	copied bool     // as it is: the sound is MP3
}

// write has ffmpeg make a file of each reading, in one run, with the arguments that encode gives for it.
func write(t *testing.T, suffix string, encode func(reading) []string, files ...reading) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-nostdin", "-v", "error"}
	var outputs []string
	for i, f := range files {
		args = append(append(args, f.args...), "-i", f.path)
		outputs = append(outputs, "-map", strconv.Itoa(i)+":a:0")
		if f.filter != "" {
			outputs = append(outputs, "-af", f.filter)
		}
		path := filepath.Join(dir, strconv.Itoa(i)+suffix)
		outputs, paths = append(append(outputs, encode(f)...), path), append(paths, path)
	}
	run(t, "ffmpeg", append(args, outputs...)...)
	return paths
}

// decode gives the samples of files in the format that ffmpeg's arguments say.
func decode(t *testing.T, format []string, files ...reading) (samples [][]byte) {
	t.Helper()
	for _, path := range write(t, "", func(reading) []string { return format }, files...) {
		samples = append(samples, read(t, path))
	}
	return samples
}

// pcm gives the samples of files, both channels in turn.
func pcm(t *testing.T, files ...string) [][]byte {
	t.Helper()
	var readings []reading
	for _, path := range files {
		readings = append(readings, reading{path: path})
	}
	return decode(t, []string{"-ac", "2", "-f", "s16le"}, readings...)
}

// filled is the filter that has ffmpeg put silence where there is no sound.
const filled = "aresample=async=1:min_comp=0:min_hard_comp=.05:first_pts=0"

// plain gives the MP3s that ffmpeg makes of files, at the engine's effort of LAME.
func plain(t *testing.T, files ...reading) []string {
	t.Helper()
	return write(t, ".mp3", func(f reading) []string {
		if f.copied {
			return []string{"-c:a", "copy"}
		}
		return []string{"-q:a", "2", "-compression_level", "5"}
	}, files...)
}

// asPlain compares what the engine made of a file with what ffmpeg makes of the file itself, by a filter or without.
func asPlain(t *testing.T, src, filter string, r Result, out string) {
	t.Helper()
	x := reading{path: src, filter: filter, copied: r.Plan == PlanCopy}
	asFFmpeg(t, plain(t, x)[0], x, r, out)
}

// asFFmpeg compares what the engine made with what ffmpeg made: the same frames with the same gaps. Where the engine's
// ffmpeg is another build, they differ by what rounding does to LAME's choices, most where the sound is noise. Where
// silence was filled in, they differ where the sound begins. A copy is compared with ffmpeg's copy, whose gaps are
// those of its muxer and not of the source.
func asFFmpeg(t *testing.T, plain string, of reading, r Result, out string) {
	t.Helper()
	got, gaps := framesOf(t, out)
	want, wantGaps := framesOf(t, plain)
	switch {
	case r.Plan == PlanCopy:
		wantGaps = gaps
	case testConfig.FFmpeg != "ffmpeg", of.filter == filled:
		both := pcm(t, plain, out)
		if len(both[0]) != len(both[1]) {
			t.Errorf("Convert: %d samples, want the %d of ffmpeg's", len(both[1])/4, len(both[0])/4)
		} else if d := difference(both[0], both[1]); d > -35 {
			t.Errorf("Convert: differs from ffmpeg's by %.1f dB, want -35", d)
		}
		return
	}
	if diff := cmp.Diff(wantGaps, gaps); diff != "" {
		t.Errorf("Convert: gaps differ from ffmpeg's (-want +got):\n%s", diff)
	}
	if !slices.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("Convert: %d frames, not those of ffmpeg's %d", len(got), len(want))
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
	sources := map[string][]string{
		"music_aac.mp4":       {"-c:a", "aac"},
		"music_alac.mov":      {"-c:a", "alac"},
		"music_pcm.mov":       {"-c:a", "pcm_s24le"},
		"music_fragments.mp4": {"-c:a", "aac", "-movflags", "+frag_keyframe+delay_moov+default_base_moof"},
		"music_opus.mkv":      {"-c:a", "libopus"},
		"music_flac.mkv":      {"-c:a", "flac"},
		"music_ac3.ts":        {"-c:v", "mpeg2video", "-c:a", "ac3"},
	}
	if !everything() { // a container for each way to feed ffmpeg
		maps.DeleteFunc(sources, func(name string, _ []string) bool {
			return !slices.Contains([]string{"music_aac.mp4", "music_pcm.mov", "music_opus.mkv"}, name)
		})
	}
	makeFiles(t, []string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", music}, sources)
	for name := range sources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := filepath.Join(made.dir, name)
			_, out, err := convert(t, e, read(t, src), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			byDefault := filepath.Join(t.TempDir(), "default.mp3")
			run(t, "ffmpeg", "-nostdin", "-v", "error", "-i", src, "-vn", "-q:a", "2", byDefault)
			decoded := pcm(t, src, out, plain(t, reading{path: src})[0], byDefault)
			source, got, same, usual := decoded[0], decoded[1], decoded[2], decoded[3]
			if len(got) != len(source) || len(got) != len(same) || len(got) != len(usual) {
				t.Fatalf("Convert(%s): %d samples, want the %d of the source, as ffmpeg makes (%d)", name, len(got)/4,
					len(source)/4, len(same)/4)
			}
			most := math.Inf(-1)
			if testConfig.FFmpeg != "ffmpeg" {
				most = -40
			}
			if d := difference(same, got); d > most {
				t.Errorf("Convert(%s): differs from ffmpeg's by %.1f dB, want %.0f", name, d, most)
			}
			ours, theirs := difference(source, got), difference(source, usual)
			if ours > theirs+.5 {
				t.Errorf("Convert(%s): differs from the source by %.2f dB, want no more than ffmpeg's %.2f", name, ours, theirs)
			}
			t.Logf("%.1f dB from ffmpeg's at the same effort; %.2f dB from the source, ffmpeg's at its usual effort %.2f dB",
				difference(same, got), ours, theirs)
		})
	}
}
