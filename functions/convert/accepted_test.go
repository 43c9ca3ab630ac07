package convert

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
)

// encoders are ffmpeg's arguments for the sound that the README names.
var encoders = map[string]string{
	"AAC":       "-c:a aac",
	"AC-3":      "-c:a ac3",
	"ADPCM":     "-c:a adpcm_ms",
	"ALAC":      "-c:a alac",
	"DTS":       "-c:a dca -strict -2 -ac 2 -ar 48000",
	"E-AC-3":    "-c:a eac3",
	"FLAC":      "-c:a flac -strict -2",
	"G.711":     "-c:a pcm_mulaw -ar 8000",
	"IMA ADPCM": "-c:a adpcm_ima_qt",
	"MP2":       "-c:a mp2",
	"MP3":       "-c:a libmp3lame",
	"Opus":      "-c:a libopus",
	"PCM":       "-c:a pcm_s16le",
	"Speex":     "-c:a libspeex -ar 16000 -ac 1",
	"TrueHD":    "-c:a truehd -strict -2 -ac 2 -ar 48000",
	"Vorbis":    "-c:a libvorbis",
	"WavPack":   "-c:a wavpack",
	"WMA":       "-c:a wmav2",
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
}

// TestConvertAccepts makes and converts all that the README says is accepted: its table of containers and what is in them.
func TestConvertAccepts(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(readme), "| container | sound |\n| --- | --- |\n")
	if !found {
		t.Fatal("the README does not say what is accepted")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(row, "| \n"), " | ")
		if len(cells) != 2 {
			t.Fatalf("the README's row %q has %d cells, want 2", row, len(cells))
		}
		for container := range strings.SplitSeq(cells[0], ", ") {
			for sound := range strings.SplitSeq(cells[1], ", ") {
				t.Run(container+" with "+sound, func(t *testing.T) {
					t.Parallel()
					mux, encode := muxers[container], encoders[sound]
					if mux == "" || encode == "" {
						t.Fatalf("the README names %s with %s, and no test knows how to make it", container, sound)
					}
					args := append([]string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, "-shortest"}, strings.Fields(encode+" "+mux)...)
					r, _, err := convert(t, e, store(t, makeFile(t, "accepted "+container+" "+sound, args...)), eventing.Options{})
					if err != nil {
						t.Fatal(err)
					}
					if r.Duration < 3900*time.Millisecond || r.Duration > 4200*time.Millisecond {
						t.Errorf("Convert(%s with %s): %v, want 4 s", container, sound, r.Duration)
					}
				})
			}
		}
	}
}
