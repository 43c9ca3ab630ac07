package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mp4"
)

// encoders are ffmpeg's arguments for the sound that the README names.
var encoders = map[string]string{
	"AAC":           "-c:a aac",
	"AC-3":          "-c:a ac3",
	"ADPCM":         "-c:a adpcm_ms",
	"ALAC":          "-c:a alac",
	"Blu-ray PCM":   "-c:a pcm_bluray -ac 2 -ar 48000",
	"DTS":           "-c:a dca -strict -2 -ac 2 -ar 48000",
	"DVD PCM":       "-c:a pcm_dvd -ac 2 -ar 48000",
	"E-AC-3":        "-c:a eac3",
	"FLAC":          "-c:a flac -strict -2",
	"Flash ADPCM":   "-c:a adpcm_swf",
	"G.711":         "-c:a pcm_mulaw -ar 8000",
	"G.722":         "-c:a adpcm_g722 -ar 16000",
	"G.726":         "-c:a g726 -ar 8000",
	"GSM":           "-c:a libgsm -ar 8000",
	"IMA ADPCM":     "-c:a adpcm_ima_qt",
	"LATM":          "-c:a aac -mpegts_flags latm",
	"MLP":           "-c:a mlp -strict -2 -ac 2 -ar 48000",
	"MP2":           "-c:a mp2",
	"MP3":           "-c:a libmp3lame",
	"Microsoft GSM": "-c:a libgsm_ms -ar 8000",
	"Microsoft IMA": "-c:a adpcm_ima_wav",
	"Nellymoser":    "-c:a nellymoser",
	"Opus":          "-c:a libopus",
	"PCM":           "-c:a pcm_s16le",
	"SMPTE 302M":    "-c:a s302m -strict -2 -ac 2 -ar 48000",
	"Speex":         "-c:a libspeex -ar 16000 -ac 1",
	"RealAudio 1.0": "-c:a real_144 -ar 8000 -ac 1",
	"TTA":           "-c:a tta",
	"TrueHD":        "-c:a truehd -strict -2 -ac 2 -ar 48000",
	"Vorbis":        "-c:a libvorbis",
	"WMA":           "-c:a wmav2",
	"WavPack":       "-c:a wavpack",
	"Yamaha ADPCM":  "-c:a adpcm_yamaha",
}

// recorded is sound that Debian's ffmpeg cannot encode.
var recorded = map[string]string{
	"AMR-NB":    "testdata/amr-nb.3gp",
	"AMR-WB":    "testdata/amr-wb.3gp",
	"HE-AAC":    "testdata/he-aac.m4a",
	"HE-AAC v2": "testdata/he-aac-v2.m4a",
}

// muxers are ffmpeg's arguments for the containers that the README names; those that hold sound only have no picture.
var muxers = map[string]string{
	"MP4":            "-c:v mpeg4 -f mp4",
	"fragmented MP4": "-c:v mpeg4 -movflags +frag_keyframe+empty_moov+delay_moov+default_base_moof -f mp4",
	"MOV":            "-c:v mpeg4 -f mov",
	"3GP":            "-c:v mpeg4 -f 3gp",
	"M4A":            "-vn -f ipod",
	"Matroska":       "-c:v mpeg4 -f matroska",
	"WebM":           "-c:v libvpx -deadline realtime -f webm",
	"AVI":            "-c:v mpeg4 -f avi",
	"MPEG-TS":        "-c:v mpeg2video -f mpegts",
	"M2TS":           "-c:v mpeg2video -mpegts_m2ts_mode 1 -f mpegts",
	"MPEG-PS":        "-c:v mpeg2video -f vob",
	"FLV":            "-c:v flv -f flv",
	"ASF":            "-c:v wmv2 -f asf",
	"Ogg":            "-vn -f ogg",
	"WAV":            "-vn -f wav",
	"W64":            "-vn -f w64",
	"AIFF":           "-vn -f aiff -c:a pcm_s16be",
	"CAF":            "-vn -f caf",
	"raw FLAC":       "-vn -f flac",
	"raw MP3":        "-vn -f mp3",
	"raw AAC":        "-vn -f adts",
	"raw AC-3":       "-vn -f ac3",
	"raw E-AC-3":     "-vn -f eac3",
	"raw DTS":        "-vn -f dts",
	"raw MP2":        "-vn -f mp2",
	"AMR":            "-vn -f amr",
	"AU":             "-vn -f au -c:a pcm_s16be",
	"WavPack":        "-vn -f wv",
	"TTA":            "-vn -f tta",
	"MXF":            "-c:v mpeg2video -f mxf -ar 48000",
	"RealMedia":      "-c:v rv10 -s 176x144 -f rm",
}

