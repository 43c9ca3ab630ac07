package engine

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
)

// sources are one video in the ways that take different plans.
func sources(t *testing.T) map[string]string {
	return map[string]string{
		"faststart.mp4": video(t, "faststart.mp4", "-c:a", "aac", "-movflags", "+faststart"),
		"fragmented.mp4": video(t, "fragmented.mp4", "-c:a", "aac", "-movflags",
			"+frag_keyframe+empty_moov+default_base_moof"),
		"opus.mkv": video(t, "opus.mkv", "-c:a", "libopus"),
		"mp3.mp4":  video(t, "mp3.mp4", "-c:a", "libmp3lame"),
	}
}

func TestConvertPart(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	for name, src := range sources(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct{ start, end, want float64 }{
				{1, 2.5, 1.5},
				{0, 0.25, 0.25},
				{3.5, 60, -1}, // to the end
				{2, 0, -1},
			} {
				r, out, err := convert(t, e, read(t, src), eventing.Options{Start: tt.start, End: tt.end})
				if err != nil {
					t.Fatalf("Convert(%v to %v): %v", tt.start, tt.end, err)
				}
				got, want := samples(t, out), int(tt.want*float64(rate(t, out)))
				if want < 0 {
					want = samples(t, src) - int(tt.start*float64(rate(t, out)))
				}
				// Matroska's times are whole milliseconds.
				if slack := rate(t, out) / 1000; got != want && !(name == "opus.mkv" && abs(got-want) <= slack) {
					t.Errorf("Convert(%v to %v): %d samples, want %d (%v)", tt.start, tt.end, got, want, r)
				}
			}
		})
	}
}

// TestConvertPartOfDelayed checks that times count from the beginning of the video, not of its sound.
func TestConvertPartOfDelayed(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	src := video(t, "delayed.mp4", "-c:a", "aac", "-af", "asetpts=PTS+0.5/TB")
	_, out, err := convert(t, e, read(t, src), eventing.Options{End: 1.5})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := samples(t, out), 44100*3/2; got != want {
		t.Errorf("Convert(to 1.5 s of what sounds from 0.5 s): %d samples, want %d", got, want)
	}
}

func TestConvertSound(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	src := video(t, "stereo.mp4", "-c:a", "aac", "-ac", "2")
	for _, tt := range []struct {
		name     string
		options  eventing.Options
		channels int
		bitrate  string // of a constant one, in bit/s
	}{
		{"default", eventing.Options{}, 2, ""},
		{"quality", eventing.Options{Quality: new(9)}, 2, ""},
		{"bitrate", eventing.Options{Bitrate: 96}, 2, "96000"},
		{"mono", eventing.Options{Mono: true, Bitrate: 64}, 1, "64000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, out, err := convert(t, e, read(t, src), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			b := read(t, out)
			name := "Xing"
			if tt.bitrate != "" {
				name = "Info"
			}
			if !bytes.Contains(b[:100], []byte(name)) {
				t.Errorf("Convert(%s): no %s in the first frame", tt.name, name)
			}
			s := probe(t, out).Streams[0]
			if s.Channels != tt.channels || tt.bitrate != "" && s.BitRate != tt.bitrate {
				t.Errorf("Convert(%s): %d channels at %s bit/s, want %d at %s", tt.name, s.Channels, s.BitRate, tt.channels,
					tt.bitrate)
			}
		})
	}
}

func abs(n int) int { return max(n, -n) }

var loudness = regexp.MustCompile(`I: +(\S+) LUFS`)

