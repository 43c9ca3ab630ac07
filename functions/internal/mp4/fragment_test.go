package mp4

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fragmented makes a file of an index, which has more in its mvex, and what rest makes, which is told where it begins.
func fragmented(m movie, rest func(at uint32) []byte, more ...[]byte) []byte {
	m.codec = "sowt"
	m.more = slices.Concat(m.more, makeBox("mvex", append(more, makeBox("trex", u32(0, 7, 1, 500, 6, 0)))...))
	b := slices.Concat(ftyp, makeBox("mdat"), m.moov(0))
	if !m.bare {
		b = slices.Concat(ftyp, m.mdat(), m.moov(uint32(len(ftyp))))
	}
	return slices.Concat(b, rest(uint32(len(b))))
}

// bare has all samples in fragments.
func bare(rest func(at uint32) []byte, more ...[]byte) []byte {
	m := newMovie()
	m.bare = true
	return fragmented(m, rest, more...)
}

// inMoof is a track's header by which offsets count from the fragment.
func inMoof(flags uint32, fields ...uint32) []byte {
	return makeBox("tfhd", u32(append([]uint32{headerFromMoof | flags, 7}, fields...)...))
}

func tfdt(at uint32) []byte { return makeBox("tfdt", u32(0, at)) }

func trun(flags uint32, count int, fields ...uint32) []byte {
	return makeBox("trun", u32(append([]uint32{flags, uint32(count)}, fields...)...))
}

func moof(trafs ...[]byte) []byte {
	return makeBox("moof", append([][]byte{makeBox("mfhd", u32(0, 1))}, trafs...)...)
}

// fragment makes a fragment of one track and its data; the boxes of the track are told where that is.
func fragment(data string, boxes func(at uint32) []byte) []byte {
	size := len(moof(makeBox("traf", boxes(0))))
	return slices.Concat(moof(makeBox("traf", boxes(uint32(size+8)))), makeBox("mdat", []byte(data)))
}

// three is a fragment of three samples that begins then.
func three(at uint32) []byte {
	return fragment("first second third", func(data uint32) []byte {
		return slices.Concat(inMoof(0), tfdt(at), trun(runOffset|entrySize, 3, data, 6, 7, 5))
	})
}

// testFrame is a frame: its bytes, its time, and whether it is not to be heard.
type testFrame struct {
	Data    string
	At      uint64
	Unheard bool
}

func testFrames(b []byte, s *Stream) (ps []testFrame, err error) {
	for f, err := range s.frames(bytes.NewReader(b)) {
		if err != nil {
			return ps, err
		}
		ps = append(ps, testFrame{string(b[f.off : f.off+f.len]), f.at, f.unheard})
	}
	return ps, nil
}

// arranged are samples in fragments.
type arranged struct {
	name   string
	data   []byte
	want   []testFrame
	length time.Duration // by the index and the last fragment
	silent time.Duration
}