// TestConvertAccepts makes and converts all that the README says is accepted: its table of containers and what is in
// them. What comes out is what ffmpeg makes of the file itself. Where TEST_FFMPEG names none, each container comes with
// its first sound, and each sound in the first container that has it: all pairs take a minute of CPU time.
func TestConvertAccepts(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(readme), "| container | sound |\n| --- | --- |\n")
	if !found {
		t.Fatal("the README does not say what is accepted")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	seen := map[string]bool{}
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(row, "| \n"), " | ")
		if len(cells) != 2 {
			t.Fatalf("the README's row %q has %d cells, want 2", row, len(cells))
		}
		for container := range strings.SplitSeq(cells[0], ", ") {
			sounds := strings.Split(cells[1], ", ")
			if !everything() {
				first := sounds[0]
				sounds = slices.DeleteFunc(sounds, func(sound string) bool { return sound != first && seen[sound] })
			}
			for _, sound := range sounds {
				seen[sound] = true
			}
			t.Run(container, func(t *testing.T) {
				t.Parallel()
				testAccepts(t, e, container, sounds)
			})
		}
	}
}

// testAccepts makes and converts a container's files.
func testAccepts(t *testing.T, e *Engine, container string, sounds []string) {
	inputs, more := []string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone}, 2
	files := map[string][]string{}
	name := func(sound string) string { return "accepted " + container + " " + sound }
	for _, sound := range sounds {
		in, encode, mux := "1:a", encoders[sound], muxers[container]
		if path := recorded[sound]; path != "" {
			inputs = append(inputs, "-i", path)
			in, encode = strconv.Itoa(more)+":a", "-c:a copy"
			more++
		}
		if mux == "" || encode == "" {
			t.Fatalf("the README names %s with %s, and no test knows how to make it", container, sound)
		}
		files[name(sound)] = strings.Fields("-map 0:v -map " + in + " -shortest " + encode + " " + mux)
	}
	makeFiles(t, inputs, files)
	var readings []reading
	for _, sound := range sounds {
		readings = append(readings, readingOf(t, e, filepath.Join(made.dir, name(sound)), container, sound))
	}
	plain := plain(t, readings...)
	for i, sound := range sounds {
		t.Run(sound, func(t *testing.T) {
			t.Parallel()
			r, out, err := convert(t, e, read(t, readings[i].path), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			asFFmpeg(t, plain[i], readings[i], r, out)
			if r.Duration < 3800*time.Millisecond || r.Duration > 4200*time.Millisecond {
				t.Errorf("Convert(%s with %s): %v, want 4 s", container, sound, r.Duration)
			}
		})
	}
}

// readingOf tells how ffmpeg 5.1 is to read a file so that it hears what the engine is to hear: with the decoder that
// the engine takes, and without the delay of an HE-AAC encoder that an edit list tells, which ffmpeg 5.1 leaves out
// twice.
func readingOf(t *testing.T, e *Engine, path, container, sound string) reading {
	t.Helper()
	x := reading{path: path, copied: sound == "MP3"}
	switch sound {
	case "WMA":
		if container != "AVI" { // which does not say when
			x.filter = filled // it begins late
		}
	case "Speex":
		b := read(t, path)
		p, err := e.plan(t.Context(), &source{bytes.NewReader(b), int64(len(b))}, eventing.Options{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if p.input.Decoder != "" {
			x.args = []string{"-c:a", p.input.Decoder}
		}
	case "Opus":
		if container != "MP4" {
			break
		}
		// ffmpeg 5.1 hears all that the last packet holds.
		b := read(t, path)
		index, err := mp4.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		x.filter = fmt.Sprintf("atrim=end_sample=%.0f", index.Audio.Duration.Seconds()*48000)
	case "HE-AAC", "HE-AAC v2":
		if slices.Contains([]string{"MP4", "MOV", "3GP", "M4A"}, container) {
			delay := map[string]string{"HE-AAC": "5058", "HE-AAC v2": "7106"}[sound]
			x.args, x.filter = []string{"-ignore_editlist", "1"}, "atrim=start_sample="+delay
		}
	}
	return x
}
