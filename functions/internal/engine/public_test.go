package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// heard is what a file decodes to: the samples of each channel, in full scale.
type heard struct {
	rate     int
	channels [][]float64
}

// listen decodes an MP3.
func listen(t *testing.T, path string) heard {
	t.Helper()
	h, _, err := mp3.NewReader(bytes.NewReader(read(t, path))).Next()
	if err != nil {
		t.Fatal(err)
	}
	n := 2
	if h.Mono {
		n = 1
	}
	b := []byte(run(t, "ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0:a:0", "-f", "f32le", "-"))
	x := heard{rate: h.Rate, channels: make([][]float64, n)}
	for i := 0; i+4 <= len(b); i += 4 {
		c := i / 4 % n
		x.channels[c] = append(x.channels[c], float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))))
	}
	return x
}

// seconds is how long it lasts.
func (x heard) seconds() float64 { return float64(len(x.channels[0])) / float64(x.rate) }

// level is that of a tone on a channel between two times in seconds, in dB below a sine of full scale.
func (x heard) level(channel int, hz, from, to float64) float64 {
	var re, im, weight float64
	samples := x.channels[channel]
	first, last := int(from*float64(x.rate)), min(int(to*float64(x.rate)), len(samples))
	for i := first; i < last; i++ {
		w := 1 - math.Cos(2*math.Pi*(float64(i-first)+.5)/float64(last-first))
		sin, cos := math.Sincos(2 * math.Pi * hz * float64(i) / float64(x.rate))
		re, im, weight = re+w*samples[i]*cos, im+w*samples[i]*sin, weight+w
	}
	return 20 * math.Log10(2*math.Hypot(re, im)/max(weight, 1)+1e-9)
}

// power is the level of all that is on a channel between two times, in dB below full scale.
func (x heard) power(channel int, from, to float64) float64 {
	var sum float64
	samples := x.channels[channel]
	first, last := int(from*float64(x.rate)), min(int(to*float64(x.rate)), len(samples))
	for _, s := range samples[first:max(first, last)] {
		sum += s * s
	}
	return 10 * math.Log10(sum/max(1, float64(last-first))+1e-18)
}

// peak is the largest sample.
func (x heard) peak() (peak float64) {
	for _, c := range x.channels {
		for _, s := range c {
			peak = max(peak, math.Abs(s))
		}
	}
	return peak
}

// at is a tone that is to be heard, or 0 for silence, between two times in seconds.
type at struct{ hz, from, to float64 }

// wantTones checks what is heard, a good tenth of a second from each edge excepted, and how long it is all in all.
func wantTones(t *testing.T, x heard, seconds float64, tones ...at) {
	t.Helper()
	const edge = .06
	if d := x.seconds(); math.Abs(d-seconds) > .07 {
		t.Errorf("the MP3 has %.3f s, want %.3f", d, seconds)
	}
	for _, a := range tones {
		power := x.power(0, a.from+edge, a.to-edge)
		if a.hz == 0 {
			if power > -60 {
				t.Errorf("from %.2f to %.2f s: %.1f dB, want silence", a.from, a.to, power)
			}
			continue
		}
		if l := x.level(0, a.hz, a.from+edge, a.to-edge); l-3 < power-1 || power < -60 {
			t.Errorf("from %.2f to %.2f s: %.0f Hz has %.1f dB of %.1f, want that tone alone", a.from, a.to, a.hz, l, power)
		}
	}
}

// mustConvert converts a file of the tests.
func mustConvert(t *testing.T, path string, o eventing.Options) (Result, heard, string) {
	t.Helper()
	r, out, err := convert(t, newEngine(t, testConfig), read(t, path), o)
	if err != nil {
		t.Fatalf("Convert(%s): %v", filepath.Base(path), err)
	}
	return r, listen(t, out), out
}