func arrangements() []arranged {
	plain := []testFrame{{"first ", 0, false}, {"second ", 500, false}, {"third", 1000, false}}
	next := []testFrame{{"first ", 1500, false}, {"second ", 2000, false}, {"third", 2500, false}}
	const all = "first second third"
	video := func(fields ...uint32) []byte { return makeBox("tfhd", u32(append([]uint32{0, 9}, fields...)...)) }
	return []arranged{
		{name: "one", data: bare(func(uint32) []byte { return three(0) }), want: plain, length: 1500 * time.Millisecond},
		{name: "two", data: bare(func(uint32) []byte { return slices.Concat(three(0), three(1500)) }),
			want: slices.Concat(plain, next), length: 3 * time.Second},
		{name: "behind an index", data: fragmented(newMovie(), func(uint32) []byte { return three(1500) }),
			want: slices.Concat(plain, next), length: 3 * time.Second},
		{name: "without a time", data: bare(func(uint32) []byte {
			x := fragment(all, func(data uint32) []byte {
				return slices.Concat(inMoof(0), trun(runOffset|entrySize, 3, data, 6,
					7, 5))
			})
			return slices.Concat(x, x)
		}), want: slices.Concat(plain, next), length: 3 * time.Second},
		{name: "behind an index, without a time", data: fragmented(newMovie(), func(uint32) []byte {
			return fragment(all, func(data uint32) []byte {
				return slices.Concat(inMoof(0), trun(runOffset|entrySize, 3, data,
					6, 7, 5))
			})
		}), want: slices.Concat(plain, next), length: 3 * time.Second},
		{name: "every field", data: bare(func(uint32) []byte {
			return fragment(all, func(data uint32) []byte {
				return slices.Concat(inMoof(headerDescription|headerLength|headerSize|0x20, 1, 9, 9, 9), makeBox("tfdt",
					u32(1<<24, 0, 0)),
					trun(runOffset|runFlags|entryFields, 3, data, 0, 500, 6, 0, 0, 500, 7, 0, 0, 500, 5, 0, 0))
			})
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "no field", data: bare(func(uint32) []byte {
			return fragment("first other third ", func(data uint32) []byte {
				return slices.Concat(inMoof(0), tfdt(0),
					trun(runOffset, 3, data))
			})
		}), want: []testFrame{{"first ", 0, false}, {"other ", 500, false}, {"third " +
			"", 1000, false}}, length: 1500 * time.Millisecond},
		{name: "defaults of the fragment", data: bare(func(uint32) []byte {
			return fragment("onetwo", func(data uint32) []byte {
				return slices.Concat(inMoof(headerLength|headerSize, 10, 3), tfdt(0), trun(runOffset, 2, data))
			})
		}), want: []testFrame{{"one", 0, false}, {"two", 10, false}}, length: 20 * time.Millisecond},
		{name: "offset in the file, data in front", data: bare(func(at uint32) []byte {
			tfhd := makeBox("tfhd", u32(headerBase, 7, 0, at+8))
			return slices.Concat(makeBox("mdat", []byte(all)), moof(makeBox("traf", tfhd, tfdt(0), trun(entrySize, 3, 6, 7, 5))))
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "runs one after the other", data: bare(func(uint32) []byte {
			return fragment(all, func(data uint32) []byte {
				return slices.Concat(inMoof(0), tfdt(0), trun(runOffset|entrySize, 1, data, 6), trun(entrySize, 2, 7, 5))
			})
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "runs apart", data: bare(func(uint32) []byte {
			return fragment("third, second first ", func(data uint32) []byte {
				return slices.Concat(inMoof(0), tfdt(0), trun(runOffset, 1, data+14), trun(runOffset|entrySize, 1, data+7, 7),
					trun(runOffset|entrySize, 1, data, 5))
			})
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "behind the data of another track", data: bare(func(uint32) []byte {
			other := makeBox("traf", video(), tfdt(0), trun(runOffset|entryLength|entrySize|entryShift, 2, 0, 1, 2, 3, 1, 4, 3))
			ours := makeBox("traf", makeBox("tfhd", u32(0, 7)), tfdt(0), trun(entrySize, 3, 6, 7, 5))
			size := uint32(len(moof(other, ours)))
			other = makeBox("traf", video(), tfdt(0), trun(runOffset|entryLength|entrySize|entryShift, 2, size+8, 1, 2, 3, 1,
				4, 3))
			return slices.Concat(moof(other, ours), makeBox("mdat", []byte("video "), []byte(all)))
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "between other boxes", data: bare(func(uint32) []byte {
			other := moof(makeBox("traf", video(0), tfdt(0)), makeBox("traf", inMoof(0x10000), tfdt(9)))
			return slices.Concat(makeBox("styp", []byte("msdh")), makeBox("emsg"), makeBox("prft"), other, makeBox("free"),
				three(0), makeBox("mdat"), makeBox("mfra"))
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "64-bit sizes", data: bare(func(uint32) []byte {
			traf := func(data uint32) []byte {
				return wide("traf", inMoof(0), wide("tfdt", u32(1<<24, 0, 0)), wide("trun", u32(runOffset|entrySize, 3, data, 6,
					7, 5)))
			}
			x := func(data uint32) []byte { return wide("moof", makeBox("mfhd", u32(0, 1)), traf(data)) }
			return slices.Concat(x(uint32(len(x(0))+16)), wide("mdat", []byte(all)))
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "sizes to the end", data: bare(func(at uint32) []byte {
			traf := toTheEnd("traf", makeBox("tfhd", u32(headerBase, 7, 0, at+8)), tfdt(0), toTheEnd("trun", u32(entrySize, 3,
				6, 7, 5)))
			return slices.Concat(makeBox("mdat", []byte(all)), toTheEnd("moof", makeBox("mfhd", u32(0, 1)), traf))
		}), want: plain, length: 1500 * time.Millisecond},
		{name: "a pause", data: bare(func(uint32) []byte { return slices.Concat(three(0), three(2500)) }),
			want: slices.Concat(plain, []testFrame{{"first ", 2500, false}, {"second ", 3000, false}, {"third", 3500,
				false}}), length: 4 * time.Second, silent: time.Second},
		{name: "a late beginning", data: bare(func(uint32) []byte { return three(1500) }), want: next,
			length: 1500 * time.Millisecond},
		{name: "an overlap", data: bare(func(uint32) []byte { return slices.Concat(three(0), three(500)) }),
			want:   slices.Concat(plain, []testFrame{{"first ", 500, true}, {"second ", 1000, true}, {"third", 1500, false}}),
			length: 2 * time.Second, silent: time.Second},
		{name: "back to the beginning", data: bare(func(uint32) []byte {
			return slices.Concat(three(1500), three(0),
				three(1500))
		}),
			want: slices.Concat(next, []testFrame{{"first ", 0, true}, {"second ", 500, true}, {"third", 1000, true}},
				next), length: 1500 * time.Millisecond,
			silent: 1500 * time.Millisecond},
	}
}

func TestFragments(t *testing.T) {
	t.Parallel()
	for _, tt := range arrangements() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x, err := read(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			s := x.Audio.Stream
			got, err := testFrames(tt.data, s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("frames(%s) differ (-want +got):\n%s", tt.name, diff)
			}
			if err := s.WriteFile(io.Discard, bytes.NewReader(tt.data)); err != nil {
				t.Fatal(err)
			}
			if x.Audio.Duration != tt.length || s.Silent() != tt.silent {
				t.Errorf("Read(%s): %v of sound, %v of them silent, want %v and %v", tt.name, x.Audio.Duration, s.Silent(),
					tt.length, tt.silent)
			}
		})
	}
}

// TestFragmentsDelay has a picture that begins before the sound, or after it.
func TestFragmentsDelay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sound, picture, want uint32 }{{5000, 3000, 2000}, {3000, 5000, 0}, {5000, 0, 5000}} {
		m := newMovie()
		m.bare = true
		mdia := makeBox("mdia", makeBox("mdhd", u32(0, 0, 0, 1000, 0, 0)), makeBox("hdlr", u32(0, 0), []byte("vide"),
			make([]byte, 13)))
		m.more = makeBox("trak", makeBox("tkhd", u32(1, 0, 0, 9), make([]byte, 68)), mdia)
		b := fragmented(m, func(uint32) []byte {
			picture := moof(makeBox("traf", makeBox("tfhd", u32(0, 9)), tfdt(tt.picture-100), trun(entrySize|entryShift, 1, 1,
				100)))
			if tt.picture == 0 {
				picture = moof(makeBox("traf", makeBox("tfhd", u32(0, 9)), tfdt(0), trun(entrySize, 1, 1)))
			}
			return slices.Concat(three(tt.sound), picture)
		}, makeBox("trex", u32(0, 9, 1, 40, 0, 0)))
		x, err := read(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := time.Duration(tt.want) * time.Millisecond; x.Audio.Delay != want {
			t.Errorf("Read(sound at %d ms, picture at %d): delay %v, want %v", tt.sound, tt.picture, x.Audio.Delay, want)
		}
	}
}

// TestFragmentsTruncated cuts fragments at every place: only between two it does not show, unless the file tells its
// length. Where it does not, what is there is taken.
func TestFragmentsTruncated(t *testing.T) {
	t.Parallel()
	fragments := func(uint32) []byte { return slices.Concat(three(0), three(1500), three(3000)) }
	length := len(three(0))
	index := makeBox("sidx", u32(0, 7, 1000, 0, 0, 3, uint32(length), 1500, 1<<31, uint32(length), 1500, 1<<31,
		uint32(length), 1500, 1<<31))
	b := bare(fragments)
	head := len(b) - 3*length
	for _, tt := range []struct {
		name string
		data []byte
		ends int // how many of the ends of fragments do not show
	}{
		{"no length", b, 3},
		{"an index", slices.Concat(b[:head], index, b[head:]), 0},
		{"a length", bare(fragments, makeBox("mehd", u32(0, 4500*600/1000))), 1}, // of all, there is no sound
	} {
		if _, err := read(tt.data); err != nil {
			t.Errorf("Read(%s) = %v", tt.name, err)
		}
		ends := 0
		for n := len(tt.data) - 3*length; n < len(tt.data); n++ {
			x, err := read(tt.data[:n])
			if err == nil && x.Audio.Stream != nil {
				err = x.Audio.Stream.WriteFile(io.Discard, bytes.NewReader(tt.data[:n]))
			}
			cut := err == nil && (x.Audio.Cut || x.Audio.Stream != nil && x.Audio.Stream.Cut())
			if err == nil && !cut {
				ends++
			} else if cut && tt.name != "no length" {
				t.Errorf("Read(%s, %d of %d bytes) takes what is there", tt.name, n, len(tt.data))
			} else if err != nil && !errors.Is(err, ErrTruncated) {
				t.Errorf("Read(%s, %d of %d bytes) = %v, want %v", tt.name, n, len(tt.data), err, ErrTruncated)
			}
		}
		if ends != tt.ends {
			t.Errorf("Read(%s): %d cuts are not seen, want %d", tt.name, ends, tt.ends)
		}
	}
}

// broken are fragments that nobody writes.
type broken struct {
	name string
	data []byte
	want error
}

func brokenFragments() []broken {
	with := func(boxes func(data uint32) []byte) []byte {
		return bare(func(uint32) []byte { return fragment("first second third", boxes) })
	}
	return []broken{
		{"data beyond the end", with(func(uint32) []byte {
			return slices.Concat(inMoof(0), tfdt(0), trun(runOffset|entrySize, 3, 1<<20, 6, 7, 5))
		}), ErrTruncated},
		{"data before the beginning", with(func(uint32) []byte {
			return slices.Concat(inMoof(0), tfdt(0),
				trun(runOffset|entrySize, 1, 1<<31, 6))
		}), ErrTruncated},
		{"offset of the highest", with(func(uint32) []byte {
			return slices.Concat(makeBox("tfhd", u32(headerBase, 7, 1<<31-1, 1<<32-1)), tfdt(0), trun(runOffset, 1, 1<<31-1))
		}), ErrTruncated},
		{"sizes that overflow", with(func(data uint32) []byte {
			return slices.Concat(inMoof(headerSize, 1<<32-1), tfdt(0), trun(runOffset, 1<<32-1, data))
		}), ErrTruncated},
		{"four billion samples without bytes", with(func(data uint32) []byte {
			return slices.Concat(inMoof(headerSize, 0), tfdt(0), trun(runOffset, 1<<32-1, data))
		}), ErrUnsupported},
		{"four billion entries", with(func(data uint32) []byte {
			return slices.Concat(inMoof(0), tfdt(0), trun(runOffset|entrySize, 1<<32-1, data))
		}), ErrUnsupported},
		{"a time without sense", with(func(data uint32) []byte {
			return slices.Concat(inMoof(0), makeBox("tfdt", u32(1<<24, 1<<31, 0)), trun(runOffset|entrySize, 3, data, 6, 7, 5))
		}), ErrUnsupported},
		{"a time of a thousand years", with(func(data uint32) []byte {
			return slices.Concat(inMoof(0), makeBox("tfdt", u32(1<<24, 1<<13, 0)), trun(runOffset|entrySize, 3, data, 6, 7, 5))
		}), ErrUnsupported},
		{"lengths without sense", with(func(data uint32) []byte {
			return slices.Concat(inMoof(headerLength|headerSize, 1<<32-1, 0), tfdt(0), trun(runOffset, 1<<32-1, data))
		}), ErrUnsupported},
		{"a header that is cut off", with(func(uint32) []byte { return inMoof(headerLength) }), ErrUnsupported},
		{"a run that is cut off", with(func(uint32) []byte {
			return slices.Concat(inMoof(0), makeBox("trun", u32(runOffset,
				3)))
		}), ErrUnsupported},
		{"samples that share their bytes", bare(func(uint32) []byte {
			return fragment("first second third again", func(data uint32) []byte {
				return slices.Concat(inMoof(0), tfdt(0), bytes.Repeat(trun(runOffset, 4, data), 1000))
			})
		}), ErrUnsupported},
		{"no box", bare(func(uint32) []byte { return slices.Concat(three(0), u32(4), []byte("free")) }), ErrUnsupported},
		{"encrypted", bytes.Replace(bare(func(uint32) []byte { return three(0) }), []byte("sowt"), []byte("enca"), 1),
			ErrEncrypted},
	}
}

func TestFragmentsRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range brokenFragments() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x, err := read(tt.data)
			if err == nil {
				_, err = testFrames(tt.data, x.Audio.Stream)
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("Read(%s) = %v, want %v", tt.name, err, tt.want)
			}
		})
	}
}

const stored = 255 << 10 // bytes of a chunk

// counting tells which chunks are read.
type counting struct {
	io.ReaderAt
	chunks map[int64]bool
}

func (c counting) ReadAt(p []byte, off int64) (int, error) {
	for n := off / stored; n <= (off+int64(len(p))-1)/stored; n++ {
		c.chunks[n] = true
	}
	return c.ReaderAt.ReadAt(p, off)
}

// TestFragmentsRead reads the sound of a file of much picture: of each fragment a chunk or two of its ten, and all of
// the last one, from which the length is read.
func TestFragmentsRead(t *testing.T) {
	t.Parallel()
	const fragments, picture = 10, 10 * stored
	data := string(make([]byte, picture)) + "first second third"
	b := bare(func(uint32) (all []byte) {
		for i := range uint32(fragments) {
			all = append(all, fragment(data, func(data uint32) []byte {
				return slices.Concat(inMoof(0), tfdt(i*1500), trun(runOffset|entrySize, 3, data+picture, 6, 7, 5))
			})...)
		}
		return all
	})
	r := counting{bytes.NewReader(b), map[int64]bool{}}
	x, err := Read(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Audio.Stream.WriteFile(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	if got, most := len(r.chunks), fragments*3/2+picture/stored; got > most {
		t.Errorf("%d of %d chunks are read, want %d at most", got, len(b)/stored, most)
	}
}
