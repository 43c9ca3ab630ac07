package engine

import (
	"bytes"
	"io"
	"iter"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/eventing"
)

// TestSoundAlone converts a video, and the file that has its sound alone: the MP3s are equal to the bit.
func TestSoundAlone(t *testing.T) {
	t.Parallel()
	meta := strings.Fields("-metadata title=Über -metadata artist=Ann -metadata album=Talks -metadata date=2026")
	files := map[string][]string{
		"alone_delayed.mp4":   {"-c:a", "aac", "-af", "asetpts=PTS+1.5/TB"},
		"alone_mp3.mov":       {"-c:a", "libmp3lame"},
		"alone_float.mov":     {"-c:a", "pcm_f32le"},
		"alone_g726.mov":      {"-c:a", "g726", "-ar", "8000"},
		"alone_names.mp4":     append([]string{"-c:a", "aac"}, meta...),
		"alone_fragments.mp4": append(strings.Fields("-c:a aac -bf 2 -movflags frag_keyframe+empty_moov -g 25"), meta...),
		"alone_base.mp4": strings.Fields("-c:a aac -af asetpts=PTS+0.5/TB -g 50 " +
			"-movflags frag_keyframe+empty_moov+default_base_moof+global_sidx"),
		"alone_hybrid.mp4": strings.Fields("-c:a ac3 -movflags frag_keyframe -g 25"),
		"alone_opus.mp4":   strings.Fields("-c:a libopus -movflags frag_keyframe+delay_moov -g 25"),
		"alone_dash.mp4":   strings.Fields("-c:a aac -movflags frag_every_frame+empty_moov+dash"),
	}
	// Of Matroska the first 6 MB are kept.
	large := strings.Fields("-c:v rawvideo -pix_fmt yuv420p -s 352x240")
	for name, args := range map[string]string{
		"aac":      "-c:a aac",
		"delayed":  "-c:a aac -af asetpts=PTS+1.5/TB",
		"early":    "-c:a ac3 -vf setpts=PTS+0.7/TB",
		"opus":     "-c:a libopus",
		"vorbis":   "-c:a libvorbis",
		"mp3":      "-c:a libmp3lame",
		"ac3":      "-c:a ac3",
		"flac":     "-c:a flac",
		"pcm":      "-c:a pcm_s16le",
		"float":    "-c:a pcm_f32le",
		"live":     "-c:a aac -live 1 -cluster_time_limit 300",
		"pause":    "-c:a aac -af aselect=lt(t\\,2)+gt(t\\,3)",
		"clusters": "-c:a libopus -cluster_size_limit 200000 -cues_to_front 1",
		"tracks": "-map 0:v -map 1:a -map 1:a -c:a aac -filter:a:1 volume=0.5 -disposition:a:0 0 " +
			"-disposition:a:1 default",
	} {
		files["alone_"+name+".mkv"] = slices.Concat(large, strings.Fields(args))
	}
	videos(t, files)
	for name := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sameAlone(t, read(t, filepath.Join(made.dir, name)))
		})
	}
}

// sameAlone compares what is made of a video with what is made of its sound alone.
func sameAlone(t *testing.T, video []byte) {
	t.Helper()
	e := newEngine(t, testConfig)
	s, err := Sound(bytes.NewReader(video), int64(len(video)))
	if err != nil {
		t.Fatal(err)
	}
	sound, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
	if err != nil {
		t.Fatal(err)
	}
	if s.Size() > int64(len(video))/10*9 {
		t.Errorf("the sound has %d bytes of %d", s.Size(), len(video))
	}
	for _, o := range []eventing.Options{{}, {Bitrate: 64, Mono: true, Start: 0.5, End: 3.7}} {
		_, want, err := convert(t, e, video, o)
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := convert(t, e, sound, o)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, got), read(t, want)) {
			t.Errorf("%+v: the MP3 of the sound alone differs", o)
		}
	}
}