// TestPublic has the kinds of files that people met, each with what is to be heard of it.
func TestPublic(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"normalize": publicNormalize,
		"tracks":    publicTracks,
		"time":      publicTime,
		"cut":       publicCut,
		"mix":       publicMix,
		"gapless":   publicGapless,
		"kinds":     publicKinds,
		"tags":      publicTags,
		"rates":     publicRates,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// publicFile makes a file for the tests of this page by a line of arguments.
func publicFile(t *testing.T, name, args string) string {
	t.Helper()
	return makeFile(t, "public "+name, strings.Fields(args)...)
}

// publicNormalize has the options with each layout.
func publicNormalize(t *testing.T) {
	layouts := []string{"mono", "stereo", "2.1", "4.0", "5.1", "7.1"}
	files := map[string][]string{}
	for _, layout := range layouts {
		files["public normalize "+layout+".mkv"] = strings.Fields("-af aformat=channel_layouts=" + layout + " -c:a flac")
	}
	makeFiles(t, strings.Fields("-f lavfi -i sine=f=440:r=48000:d=2"), files)
	for _, layout := range layouts {
		for name, o := range map[string]eventing.Options{"": {Normalize: true}, ", mono": {Normalize: true, Mono: true}} {
			t.Run(layout+name, func(t *testing.T) {
				t.Parallel()
				_, x, _ := mustConvert(t, filepath.Join(made.dir, "public normalize "+layout+".mkv"), o)
				var sum float64
				for c := range x.channels {
					sum += math.Pow(10, x.power(c, .5, 1.5)/10)
				}
				// Of 440 Hz, a programme of -23 LUFS has this level (ITU-R BS.1770-5, K-weighting).
				if got := 10 * math.Log10(sum); math.Abs(got+22.1) > .7 {
					t.Errorf("%.1f dB, want -22.1", got)
				}
				if math.Abs(x.seconds()-2) > .001 {
					t.Errorf("%.3f s, want 2", x.seconds())
				}
			})
		}
	}
}

// publicChapters writes chapters for ffmpeg, of seconds and titles.
func publicChapters(t *testing.T, end float64, starts ...float64) string {
	t.Helper()
	b := ";FFMETADATA1\n"
	for i, s := range starts {
		to := end
		if i+1 < len(starts) {
			to = starts[i+1]
		}
		b += "[CHAPTER]\nTIMEBASE=1/1000\nSTART=" + strconv.Itoa(int(1000*s)) + "\nEND=" + strconv.Itoa(int(1000*to)) +
			"\ntitle=" + string(rune('A'+i)) + "\n"
	}
	path := filepath.Join(t.TempDir(), "chapters")
	if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// publicTracks has files of several tracks of sound, or one that is none.
func publicTracks(t *testing.T) {
	const two = "-f lavfi -i color=s=32x32:r=25:d=2 -f lavfi -i sine=f=440:r=48000:d=2 -f lavfi -i sine=f=880:r=48000:d=2 "
	ts := publicFile(t, "tracks.ts", two+"-map 0 -map 1 -map 2 -c:v mpeg2video -c:a mp2 -streamid 1:257 -streamid 2:258")
	var packets [][]byte // but those of the first track
	for p := range slices.Chunk(read(t, ts), 188) {
		if binary.BigEndian.Uint16(p[1:])&0x1fff != 257 {
			packets = append(packets, p)
		}
	}
	tracks := "-map 0 -map 1 -map 2 -c:v mpeg4 -c:a aac -metadata:s:a:0 language=ger -metadata:s:a:1 language=eng "
	mp4 := read(t, publicFile(t, "tracks.mp4", two+tracks+"-disposition:a:1 default"))
	mkv := read(t, publicFile(t, "tracks.mkv", two+tracks+"-disposition:a:0 default+comment -disposition:a:1 0"))
	apac := bytes.Replace(mp4, []byte("mp4a"), []byte("apac"), 1)
	empty := "-f lavfi -i color=s=32x32:r=25:d=2 -f lavfi -i sine=f=440:r=48000:d=2 -f lavfi -i sine=f=880:r=48000:d=2 " +
		"-map 0 -map 1 -map 2 -filter:a:0 aselect=0 -c:v mpeg4 -c:a "
	for _, tt := range []struct {
		name   string
		data   []byte
		track  string
		hz     float64
		refuse string // of what the message tells
	}{
		{name: "no packets of the first in TS", data: slices.Concat(packets...), hz: 880},
		{name: "no samples of the first in MP4", data: read(t, publicFile(t, "empty.mp4", empty+"aac")), hz: 880},
		{name: "no packets of the first in Matroska", data: read(t, publicFile(t, "empty.mkv", empty+"flac")), hz: 880},
		{name: "apac first", data: apac, hz: 880},
		{name: "a commentary first", data: mkv, hz: 880},
		{name: "by number in MP4", data: mp4, track: "2", hz: 880},
		{name: "by number in Matroska", data: mkv, track: "1", hz: 440},
		{name: "by language in MP4", data: mp4, track: "de", hz: 440},
		{name: "by language in Matroska", data: mkv, track: "en-GB", hz: 880},
		{name: "a number that is not there", data: mkv, track: "3", refuse: "1 (de, aac), 2 (en, aac)"},
		{name: "a language that is not there", data: mp4, track: "fr", refuse: "1 (de, mp4a), 2 (en, mp4a)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, out, err := convert(t, newEngine(t, testConfig), tt.data, eventing.Options{Track: tt.track})
			if tt.refuse != "" {
				if f := failureIn(t, err); f.Code != NoTrack || !strings.Contains(f.Message, tt.refuse) {
					t.Errorf("Convert = %v, want %s with %s", f, NoTrack, tt.refuse)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantTones(t, listen(t, out), 2, at{tt.hz, 0, 2})
		})
	}
}

// publicTime has sound that is late or pauses: what is heard at a time of the video is heard then in the MP3.
func publicTime(t *testing.T) {
	const paused = "aevalsrc=0.2*sin(2*PI*440*t)*lt(t\\,2.5)+0.2*sin(2*PI*880*t)*gte(t\\,2.5)*lt(t\\,3.5)+" +
		"0.2*sin(2*PI*990*t)*gte(t\\,3.5):s=48000:d=5"
	const pause = "-af aselect='not(between(t\\,2\\,3))' "
	pausedAt := []at{{440, 0, 2}, {0, 2, 3}, {880, 3, 3.5}, {990, 3.5, 5}}
	lateAt := []at{{0, 0, 1.5}, {440, 1.5, 2.5}, {990, 2.5, 4}}
	const picture = "-f lavfi -i color=s=32x32:r=25:d=5 "
	const changing = "aevalsrc=0.2*sin(2*PI*440*t)*lt(t\\,1)+0.2*sin(2*PI*990*t)*gte(t\\,1):s=48000:d=2.5"
	chapters := publicChapters(t, 5, 0, 3.5)
	same := publicChapters(t, 5, 2.5, 2.5)
	type test struct {
		name     string
		data     []byte
		options  eventing.Options
		seconds  float64
		tones    []at
		chapters []float64 // their starts
	}
	var tests []test
	for _, x := range []struct{ name, args string }{
		{"mkv", "-c:v mpeg4 -c:a aac"},
		{"mp4", "-c:v mpeg4 -c:a aac"},
		{"webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus"},
		{"fragments.mp4", "-c:v mpeg4 -c:a aac -movflags frag_keyframe+empty_moov"},
		{"mp3.mkv", "-c:v mpeg4 -c:a libmp3lame -b:a 128k"},
		{"mp3.mp4", "-c:v mpeg4 -c:a libmp3lame -q:a 4"},
		{"flv", "-c:v flv -c:a aac"},
		{"wmv", "-c:v wmv2 -c:a wmav2"},
		{"ts", "-c:v mpeg2video -c:a mp2"},
		{"aac.avi", "-c:v mpeg4 -c:a aac"},
		{"flac.avi", "-c:v mpeg4 -c:a flac"},
	} {
		ext := x.name[strings.LastIndexByte(x.name, '.')+1:]
		late := publicFile(t, "late."+x.name, picture+"-itsoffset 1.5 -f lavfi -i "+changing+" -map 0 -map 1 "+x.args)
		heard := lateAt
		if ext == "avi" {
			heard = append([]at{{0, .1, 1.5}}, lateAt[1:]...) // ffmpeg writes one frame in front of the silence
		}
		tests = append(tests, test{name: "late in " + x.name, data: read(t, late), seconds: 4, tones: heard})
		if x.name == "mkv" {
			tests = append(tests, test{name: "late, from 2 s", data: read(t, late), options: eventing.Options{Start: 2},
				seconds: 2, tones: []at{{440, 0, .5}, {990, .5, 2}}})
			tests = append(tests, test{name: "late, from 1 to 3 s", data: read(t, late),
				options: eventing.Options{Start: 1, End: 3}, seconds: 2, tones: []at{{0, 0, .5}, {440, .5, 1.5}, {990, 1.5, 2}}})
		}
		more, starts := "", []float64(nil)
		if ext == "mkv" || ext == "mp4" {
			more, starts = "-i "+chapters+" -map_chapters 2 ", []float64{0, 3.5}
		}
		pauses := publicFile(t, "paused."+x.name, picture+"-f lavfi -i "+paused+" "+more+"-map 0 -map 1 "+pause+x.args)
		tests = append(tests, test{name: "paused in " + x.name, data: read(t, pauses), seconds: 5, tones: pausedAt,
			chapters: starts})
	}
	for name, encode := range map[string]string{"a long pause": "-c:a aac",
		"a long pause in MP3":                     "-c:a libmp3lame -b:a 128k",
		"a long pause in MP3 of variable bitrate": "-c:a libmp3lame -q:a 3"} {
		long := publicFile(t, name+".mkv", "-f lavfi -i sine=f=440:r=44100:d=3 -af asetpts=PTS+gte(T\\,1)*12/TB "+encode)
		tests = append(tests, test{name: name, data: read(t, long), seconds: 15,
			tones: []at{{440, 0, 1}, {0, 1.1, 12.9}, {440, 13.1, 15}}})
	}
	tests = append(tests, test{name: "two chapters at one time", seconds: 4, tones: lateAt, chapters: []float64{2.5, 2.5},
		data: read(t, publicFile(t, "same.mkv", picture+"-itsoffset 1.5 -f lavfi -i "+changing+" -i "+same+
			" -map 0 -map 1 -map_chapters 2 -c:v mpeg4 -c:a aac"))})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, out, err := convert(t, newEngine(t, testConfig), tt.data, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			wantTones(t, listen(t, out), tt.seconds, tt.tones...)
			if d := r.Duration.Seconds(); math.Abs(d-tt.seconds) > .07 || r.Notice != "" {
				t.Errorf("Convert = %+v, want %.3f s", r, tt.seconds)
			}
			if tt.chapters == nil {
				return
			}
			var starts []float64
			p := probe(t, out)
			for i, c := range p.Chapters {
				start, _ := strconv.ParseFloat(c.StartTime, 64)
				end, _ := strconv.ParseFloat(c.EndTime, 64)
				starts = append(starts, start)
				if i == len(p.Chapters)-1 && end > r.Duration.Seconds()+.001 {
					t.Errorf("the last chapter ends at %v s, and the MP3 at %v", end, r.Duration)
				}
			}
			if !slices.Equal(starts, tt.chapters) {
				t.Errorf("chapters begin at %v s, want %v", starts, tt.chapters)
			}
		})
	}
}

// publicCut has recordings whose writer was killed, and other files without their ends.
func publicCut(t *testing.T) {
	const video = "-f lavfi -i testsrc2=s=64x64:r=25:d=4 -f lavfi -i sine=f=440:r=48000:d=4 "
	cut := func(name, args string) []byte {
		b := read(t, publicFile(t, "cut."+name, args))
		return b[:len(b)*3/4-5]
	}
	type test struct {
		name    string
		data    []byte
		partial bool
		want    string // of the notice, or the code
	}
	tests := []test{}
	for name, args := range map[string]string{
		"fragments.mp4": "-c:v mpeg4 -g 10 -c:a aac -movflags frag_keyframe+empty_moov+default_base_moof",
		"flv":           "-c:v flv -c:a aac -flvflags no_duration_filesize",
		"ts":            "-c:v mpeg2video -c:a mp2",
		"mpg":           "-c:v mpeg2video -c:a mp2 -f vob",
		"aac":           "-map 1:a -c:a aac",
		"ogg":           "-map 1:a -c:a libopus -page_duration 200000",
		"mp3":           "-map 1:a -c:a libmp3lame -write_xing 0",
		"live.mkv":      "-c:v mpeg4 -c:a aac -live 1",
	} {
		tests = append(tests, test{name: "killed " + name, data: cut(name, video+args),
			want: "the recording ends abruptly at "})
	}
	for name, args := range map[string]string{
		"whole.mp4": "-c:v mpeg4 -c:a aac -movflags +faststart",
		"whole.mkv": "-c:v mpeg4 -c:a aac",
		"whole.avi": "-c:v mpeg4 -c:a libmp3lame",
		"whole.flv": "-c:v flv -c:a aac",
		"whole.wav": "-map 1:a",
		"whole.mp3": "-map 1:a -c:a libmp3lame",
	} {
		data := cut(name, video+args)
		tests = append(tests, test{name: "cut " + name, data: data, want: Truncated},
			test{name: "cut " + name + ", partial", data: data, partial: true, want: "the recording ends abruptly at "})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, out, err := convert(t, newEngine(t, testConfig), tt.data, eventing.Options{Partial: tt.partial})
			if tt.want == Truncated {
				if f := failureIn(t, err); f.Code != Truncated {
					t.Errorf("Convert = %v, want %s", f, Truncated)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			x := listen(t, out)
			if s := x.seconds(); s < 2 || s > 3.9 {
				t.Errorf("%.3f s are heard, want most of what is there", s)
			}
			wantTones(t, x, x.seconds(), at{440, 0, x.seconds()})
			if want := tt.want + strconv.FormatFloat(r.Duration.Seconds(), 'f', 1, 64) + " s"; r.Notice != want {
				t.Errorf("notice %q, want %q", r.Notice, want)
			}
		})
	}
}

// publicMix mixes channels down.
func publicMix(t *testing.T) {
	mix := func(hz ...string) string {
		return "-f lavfi -i aevalsrc=" + strings.Join(hz, "|") + ":s=48000:d=1:c="
	}
	tone := func(hz int) string { return fmt.Sprintf("0.1*sin(2*PI*%d*t)", hz) }
	five := mix(tone(300), tone(400), tone(500), tone(600), tone(700), tone(800)) + "5.1 "
	loud := mix(slices.Repeat([]string{"0.9*sin(2*PI*1000*t)"}, 6)...) + "5.1 "
	type level struct {
		hz          float64
		left, right float64 // dB to the tone of the source; -100 for nothing
	}
	const none = -100
	surround := []level{{300, 0, none}, {400, none, 0}, {500, -3, -3}, {600, none, none}, {700, -3, none}, {800, none, -3}}
	many := func(n int) []byte {
		var hz []string
		for i := range n {
			hz = append(hz, tone(300+100*i))
		}
		return wavOf(t, n, read(t, publicFile(t, fmt.Sprintf("many%d.f32", n), strings.TrimSuffix(mix(hz...), ":c=")+
			" -f f32le -c:a pcm_f32le")))
	}
	odd := func(n int) (ls []level) {
		for i := range n {
			l := level{float64(300 + 100*i), none, none}
			side, of := &l.left, (n+1)/2
			if i%2 == 1 {
				side, of = &l.right, n/2
			}
			*side = -20 * math.Log10(float64(of))
			ls = append(ls, l)
		}
		return ls
	}
	for _, tt := range []struct {
		name   string
		data   []byte
		mono   bool
		levels []level
	}{
		{"5.1 of AC-3", read(t, publicFile(t, "mix.ac3.mkv", five+"-c:a ac3")), false, surround},
		{"5.1 of FLAC", read(t, publicFile(t, "mix.flac.mkv", five+"-c:a flac -sample_fmt s16")), false, surround},
		{"5.1 of AAC in MP4", read(t, publicFile(t, "mix.aac.mp4", five+"-c:a aac -b:a 300k")), false, surround},
		{"5.1 of PCM in MOV", read(t, publicFile(t, "mix.pcm.mov", five+"-c:a pcm_s16le")), false, surround},
		{"5.1 to mono", read(t, publicFile(t, "mix.flac.mkv", five+"-c:a flac -sample_fmt s16")), true,
			[]level{{300, -3, 0}, {400, -3, 0}, {500, 0, 0}, {600, none, 0}, {700, -6, 0}, {800, -6, 0}}},
		{"loud AC-3", read(t, publicFile(t, "loud.ac3.mkv", loud+"-c:a ac3 -b:a 640k")), false, nil},
		{"loud FLAC", read(t, publicFile(t, "loud.flac.mkv", loud+"-c:a flac")), false, nil},
		{"3 channels that nobody names", many(3), false, odd(3)},
		{"6 channels that nobody names", many(6), false, odd(6)},
		{"9 channels", many(9), false, odd(9)},
		{"12 channels", many(12), false, odd(12)},
		{"32 channels", many(32), false, odd(32)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, out, err := convert(t, newEngine(t, testConfig), tt.data, eventing.Options{Mono: tt.mono, Bitrate: 320})
			if err != nil {
				t.Fatal(err)
			}
			x := listen(t, out)
			if p := x.peak(); p > 1 {
				t.Errorf("the largest sample is %.3f, want it within full scale", p)
			}
			if tt.levels == nil && x.power(0, .2, .8) < -6 {
				t.Errorf("%.1f dB, want it loud", x.power(0, .2, .8))
			}
			for _, l := range tt.levels {
				for c, want := range []float64{l.left, l.right}[:len(x.channels)] {
					got := x.level(c, l.hz, .2, .8) + 20
					if math.Abs(got-want) > 1 && (want > none || got > -30) {
						t.Errorf("%.0f Hz has %.1f dB on channel %d, want %.1f", l.hz, got, c, want)
					}
				}
			}
		})
	}
}

