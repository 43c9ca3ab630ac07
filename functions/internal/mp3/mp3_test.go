package mp3

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// frame makes a silent frame: MPEG-1, 44.1 kHz, stereo, at the bitrate with the index.
func frame(bitrate byte) []byte {
	h, _ := ParseHeader([]byte{0xff, 0xfb, bitrate << 4, 0})
	return append([]byte{0xff, 0xfb, bitrate << 4, 0}, make([]byte, h.Size-HeaderLen)...)
}

func TestParseHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header []byte
		want   Header // without what is private
		ok     bool
	}{
		{"MPEG-1, 128 kbit/s, 44.1 kHz", []byte{0xff, 0xfb, 0x90, 0x00}, Header{Samples: 1152, Rate: 44100, Bitrate: 128,
			Size: 417}, true},
		{"the same, padded", []byte{0xff, 0xfb, 0x92, 0x00}, Header{Samples: 1152, Rate: 44100, Bitrate: 128, Size: 418},
			true},
		{"MPEG-1, 320 kbit/s, 32 kHz, mono", []byte{0xff, 0xfb, 0xe8, 0xc0}, Header{Samples: 1152, Rate: 32000,
			Bitrate: 320, Mono: true, Size: 1440}, true},
		{"MPEG-2, 64 kbit/s, 24 kHz", []byte{0xff, 0xf3, 0x84, 0x00}, Header{Samples: 576, Rate: 24000, Bitrate: 64,
			Size: 192}, true},
		{"MPEG-2.5, 8 kbit/s, 8 kHz", []byte{0xff, 0xe3, 0x18, 0xc0}, Header{Samples: 576, Rate: 8000, Bitrate: 8,
			Mono: true, Size: 72}, true},
		{"Layer II", []byte{0xff, 0xfd, 0x90, 0x00}, Header{}, false},
		{"free format", []byte{0xff, 0xfb, 0x00, 0x00}, Header{}, false},
		{"no bitrate", []byte{0xff, 0xfb, 0xf0, 0x00}, Header{}, false},
		{"no rate", []byte{0xff, 0xfb, 0x9c, 0x00}, Header{}, false},
		{"ADTS", []byte{0xff, 0xf1, 0x90, 0x00}, Header{}, false},
		{"too short", []byte{0xff, 0xfb, 0x90}, Header{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := ParseHeader(tt.header)
			got.lsf, got.identity = false, [4]byte{}
			if got != tt.want || ok != tt.ok {
				t.Errorf("ParseHeader(% x) = %+v, %v, want %+v, %v", tt.header, got, ok, tt.want, tt.ok)
			}
		})
	}
}

