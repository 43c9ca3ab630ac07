package engine

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/eventing"
)

// u32 gives numbers as they are in an MP4.
func u32(vs ...uint32) (b []byte) {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func makeBox(kind string, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return slices.Concat(u32(uint32(8+len(body))), []byte(kind), body)
}

// edit makes an MP4 anew with another body of one of its boxes, the first at the path; a box with none is left out. The
// index is last in the file, so that what it refers to stays where it is.
func edit(b []byte, f func(body []byte) []byte, path ...string) (out []byte) {
	for found := false; len(b) > 0; {
		n := int(binary.BigEndian.Uint32(b))
		x := b[:n]
		b = b[n:]
		if !found && string(x[4:8]) == path[0] {
			found = true
			body := x[8:]
			if len(path) == 1 {
				body = f(body)
			} else {
				body = edit(body, f, path[1:]...)
			}
			if body == nil {
				continue
			}
			x = makeBox(path[0], body)
		}
		out = append(out, x...)
	}
	return out
}

// sampleTable is where the tables of the first track are.
func sampleTable(kind ...string) []string {
	return append([]string{"moov", "trak", "mdia", "minf", "stbl"}, kind...)
}

// compact turns the table of sample sizes into one of so many bits each (ISO/IEC 14496-12, section 8.7.3.3).
func compact(b []byte, bits int) []byte {
	var table []byte
	b = edit(b, func(stsz []byte) []byte {
		size, n := binary.BigEndian.Uint32(stsz[4:]), int(binary.BigEndian.Uint32(stsz[8:]))
		table = u32(0, uint32(bits), uint32(n))
		for i := range n {
			v := size
			if size == 0 {
				v = binary.BigEndian.Uint32(stsz[12+4*i:])
			}
			switch {
			case v >= 1<<bits:
				panic("a sample is too large")
			case bits == 4 && i%2 == 0:
				table = append(table, byte(v<<4))
			case bits == 4:
				table[len(table)-1] |= byte(v)
			case bits == 8:
				table = append(table, byte(v))
			default:
				table = binary.BigEndian.AppendUint16(table, uint16(v))
			}
		}
		return nil
	}, sampleTable("stsz")...)
	return edit(b, func(stbl []byte) []byte { return slices.Concat(stbl, makeBox("stz2", table)) }, sampleTable()...)
}

// describedTwice gives a track a second description, and refers each second chunk to that.
func describedTwice(b []byte, change func(description []byte)) []byte {
	b = edit(b, func(stsd []byte) []byte {
		second := slices.Clone(stsd[8:])
		change(second)
		return slices.Concat(u32(0, 2), stsd[8:], second)
	}, sampleTable("stsd")...)
	var chunks int
	edit(b, func(stco []byte) []byte {
		chunks = int(binary.BigEndian.Uint32(stco[4:]))
		return stco
	}, sampleTable("stco")...)
	if chunks < 2 {
		panic("there is no second chunk")
	}
	return edit(b, func(stsc []byte) []byte {
		runs := stsc[8:]
		table := u32(0, uint32(chunks))
		var samples uint32
		for i := range uint32(chunks) {
			for len(runs) > 0 && binary.BigEndian.Uint32(runs) <= i+1 {
				samples = binary.BigEndian.Uint32(runs[4:])
				runs = runs[12:]
			}
			table = append(table, u32(i+1, samples, 1+i%2)...)
		}
		return table
	}, sampleTable("stsc")...)
}

// wideOffsets turns the table of offsets into one of 64 bits each.
func wideOffsets(b []byte) []byte {
	var co64 []byte
	b = edit(b, func(stco []byte) []byte {
		co64 = slices.Clone(stco[:8])
		for o := range slices.Chunk(stco[8:], 4) {
			co64 = append(append(co64, 0, 0, 0, 0), o...)
		}
		return nil
	}, sampleTable("stco")...)
	return edit(b, func(stbl []byte) []byte { return slices.Concat(stbl, makeBox("co64", co64)) }, sampleTable()...)
}

// overlapping lets each second chunk begin where the one before it does.
func overlapping(b []byte) []byte {
	return edit(b, func(stco []byte) []byte {
		stco = slices.Clone(stco)
		for i := 8; i+8 <= len(stco); i += 8 {
			copy(stco[i+4:i+8], stco[i:])
		}
		return stco
	}, sampleTable("stco")...)
}

// edits replaces the edit list: length in the movie's time (milliseconds), and where in the track's time it begins.
func edits(b []byte, list ...int32) []byte {
	return edit(b, func([]byte) []byte {
		elst := u32(0, uint32(len(list)/2))
		for ; len(list) > 0; list = list[2:] {
			elst = append(elst, u32(uint32(list[0]), uint32(list[1]), 1<<16)...)
		}
		return elst
	}, "moov", "trak", "edts", "elst")
}

// retimed changes when the fragments of the sound, which is the second track, begin.
func retimed(b []byte, f func(at uint32) uint32) []byte {
	b = slices.Clone(b)
	for rest := b; ; {
		_, header, found := bytes.Cut(rest, []byte("tfhd"))
		if !found {
			return b
		}
		rest = header
		if binary.BigEndian.Uint32(header[4:]) != 2 {
			continue
		}
		low := header[bytes.Index(header, []byte("tfdt"))+12:] // of 64 bits
		binary.BigEndian.PutUint32(low, f(binary.BigEndian.Uint32(low)))
	}
}

// TestConvertOdd makes files that ffmpeg does not write, and compares what is made of them with what ffmpeg makes.
func TestConvertOdd(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	aac := read(t, video(t, "odd.mp4", "-map", "1:a", "-map", "0:v", "-c:a", "aac"))
	pcm := read(t, video(t, "odd.mov", "-map", "1:a", "-map", "0:v", "-c:a", "pcm_s16le"))
	noise := read(t, makeFile(t, "noise.m4a", "-f", "lavfi", "-i", "anoisesrc=d=4:r=48000:seed=3", "-c:a", "aac",
		"-aac_pns", "1", "-b:a", "32k"))
	adts := makeFile(t, "he.aac", "-i", "testdata/he-aac.m4a", "-c:a", "copy")
	implicit := read(t, makeFile(t, "implicit.m4a", "-i", adts, "-c:a", "copy"))
	fragments := read(t, video(t, "odd_fragments.mp4", "-c:a", "aac", "-movflags", "empty_moov+default_base_moof",
		"-frag_duration", "500000"))
	const later = "setts=ts=TS+44100*gte(PTS\\,44100)"
	pause := read(t, makeFile(t, "pause.m4a", "-f", "lavfi", "-i", tone, "-c:a", "aac", "-bsf:a", later))
	amr, he := read(t, "testdata/amr-nb.3gp"), read(t, "testdata/he-aac-v2.m4a")
	for _, tt := range []struct {
		name string
		data []byte
		plan string
	}{
		{"sizes of 4 bits", compact(amr, 4), PlanFile},
		{"sizes of 8 bits", compact(he, 8), PlanFile},
		{"sizes of 16 bits", compact(aac, 16), PlanFile},
		{"two descriptions", describedTwice(aac, func([]byte) {}), PlanIndex},
		{"no edits", edit(aac, func([]byte) []byte { return nil }, "moov", "trak", "edts"), PlanIndex},
		{"silence in front", edits(aac, 500, -1, 4012, 1024), PlanIndex},
		{"silence in front, twice", edits(aac, 200, -1, 300, -1, 4012, 1024), PlanIndex},
		{"several parts", edits(aac, 1000, 1024, 1500, 80_000), PlanIndex},
		{"parts in another order", edits(aac, 1000, 80_000, 1500, 1024), PlanIndex},
		{"silence between", edits(aac, 1000, 1024, 500, -1, 1500, 80_000), PlanIndex},
		{"from before the beginning", edits(aac, 4012, -1024), PlanIndex},
		{"an edit beyond the end", edits(aac, 60_000, 1024), PlanIndex},
		{"offsets of 64 bits", wideOffsets(aac), PlanIndex},
		{"chunks that overlap", overlapping(pcm), PlanIndex},
		{"HE-AAC told by its frames only", implicit, PlanIndex},
		{"noise that the decoder makes up", noise, PlanIndex},
		{"a pause", pause, PlanIndex},
		{"fragments, a pause", retimed(fragments, func(at uint32) uint32 { return at + at/88200*88200 }), PlanIndex},
		{"fragments, a second time", retimed(fragments, func(at uint32) uint32 { return at % 88200 }), PlanIndex},
		{"fragments, overlapping", retimed(fragments, func(at uint32) uint32 { return at / 2 }), PlanIndex},
		{"fragments, late", retimed(fragments, func(at uint32) uint32 { return at + 1<<30 }), PlanIndex},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := filepath.Join(t.TempDir(), "odd.mp4")
			if err := os.WriteFile(src, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			r, out, err := convert(t, e, read(t, src), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Plan != tt.plan {
				t.Errorf("Convert(%s): plan %s, want %s", tt.name, r.Plan, tt.plan)
			}
			filter := ""
			if strings.HasPrefix(tt.name, "silence in front") || strings.HasSuffix(tt.name, "a pause") ||
				tt.plan == PlanFile { // of which ffmpeg leaves out the beginning twice
				filter = filled
			}
			asPlain(t, src, filter, r, out)
		})
	}
}

// TestConvertOddAVI gives MP3 in AVI whose frames do not lie in chunks of their own: the whole ones are in what is
// made.
func TestConvertOddAVI(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	for name, rate := range map[string][]string{"constant.avi": {"-b:a", "96k"}, "variable.avi": {"-q:a", "4"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := video(t, name, append([]string{"-c:a", "libmp3lame"}, rate...)...)
			r, out, err := convert(t, e, read(t, src), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			asPlain(t, src, "", r, out)
			want, _ := framesOf(t, out)

			odd := shifted(read(t, src), bytes.Repeat([]byte("no frame "), 10))
			r, out, err = convert(t, e, odd, eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, _ := framesOf(t, out)
			if want = want[:len(want)-1]; r.Plan != PlanCopy || !slices.EqualFunc(want, got, bytes.Equal) {
				t.Errorf("Convert(%s, shifted): plan %s, %d frames, want %s and all %d but the last", name, r.Plan, len(got),
					PlanCopy, len(want))
			}

			// Encoded anew, there is as much sound.
			_, again, err := convert(t, e, odd, eventing.Options{Bitrate: 64})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, odd, 0o600); err != nil {
				t.Fatal(err)
			}
			const fill = 2 * 1152 // at most, where frames are lost
			if got, want := samples(t, again), samples(t, path); got < want || got > want+fill {
				t.Errorf("Convert(%s, shifted) at a bitrate: %d samples, want %d", name, got, want)
			}
		})
	}
}

// TestConvertPauses gives sound that pauses for half of the time: it comes out with the pause, unless a part was
// overwritten.
func TestConvertPauses(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	for name, args := range map[string][]string{
		"pause.mkv": {"-c:a", "aac"},
		"pause.avi": {"-c:a", "libmp3lame"},
		"pause.asf": {"-c:a", "wmav2", "-c:v", "wmv2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := video(t, name, append([]string{"-af", "aselect=lt(t\\,1)+gt(t\\,3)"}, args...)...)
			r, out, err := convert(t, e, read(t, src), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := samples(t, out), 4*44100; abs(got-want) > 4410 {
				t.Errorf("Convert(%s): %d samples (%v), want %d, with the pause", name, got, r, want)
			}
			b := read(t, src)
			clear(b[len(b)/3 : len(b)*2/3])
			_, _, err = convert(t, e, b, eventing.Options{})
			if f := failureIn(t, err); f.Code != Truncated {
				t.Errorf("Convert(%s with a hole) = %v, want %s", name, f, Truncated)
			}
		})
	}
}

// TestConvertNoNumbers gives floating-point samples that are no numbers, or that LAME's sums cannot hold: one second
// later all is as it would be.
func TestConvertNoNumbers(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	for _, name := range []string{"float.wav", "float.mov", "float.mkv"} {
		b := read(t, makeFile(t, name, "-f", "lavfi", "-i", tone, "-c:a", "pcm_f32le"))
		_, want, err := convert(t, e, b, eventing.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), -math.MaxFloat32} {
			b := slices.Clone(b)
			for at := len(b) / 2 &^ 3; at < len(b)/2+4000; at += 4 {
				if name != "float.wav" && at < len(b)/2+3996 { // only one sample where blocks may begin
					continue
				}
				binary.LittleEndian.PutUint32(b[at:], math.Float32bits(bad))
			}
			_, got, err := convert(t, e, b, eventing.Options{})
			if err != nil {
				t.Errorf("Convert(%s with %v): %v", name, bad, err)
				continue
			}
			both := pcm(t, want, got)
			x, y := both[0], both[1]
			if len(x) != len(y) {
				t.Errorf("Convert(%s with %v): %d samples, want %d", name, bad, len(y)/4, len(x)/4)
				continue
			}
			if d := difference(x[3*len(x)/4&^3:], y[3*len(x)/4&^3:]); d > -30 {
				t.Errorf("Convert(%s with %v): differs by %.1f dB at its end, want -30", name, bad, d)
			}
		}
	}
}