// wavOf makes a WAV of so many channels that does not say which they are.
func wavOf(t *testing.T, channels int, samples []byte) []byte {
	t.Helper()
	le := binary.LittleEndian
	format := le.AppendUint16(le.AppendUint16(nil, 3), uint16(channels)) // floating-point numbers
	format = le.AppendUint32(le.AppendUint32(format, 48000), uint32(48000*4*channels))
	format = le.AppendUint16(le.AppendUint16(format, uint16(4*channels)), 32)
	chunk := func(id string, b []byte) []byte {
		return slices.Concat([]byte(id), le.AppendUint32(nil, uint32(len(b))), b)
	}
	return chunk("RIFF", slices.Concat([]byte("WAVE"), chunk("fmt ", format), chunk("data", samples)))
}

// publicGapless has encoders that put samples in front and behind: the first and the last that are heard are those that
// they were given.
func publicGapless(t *testing.T) {
	// One click at the beginning and one at the end of 2.01 s.
	const clicks = "-f lavfi -i aevalsrc=0.5*sin(2*PI*1000*t)*(lt(t\\,.02)+gte(t\\,1.99)):s=48000:d=2.01 "
	const samples = 96480
	m4a := read(t, publicFile(t, "gapless.m4a", clicks+"-c:a aac -metadata title=x"))
	m4a = edit(m4a, func([]byte) []byte { return nil }, "moov", "trak", "edts")
	smpb := func(from, length int) []byte {
		value := fmt.Sprintf(" 00000000 %08X 00000000 %016X 00000000", from, length)
		item := makeBox("----", makeBox("mean", u32(0), []byte("com.apple.iTunes")), makeBox("name", u32(0),
			[]byte("iTunSMPB")), makeBox("data", u32(1, 0), []byte(value)))
		return edit(m4a, func(meta []byte) []byte { // which begins with its version and flags
			return slices.Concat(meta[:4], edit(meta[4:], func(ilst []byte) []byte { return slices.Concat(ilst, item) }, "ilst"))
		}, "moov", "udta", "meta")
	}
	caf := slices.Clone(read(t, publicFile(t, "gapless.caf", clicks+"-c:a libopus")))
	table := caf[bytes.Index(caf, []byte("pakt"))+12+8:]
	packets := int(binary.BigEndian.Uint64(table)) // frames that are valid, as ffmpeg says: all
	binary.BigEndian.PutUint64(table, samples)
	binary.BigEndian.PutUint32(table[8:], 312)
	binary.BigEndian.PutUint32(table[12:], uint32(packets-samples-312))
	for name, data := range map[string][]byte{
		"iTunSMPB":    smpb(1024, samples),
		"Opus in MP4": read(t, publicFile(t, "gapless.mp4", clicks+"-c:a libopus")),
		"Opus in CAF": caf,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, out, err := convert(t, newEngine(t, testConfig), data, eventing.Options{Bitrate: 320})
			if err != nil {
				t.Fatal(err)
			}
			x := listen(t, out)
			if got := len(x.channels[0]); got != samples {
				t.Errorf("%d samples, want %d", got, samples)
			}
			// The tone begins and ends with the MP3.
			first, last := x.power(0, 0, .02), x.power(0, x.seconds()-.02, x.seconds())
			if first < -12 || last < -12 || x.power(0, .05, 1.9) > -40 {
				t.Errorf("%.1f dB at the beginning, %.1f at the end, want -9", first, last)
			}
		})
	}
}