// walk reads all frames.
func walk(r io.Reader) (frames [][]byte, skipped int64, err error) {
	x := NewReader(r)
	for {
		_, f, err := x.Next()
		if errors.Is(err, io.EOF) {
			return frames, x.Skipped, nil
		}
		if err != nil {
			return frames, x.Skipped, err
		}
		frames = append(frames, bytes.Clone(f))
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	stream := slices.Concat(frame(9), frame(14), frame(1), frame(9))
	for _, tt := range []struct {
		name    string
		data    []byte
		frames  int
		skipped int64
	}{
		{"empty", nil, 0, 0},
		{"clean", stream, 4, 0},
		{"junk in front", slices.Concat([]byte("\xff\xfb\x90\x00 looks like one"), stream), 4, 19},
		{"junk between", slices.Concat(stream, []byte("junk"), stream), 8, 4},
		{"tag at the end", slices.Concat(stream, []byte("TAG"), make([]byte, 125)), 4, 128},
		{"cut", stream[:len(stream)-1], 3, 416},
		{"one frame", frame(9), 1, 0},
		{"no frames", bytes.Repeat([]byte{0xff}, 5000), 0, 5000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			frames, skipped, err := walk(iotest.HalfReader(bytes.NewReader(tt.data)))
			if len(frames) != tt.frames || skipped != tt.skipped || err != nil {
				t.Errorf("reading %s: %d frames, %d skipped, %v, want %d, %d", tt.name, len(frames), skipped, err, tt.frames,
					tt.skipped)
			}
		})
	}
	broken := errors.New("broken")
	if _, _, err := walk(io.MultiReader(bytes.NewReader(stream), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("reading what breaks off: %v, want %v", err, broken)
	}
}

// info gathers frames of the bitrates.
func info(bitrates ...byte) (*Info, []byte) {
	var x *Info
	var all []byte
	for _, b := range bitrates {
		f := frame(b)
		h, _ := ParseHeader(f)
		if x == nil {
			x = NewInfo(h)
		}
		x.Add(h, f)
		all = append(all, f...)
	}
	return x, all
}

func TestInfoFrame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		bitrates []byte
		want     string
	}{
		{"constant", bytes.Repeat([]byte{9}, 1000), "Info"},
		{"constant, too low for the frame itself", bytes.Repeat([]byte{1}, 1000), "Info"},
		{"variable", slices.Repeat([]byte{1, 14, 5, 9}, 777), "Xing"},
		{"one frame", []byte{9}, "Info"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x, all := info(tt.bitrates...)
			f := x.Frame(&Gaps{Delay: 576, Padding: 1234})
			h, ok := ParseHeader(f)
			if !ok || h.Size != len(f) || len(f) != x.Size() {
				t.Fatalf("Frame has %d bytes, header %+v, want a frame of %d", len(f), h, x.Size())
			}
			file := slices.Concat(f, all)
			xing := f[HeaderLen+32:]
			if string(xing[:4]) != tt.want {
				t.Errorf("Frame is %q, want %q", xing[:4], tt.want)
			}
			if n, size := binary.BigEndian.Uint32(xing[8:]), binary.BigEndian.Uint32(xing[12:]); int(n) != len(tt.bitrates) ||
				int(size) != len(file) {
				t.Errorf("Frame tells %d frames, %d bytes, want %d, %d", n, size, len(tt.bitrates), len(file))
			}
			// Each seek point is where that percentage of the frames begins, to a 256th of the file and the stride.
			frames, _, _ := walk(bytes.NewReader(all))
			offset := len(f)
			for i, next := 0, 0; i < 100; i++ {
				for ; next < len(frames)*i/100; next++ {
					offset += len(frames[next])
				}
				got, want := int(xing[16+i])*len(file)/256, offset
				if i == 0 {
					want = 0
				}
				if d := want - got; d < 0 || d > len(file)/256+1+int(x.stride)*1045 {
					t.Errorf("seek point %d is %d, want %d", i, got, want)
				}
			}
			want := VBRHeader{Bytes: int64(len(file)), Gaps: &Gaps{576, 1234}}
			if v, err := ReadVBRHeader(bytes.NewReader(file), 0); err != nil || !cmp.Equal(v, want) {
				t.Errorf("ReadVBRHeader = %+v, %v, want %+v", v, err, want)
			}
			tag, _ := Tag{Title: "x"}.Encode()
			if v, err := ReadVBRHeader(bytes.NewReader(append(tag, file...)), int64(len(tag))); err != nil || !cmp.Equal(v,
				want) {
				t.Errorf("ReadVBRHeader behind a tag = %+v, %v, want %+v", v, err, want)
			}
			if v, err := ReadVBRHeader(bytes.NewReader(append(x.Frame(nil), all...)), 0); err != nil || v.Gaps != nil {
				t.Errorf("ReadVBRHeader without gaps = %+v, %v, want none", v, err)
			}
		})
	}
}

// TestInfoMemory checks that a stream of any length leaves no more than a bounded table.
func TestInfoMemory(t *testing.T) {
	t.Parallel()
	x, _ := info(slices.Repeat([]byte{1, 2}, 5000)...)
	if len(x.steps) > maxSeekSteps || int64(len(x.steps)) != (x.Frames+x.stride-1)/x.stride {
		t.Errorf("%d seek points at a stride of %d for %d frames", len(x.steps), x.stride, x.Frames)
	}
}

// TestCRC16 has the check value of CRC-16/ARC.
func TestCRC16(t *testing.T) {
	t.Parallel()
	if got := crc16(0, []byte("123456789")); got != 0xbb3d {
		t.Errorf("crc16 = %x, want bb3d", got)
	}
}

