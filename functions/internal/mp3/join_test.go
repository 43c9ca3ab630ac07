package mp3

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	sideLen   = 32
	reservoir = 511
)

// stream makes frames of stereo, at the bitrate with the index, with data of those lengths that depends on the seed and the place.
// A frame whose data has no room gets less.
func stream(bitrate byte, lengths []int, seed uint64) (frames [][]byte) {
	area := len(frame(bitrate)) - HeaderLen - sideLen
	main := make([]byte, area*len(lengths))
	end := 0
	for i, n := range lengths {
		own := i * area
		at := max(end, own-reservoir)
		end = min(at+n, own+area)
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		for k := at; k < end; k++ {
			main[k] = byte(rnd.Uint32())
		}
		f := frame(bitrate)
		put(f[HeaderLen:], 0, own-at, 9)
		put(f[HeaderLen:], 20, min(8*(end-at), 4095), 12) // the length of the first part, and of the second
		put(f[HeaderLen:], 79, 8*(end-at)-min(8*(end-at), 4095), 12)
		frames = append(frames, f)
	}
	for i, f := range frames {
		copy(f[HeaderLen+sideLen:], main[i*area:])
	}
	return frames
}

func put(b []byte, at, v, bits int) {
	for i := range bits {
		b[(at+i)/8] |= byte(v>>(bits-1-i)&1) << (7 - (at+i)%8)
	}
}

// twice makes two streams of one sound, whose encoders became of one mind after some frames, though not of one reservoir.
func twice(bitrateA, bitrateB byte, frames int, rnd *rand.Rand) (a, b [][]byte) {
	mean := len(frame(min(bitrateA, bitrateB))) - HeaderLen - sideLen
	lengths := make([]int, frames)
	for i := range lengths {
		lengths[i] = max(1, mean-40+rnd.IntN(80))
	}
	seed := rnd.Uint64()
	a = stream(bitrateA, lengths, seed)
	lead := slices.Clone(lengths)
	for i := range frames / 4 {
		lead[i] += rnd.IntN(100)
	}
	return a, stream(bitrateB, lead, seed)
}

// TestJoin checks that a decoder finds all of a up to the seam, and all of b after it.
func TestJoin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		a, b byte // bitrates, by index
	}{
		{"alike", 9, 9},
		{"low", 1, 1},
		{"more room in the second", 9, 11},
		{"less room in the second", 11, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 30 {
				a, b := twice(tt.a, tt.b, 40+rnd.IntN(60), rnd)
				head, next, err := Join(a, b)
				if err != nil {
					t.Fatal(err)
				}
				joined := slices.Concat(head, b[next:])
				for _, f := range joined {
					if h, ok := ParseHeader(f); !ok || h.Size != len(f) {
						t.Fatalf("Join made a frame of %d bytes with the header % x", len(f), f[:HeaderLen])
					}
				}
				x, y, whole := newSpan(a), newSpan(b), newSpan(joined)
				if tt.a == tt.b && !same(x, y, next-1) {
					t.Fatalf("Join at %d, where the streams are not alike", next)
				}
				if len(whole.frames) != len(a) {
					t.Fatalf("Join made %d frames, want %d", len(whole.frames), len(a))
				}
				for i := range joined {
					from := x
					if i >= next {
						from = y
					}
					if from.data(i) != nil && !same(from, whole, i) {
						t.Fatalf("Join at %d: frame %d does not say what it did", next, i)
					}
				}
			}
		})
	}
}

// TestJoinEqual checks that where both encoders came to the same state the whole is what the first had made of it.
func TestJoinEqual(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	a, _ := twice(9, 9, 90, rnd)
	b := append(stream(9, []int{1, 300, 20, 400}, 0), a[4:]...)
	head, next, err := Join(a, b)
	if err != nil || next != len(a)-1 {
		t.Fatalf("Join = %d, %v, want the last frame", next, err)
	}
	if got := slices.Concat(head, b[next:]); !bytes.Equal(bytes.Join(got, nil), bytes.Join(a, nil)) {
		t.Error("Join changes frames, want those of the first stream")
	}
}