// publicKinds has what is refused, and why, and an MP3 behind bytes that are none. The README's table has the kinds
// that are taken.
func publicKinds(t *testing.T) {
	mp3 := read(t, publicFile(t, "kinds.mp3", "-f lavfi -i sine=f=440:r=48000:d=2 -c:a libmp3lame -write_xing 0 "+
		"-id3v2_version 0"))
	m4a := read(t, publicFile(t, "kinds.m4a", "-f lavfi -i sine=f=440:r=48000:d=1 -c:a aac"))
	wma := read(t, publicFile(t, "kinds.wma", "-f lavfi -i sine=f=440:r=48000:d=1 -c:a wmav2"))
	encryption := slices.Concat([]byte("\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e"),
		binary.LittleEndian.AppendUint64(nil, 24+8), make([]byte, 8))
	const headerObject = 30
	for _, tt := range []struct {
		name, want string // of the message
		data       []byte
	}{
		{"MP3 behind junk", "", append(bytes.Repeat([]byte("no frame "), 150), mp3...)},
		{"Musepack", "Musepack is not supported", []byte("MPCKSH" + strings.Repeat("\x00", 100))},
		{"Monkey's Audio", "Monkey's Audio is not supported", []byte("MAC \x96\x0f" + strings.Repeat("\x00", 100))},
		{"DSF", "DSF is not supported", []byte("DSD \x1c\x00" + strings.Repeat("\x00", 100))},
		{"MIDI", "MIDI is not supported", []byte("MThd\x00\x00\x00\x06" + strings.Repeat("\x00", 100))},
		{"raw H.264", "raw H.264 is not supported", []byte("\x00\x00\x00\x01\x67\x42" + strings.Repeat("\x00", 100))},
		{"encrypted MP4", "copy-protected", bytes.Replace(m4a, []byte("mp4a"), []byte("enca"), 1)},
		{"FairPlay", "copy-protected", bytes.Replace(m4a, []byte("mp4a"), []byte("drms"), 1)},
		{"Audible", "copy-protected", bytes.Replace(m4a, []byte("mp4a"), []byte("aavd"), 1)},
		{"protected WMA", "copy-protected", slices.Concat(wma[:headerObject], encryption, wma[headerObject:])},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, out, err := convert(t, newEngine(t, testConfig), tt.data, eventing.Options{})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantTones(t, listen(t, out), 2, at{440, 0, 2})
				return
			}
			if f := failureIn(t, err); f.Code != Unsupported || !strings.Contains(f.Message, tt.want) {
				t.Errorf("Convert = %v, want %s with %q", f, Unsupported, tt.want)
			}
		})
	}
}

