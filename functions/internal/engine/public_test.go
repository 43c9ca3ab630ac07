package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// heard is what a file decodes to: the samples of each channel, in full scale.
type heard struct {
	rate     int
	channels [][]float64
}

// conversion is what a test asks for, and what becomes of it.
type conversion struct {
	data    []byte
	options eventing.Options

	result Result
	err    error
	path   string // of the MP3
	heard
}

// publicTest is a row of a table of conversions, and what is to become of it.
type publicTest struct {
	name string
	conversion
	code, says string // of a failure, and what is in its message
	tones      []at
}

// made tells whether there is an MP3; when there is to be none, it checks the failure.
func (tt *publicTest) made(t *testing.T) bool {
	t.Helper()
	if tt.code != "" {
		if f := failureIn(t, tt.err); f.Code != tt.code || !strings.Contains(f.Message, tt.says) {
			t.Errorf("Convert = %v, want %s with %q", f, tt.code, tt.says)
		}
		return false
	}
	if tt.err != nil {
		t.Fatal(tt.err)
	}
	return true
}

// convertAll makes the conversions beside each other, and decodes their MP3s in one run of ffmpeg, which takes longer
// to start than for that.
func convertAll(t *testing.T, tests ...*publicTest) []*publicTest {
	t.Helper()
	e := newEngine(t, testConfig)
	dsts := make([]memory, len(tests))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, tt := range tests {
		g.Go(func() error {
			src := bytes.NewReader(tt.data)
			tt.result, tt.err = e.Convert(t.Context(), src, src.Size(), tt.options, &dsts[i], func(int) {})
			return nil
		})
	}
	_ = g.Wait() // each has its own error
	dir := t.TempDir()
	var made []*publicTest
	var readings []reading
	for i, tt := range tests {
		if tt.err != nil {
			continue
		}
		tt.path = filepath.Join(dir, strconv.Itoa(i)+".mp3")
		if err := os.WriteFile(tt.path, dsts[i].Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		made, readings = append(made, tt), append(readings, reading{path: tt.path})
	}
	if len(made) == 0 {
		return tests
	}
	for i, b := range decode(t, []string{"-f", "f32le"}, readings...) {
		made[i].heard = heardOf(t, read(t, made[i].path), b)
	}
	return tests
}

// heardOf takes the samples that an MP3 decodes to, as floating-point numbers.
func heardOf(t *testing.T, file, samples []byte) heard {
	t.Helper()
	h, _, err := mp3.NewReader(bytes.NewReader(file)).Next()
	if err != nil {
		t.Fatal(err)
	}
	n := 2
	if h.Mono {
		n = 1
	}
	x := heard{rate: h.Rate, channels: make([][]float64, n)}
	for i := 0; i+4 <= len(samples); i += 4 {
		c := i / 4 % n
		x.channels[c] = append(x.channels[c], float64(math.Float32frombits(binary.LittleEndian.Uint32(samples[i:]))))
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

// publicFiles makes files for the tests of this page: of the inputs, each by a line of arguments.
func publicFiles(t *testing.T, inputs string, files map[string]string) map[string][]byte {
	t.Helper()
	args := map[string][]string{}
	for name, line := range files {
		args["public "+name] = strings.Fields(line)
	}
	makeFiles(t, strings.Fields(inputs), args)
	data := map[string][]byte{}
	for name := range files {
		data[name] = read(t, filepath.Join(made.dir, "public "+name))
	}
	return data
}

// publicNormalize has the options with each layout.
func publicNormalize(t *testing.T) {
	layouts := map[string]string{}
	for _, layout := range []string{"mono", "stereo", "2.1", "4.0", "5.1", "7.1"} {
		layouts["normalize "+layout+".mkv"] = "-af aformat=channel_layouts=" + layout + " -c:a flac"
	}
	files := publicFiles(t, "-f lavfi -i sine=f=440:r=48000:d=2", layouts)
	var tests []*publicTest
	for name, data := range files {
		tests = append(tests, &publicTest{name: name, conversion: conversion{data: data,
			options: eventing.Options{Normalize: true}}}, &publicTest{name: name + ", mono", conversion: conversion{data: data,
			options: eventing.Options{Normalize: true, Mono: true}}})
	}
	for _, x := range convertAll(t, tests...) {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			if !x.made(t) {
				return
			}
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
	const tracks = "-map 0 -map 1 -map 2 -c:v mpeg4 -c:a aac -metadata:s:a:0 language=ger -metadata:s:a:1 language=eng "
	const empty = "-map 0 -map 1 -map 2 -filter:a:0 aselect=0 -c:v mpeg4 -c:a "
	files := publicFiles(t, "-f lavfi -i color=s=32x32:r=25:d=2 -f lavfi -i sine=f=440:r=48000:d=2 "+
		"-f lavfi -i sine=f=880:r=48000:d=2", map[string]string{
		"tracks.ts":  "-map 0 -map 1 -map 2 -c:v mpeg2video -c:a mp2 -streamid 1:257 -streamid 2:258",
		"tracks.mp4": tracks + "-disposition:a:1 default",
		"tracks.mkv": tracks + "-disposition:a:0 default+comment -disposition:a:1 0",
		"empty.mp4":  empty + "aac",
		"empty.mkv":  empty + "flac",
	})
	var packets [][]byte // but those of the first track
	for p := range slices.Chunk(files["tracks.ts"], 188) {
		if binary.BigEndian.Uint16(p[1:])&0x1fff != 257 {
			packets = append(packets, p)
		}
	}
	mp4, mkv := files["tracks.mp4"], files["tracks.mkv"]
	apac := bytes.Replace(mp4, []byte("mp4a"), []byte("apac"), 1)
	track := func(of []byte, track string) conversion {
		return conversion{data: of, options: eventing.Options{Track: track}}
	}
	for _, tt := range convertAll(t, []*publicTest{
		{name: "no packets of the first in TS", conversion: track(slices.Concat(packets...), ""), tones: []at{{880, 0, 2}}},
		{name: "no samples of the first in MP4", conversion: track(files["empty.mp4"], ""), tones: []at{{880, 0, 2}}},
		{name: "no packets of the first in Matroska", conversion: track(files["empty.mkv"], ""), tones: []at{{880, 0, 2}}},
		{name: "apac first", conversion: track(apac, ""), tones: []at{{880, 0, 2}}},
		{name: "a commentary first", conversion: track(mkv, ""), tones: []at{{880, 0, 2}}},
		{name: "by number in MP4", conversion: track(mp4, "2"), tones: []at{{880, 0, 2}}},
		{name: "by number in Matroska", conversion: track(mkv, "1"), tones: []at{{440, 0, 2}}},
		{name: "by language in MP4", conversion: track(mp4, "de"), tones: []at{{440, 0, 2}}},
		{name: "by language in Matroska", conversion: track(mkv, "en-GB"), tones: []at{{880, 0, 2}}},
		{name: "a number that is not there", conversion: track(mkv, "3"), code: NoTrack, says: "1 (de, aac), 2 (en, aac)"},
		{name: "a language that is not there", conversion: track(mp4, "fr"), code: NoTrack,
			says: "1 (de, mp4a), 2 (en, mp4a)"},
	}...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.made(t) {
				wantTones(t, tt.heard, 2, tt.tones...)
			}
		})
	}
}

// publicTime has sound that is late or pauses: what is heard at a time of the video is heard then in the MP3.
func publicTime(t *testing.T) {
	const picture = "-f lavfi -i color=s=32x32:r=25:d=5 "
	const changing = "aevalsrc=0.2*sin(2*PI*440*t)*lt(t\\,1)+0.2*sin(2*PI*990*t)*gte(t\\,1):s=48000:d=2.5"
	const pausing = "aevalsrc=0.2*sin(2*PI*440*t)*lt(t\\,2.5)+0.2*sin(2*PI*880*t)*gte(t\\,2.5)*lt(t\\,3.5)+" +
		"0.2*sin(2*PI*990*t)*gte(t\\,3.5):s=48000:d=5"
	const tracks, pause = "-map 0 -map 1 ", "-af aselect='not(between(t\\,2\\,3))' "
	late, paused := map[string]string{}, map[string]string{}
	for name, args := range map[string]string{
		"aac.mkv":       "-c:v mpeg4 -c:a aac",
		"aac.mp4":       "-c:v mpeg4 -c:a aac",
		"opus.webm":     "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus",
		"fragments.mp4": "-c:v mpeg4 -c:a aac -movflags frag_keyframe+empty_moov",
		"mp3.mkv":       "-c:v mpeg4 -c:a libmp3lame -b:a 128k",
		"mp3.mp4":       "-c:v mpeg4 -c:a libmp3lame -q:a 4",
		"aac.flv":       "-c:v flv -c:a aac",
		"wma.wmv":       "-c:v wmv2 -c:a wmav2",
		"mp2.ts":        "-c:v mpeg2video -c:a mp2",
		"aac.avi":       "-c:v mpeg4 -c:a aac",
		"flac.avi":      "-c:v mpeg4 -c:a flac",
	} {
		late["late in "+name], paused["paused in "+name] = tracks+args, tracks+pause+args
	}
	late["two chapters at one time.mkv"] = tracks + "-map_chapters 3 -c:v mpeg4 -c:a aac"
	const long = "-af asetpts=PTS+gte(T\\,1)*12/TB "
	longs := map[string]string{
		"a long pause.mkv":                            long + "-c:a aac",
		"a long pause in MP3.mkv":                     long + "-c:a libmp3lame -b:a 128k",
		"a long pause in MP3 of variable bitrate.mkv": long + "-c:a libmp3lame -q:a 3",
	}
	type test struct {
		publicTest
		seconds  float64
		chapters []float64 // their starts; none where nobody looks
	}
	var tests []*test
	add := func(inputs string, files map[string]string, seconds float64, tones ...at) {
		for name, data := range publicFiles(t, inputs, files) {
			tests = append(tests, &test{publicTest{name: name, conversion: conversion{data: data}, tones: tones}, seconds, nil})
		}
	}
	add(picture+"-itsoffset 1.5 -f lavfi -i "+changing+" -i "+publicChapters(t, 5, 0, 2.5)+" -i "+
		publicChapters(t, 5, 2.5, 2.5), late, 4, at{0, 0, 1.5}, at{440, 1.5, 2.5}, at{990, 2.5, 4})
	add(picture+"-f lavfi -i "+pausing+" -i "+publicChapters(t, 5, 0, 3.5), paused, 5,
		at{440, 0, 2}, at{0, 2, 3}, at{880, 3, 3.5}, at{990, 3.5, 5})
	add("-f lavfi -i sine=f=440:r=44100:d=3", longs, 15, at{440, 0, 1}, at{0, 1.1, 12.9}, at{440, 13.1, 15})
	var part *test
	for _, tt := range tests {
		switch {
		case tt.name == "late in aac.mkv":
			part, tt.chapters = tt, []float64{0, 2.5}
		case tt.name == "late in aac.mp4":
			tt.chapters = []float64{0, 2.5}
		case tt.name == "paused in aac.mkv", tt.name == "paused in aac.mp4":
			tt.chapters = []float64{0, 3.5}
		case strings.HasPrefix(tt.name, "two chapters"):
			tt.chapters = []float64{2.5, 2.5}
		case strings.HasPrefix(tt.name, "late") && strings.HasSuffix(tt.name, "avi"):
			tt.tones = append([]at{{0, .1, 1.5}}, tt.tones[1:]...) // ffmpeg writes one frame in front of the silence
		}
	}
	for name, x := range map[string]struct {
		options eventing.Options
		tones   []at
	}{
		"late, from 2 s":      {eventing.Options{Start: 2}, []at{{440, 0, .5}, {990, .5, 2}}},
		"late, from 1 to 3 s": {eventing.Options{Start: 1, End: 3}, []at{{0, 0, .5}, {440, .5, 1.5}, {990, 1.5, 2}}},
	} {
		tests = append(tests, &test{publicTest{name: name, conversion: conversion{data: part.data, options: x.options},
			tones: x.tones}, 2, nil})
	}
	var all []*publicTest
	for _, tt := range tests {
		all = append(all, &tt.publicTest)
	}
	convertAll(t, all...)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !tt.made(t) {
				return
			}
			wantTones(t, tt.heard, tt.seconds, tt.tones...)
			r := tt.result
			if d := r.Duration.Seconds(); math.Abs(d-tt.seconds) > .07 || r.Notice != "" {
				t.Errorf("Convert = %+v, want %.3f s", r, tt.seconds)
			}
			if tt.chapters == nil {
				return
			}
			var starts []float64
			p := probe(t, tt.path)
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
	killed := map[string]string{
		"killed fragments.mp4": "-c:v mpeg4 -g 10 -c:a aac -movflags frag_keyframe+empty_moov+default_base_moof",
		"killed aac.flv":       "-c:v flv -c:a aac -flvflags no_duration_filesize",
		"killed mp2.ts":        "-c:v mpeg2video -c:a mp2",
		"killed mp2.mpg":       "-c:v mpeg2video -c:a mp2 -f vob",
		"killed sound.aac":     "-map 1:a -c:a aac",
		"killed opus.ogg":      "-map 1:a -c:a libopus -page_duration 200000",
		"killed sound.mp3":     "-map 1:a -c:a libmp3lame -write_xing 0",
		"killed live.mkv":      "-c:v mpeg4 -c:a aac -live 1",
	}
	whole := map[string]string{
		"cut aac.mp4":   "-c:v mpeg4 -c:a aac -movflags +faststart",
		"cut aac.mkv":   "-c:v mpeg4 -c:a aac",
		"cut mp3.avi":   "-c:v mpeg4 -c:a libmp3lame",
		"cut aac.flv":   "-c:v flv -c:a aac",
		"cut sound.wav": "-map 1:a",
		"cut sound.mp3": "-map 1:a -c:a libmp3lame",
	}
	files := maps.Clone(whole)
	maps.Copy(files, killed)
	var tests []*publicTest
	const sources = "-f lavfi -i testsrc2=s=64x64:r=25:d=4 -f lavfi -i sine=f=440:r=48000:d=4"
	for name, data := range publicFiles(t, sources, files) {
		part := conversion{data: data[:len(data)*3/4-5]}
		if _, ok := killed[name]; !ok {
			tests = append(tests, &publicTest{name: name, conversion: part, code: Truncated})
			name, part.options.Partial = name+", partial", true
		}
		tests = append(tests, &publicTest{name: name, conversion: part})
	}
	for _, tt := range convertAll(t, tests...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !tt.made(t) {
				return
			}
			s := tt.seconds()
			if s < 2 || s > 3.9 {
				t.Errorf("%.3f s are heard, want most of what is there", s)
			}
			wantTones(t, tt.heard, s, at{440, 0, s})
			want := fmt.Sprintf("the recording ends abruptly at %.1f s", tt.result.Duration.Seconds())
			if tt.result.Notice != want {
				t.Errorf("notice %q, want %q", tt.result.Notice, want)
			}
		})
	}
}

