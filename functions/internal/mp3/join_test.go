package mp3

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spoken makes what frames say, at random: each as much as those in front of it leave room for, at most.
func spoken(t testing.TB, header []byte, variable bool, frames int, rnd *rand.Rand, bits func() int) (said []Frame) {
	t.Helper()
	for range frames {
		f := Frame{Header: mustParse(t, header), bits: bits(), variable: variable, fixed: !variable}
		f.side = make([]byte, f.sideInfo())
		first, granule, parts := 20, 59, 4 // of stereo
		if f.lsf {
			first, granule, parts = 9, 63, 1 // of mono
		}
		for i, left := 0, f.bits; i < parts; i++ {
			n := min(left, 4095)
			put(f.side, first+i*granule, n, 12)
			left -= n
		}
		f.data = make([]byte, (f.bits+7)/8)
		for i := range f.data {
			f.data[i] = byte(rnd.Uint32())
		}
		if over := f.bits % 8; over > 0 {
			f.data[len(f.data)-1] &= 0xff << (8 - over)
		}
		f.silent = f.bits == 0
		said = append(said, f)
	}
	return said
}

func mustParse(t testing.TB, b []byte) Header {
	t.Helper()
	h, ok := ParseHeader(b)
	if !ok {
		t.Fatalf("% x is no header", b)
	}
	return h
}

func put(b []byte, at, v, bits int) {
	for i := range bits {
		b[(at+i)/8] |= byte(v>>(bits-1-i)&1) << (7 - (at+i)%8)
	}
}

// pack makes a stream.
func pack(t testing.TB, frames ...Frame) (stream []byte) {
	t.Helper()
	var p Packer
	for i, f := range frames {
		done, err := p.Pack(f)
		if err != nil {
			t.Fatalf("Pack of frame %d: %v", i, err)
		}
		stream = append(stream, bytes.Join(done, nil)...)
	}
	return append(stream, bytes.Join(p.Flush(), nil)...)
}

// unpack takes a stream apart.
func unpack(stream []byte, variable bool) (frames []Frame, err error) {
	u := Unpacker{Variable: variable}
	for r := NewReader(bytes.NewReader(stream)); ; {
		h, b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		f, err := u.Unpack(h, b)
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
}

func mustUnpack(t testing.TB, stream []byte, variable bool) []Frame {
	t.Helper()
	frames, err := unpack(stream, variable)
	if err != nil {
		t.Fatalf("Unpack of frame %d: %v", len(frames), err)
	}
	return frames
}

var (
	stereo128 = []byte{0xff, 0xfb, 0x90, 0x44}
	mono8     = []byte{0xff, 0xe3, 0x18, 0xc0} // MPEG-2.5
)

// TestJoin checks that two streams of the same frames, whose encoders began at different places, become the stream of all of them.
func TestJoin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		header   []byte
		variable bool
		most     int // 4/3 of the bits of a frame; a quarter has none
	}{
		{"constant", stereo128, false, 4000},
		{"constant and low", mono8, false, 600},
		{"variable", stereo128, true, 5000},
		{"variable, with silence", stereo128, true, 100},
		{"variable and loud", stereo128, true, 8000},
		{"variable and low", mono8, true, 700},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 30 {
				said := spoken(t, tt.header, tt.variable, 200, rnd, func() int { return max(0, rnd.IntN(tt.most)-tt.most/4) })
				start := 2 * (10 + rnd.IntN(30))
				if !tt.variable {
					for i := range said {
						said[i].begin = i % 2
					}
				}
				whole := pack(t, said...)
				a, b := mustUnpack(t, whole, tt.variable), mustUnpack(t, pack(t, said[start:]...), tt.variable)
				end := start + 10 + rnd.IntN(80)
				seam := Seam(a[start:end], b[:end-start], 10)
				if seam != end-start-1 {
					t.Fatalf("Seam = %d, want the last of %d", seam, end-start)
				}
				if got := pack(t, slices.Concat(a[:start+seam], b[seam:])...); !bytes.Equal(got, whole) {
					t.Fatalf("joined at %d of %d frames is not the whole", start+seam, len(said))
				}
			}
		})
	}
}