// publicTags has tags of the source that go into the MP3.
func publicTags(t *testing.T) {
	said := map[string]string{"title": "T", "artist": "A", "genre": "Jazz", "track": "3/9", "album_artist": "Ann",
		"composer": "Bob", "comment": "It rains", "date": "2024-05-06T07:08:09"}
	args := "-f lavfi -i sine=f=440:r=48000:d=1 -metadata title=T -metadata artist=A -metadata genre=Jazz " +
		"-metadata track=3/9 -metadata album_artist=Ann -metadata composer=Bob -metadata date=2024-05-06T09:08:09+0200 "
	for name, encode := range map[string]string{
		"tags.m4a":  "-c:a aac",
		"tags.mkv":  "-c:a aac",
		"tags.flac": "-c:a flac -metadata ISRC=DEA123 -metadata REPLAYGAIN_TRACK_GAIN=-3.20_dB",
		"tags.ogg":  "-c:a libopus -metadata ISRC=DEA123",
		"tags.mp3":  "-c:a libmp3lame -metadata TBPM=120 -metadata mood=calm -metadata replaygain_track_gain=-3.20_dB",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := makeFile(t, "public "+name, append(strings.Fields(args+encode), "-metadata", "comment=It rains")...)
			_, out, err := convert(t, newEngine(t, testConfig), read(t, src), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(said)
			if strings.Contains(encode, "ISRC") {
				want["TSRC"] = "DEA123"
			}
			if strings.Contains(encode, "-3.20") {
				want["replaygain_track_gain"] = "-3.20_dB"
			}
			if name == "tags.mp3" {
				want["TBPM"], want["mood"] = "120", "calm"
			}
			got := map[string]string{}
			for k, v := range probe(t, out).Format.Tags {
				if k != "TSRC" && k != "TBPM" {
					k = strings.ToLower(k)
				}
				got[k] = v
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("tags differ (-want +got):\n%s", diff)
			}
		})
	}
}

