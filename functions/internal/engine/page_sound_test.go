package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// soundJS picks the sound out of the files that it is given the names of, and puts it beside them.
const soundJS = `
import { File } from 'node:buffer'
import { readFile, writeFile } from 'node:fs/promises'
const { module, files } = JSON.parse(process.argv[1])
const { soundAlone, soundOf } = await import(module)
for (const path of files) {
  const file = new File([await readFile(path)], 'talk.mp4', { type: 'video/mp4' })
  const alone = await soundAlone(file)
  if (alone) {
    const pieces = []
    for (let at = 0; at < alone.size; at += 50_001) pieces.push(await alone.slice(at, at + 50_001))
    const whole = new Blob([await alone.slice()])
    const bytes = Buffer.from(await whole.arrayBuffer())
    if (!bytes.equals(Buffer.from(await new Blob(pieces).arrayBuffer()))) throw new Error(path + ': the pieces differ')
    await writeFile(path + '.sound', bytes)
  }
  const sound = await soundOf(file)
  const worth = alone !== null && alone.size <= Math.floor(file.size / 10) * 9
  if (worth !== (sound !== null)) throw new Error(path + ': soundOf gives ' + sound)
  if (sound && (sound.blob.size !== alone.size || sound.name !== file.name || sound.type !== file.type)) {
    throw new Error(path + ': soundOf gives something else')
  }
}
`

// page is the folder of the page's modules.
const page = "../../gateway/page"

