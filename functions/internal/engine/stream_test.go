package engine

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/mp4"
)

// TestStream decodes the sound of an MP4 from the file that its index makes and from the stream that needs none, and
// compares every sample.
func TestStream(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, args string
		file       bool // there is no stream
		whole      bool // ffmpeg cannot cut it
	}{
		{name: "aac.mp4", args: "-c:a aac"},
		{name: "aac_mono_22050.mp4", args: "-c:a aac -ac 1 -ar 22050"},
		{name: "aac_5.1.mp4", args: "-c:a aac -ac 6"},
		{name: "aac_seven.mp4", args: "-c:a aac -ar 96000 -ac 8"},
		{name: "aac_interleaved.mp4", args: "-c:a aac -movflags +faststart -chunk_duration 1000000"},
		{name: "aac.mov", args: "-c:a aac -f mov"},
		{name: "aac_no_edits.mp4", args: "-c:a aac -use_editlist 0"},
		{name: "aac_delayed.mp4", args: "-c:a aac -af asetpts=PTS+1.5/TB"},
		{name: "mp3.mp4", args: "-c:a libmp3lame"},
		{name: "mp3.mov", args: "-c:a libmp3lame"},
		{name: "mp3_mono_16000.mp4", args: "-c:a libmp3lame -ar 16000 -ac 1"},
		{name: "ac3.mp4", args: "-c:a ac3"},
		{name: "ac3_44100_5.1.mp4", args: "-c:a ac3 -ar 44100 -ac 6"},
		{name: "eac3.mp4", args: "-c:a eac3"},
		{name: "dts.mp4", args: "-c:a dca -strict -2 -ac 2 -ar 48000"},
		{name: "truehd.mp4", args: "-c:a truehd -strict -2 -ac 2 -ar 48000"},
		{name: "alac.m4a", args: "-vn -c:a alac"},
		{name: "alac.mov", args: "-c:a alac"},
		{name: "flac.mp4", args: "-c:a flac -strict -2"},
		{name: "opus.mp4", args: "-c:a libopus"},
		{name: "opus_long_frames.mp4", args: "-c:a libopus -frame_duration 60 -ac 1"},
		{name: "mp2.mp4", args: "-c:a mp2"},
		{name: "vorbis.mp4", args: "-c:a libvorbis"},
		{name: "s16le.mov", args: "-c:a pcm_s16le"},
		{name: "s16be.mov", args: "-c:a pcm_s16be -ac 1 -ar 8000"},
		{name: "s24le.mov", args: "-c:a pcm_s24le -ac 2"},
		{name: "s24be.mov", args: "-c:a pcm_s24be -ac 6", file: true}, // Matroska does not name PCM's channels
		{name: "s32le.mov", args: "-c:a pcm_s32le"},
		{name: "s32be.mov", args: "-c:a pcm_s32be"},
		{name: "s24le_96000.mov", args: "-c:a pcm_s24le -ar 96000"},
		{name: "f32le.mov", args: "-c:a pcm_f32le"},
		{name: "f64le.mov", args: "-c:a pcm_f64le"},
		{name: "f32be.mov", args: "-c:a pcm_f32be"},
		{name: "u8.mov", args: "-c:a pcm_u8"},
		{name: "mulaw.mov", args: "-c:a pcm_mulaw -ar 8000"},
		{name: "alaw.mov", args: "-c:a pcm_alaw -ac 2"},
		{name: "ima.mov", args: "-c:a adpcm_ima_qt -ac 2"},
		{name: "adpcm.mov", args: "-c:a adpcm_ms", whole: true},
		{name: "gsm.mov", args: "-c:a libgsm -ar 8000"},
		{name: "g726.mov", args: "-c:a g726 -ar 8000", file: true},
	}
	// The edit list of what is copied leaves out its beginning and end.
	cuts := []string{"0.3", "1.7"}
	if !everything() {
		cuts = cuts[:1]
	}
	whole, inputs, cut := map[string][]string{}, []string{}, map[string][]string{}
	for _, tt := range tests {
		whole["stream_"+tt.name] = strings.Fields(tt.args)
		for _, start := range cuts {
			if tt.whole {
				continue
			}
			track := strconv.Itoa(len(cut))
			inputs = append(inputs, "-ss", start, "-t", "1.23", "-i", filepath.Join(made.dir, "stream_"+tt.name))
			cut["stream_"+start+tt.name] = []string{"-map", track, "-map_metadata", track, "-c", "copy", "-strict", "-2",
				"-avoid_negative_ts", "disabled"}
		}
	}
	videos(t, whole)
	makeFiles(t, inputs, cut)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			paths := []string{filepath.Join(made.dir, "stream_"+tt.name)}
			for _, start := range cuts {
				if !tt.whole {
					paths = append(paths, filepath.Join(made.dir, "stream_"+start+tt.name))
				}
			}
			var readings []reading
			for _, path := range paths {
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				stat, err := f.Stat()
				if err != nil {
					t.Fatal(err)
				}
				x, err := mp4.Read(f, stat.Size())
				if err != nil {
					t.Fatal(err)
				}
				if got := x.Audio.Stream != nil; got == tt.file {
					t.Fatalf("Read(%s): a stream: %v, want %v", filepath.Base(path), got, !tt.file)
				}
				if !tt.file {
					file := fed(t, func(w io.Writer) error { return x.Audio.WriteFile(w, f) })
					stream := streamed(t, x.Audio.Stream, f)
					readings = append(readings, file, stream)
					wantSoundAlone(t, x, f, read(t, stream.path))
				}
			}
			sameSamples(t, readings...)
		})
	}
}