func TestTagEncode(t *testing.T) {
	t.Parallel()
	if b, _ := (Tag{Date: "yesterday", Title: " \x00", Cover: []byte("no picture")}).Encode(); b != nil {
		t.Errorf("Encode(nothing to tell) = %q, want nothing", b)
	}
	many := Tag{Chapters: slices.Repeat([]Chapter{{Start: time.Second, End: 2 * time.Second, Title: "x"}}, 300)}
	_, chapters := many.Encode()
	if n := bytes.Count(chapters, []byte("CHAP")); n != 255 {
		t.Errorf("Encode(300 chapters) has %d, want the 255 that a table can have", n)
	}
	for date, want := range map[string]string{"2024": "2024", "2024-05-06T07:08:09Z": "2024-05-06T07:08:09",
		"2024-5": "2024"} {
		if b, _ := (Tag{Date: date}).Encode(); !bytes.HasSuffix(b, []byte("\x03"+want)) {
			t.Errorf("Encode(date %s) = %q, want %s", date, b, want)
		}
	}
	large, _ := Tag{Cover: append([]byte("\xff\xd8\xff"), make([]byte, 100_000)...)}.Encode()
	size := int(large[6])<<21 | int(large[7])<<14 | int(large[8])<<7 | int(large[9])
	if size != len(large)-10 {
		t.Errorf("Encode tells a size of %d, want %d", size, len(large)-10)
	}
}

// TestMeasure counts what a player plays: neither the tag, nor the frame in front, nor the gaps.
func TestMeasure(t *testing.T) {
	t.Parallel()
	x, sound := info(bytes.Repeat([]byte{9}, 100)...)
	tag, _ := Tag{Title: "a", Cover: bytes.Repeat(frame(9), 3)}.Encode()
	for _, tt := range []struct {
		name    string
		content []byte
		samples float64
	}{
		{"frames", sound, 100 * 1152},
		{"ours", slices.Concat(tag, x.Frame(&Gaps{Delay: 576, Padding: 1000}), sound), 100*1152 - 1576},
		{"gaps not known", slices.Concat(x.Frame(nil), sound, []byte("TAG of the old kind")), 100 * 1152},
		{"nothing", nil, 0},
		{"a tag that breaks off", tag[:30], 0},
		{"no MP3", []byte("something else, of which nothing is known"), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := Measure(bytes.NewReader(tt.content))
			sum := sha256.Sum256(tt.content)
			if err != nil || m.Length != int64(len(tt.content)) || m.SHA256 != hex.EncodeToString(sum[:]) ||
				math.Abs(m.Duration.Seconds()-tt.samples/44100) > 1e-6 {
				t.Errorf("Measure = %+v, %v, want %d bytes, %v s", m, err, len(tt.content), tt.samples/44100)
			}
		})
	}
	if _, err := Measure(io.MultiReader(bytes.NewReader(sound), iotest.ErrReader(errors.New("broken")))); err == nil {
		t.Error("Measure of what breaks off = nil, want an error")
	}
}

// FuzzReader checks that the frames and what is skipped are all of the stream, in order.
func FuzzReader(f *testing.F) {
	f.Add(slices.Concat(frame(9), frame(3), []byte("junk"), frame(14), frame(9), frame(9)), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		r := io.Reader(&randomReader{b, rand.New(rand.NewPCG(seed, 0))})
		frames, skipped, err := walk(r)
		if err != nil {
			t.Fatal(err)
		}
		rest := b
		for _, fr := range frames {
			i := bytes.Index(rest, fr)
			if i < 0 {
				t.Fatalf("a frame is not of the stream: % x", fr[:4])
			}
			rest = rest[i+len(fr):]
		}
		if n := len(bytes.Join(frames, nil)); int64(n)+skipped != int64(len(b)) {
			t.Errorf("%d bytes of frames and %d skipped, want %d", n, skipped, len(b))
		}
		_, _ = ReadVBRHeader(bytes.NewReader(b), 0)
		if m, err := Measure(bytes.NewReader(b)); err != nil || m.Length != int64(len(b)) || m.Duration < 0 {
			t.Errorf("Measure = %+v, %v, want %d bytes", m, err, len(b))
		}
		var x *Info
		for _, fr := range frames {
			h, _ := ParseHeader(fr)
			if x == nil {
				x = NewInfo(h)
			}
			x.Add(h, fr)
		}
		if x != nil {
			_ = x.Frame(&Gaps{})
		}
	})
}

// randomReader gives its bytes in pieces of any size.
type randomReader struct {
	b   []byte
	rnd *rand.Rand
}

func (r *randomReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+r.rnd.IntN(2000))], r.b)
	r.b = r.b[n:]
	return n, nil
}
