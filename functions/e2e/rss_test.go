package e2e

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLength converts two minutes of a short file and of one that lasts as long as the service allows: the second takes no more
// memory, ours and ffmpeg's together, because nobody keeps an index of it. With the lean ffmpeg, which TEST_FFMPEG names, it is
// 64 MB at most.
func TestLength(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	const limit, slack = 64e6, 8e6
	for _, tt := range []struct {
		name string
		args []string // of sound and muxer
	}{
		{"aac.mp4", []string{"-c:a", "aac", "-ar", "48000"}},
		{"opus.mp4", []string{"-c:a", "libopus", "-b:a", "32k"}},
		{"mp3.mp4", []string{"-c:a", "libmp3lame", "-b:a", "64k"}},
		{"pcm.mov", []string{"-c:a", "pcm_s16le", "-ar", "8000"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			short := video(t, tt.name, 120, tt.args...)
			long := filepath.Join(t.TempDir(), tt.name)
			run(t, "ffmpeg", "-v", "error", "-stream_loop", "-1", "-i", short, "-map", "0", "-c", "copy", "-t", "42000", long)
			few, many := convertRSS(t, short), convertRSS(t, long)
			t.Logf("%s: %.1f MB, twelve hours of it %.1f MB", tt.name, float64(few)/1e6, float64(many)/1e6)
			if many > few+slack || os.Getenv("TEST_FFMPEG") != "" && many > limit {
				t.Errorf("%s: %d bytes of memory for two minutes of twelve hours, want about the %d of two minutes", tt.name, many, few)
			}
		})
	}
}

// convertRSS converts two minutes of a file, and gives the largest resident set of that and its child.
func convertRSS(t *testing.T, video string) int64 {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "soundstrip"), "convert", video, "--end", "120", "-o", filepath.Join(t.TempDir(), "out.mp3"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "FFMPEG=" + cmp.Or(os.Getenv("TEST_FFMPEG"), "ffmpeg")}
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