// TestConvertMixed refuses what ffmpeg would leave out without a word.
func TestConvertMixed(t *testing.T) {
	t.Parallel()
	src := read(t, video(t, "odd.mp4", "-map", "1:a", "-map", "0:v", "-c:a", "aac"))
	mixed := describedTwice(src, func(d []byte) { copy(d[4:], "ac-3") })
	_, _, err := convert(t, newEngine(t, testConfig), mixed, eventing.Options{})
	if f := failureIn(t, err); f.Code != Unsupported || f.Passing {
		t.Errorf("Convert(two codecs) = %v (passing: %v), want %s", f, f.Passing, Unsupported)
	}
}

// shifted puts junk in front of the sound of an AVI and leaves its chunks as long as they are, so that each begins
// within a frame, and the last bytes are lost.
func shifted(b, junk []byte) []byte {
	le := binary.LittleEndian
	var chunks [][]byte
	for off := bytes.Index(b, []byte("movi")) + 4; off+8 <= len(b) && string(b[off:off+4]) != "idx1"; {
		n := int(le.Uint32(b[off+4:]))
		if string(b[off+2:off+4]) == "wb" {
			chunks = append(chunks, b[off+8:off+8+n])
		}
		off += 8 + n + n%2
	}
	sound := slices.Concat(junk, bytes.Join(chunks, nil))
	for _, c := range chunks {
		sound = sound[copy(c, sound):]
	}
	return b
}