// TestJoinRaises checks that a frame gets longer when there is no room for what the next one has in front of it.
func TestJoinRaises(t *testing.T) {
	t.Parallel()
	full := stream(9, slices.Repeat([]int{381}, 20), 1)                         // leaves nothing for the next
	thrifty := stream(9, append([]int{1}, slices.Repeat([]int{381}, 19)...), 2) // each begins 380 bytes early
	head, next, err := Join(full, thrifty)
	if err != nil {
		t.Fatal(err)
	}
	last := head[len(head)-1]
	if h, ok := ParseHeader(last); !ok || h.Size != len(last) || h.Bitrate != 256 {
		t.Errorf("Join leaves %d bytes with the header % x in front of the seam, want a frame of 256 kbit/s", len(last), last[:HeaderLen])
	}
	if !same(newSpan(thrifty), newSpan(slices.Concat(head, thrifty[next:])), next) {
		t.Error("Join does not move what the frame after the seam needs")
	}
	full, thrifty = stream(14, slices.Repeat([]int{1008}, 20), 1), stream(14, append([]int{1}, slices.Repeat([]int{1008}, 19)...), 2)
	if _, _, err := Join(full, thrifty); !errors.Is(err, ErrSeam) {
		t.Errorf("Join at the highest bitrate = %v, want %v", err, ErrSeam)
	}
}

// TestJoinVariable checks that a longer frame is better than a seam between unlike frames, but only at a variable bitrate.
func TestJoinVariable(t *testing.T) {
	t.Parallel()
	full := stream(9, slices.Repeat([]int{381}, 20), 1)
	thrifty := stream(9, append([]int{1}, slices.Repeat([]int{381}, 19)...), 1)
	full[0] = stream(9, []int{1}, 2)[0] // there is room behind this one
	if _, next, err := Join(full, thrifty); err != nil || next != 1 {
		t.Errorf("Join at a constant bitrate = %d, %v, want 1", next, err)
	}
	full[19] = stream(8, []int{1}, 1)[0]
	head, next, err := Join(full, thrifty)
	if err != nil || next == 1 || len(head[next-1]) <= len(full[next-1]) {
		t.Fatalf("Join at a variable bitrate = %d, %v, want a longer frame further on", next, err)
	}
	joined := newSpan(slices.Concat(head, thrifty[next:]))
	for i := 1; i < 19; i++ {
		if !same(joined, newSpan(full), i) {
			t.Errorf("Join at %d: frame %d does not say what it did", next, i)
		}
	}
}

func TestJoinNothing(t *testing.T) {
	t.Parallel()
	f := frame(9)
	for _, tt := range [][2][][]byte{{}, {{f}, {f}}, {{f, f}, nil}, {{f, f[:20]}, {f, f}}, {{f, f}, {f, []byte("no frame")}}} {
		if head, next, err := Join(tt[0], tt[1]); !errors.Is(err, ErrSeam) {
			t.Errorf("Join(%d frames, %d frames) = %d frames, %d, %v, want %v", len(tt[0]), len(tt[1]), len(head), next, err, ErrSeam)
		}
	}
}

// FuzzJoin joins streams that are damaged: whatever comes of it is made of whole frames.
func FuzzJoin(f *testing.F) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for _, bitrate := range []byte{1, 9, 14} {
		a, b := twice(bitrate, bitrate, 12, rnd)
		f.Add(bytes.Join(a, nil), bytes.Join(b, nil))
	}
	f.Add([]byte("\xff\xe3\x18\xc0"+string(make([]byte, 68))), []byte("\xff\xf3\x84\x00"+string(make([]byte, 188))))
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, _, _ := walk(bytes.NewReader(x))
		b, _, _ := walk(bytes.NewReader(y))
		head, next, err := Join(a, b)
		if err != nil {
			return
		}
		if next != len(head) || next < 1 || next >= min(len(a), len(b)) {
			t.Fatalf("Join gives %d frames and goes on at %d of %d", len(head), next, len(b))
		}
		for i, frame := range head {
			h, ok := ParseHeader(frame)
			if !ok || h.Size != len(frame) {
				t.Fatalf("frame %d has %d bytes, header %+v", i, len(frame), h)
			}
			if i < len(head)-1 && len(frame) != len(a[i]) {
				t.Fatalf("frame %d has %d bytes, had %d", i, len(frame), len(a[i]))
			}
		}
	})
}
