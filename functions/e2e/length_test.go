package e2e

import (
	"cmp"
	"os"
	"strings"
	"testing"
)

// TestLengthOfContainers converts twelve hours from each container but MP4, to which TestLength is: no more than 64 MB
// of memory are taken, ours and the lean ffmpeg's together. The sound is MP3 where it can be, which is copied, so that
// all of it is read in seconds.
func TestLengthOfContainers(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	if os.Getenv("TEST_FFMPEG") == "" {
		t.Skip("TEST_FFMPEG does not name the lean ffmpeg: build it with make lean")
	}
	const limit = 64e6
	const small = "-s 16x16 -r 60 -c:a libmp3lame -ar 22050 -b:a 16k "
	for _, tt := range []struct {
		name, args string
		via        string // what two minutes are made as: Matroska, because FLV and others cannot be read again and again
		part       string // seconds of it, where nothing grows that the beginning does not show
	}{
		{name: "mp3.avi", args: small + "-ar 44100 -b:a 32k"},
		{name: "mp3.mkv", args: small},
		{name: "mp3.ts", args: small + "-c:v mpeg2video -ar 32000 -b:a 32k"},
		{name: "mp3.flv", args: small + "-c:v flv"},
		{name: "mp3.asf", args: small + "-c:v wmv2"},
		{name: "mp2.vob", args: small + "-c:v mpeg2video -c:a mp2 -b:a 32k", part: "600"},
		{name: "opus.webm", args: "-s 16x16 -r 60 -c:v libvpx -deadline realtime -c:a libopus -b:a 8k", part: "600"},
		{name: "mp3.wav", args: "-vn -c:a libmp3lame -ar 22050 -b:a 16k"},
		{name: "mp3.mp3", args: "-vn -c:a libmp3lame -ar 22050 -b:a 16k"},
		{name: "opus.ogg", args: "-vn -c:a libopus -b:a 8k", part: "600"},
		{name: "opus.caf", args: "-vn -c:a libopus -b:a 8k", via: "caf", part: "1"},
		{name: "pcm.w64", args: "-vn -c:a pcm_mulaw -ar 8000", part: "600"},
		{name: "aac.aac", args: "-vn -c:a aac -ar 8000 -b:a 8k", part: "600"},
		{name: "ac3.ac3", args: "-vn -c:a ac3 -ar 32000 -b:a 32k", part: "600"},
		{name: "pcm.aiff", args: "-vn -c:a pcm_s16be -ar 8000", part: "600"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			short := video(t, "short", 120, append(strings.Fields(tt.args), "-f", cmp.Or(tt.via, "matroska"))...)
			long := repeat(t, short, 42000, tt.name)
			var options []string
			if tt.part != "" {
				options = []string{"--end", tt.part}
			}
			rss := convertRSS(t, long, options...)
			t.Logf("%s: %.1f MB", tt.name, float64(rss)/1e6)
			if rss > limit {
				t.Errorf("%s: %d bytes of memory, want %.0f at most", tt.name, rss, limit)
			}
			if err := os.Remove(long); err != nil {
				t.Error(err)
			}
		})
	}
}
