package engine

import (
	"math"
	"testing"

	"github.com/soundstrip/soundstrip/eventing"
)

// TestConvertContainers compares the sound of what is made with what ffmpeg decodes from the file itself: to the
// sample.
func TestConvertContainers(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	tests := []struct {
		name string
		args []string
		plan string
		more int // samples of silence in front, or that only the container or only ffmpeg's decoder tells of
	}{
		{"faststart.mp4", []string{"-c:a", "aac", "-movflags", "+faststart"}, PlanIndex, 0},
		{"moov_at_end.mp4", []string{"-c:a", "aac"}, PlanIndex, 0},
		{"delayed.mp4", []string{"-c:a", "aac", "-af", "asetpts=PTS+0.5/TB"}, PlanIndex, 20_992},
		{"surround.mp4", []string{"-c:a", "aac", "-af", "pan=5.1|FL=c0|FR=c0|FC=.5*c0|LFE=.2*c0|BL=.6*c0|BR=.6*c0"},
			PlanIndex, 0},
		{"ac3.mp4", []string{"-c:a", "ac3"}, PlanIndex, 0},
		{"alac.mov", []string{"-c:a", "alac"}, PlanIndex, 0},
		{"opus.mp4", []string{"-c:a", "libopus"}, PlanIndex, -58},
		{"pcm16.mov", []string{"-c:a", "pcm_s16le", "-ac", "2"}, PlanIndex, 0},
		{"pcm24.mov", []string{"-c:a", "pcm_s24be"}, PlanIndex, 0},
		{"float.mov", []string{"-c:a", "pcm_f32le"}, PlanIndex, 0},
		{"ulaw.mov", []string{"-c:a", "pcm_mulaw", "-ar", "8000"}, PlanIndex, 0},
		{"ima.mov", []string{"-c:a", "adpcm_ima_qt"}, PlanIndex, 0},
		{"two_tracks.mp4", []string{"-map", "0:v", "-map", "1:a", "-map", "1:a", "-c:a", "aac"}, PlanIndex, 0},
		{"fragmented.mp4", []string{"-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"}, PlanIndex, 0},
		{"opus.mkv", []string{"-c:a", "libopus"}, PlanPipe, 0},
		{"vorbis.webm", []string{"-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"}, PlanPipe, 0},
		{"aac.ts", []string{"-c:v", "mpeg2video", "-c:a", "aac"}, PlanPipe, 0},
		{"mp2.mpg", []string{"-c:v", "mpeg2video", "-c:a", "mp2", "-f", "dvd"}, PlanPipe, 0},
		{"aac.flv", []string{"-c:v", "flv", "-c:a", "aac"}, PlanPipe, 0},
		{"wma.wmv", []string{"-c:v", "wmv2", "-c:a", "wmav2"}, PlanPipe, 4057},
		{"pcm.avi", []string{"-c:a", "pcm_s16le"}, PlanPipe, 0},
		{"sound.wav", []string{"-map", "1:a"}, PlanPipe, 0},
		{"live.wav", []string{"-map", "1:a", "-seekable", "0"}, PlanPipe, 0},
		{"live.mkv", []string{"-c:a", "aac", "-live", "1", "-seekable", "0"}, PlanPipe, 0},
		{"live.webm", []string{"-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-live", "1"}, PlanPipe, 0},
		{"live.flv", []string{"-c:v", "flv", "-c:a", "aac", "-seekable", "0"}, PlanPipe, 0},
		{"sound.flac", []string{"-map", "1:a"}, PlanPipe, 0},
		{"sound.ogg", []string{"-map", "1:a", "-c:a", "libvorbis"}, PlanPipe, 0},
		{"sound.aac", []string{"-map", "1:a", "-c:a", "aac", "-f", "adts"}, PlanPipe, 0},
		{"sound.ac3", []string{"-map", "1:a"}, PlanPipe, 0},
		{"sound.aiff", []string{"-map", "1:a"}, PlanPipe, 0},
		{"sound.caf", []string{"-map", "1:a"}, PlanPipe, 0},
		{"mp3.avi", []string{"-c:a", "libmp3lame"}, PlanCopy, 0},
		{"mp3.mkv", []string{"-c:a", "libmp3lame"}, PlanCopy, 513},
		{"mp3.mp4", []string{"-c:a", "libmp3lame"}, PlanCopy, 0},
		{"sound.mp3", []string{"-map", "1:a", "-c:a", "libmp3lame"}, PlanCopy, 0},
	}
	files := map[string][]string{}
	for _, tt := range tests {
		files[tt.name] = tt.args
	}
	videos(t, files)
	var sources []string
	var readings []reading
	for _, tt := range tests {
		src := video(t, tt.name)
		r := reading{path: src, copied: tt.plan == PlanCopy}
		switch tt.name {
		case "opus.mp4":
			r.filter = "atrim=end_sample=192590" // its last packet does not last as long as what it holds
		case "delayed.mp4", "wma.wmv":
			r.filter = filled
		}
		sources, readings = append(sources, src), append(readings, r)
	}
	plain, decoded := plain(t, readings...), pcm(t, sources...)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, out, err := convert(t, e, read(t, sources[i]), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Plan != tt.plan {
				t.Errorf("Convert(%s): plan %s, want %s", tt.name, r.Plan, tt.plan)
			}
			asFFmpeg(t, plain[i], readings[i], r, out)
			got, want := samples(t, out), len(decoded[i])/4+tt.more
			if got != want {
				t.Errorf("Convert(%s): %d samples, want %d", tt.name, got, want)
			}
			if d := r.Duration.Seconds(); math.Abs(d-float64(got)/float64(rate(t, out))) > 1e-3 {
				t.Errorf("Convert(%s): duration %v, want that of %d samples", tt.name, r.Duration, got)
			}
		})
	}
}