func lufs(t *testing.T, path string) float64 {
	t.Helper()
	out := runStderr(t, "ffmpeg", "-nostdin", "-nostats", "-i", path, "-af", "ebur128=framelog=verbose", "-f", "null", "-")
	m := loudness.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no loudness in %s", out)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestConvertNormalize(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	for name, src := range map[string]string{
		"quiet.mp4":      video(t, "quiet.mp4", "-c:a", "aac", "-af", "volume=-20dB"),
		"loud.mkv":       video(t, "loud.mkv", "-c:a", "libopus", "-af", "volume=15dB"),
		"stereo to mono": video(t, "stereo.mp4", "-c:a", "aac", "-ac", "2"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, out, err := convert(t, e, read(t, src), eventing.Options{Normalize: true, Mono: name == "stereo to mono",
				Start: 0.5})
			if err != nil {
				t.Fatal(err)
			}
			if got := lufs(t, out); math.Abs(got+23) > 0.5 {
				t.Errorf("Convert(%s): %v LUFS, want -23", name, got)
			}
		})
	}
	silence := makeFile(t, "silence.wav", "-f", "lavfi", "-i", "anullsrc=d=2")
	if _, _, err := convert(t, e, read(t, silence), eventing.Options{Normalize: true}); err != nil {
		t.Errorf("Convert(silence): %v", err)
	}
}

func TestGain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		l    ffmpeg.Loudness
		want float64
	}{
		{"quiet", ffmpeg.Loudness{Integrated: -33, Peak: -20}, 10},
		{"loud", ffmpeg.Loudness{Integrated: -8, Peak: 1}, -15},
		{"quiet with a high peak", ffmpeg.Loudness{Integrated: -33, Peak: -4}, 3},
		{"silence", ffmpeg.Loudness{Integrated: -70, Peak: math.Inf(-1)}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := normalGain(tt.l); got != tt.want {
				t.Errorf("normalGain(%+v) = %v, want %v", tt.l, got, tt.want)
			}
		})
	}
}