// publicMix mixes channels down.
func publicMix(t *testing.T) {
	sources := func(hz ...string) string {
		return "-f lavfi -i aevalsrc=" + strings.Join(hz, "|") + ":s=48000:d=1:c=5.1 "
	}
	var tones []string
	for hz := range 6 {
		tones = append(tones, fmt.Sprintf("0.1*sin(2*PI*%d*t)", 300+100*hz))
	}
	files := publicFiles(t, sources(tones...)+sources(slices.Repeat([]string{"0.9*sin(2*PI*1000*t)"}, 6)...),
		map[string]string{
			"mix.ac3.mkv":   "-map 0 -c:a ac3",
			"mix.flac.mkv":  "-map 0 -c:a flac -sample_fmt s16",
			"mix.aac.mp4":   "-map 0 -c:a aac -b:a 300k",
			"mix.pcm.mov":   "-map 0 -c:a pcm_s16le",
			"loud.ac3.mkv":  "-map 1 -c:a ac3 -b:a 640k",
			"loud.flac.mkv": "-map 1 -c:a flac",
		})
	type level struct {
		hz          float64
		left, right float64 // dB to the tone of the source; -100 for nothing
	}
	const none = -100
	surround := []level{{300, 0, none}, {400, none, 0}, {500, -3, -3}, {600, none, none}, {700, -3, none}, {800, none, -3}}
	inMono := []level{{300, -3, 0}, {400, -3, 0}, {500, 0, 0}, {600, none, 0}, {700, -6, 0}, {800, -6, 0}}
	many := func(n int) []byte {
		var hz []float64
		for i := range n {
			hz = append(hz, float64(300+100*i))
		}
		return wavOf(48000, .1, hz...)
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
	var tests []*publicTest
	levels := map[string][]level{}
	for _, x := range []struct {
		name   string
		data   []byte
		levels []level
	}{
		{"5.1 of AC-3", files["mix.ac3.mkv"], surround},
		{"5.1 of FLAC", files["mix.flac.mkv"], surround},
		{"5.1 of AAC in MP4", files["mix.aac.mp4"], surround},
		{"5.1 of PCM in MOV", files["mix.pcm.mov"], surround},
		{"5.1 to mono", files["mix.flac.mkv"], inMono},
		{"loud AC-3", files["loud.ac3.mkv"], nil},
		{"loud FLAC", files["loud.flac.mkv"], nil},
		{"3 channels that nobody names", many(3), odd(3)},
		{"6 channels that nobody names", many(6), odd(6)},
		{"9 channels", many(9), odd(9)},
		{"12 channels", many(12), odd(12)},
		{"32 channels", many(32), odd(32)},
	} {
		levels[x.name] = x.levels
		tests = append(tests, &publicTest{name: x.name, conversion: conversion{data: x.data,
			options: eventing.Options{Mono: strings.HasSuffix(x.name, "to mono"), Bitrate: 320}}})
	}
	for _, tt := range convertAll(t, tests...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !tt.made(t) {
				return
			}
			if p := tt.peak(); p > 1 {
				t.Errorf("the largest sample is %.3f, want it within full scale", p)
			}
			if levels[tt.name] == nil && tt.power(0, .2, .8) < -6 {
				t.Errorf("%.1f dB, want it loud", tt.power(0, .2, .8))
			}
			for _, l := range levels[tt.name] {
				for c, want := range []float64{l.left, l.right}[:len(tt.channels)] {
					got := tt.level(c, l.hz, .2, .8) + 20
					if math.Abs(got-want) > 1 && (want > none || got > -30) {
						t.Errorf("%.0f Hz has %.1f dB on channel %d, want %.1f", l.hz, got, c, want)
					}
				}
			}
		})
	}
}