// TestSeam tries frames that are not all the same in both streams.
func TestSeam(t *testing.T) {
	t.Parallel()
	other := func(f *Frame) { f.data = []byte{1} }
	later := func(f *Frame) { f.begin = 2 }
	for _, tt := range []struct {
		name     string
		variable bool
		others   bool // encoders
		change   func(*Frame)
		from, to int // of 20 frames, are changed
		want     int
	}{
		{"all the same", false, false, other, 0, 0, 19},
		{"not the first", false, false, other, 0, 15, 19},
		{"too few", false, false, other, 0, 16, -1},
		{"not the last", false, false, other, 19, 20, -1},
		{"not as much in the reservoir", false, false, later, 18, 20, -1},
		{"not one in between", false, false, other, 17, 18, -1},
		{"variable, all the same", true, false, other, 0, 0, 19},
		{"variable, not the last", true, false, other, 19, 20, 18},
		{"variable, none", true, false, other, 4, 16, -1},
		{"variable, not as much in the reservoir", true, false, later, 0, 20, 19},
		{"others', all the same", true, true, other, 0, 0, 19},
		{"others', no room behind the last", true, true, later, 18, 20, 17},
		{"others', no room", true, true, later, 0, 20, -1},
		{"others', room where frames differ", true, true, func(f *Frame) { f.begin = 1 + len(f.data)/100; other(f) }, 6, 20, 5},
	} {
		a := spoken(t, stereo128, tt.variable, 20, rand.New(rand.NewPCG(9, 10)), func() int { return 1000 })
		for i := range a {
			a[i].begin, a[i].fixed = 1, !tt.variable || tt.others
		}
		b := slices.Clone(a)
		for i := tt.from; i < tt.to; i++ {
			tt.change(&b[i])
		}
		if got := Seam(a, b, 5); got != tt.want {
			t.Errorf("Seam(%s) = %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := Seam(nil, nil, 1); got != -1 {
		t.Errorf("Seam of nothing = %d, want -1", got)
	}
}

// TestPackerVariable checks what LAME does with room: it makes a frame longer as long as what is left can be used, which is up to 511
// bytes in front of the next one, and what is left more behind silence lies in front of that.
func TestPackerVariable(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	lengths := []int{0, 3000, 3000, 3000, 0, 0, 3000, 8000, 8000, 8000}
	next := 0
	said := spoken(t, stereo128, true, len(lengths), rnd, func() int { next++; return lengths[next-1] })
	var bitrates, begins []int
	for _, f := range mustUnpack(t, pack(t, said...), true) {
		bitrates, begins = append(bitrates, f.Bitrate), append(begins, f.begin)
	}
	if diff := cmp.Diff([]int{32, 256, 128, 128, 32, 32, 112, 320, 320, 320}, bitrates); diff != "" {
		t.Errorf("bitrates (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{0, 68, 492, 498, 443, 443, 511, 465, 473, 481}, begins); diff != "" {
		t.Errorf("begins (-want +got):\n%s", diff)
	}
}

// TestUnpackerOthers checks that frames of an encoder that is not ours stay as they are.
func TestUnpackerOthers(t *testing.T) {
	t.Parallel()
	said := spoken(t, stereo128, false, 20, rand.New(rand.NewPCG(5, 6)), func() int { return 2001 })
	constant := pack(t, said...)
	for i := range said {
		said[i].variable, said[i].fixed = true, false
	}
	variable := pack(t, said...)
	filled := bytes.Clone(variable)
	filled[HeaderLen+32+250] |= 1
	for _, tt := range []struct {
		name   string
		stream []byte
		fixed  bool
	}{
		{"ours", variable, false},
		{"other bitrates", constant, true},
		{"ones for filling", filled, true},
	} {
		frames := mustUnpack(t, tt.stream, true)
		if got := frames[len(frames)-1].fixed; got != tt.fixed {
			t.Errorf("Unpack(%s): the last frame is fixed: %t, want %t", tt.name, got, tt.fixed)
		}
		want := tt.stream
		if tt.name == "ones for filling" {
			want = variable
		}
		if got := pack(t, frames...); !bytes.Equal(got, want) {
			t.Errorf("Pack(%s) makes other frames of them", tt.name)
		}
	}
}

// TestJoinMisfits are frames that cannot be taken, or not be put behind others.
func TestJoinMisfits(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	said := spoken(t, stereo128, false, 20, rnd, func() int { return 2000 })
	whole := pack(t, said...)
	size := len(whole) / len(said)
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		frame  int // the first that is not taken
	}{
		{"not damaged", func([]byte) {}, 20},
		{"a CRC", func(b []byte) { b[3*size+1] &^= 1 }, 3},
		{"data before the first frame", func(b []byte) { b[HeaderLen] = 1 }, 0},
		{"too much data", func(b []byte) { put(b[4*size+HeaderLen:], 79, 4095, 12) }, 4},
	} {
		b := bytes.Clone(whole)
		tt.change(b)
		frames, err := unpack(b, false)
		if len(frames) != tt.frame || (err != nil) != (tt.frame < 20) || err != nil && !errors.Is(err, ErrSeam) {
			t.Errorf("Unpack(%s) takes %d frames, %v, want %d", tt.name, len(frames), err, tt.frame)
		}
	}
	early, long := said[1], spoken(t, stereo128, true, 1, rnd, func() int { return 9000 })[0]
	early.begin = 200
	longer := long
	longer.fixed = true
	for _, tt := range []struct {
		name   string
		frames []Frame
	}{
		{"begins in another's data", []Frame{said[0], early}},
		{"begins in front of all", []Frame{early}},
		{"longer than its room", []Frame{longer}},
		{"longer than the longest", []Frame{long}},
	} {
		var p Packer
		var err error
		for _, f := range tt.frames {
			_, err = p.Pack(f)
		}
		if !errors.Is(err, ErrSeam) {
			t.Errorf("Pack(%s) = %v, want %v", tt.name, err, ErrSeam)
		}
	}
}

// FuzzJoin takes streams apart that are damaged, and joins what there is of them: it becomes whole frames that say what they did.
func FuzzJoin(f *testing.F) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for _, header := range [][]byte{stereo128, mono8} {
		for _, variable := range []bool{false, true} {
			said := spoken(f, header, variable, 12, rnd, func() int { return rnd.IntN(300) })
			f.Add(pack(f, said...), pack(f, said[5:]...), uint8(3), uint8(4), variable)
		}
	}
	f.Fuzz(func(t *testing.T, x, y []byte, start, agreed uint8, variable bool) {
		a, _ := unpack(x, variable)
		b, _ := unpack(y, variable)
		start = min(start, uint8(min(len(a), 255)))
		said := a
		if seam := Seam(a[start:], b, int(agreed)); seam >= 0 {
			said = slices.Concat(a[:int(start)+seam], b[seam:])
		}
		var p Packer
		var packed []byte
		n := 0
		for _, f := range said {
			done, err := p.Pack(f)
			if err != nil {
				return
			}
			packed = append(packed, bytes.Join(done, nil)...)
			n++
		}
		packed = append(packed, bytes.Join(p.Flush(), nil)...)
		var u Unpacker
		for at := 0; at < len(packed); n-- {
			h, ok := ParseHeader(packed[at:])
			if !ok || at+h.Size > len(packed) {
				t.Fatalf("%d bytes from the end there is no frame", len(packed)-at)
			}
			got, err := u.Unpack(h, packed[at:at+h.Size])
			if want := said[len(said)-n]; err != nil || !bytes.Equal(got.data, want.data) || !bytes.Equal(got.side, want.side) {
				t.Fatalf("frame %d says % x, %v, want % x", len(said)-n, got.data, err, want.data)
			}
			at += h.Size
		}
		if n != 0 {
			t.Fatalf("%d frames are missing", n)
		}
	})
}