// TestSoundAloneMatroska has what ffmpeg's own files above have not.
func TestSoundAloneMatroska(t *testing.T) {
	t.Parallel()
	const noise = "testsrc2=s=352x240:r=25:d=4,noise=alls=80:allf=t"
	chapters := filepath.Join(t.TempDir(), "chapters")
	if err := os.WriteFile(chapters, []byte(";FFMETADATA1\ntitle=Über\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\n"+
		"title=One\n[CHAPTER]\nTIMEBASE=1/1\nSTART=2\nEND=4\ntitle=Two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cover := makeFile(t, "alone_cover.png", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=1", "-frames:v", "1")
	named := read(t, makeFile(t, "alone_named.mkv", "-f", "lavfi", "-i", noise, "-f", "lavfi", "-i", tone, "-i", chapters,
		"-map_metadata", "2", "-map", "0", "-map", "1", "-c:v", "rawvideo", "-c:a", "aac", "-attach", cover, "-metadata:s:t",
		"mimetype=image/png", "-metadata:s:t", "filename=cover.png"))
	webm := read(t, makeFile(t, "alone.webm", "-f", "lavfi", "-i", noise, "-f", "lavfi", "-i", tone, "-c:v", "libvpx",
		"-deadline", "realtime", "-cpu-used", "8", "-b:v", "60M", "-qmin", "0", "-qmax", "1", "-c:a", "libopus"))
	large := strings.Fields("-c:v rawvideo -pix_fmt yuv420p -s 352x240")
	live := read(t, video(t, "alone_cut.mkv", append(large, "-c:a", "aac", "-live", "1")...))
	mp3 := read(t, video(t, "alone_laced.mkv", append(large, "-c:a", "libmp3lame")...))
	for name, b := range map[string][]byte{
		"names, chapters and a cover": named,
		"WebM":                        webm,
		"cut off":                     live[:len(live)-50_000],
		"lacing":                      laced(mp3, 2),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sameAlone(t, b)
		})
	}
}

// laced has the packets of a track four in a block, each such block behind the other blocks of its cluster, and no
// index (RFC 9559, section 10.3; lengths as Xiph has them).
func laced(mkv []byte, track byte) (out []byte) {
	const simpleBlock, cluster, segment, cues, xiph = "\xa3", "\x1f\x43\xb6\x75", "\x18\x53\x80\x67", "\x1c\x53\xbb\x6b", 2
	for e := range elements(mkv) {
		switch e.id {
		case segment:
			out = append(out, element(segment, laced(e.body, track))...)
		case cluster:
			var kept []byte
			var packets [][]byte
			for c := range elements(e.body) {
				if c.id == simpleBlock && c.body[0] == 0x80|track {
					packets = append(packets, c.body)
				} else {
					kept = append(kept, c.whole...)
				}
			}
			for four := range slices.Chunk(packets, 4) {
				block := append(slices.Clone(four[0][:3]), four[0][3]|xiph, byte(len(four)-1))
				var data []byte
				for i, p := range four {
					if p = p[4:]; i < len(four)-1 {
						block = append(append(block, bytes.Repeat([]byte{255}, len(p)/255)...), byte(len(p)%255))
					}
					data = append(data, p...)
				}
				kept = append(kept, element(simpleBlock, append(block, data...))...)
			}
			out = append(out, element(cluster, kept)...)
		case cues:
		default:
			out = append(out, e.whole...)
		}
	}
	return out
}

// ebmlElement is an element of Matroska.
type ebmlElement struct {
	id          string
	body, whole []byte
}

// elements iterates over the elements that b consists of.
func elements(b []byte) iter.Seq[ebmlElement] {
	return func(yield func(ebmlElement) bool) {
		for len(b) > 0 {
			id := bits.LeadingZeros8(b[0]) + 1
			header := id + bits.LeadingZeros8(b[id]) + 1
			n := uint64(b[id]) &^ (1 << (8 - (header - id)))
			for _, x := range b[id+1 : header] {
				n = n<<8 | uint64(x)
			}
			end := header + int(n)
			if !yield(ebmlElement{string(b[:id]), b[header:end], b[:end]}) {
				return
			}
			b = b[end:]
		}
	}
}
