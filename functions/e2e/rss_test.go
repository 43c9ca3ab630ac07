package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLength converts two minutes of a short file and of one that lasts as long as the service allows: the second takes
// no more memory, ours and ffmpeg's together, because nobody keeps an index of it. Where an index would grow while the
// file is read, all of it is converted, of MP3, which is copied and not encoded. With the lean ffmpeg, which
// TEST_FFMPEG names, it is 64 MB at most; without it, the first kind of sound has to do.
func TestLength(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	const limit, slack = 64e6, 16e6
	lean := os.Getenv("TEST_FFMPEG") != ""
	for i, tt := range []struct {
		name  string
		args  string // of sound and picture
		mux   string
		whole bool
	}{
		{name: "aac.mp4", args: "-c:a aac -ar 48000 -r 1"},
		{name: "opus.mp4", args: "-c:a libopus -b:a 32k"},
		{name: "mp3.mp4", args: "-c:a libmp3lame -b:a 64k"},
		{name: "vorbis.mp4", args: "-c:a libvorbis"},
		{name: "pcm.mov", args: "-c:a pcm_s16le -ar 8000"},
		{name: "adpcm.mov", args: "-c:a adpcm_ima_qt -ar 8000"},
		{
			name: "fragments.mp4", args: "-c:a libmp3lame -ar 16000 -b:a 8k",
			mux: "-movflags frag_every_frame+empty_moov", whole: true,
		},
		{
			name: "fragments_60fps.mp4", args: "-c:a libmp3lame -ar 16000 -b:a 8k -r 60 -s 16x16 -g 120",
			mux: "-movflags frag_keyframe+empty_moov+skip_trailer", whole: true,
		},
	} {
		if i > 0 && !lean {
			break
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			short := video(t, tt.name, 120, strings.Fields(tt.args)...)
			long := repeat(t, short, 42000, tt.name, strings.Fields(tt.mux)...)
			var part []string
			if !tt.whole {
				part = []string{"--end", "120"}
			}
			few, many := convertRSS(t, short, "--end", "120"), convertRSS(t, long, part...)
			t.Logf("%s: %.1f MB, twelve hours of it %.1f MB", tt.name, float64(few)/1e6, float64(many)/1e6)
			if many > few+slack || lean && many > limit {
				t.Errorf("%s: %d bytes of memory for twelve hours, want about the %d of two minutes", tt.name, many, few)
			}
		})
	}
}

// convertRSS converts a file, and gives the largest resident set of that and its child.
func convertRSS(t *testing.T, video string, options ...string) int64 {
	t.Helper()
	args := append([]string{"convert", video, "-o", filepath.Join(t.TempDir(), "out.mp3")}, options...)
	cmd := exec.Command(filepath.Join(bin, "soundstrip"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), ffmpeg()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sampling, stop := context.WithCancel(t.Context())
	peak := make(chan int64, 1)
	go func() { peak <- peakRSS(sampling, cmd.Process.Pid) }()
	err := cmd.Wait()
	stop()
	if err != nil {
		t.Errorf("soundstrip convert %s: %v", video, err)
	}
	return <-peak
}