// publicRates has rates that MP3 has not, and a bitrate that it has not at a rate.
func publicRates(t *testing.T) {
	tone := func(hz, rate int) []byte {
		return read(t, publicFile(t, fmt.Sprintf("rate%d.wav", rate),
			fmt.Sprintf("-f lavfi -i sine=f=%d:r=%d:d=1", hz, rate)))
	}
	for _, tt := range []struct {
		name    string
		data    []byte
		hz      float64
		bitrate int
		rate    int
		notice  string
	}{
		{"37.8 kHz", tone(17000, 37800), 17000, 0, 44100, ""},
		{"88.2 kHz", tone(19000, 88200), 19000, 0, 48000, ""},
		{"320 kbit/s of 8 kHz", tone(1000, 8000), 1000, 320, 8000,
			"an MP3 of 8000 Hz cannot have 320 kbit/s: it has 64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, out, err := convert(t, newEngine(t, testConfig), tt.data, eventing.Options{Bitrate: max(tt.bitrate, 320)})
			if err != nil {
				t.Fatal(err)
			}
			x := listen(t, out)
			if l := x.level(0, tt.hz, .2, .8); x.rate != tt.rate || r.Notice != tt.notice || l < -24 {
				t.Errorf("%d Hz, the tone at %.1f dB, notice %q; want %d, -18, %q", x.rate, l, r.Notice, tt.rate, tt.notice)
			}
		})
	}
}