// wantSoundAlone sees that the file with the sound alone gives ffmpeg the same.
func wantSoundAlone(t *testing.T, x *mp4.Index, src io.ReaderAt, stream []byte) {
	t.Helper()
	s, err := x.NewSound(src)
	if err != nil {
		t.Fatal(err)
	}
	y, err := mp4.Read(s, s.Size())
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := y.Audio.Stream.WriteFile(&got, s); err != nil || !bytes.Equal(got.Bytes(), stream) {
		t.Errorf("the sound alone is fed as %d bytes, %v, that are not the %d of the video", got.Len(), err, len(stream))
	}
}

// fed is how ffmpeg is to read what it is fed.
func fed(t *testing.T, feed func(io.Writer) error) reading {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fed"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := feed(f); err != nil {
		t.Fatal(err)
	}
	return reading{path: f.Name(), args: []string{"-seekable", "0"}}
}

// streamed is how ffmpeg is to read the stream of a file's sound, and what of it is to be heard.
func streamed(t *testing.T, s *mp4.Stream, src io.ReaderAt) reading {
	t.Helper()
	x := fed(t, func(w io.Writer) error { return s.WriteFile(w, src) })
	x.filter = "atrim=start=" + strconv.FormatFloat(s.Preroll.Seconds(), 'f', 6, 64)
	return x
}

// sameSamples decodes files and their streams, in turn, and compares every sample.
func sameSamples(t *testing.T, files ...reading) {
	t.Helper()
	if len(files) == 0 {
		return
	}
	samples := decode(t, []string{"-f", "f32le"}, files...)
	for i := 0; i < len(samples); i += 2 {
		if want, got := samples[i], samples[i+1]; len(want) == 0 || !bytes.Equal(got, want) {
			t.Errorf("%s, file %d: %d bytes of samples with %s, want the %d of the file", t.Name(), i/2, len(got),
				files[i+1].filter, len(want))
		}
	}
}