func TestConvertTags(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	dir := t.TempDir()
	meta := filepath.Join(dir, "meta")
	err := os.WriteFile(meta,
		[]byte(";FFMETADATA1\ntitle=Thé title\nartist=Some artist\nalbum=Some album\ndate=2024-05-06\n"+
			"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=One\n"+
			"[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=4000\ntitle=Zwei ✓\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cover := makeFile(t, "cover.jpg", "-f", "lavfi", "-i", "color=red:s=32x32:d=1", "-frames:v", "1")
	in := []string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, "-i", cover, "-i", meta, "-map_metadata",
		"3", "-map_chapters", "3", "-map", "1:a"}
	attached := []string{"-map", "0:v", "-map", "2:v", "-c:v:0", "mpeg4", "-c:v:1", "copy", "-disposition:v:1",
		"attached_pic"}
	for _, tt := range []struct {
		name  string
		args  []string
		cover bool   // ffmpeg writes none into fragments
		end   string // of the last chapter; its length is not in the index of fragments
	}{
		{"tagged.mp4", append(attached, "-c:a", "aac"), true, "4.000000"},
		{"tagged_fragmented.mp4", append(attached, "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov"), false,
			"4.035000"},
		{"tagged.mov", []string{"-map", "0:v", "-c:v", "mpeg4", "-c:a", "aac"}, false, "4.000000"},
		{"tagged.mkv", []string{"-map", "0:v", "-c:v", "mpeg4", "-attach", cover, "-metadata:s:t", "mimetype=image/jpeg",
			"-c:a", "aac"}, true, "4.000000"},
		{"tagged.mp3", []string{"-map", "2:v", "-c:v", "copy"}, true, "4.000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := read(t, makeFile(t, tt.name, slices.Concat(in, tt.args)...))
			_, out, err := convert(t, e, src, eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := probe(t, out)
			want := map[string]string{"title": "Thé title", "artist": "Some artist", "album": "Some album", "date": "2024-05-06"}
			if diff := cmp.Diff(want, p.Format.Tags); diff != "" {
				t.Errorf("Convert(%s): tags differ (-want +got):\n%s", tt.name, diff)
			}
			var chapters []string
			for _, c := range p.Chapters {
				chapters = append(chapters, c.StartTime+" "+c.EndTime+" "+c.Tags["title"])
			}
			if diff := cmp.Diff([]string{"0.000000 1.500000 One", "1.500000 " + tt.end + " Zwei ✓"}, chapters); diff != "" {
				t.Errorf("Convert(%s): chapters differ (-want +got):\n%s", tt.name, diff)
			}
			if got := bytes.Contains(read(t, out), read(t, cover)); got != tt.cover {
				t.Errorf("Convert(%s): cover as it was: %v, want %v", tt.name, got, tt.cover)
			}

			_, out, err = convert(t, e, src, eventing.Options{Start: 1, End: 3, Title: "-i /etc/passwd", Album: "Mine"})
			if err != nil {
				t.Fatal(err)
			}
			p = probe(t, out)
			want["title"], want["album"] = "-i /etc/passwd", "Mine"
			if diff := cmp.Diff(want, p.Format.Tags); diff != "" {
				t.Errorf("Convert(%s) with options: tags differ (-want +got):\n%s", tt.name, diff)
			}
			// Matroska's times are whole milliseconds.
			if len(p.Chapters) != 2 || p.Chapters[0].EndTime != "0.500000" ||
				!slices.Contains([]string{"1.999000", "2.000000"}, p.Chapters[1].EndTime) {
				t.Errorf("Convert(%s) from 1 to 3 s: chapters are %v, want ends at 0.5 and 2 s", tt.name, p.Chapters)
			}
		})
	}
}

// TestConvertFile gives an index that only a seeking demuxer reads: compressed, at the end of the file.
func TestConvertFile(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	e := newEngine(t, testConfig)
	b := read(t, video(t, "moov_at_end.mp4", "-c:a", "aac"))
	at := bytes.LastIndex(b, []byte("moov")) - 4
	moov := b[at : at+int(binary.BigEndian.Uint32(b[at:]))]
	compressed := slices.Concat(b[:at], compress(t, moov))
	r, out, err := convert(t, e, compressed, eventing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Plan != PlanFile {
		t.Errorf("Convert: plan %s, want %s", r.Plan, PlanFile)
	}
	if got, want := samples(t, out), samples(t, video(t, "moov_at_end.mp4")); got != want {
		t.Errorf("Convert: %d samples, want %d", got, want)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestConvertDefaultTrack checks that the track that players play is taken, not always the first.
func TestConvertDefaultTrack(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	for _, name := range []string{"second.mp4", "second.mkv"} {
		src := makeFile(t, name, "-f", "lavfi", "-i", tone, "-f", "lavfi", "-i", "sine=r=48000:d=2", "-map", "0", "-map",
			"1", "-c:a", "aac",
			"-disposition:a:0", "0", "-disposition:a:1", "default")
		r, out, err := convert(t, e, read(t, src), eventing.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := rate(t, out); got != 48000 {
			t.Errorf("Convert(%s): %d Hz, want the second track's 48000 (%v)", name, got, r)
		}
	}
}

func TestConvertProgress(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	src := makeFile(t, "long.mp4", "-f", "lavfi", "-i", "anoisesrc=d=60:r=48000", "-ac", "2", "-c:a", "aac")
	var got []int
	var at []time.Time
	data := bytes.NewReader(read(t, src))
	_, err := e.Convert(t.Context(), data, data.Size(), eventing.Options{}, &memory{}, func(p int) {
		got, at = append(got, p), append(at, time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || !slices.IsSorted(got) || got[0] < 0 || got[len(got)-1] > 99 {
		t.Errorf("Convert: progress %v, want rising percents up to 99", got)
	}
	for i := 1; i < len(at); i++ {
		if d := at[i].Sub(at[i-1]); d < time.Second {
			t.Errorf("Convert: progress twice within %v", d)
		}
	}
}

// TestConvertBadCover checks that a picture that is none, or cannot be taken out, costs the picture only.
func TestConvertBadCover(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := video(t, "bad_cover.mkv", "-attach", bad, "-metadata:s:t", "mimetype=image/jpeg", "-c:a", "aac")
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*Engine{
		"no picture":      newEngine(t, testConfig),
		"cannot be taken": fakeFFmpeg(t, `case "$*" in *image2pipe*) exit 1;; esac; exec `+path+` "$@"`),
	} {
		_, out, err := convert(t, e, read(t, src), eventing.Options{})
		if err != nil {
			t.Errorf("Convert(%s): %v", name, err)
		} else if bytes.Contains(read(t, out), []byte("APIC")) {
			t.Errorf("Convert(%s) has a cover", name)
		}
	}
}