// wavOf makes a WAV of a second that does not say which channels it has: each has a tone of so many Hz.
func wavOf(rate int, loud float64, hz ...float64) []byte {
	le := binary.LittleEndian
	var samples []byte
	for i := range rate {
		for _, f := range hz {
			s := loud * math.Sin(2*math.Pi*f*float64(i)/float64(rate))
			samples = le.AppendUint32(samples, math.Float32bits(float32(s)))
		}
	}
	frame := 4 * len(hz)
	format := le.AppendUint16(le.AppendUint16(nil, 3), uint16(len(hz))) // floating-point numbers
	format = le.AppendUint32(le.AppendUint32(format, uint32(rate)), uint32(rate*frame))
	format = le.AppendUint16(le.AppendUint16(format, uint16(frame)), 32)
	chunk := func(id string, b []byte) []byte {
		return slices.Concat([]byte(id), le.AppendUint32(nil, uint32(len(b))), b)
	}
	return chunk("RIFF", slices.Concat([]byte("WAVE"), chunk("fmt ", format), chunk("data", samples)))
}

// publicGapless has encoders that put samples in front and behind: the first and the last that are heard are those that
// they were given.
func publicGapless(t *testing.T) {
	// One click at the beginning and one at the end of 2.01 s.
	const clicks = "-f lavfi -i aevalsrc=0.5*sin(2*PI*1000*t)*(lt(t\\,.02)+gte(t\\,1.99)):s=48000:d=2.01"
	const samples = 96480
	files := publicFiles(t, clicks, map[string]string{
		"gapless.m4a": "-c:a aac -metadata title=x",
		"gapless.caf": "-c:a libopus",
		"gapless.mp4": "-c:a libopus",
	})
	smpb := func(from, length int) []byte {
		value := fmt.Sprintf(" 00000000 %08X 00000000 %016X 00000000", from, length)
		item := makeBox("----", makeBox("mean", u32(0), []byte("com.apple.iTunes")), makeBox("name", u32(0),
			[]byte("iTunSMPB")), makeBox("data", u32(1, 0), []byte(value)))
		b := edit(files["gapless.m4a"], func([]byte) []byte { return nil }, "moov", "trak", "edts")
		return edit(b, func(meta []byte) []byte { // which begins with its version and flags
			return slices.Concat(meta[:4], edit(meta[4:], func(ilst []byte) []byte { return slices.Concat(ilst, item) }, "ilst"))
		}, "moov", "udta", "meta")
	}
	caf := files["gapless.caf"]
	table := caf[bytes.Index(caf, []byte("pakt"))+12+8:]
	packets := int(binary.BigEndian.Uint64(table)) // frames that are valid, as ffmpeg says: all
	binary.BigEndian.PutUint64(table, samples)
	binary.BigEndian.PutUint32(table[8:], 312)
	binary.BigEndian.PutUint32(table[12:], uint32(packets-samples-312))
	of := func(data []byte) conversion { return conversion{data: data, options: eventing.Options{Bitrate: 320}} }
	for _, x := range convertAll(t,
		&publicTest{name: "iTunSMPB", conversion: of(smpb(1024, samples))},
		&publicTest{name: "Opus in MP4", conversion: of(files["gapless.mp4"])},
		&publicTest{name: "Opus in CAF", conversion: of(caf)},
	) {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			if !x.made(t) {
				return
			}
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
	files := publicFiles(t, "-f lavfi -i sine=f=440:r=48000:d=2", map[string]string{
		"kinds.mp3": "-c:a libmp3lame -write_xing 0 -id3v2_version 0",
		"kinds.m4a": "-c:a aac",
		"kinds.wma": "-c:a wmav2",
	})
	m4a, wma := files["kinds.m4a"], files["kinds.wma"]
	encryption := slices.Concat([]byte("\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e"),
		binary.LittleEndian.AppendUint64(nil, 24+8), make([]byte, 8))
	const headerObject = 30
	refuse := func(name, says string, data []byte) *publicTest {
		return &publicTest{name: name, conversion: conversion{data: data}, code: Unsupported, says: says}
	}
	begins := func(name, with string) *publicTest {
		return refuse(name, name+" is not supported", []byte(with+strings.Repeat("\x00", 100)))
	}
	protected := func(name, codec string) *publicTest {
		return refuse(name, "copy-protected", bytes.Replace(m4a, []byte("mp4a"), []byte(codec), 1))
	}
	for _, tt := range convertAll(t,
		&publicTest{name: "MP3 behind junk", conversion: conversion{
			data: append(bytes.Repeat([]byte("no frame "), 150), files["kinds.mp3"]...)}},
		begins("Musepack", "MPCKSH"),
		begins("Monkey's Audio", "MAC \x96\x0f"),
		begins("DSF", "DSD \x1c\x00"),
		begins("MIDI", "MThd\x00\x00\x00\x06"),
		begins("raw H.264", "\x00\x00\x00\x01\x67\x42"),
		protected("encrypted MP4", "enca"),
		protected("FairPlay", "drms"),
		protected("Audible", "aavd"),
		refuse("protected WMA", "copy-protected", slices.Concat(wma[:headerObject], encryption, wma[headerObject:])),
	) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.made(t) {
				wantTones(t, tt.heard, 2, at{440, 0, 2})
			}
		})
	}
}