// TestStreamFragments decodes the sound of fragments from the file itself and from the stream, and compares every
// sample.
func TestStreamFragments(t *testing.T) {
	t.Parallel()
	layouts := map[string]string{
		"keyframes":         "frag_keyframe+empty_moov",
		"base is moof":      "frag_keyframe+empty_moov+default_base_moof",
		"a moof each":       "frag_keyframe+empty_moov+separate_moof",
		"no offset":         "frag_keyframe+empty_moov+omit_tfhd_offset",
		"edits":             "frag_keyframe+delay_moov",
		"edits, no offset":  "frag_keyframe+delay_moov+omit_tfhd_offset",
		"every frame":       "frag_every_frame+delay_moov",
		"index, then more":  "frag_keyframe",
		"short":             "empty_moov+default_base_moof -frag_duration 100000",
		"dash":              "dash+frag_keyframe+delay_moov -frag_duration 500000",
		"cmaf":              "cmaf+frag_keyframe+delay_moov -frag_duration 500000",
		"index of segments": "frag_keyframe+empty_moov+default_base_moof+global_sidx",
		"no trailer":        "frag_keyframe+empty_moov+skip_trailer",
		"smooth streaming":  "frag_keyframe+empty_moov -f ismv",
	}
	sounds := map[string]string{
		"mp3":  "-c:a libmp3lame",
		"ac3":  "-c:a ac3",
		"eac3": "-c:a eac3",
		"alac": "-c:a alac",
		"flac": "-c:a flac -strict -2",
		"opus": "-c:a libopus",
		"pcm":  "-f mov -c:a pcm_s16le",
	}
	files := map[string][]string{}
	for name, flags := range layouts {
		files["aac "+name+".mp4"] = strings.Fields("-c:a aac -movflags " + flags)
	}
	withSounds := []string{"edits", "every frame", "index, then more"}
	if !everything() {
		withSounds = withSounds[:1]
	}
	for name, encode := range sounds {
		for _, layout := range withSounds {
			files[name+" "+layout+".mp4"] = strings.Fields(encode + " -movflags " + layouts[layout])
		}
	}
	together := maps.Clone(files)
	maps.DeleteFunc(together, func(name string, _ []string) bool {
		return strings.Contains(name, "every frame") // ffmpeg writes wrong times there when it makes several
	})
	videos(t, together)
	for name, args := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := video(t, name, args...)
			b := read(t, path)
			x, err := mp4.Read(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if x.Audio.Stream == nil {
				t.Fatalf("Read(%s): no stream", name)
			}
			sameSamples(t, reading{path: path}, streamed(t, x.Audio.Stream, bytes.NewReader(b)))
			if d := x.Audio.Duration.Seconds(); d < 3.9 || d > 4.2 {
				t.Errorf("Read(%s): %v s long, want 4", name, d)
			}
		})
	}
}

// TestStreamDelay checks that what is decoded of HE-AAC is where the encoder got it.
func TestStreamDelay(t *testing.T) {
	t.Parallel()
	floats := func(b []byte) (x []float64) { // a quarter of them
		for ; len(b) >= 16; b = b[16:] {
			x = append(x, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		}
		return x
	}
	want := floats([]byte(run(t, "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", tone, "-f", "f32le", "-")))
	for _, name := range []string{"he-aac.m4a", "he-aac-v2.m4a"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := read(t, "testdata/"+name)
			x, err := mp4.Read(bytes.NewReader(b), int64(len(b)))
			if err != nil || x.Audio.Stream == nil {
				t.Fatalf("Read(%s) = %+v, %v, want a stream", name, x, err)
			}
			got := floats(decode(t, []string{"-ac", "1", "-f", "f32le"}, streamed(t, x.Audio.Stream, bytes.NewReader(b)))[0])
			const second, most = 44100 / 4, 44100 / 4 / 5
			best, lag := math.Inf(-1), 0
			for i := -most; i <= most; i++ {
				var sum float64
				for j := second / 2; j < 3*second; j++ {
					sum += want[j] * got[j+i]
				}
				if sum > best {
					best, lag = sum, i
				}
			}
			if abs(lag) > second/1000 {
				t.Errorf("Stream(%s): sounds %d/%d s late, want a thousandth at most", name, lag, second)
			}
		})
	}
}