// picks are what sound.js makes of files, by name; none of those that it refuses.
func picks(t *testing.T, files map[string][]byte) map[string][]byte {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("node is missing: apt-get install nodejs")
		}
		t.Skip("node is missing: apt-get install nodejs")
	}
	dir := t.TempDir()
	paths := map[string]string{}
	for i, name := range slices.Sorted(maps.Keys(files)) {
		paths[name] = filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(paths[name], files[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// To node they are modules where a package.json says so.
	modules := filepath.Join(dir, "page")
	err = errors.Join(os.CopyFS(modules, os.DirFS(page)),
		os.WriteFile(filepath.Join(modules, "package.json"), []byte(`{"type": "module"}`), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	args, err := json.Marshal(map[string]any{"module": filepath.Join(modules, "sound.js"),
		"files": slices.Collect(maps.Values(paths))})
	if err != nil {
		t.Fatal(err)
	}
	run(t, node, "--input-type=module", "--eval", soundJS, string(args))
	picked := map[string][]byte{}
	for name, path := range paths {
		b, err := os.ReadFile(path + ".sound")
		if err == nil {
			picked[name] = b
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return picked
}

// alone is what [Sound] makes of a file; nil when it refuses.
func alone(t *testing.T, video []byte) []byte {
	t.Helper()
	s, err := Sound(bytes.NewReader(video), int64(len(video)))
	if err != nil {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPageSound has the page pick the sound out of files of many kinds: the bytes are those that Sound gives.
func TestPageSound(t *testing.T) {
	t.Parallel()
	const chapters = ";FFMETADATA1\ntitle=Über\nartist=Ann\nalbum=Talks\ndate=2026\n" +
		"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=One\n" +
		"[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=4000\ntitle=Zwei ✓\n"
	meta := filepath.Join(t.TempDir(), "meta")
	if err := os.WriteFile(meta, []byte(chapters), 0o600); err != nil {
		t.Fatal(err)
	}
	cover := makeFile(t, "js_cover.png", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=1", "-frames:v", "1")
	const raw = "-s 320x180 -c:v rawvideo " // so that there is more of it than what ffmpeg looks at first
	random := rand.New(rand.NewPCG(1, 2))
	picked := map[string]string{
		"aac.mp4":       "-c:a aac",
		"faststart.mp4": "-c:a aac -movflags +faststart",
		"aac.mov":       "-c:a aac",
		"alac.mov":      "-c:a alac",
		"alac.mp4":      "-c:a alac",
		"sowt.mov":      "-c:a pcm_s16le",
		"twos.mov":      "-c:a pcm_s16be",
		"in24.mov":      "-c:a pcm_s24be",
		"float.mov":     "-c:a pcm_f32le",
		"ulaw.mov":      "-c:a pcm_mulaw",
		"ima4.mov":      "-c:a adpcm_ima_qt",
		"opus.mp4":      "-c:a libopus",
		"mp3.mp4":       "-c:a libmp3lame",
		"mp3.mov":       "-c:a libmp3lame",
		"ac3.mp4":       "-c:a ac3",
		"eac3.mp4":      "-c:a eac3",
		"flac.mp4":      "-c:a flac -strict -2",
		"delayed.mp4":   "-c:a aac -af asetpts=PTS+1.5/TB",
		"early.mp4":     "-c:a aac -vf setpts=PTS+0.7/TB",
		"pause.mp4":     "-c:a aac -af aselect=lt(t\\,2)+gt(t\\,3)",
		"tracks.mp4": "-map 0:v -map 1:a -map 1:a -c:a aac -filter:a:1 volume=0.5 -disposition:a:0 0 " +
			"-disposition:a:1 default",
		"names.mp4": "-c:a aac -metadata title=Über -metadata artist=Ann -metadata album=Talks -metadata date=2026",
		"names.mov": "-c:a aac -metadata title=Über -metadata artist=Ann",
		"mdta.mov":  "-c:a aac -movflags use_metadata_tags -metadata title=Über",
		"3gp.3gp":   "-c:a aac -metadata title=Talk",
		"frag.mp4":  "-c:a aac -movflags frag_keyframe+empty_moov",
		"frag_base.mp4": "-c:a aac -af asetpts=PTS+0.7/TB -movflags empty_moov+default_base_moof -frag_duration 300000 " +
			"-metadata title=Talk",
		"frag_each.mp4": "-c:a libopus -movflags frag_every_frame+empty_moov",
		"frag_dash.mp4": "-c:a aac -movflags dash+frag_keyframe+empty_moov+global_sidx",
		"frag_cmaf.mp4": "-c:a aac -movflags cmaf+frag_keyframe",
		"frag_moov.mp4": "-c:a aac -movflags frag_keyframe", // the first samples are in the index
		"frag_alac.mp4": "-c:a alac -movflags frag_keyframe+empty_moov",
		"frag_two.mp4":  "-map 0:v -map 1:a -map 1:a -c:a aac -movflags frag_keyframe+empty_moov",
		"short.mkv":     "-c:a aac",
		"long.mkv":      raw + "-c:a aac -metadata title=Talk",
		"live.mkv":      raw + "-c:a libopus -live 1",
		"tracks.mkv": raw + "-map 0:v -map 1:a -map 1:a -c:a flac -filter:a:1 volume=0.5 -disposition:a:0 0 " +
			"-disposition:a:1 default",
		"none.mp4": "-an",
		"none.mkv": "-an",
	}
	args := map[string][]string{}
	for name, a := range picked {
		args["js_"+name] = strings.Fields(a)
	}
	videos(t, args)
	files := map[string][]byte{}
	for name := range picked {
		files[name] = read(t, filepath.Join(made.dir, "js_"+name))
	}
	named := []string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, "-i", cover, "-i", meta,
		"-map_metadata", "3", "-map_chapters", "3", "-map", "0", "-map", "1", "-c:v:0", "mpeg4", "-c:a", "aac"}
	files["chapters that end early"] = read(t, makeFile(t, "js_early.mov", append(named, "-t", "4.012")...))
	named = append(named, "-t", "4")
	files["chapters.mov"] = read(t, makeFile(t, "js_chapters.mov", named...))
	files["chapters.mp4"] = read(t, makeFile(t, "js_chapters.mp4", append(named, "-map", "2", "-c:v:1", "copy",
		"-disposition:v:1", "attached_pic")...))
	for _, name := range []string{"he-aac.m4a", "he-aac-v2.m4a", "amr-nb.3gp", "amr-wb.3gp"} {
		files[name] = read(t, filepath.Join("testdata", name))
	}

	aac, pcm := files["aac.mp4"], files["sowt.mov"]
	files["two edits"] = edits(firstSound(aac), 1000, 0, 1000, 88200)
	files["64-bit offsets"] = wideOffsets(firstSound(aac))
	files["64-bit sizes"] = wideSizes(aac)
	files["index to the end"] = edit(aac, func(moov []byte) []byte { return moov }, "moov")
	copy(files["index to the end"][bytes.LastIndex(aac, []byte("moov"))-4:], u32(0))
	files["compact sizes"] = compact(firstSound(aac), 16)
	files["overlapping"] = overlapping(firstSound(pcm))
	files["two descriptions"] = describedTwice(firstSound(aac), func([]byte) {})
	files["two codecs"] = describedTwice(firstSound(aac), func(d []byte) { copy(d[4:], "ac-3") })
	files["encrypted"] = edit(firstSound(aac), func(stsd []byte) []byte {
		return slices.Concat(stsd[:12], []byte("enca"), stsd[16:])
	}, sampleTable("stsd")...)
	files["names of a track"] = edit(firstSound(aac), func(trak []byte) []byte {
		return slices.Concat(makeBox("meta", u32(0)), makeBox("tref"), trak, makeBox("udta", makeBox("name")))
	}, "moov", "trak")
	files["PCM described twice"] = describedTwice(firstSound(pcm), func([]byte) {})
	files["compressed index"] = edit(aac, func(moov []byte) []byte {
		return compress(t, makeBox("moov", moov))[8:]
	}, "moov")
	files["elsewhere"] = edit(firstSound(aac), func(dref []byte) []byte {
		dref = slices.Clone(dref)
		dref[19] = 0
		return dref
	}, "moov", "trak", "mdia", "minf", "dinf", "dref")
	for _, name := range []string{"aac.mp4", "faststart.mp4", "chapters.mov", "frag.mp4"} {
		whole := files[name]
		for _, n := range []int{20, len(whole) / 3, len(whole) / 3 * 2, len(whole) - 1} {
			files[fmt.Sprintf("%s cut after %d bytes", name, n)] = whole[:n]
		}
	}
	files["empty"] = nil
	files["text"] = []byte(strings.Repeat("Lorem ipsum dolor sit amet. ", 200))

	for i := range 6 {
		files[fmt.Sprint("damaged.mkv ", i)] = damaged(random, files["long.mkv"], 0, 5000)
	}
	files["long.mkv cut off"] = files["long.mkv"][:len(files["long.mkv"])-1]
	files["live.mkv that ends early"] = files["live.mkv"][:len(files["live.mkv"])-1]

	// Some are picked by soundstrip send only.
	whole := []string{"frag_moov.mp4", "frag_alac.mp4"}
	refused := []string{"frag_two.mp4", "none.mp4", "none.mkv", "long.mkv cut off", "compact sizes", "two codecs",
		"encrypted",
		"compressed index", "elsewhere", "chapters that end early", "empty", "text"}
	got := picks(t, files)
	for name, video := range files {
		want := alone(t, video)
		if !bytes.Equal(got[name], want) && !(got[name] == nil && slices.Contains(whole, name)) {
			t.Errorf("%s: %d bytes, and Sound gives %d", name, len(got[name]), len(want))
		}
		if strings.HasPrefix(name, "damaged") {
			continue
		}
		if long := strings.HasPrefix(name, "long"); long && want != nil && len(want) > len(video)*9/10 {
			t.Errorf("%s: Sound leaves out nothing", name)
		}
		if refuse := slices.Contains(refused, name) || strings.Contains(name, " cut after "); refuse != (want == nil) {
			t.Errorf("%s: Sound gives %d bytes", name, len(want))
		}
	}
}

// firstSound moves the track of sound in front of the others, and the index to the end.
func firstSound(b []byte) []byte {
	return edit(b, func(moov []byte) []byte {
		var sound, rest []byte
		for len(moov) > 0 {
			n := binary.BigEndian.Uint32(moov)
			if x := moov[:n]; string(x[4:8]) == "trak" && bytes.Contains(x, []byte("soun")) {
				sound = append(sound, x...)
			} else {
				rest = append(rest, x...)
			}
			moov = moov[n:]
		}
		return slices.Concat(sound, rest)
	}, "moov")
}

// wideSizes gives the mdat and the index sizes of 64 bits, and takes the box out in front that ffmpeg leaves room by.
func wideSizes(b []byte) (out []byte) {
	for len(b) > 0 {
		n := binary.BigEndian.Uint32(b)
		switch kind := string(b[4:8]); kind {
		case "free":
		case "mdat", "moov":
			size := binary.BigEndian.AppendUint64(nil, uint64(n+8))
			out = slices.Concat(out, u32(1), []byte(kind), size, b[8:n])
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}

// damaged changes a few bytes between two places.
func damaged(random *rand.Rand, b []byte, from, to int) []byte {
	b = slices.Clone(b)
	for range 1 + random.IntN(3) {
		b[from+random.IntN(to-from)] = byte(random.IntN(256)) >> random.IntN(8)
	}
	return b
}

// TestPageSoundDamaged compares the two where the index is damaged.
func TestPageSoundDamaged(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	files := map[string][]byte{}
	for name, args := range map[string]string{"aac.mp4": "-c:a aac -metadata title=Talk", "sowt.mov": "-c:a pcm_s16le",
		"frag.mp4": "-c:a aac -movflags frag_keyframe+empty_moov"} {
		whole := read(t, video(t, "js_damaged_"+name, strings.Fields(args)...))
		index, end := bytes.LastIndex(whole, []byte("moov"))-4, len(whole)
		if name == "frag.mp4" { // all of it would be pictures mostly
			end = bytes.Index(whole, []byte("mdat"))
		}
		for i := range 150 {
			files[fmt.Sprint(name, " ", i)] = damaged(random, whole, index, end)
		}
	}
	got, taken := picks(t, files), 0
	for name, video := range files {
		want := alone(t, video)
		if want != nil {
			taken++
		}
		if strings.HasPrefix(name, "frag") && got[name] == nil {
			continue // more of these is left to the service
		}
		if !bytes.Equal(got[name], want) {
			t.Errorf("%s: %d bytes, and Sound gives %d", name, len(got[name]), len(want))
		}
	}
	if taken < len(files)/10 || taken > len(files)/10*9 {
		t.Errorf("Sound takes %d files of %d, want some", taken, len(files))
	}
}