// publicTags has tags of the source that go into the MP3.
func publicTags(t *testing.T) {
	said := map[string]string{"title": "T", "artist": "A", "genre": "Jazz", "track": "3/9", "album_artist": "Ann",
		"composer": "Bob", "comment": "It_rains", "date": "2024-05-06T07:08:09"}
	const tags = " -metadata title=T -metadata artist=A -metadata genre=Jazz -metadata track=3/9 " +
		"-metadata album_artist=Ann -metadata composer=Bob -metadata comment=It_rains -metadata date=2024-05-06T09:08:09+0200"
	lines := map[string]string{
		"tags.m4a":  "-c:a aac",
		"tags.mkv":  "-c:a aac",
		"tags.flac": "-c:a flac -metadata ISRC=DEA123 -metadata REPLAYGAIN_TRACK_GAIN=-3.20_dB",
		"tags.ogg":  "-c:a libopus -metadata ISRC=DEA123",
		"tags.mp3":  "-c:a libmp3lame -metadata TBPM=120 -metadata mood=calm -metadata replaygain_track_gain=-3.20_dB",
	}
	for name := range lines {
		lines[name] += tags
	}
	var tests []*publicTest
	for name, data := range publicFiles(t, "-f lavfi -i sine=f=440:r=48000:d=1", lines) {
		tests = append(tests, &publicTest{name: name, conversion: conversion{data: data}})
	}
	for _, tt := range convertAll(t, tests...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !tt.made(t) {
				return
			}
			want := maps.Clone(said)
			if strings.Contains(lines[tt.name], "ISRC") {
				want["TSRC"] = "DEA123"
			}
			if strings.Contains(lines[tt.name], "-3.20") {
				want["replaygain_track_gain"] = "-3.20_dB"
			}
			if tt.name == "tags.mp3" {
				want["TBPM"], want["mood"] = "120", "calm"
			}
			got := map[string]string{}
			for k, v := range probe(t, tt.path).Format.Tags {
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
	of := func(rate int, hz float64) conversion {
		return conversion{data: wavOf(rate, .125, hz), options: eventing.Options{Bitrate: 320}}
	}
	for i, x := range convertAll(t,
		&publicTest{name: "37.8 kHz", conversion: of(37800, 17000)},
		&publicTest{name: "88.2 kHz", conversion: of(88200, 19000)},
		&publicTest{name: "320 kbit/s of 8 kHz", conversion: of(8000, 1000)},
	) {
		want := []struct {
			rate   int
			hz     float64
			notice string
		}{{44100, 17000, ""}, {48000, 19000, ""}, {8000, 1000, "an MP3 of 8000 Hz cannot have 320 kbit/s: it has 64"}}[i]
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			if !x.made(t) {
				return
			}
			if l := x.level(0, want.hz, .2, .8); x.rate != want.rate || x.result.Notice != want.notice || l < -24 {
				t.Errorf("%d Hz, the tone at %.1f dB, notice %q; want %d, -18, %q", x.rate, l, x.result.Notice, want.rate,
					want.notice)
			}
		})
	}
}
