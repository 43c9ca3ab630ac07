package mp4

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func u32(vs ...uint32) (b []byte) {
	for _, v := range vs {
		b = be.AppendUint32(b, v)
	}
	return b
}

// table makes a box with version, flags, a count and its records.
func table(kind string, count int, records ...uint32) []byte {
	return makeBox(kind, u32(append([]uint32{0, uint32(count)}, records...)...))
}

// movie makes the parts of a file: three samples of sound in two chunks, with something else in between.
type movie struct {
	handler string
	codec   string
	second  []byte // another description, of the second chunk
	sizes   []byte // stsz
	edits   []byte // edts, with its header
	bare    bool   // no samples
	dref    uint32 // flags: 1 means in this file
	more    []byte // boxes at the end of moov
	trak    []byte // boxes at the end of trak
}

var sound = [][]byte{[]byte("first "), []byte("second "), []byte("third")}

func newMovie() movie {
	return movie{handler: "soun", codec: "mp4a", sizes: makeBox("stsz", u32(0, 0, 3, 6, 7, 5)), dref: 1}
}

// mdat holds the chunks 9 and 28 bytes after its beginning.
func (m movie) mdat() []byte {
	return makeBox("mdat", []byte("x"), sound[0], sound[1], []byte("video "), sound[2])
}

func (m movie) moov(mdatAt uint32) []byte {
	described := uint32(1)
	if m.second != nil {
		described = 2
	}
	stsd := makeBox("stsd", u32(0, described), describe(m.codec), m.second)
	stbl := makeBox("stbl", stsd,
		table("stts", 1, 3, 500),
		table("stsc", 2, 1, 2, 1, 2, 1, described),
		m.sizes,
		table("stco", 2, mdatAt+9, mdatAt+28))
	if m.bare {
		stbl = makeBox("stbl", stsd, table("stts", 0), table("stsc", 0), makeBox("stsz", u32(0, 0, 0)), table("stco", 0))
	}
	dinf := makeBox("dinf", table("dref", 1, 12, be.Uint32([]byte("url ")), m.dref))
	mdia := makeBox("mdia",
		makeBox("mdhd", u32(0, 0, 0, 1000, 1500, 0)),
		makeBox("hdlr", u32(0, 0), []byte(m.handler), make([]byte, 13)),
		makeBox("minf", dinf, stbl))
	tkhd := makeBox("tkhd", u32(1, 0, 0, 7), make([]byte, 68))
	return makeBox("moov", makeBox("mvhd", u32(0, 0, 0, 600, 900), make([]byte, 80)), makeBox("trak", tkhd, m.edits,
		mdia, m.trak), m.more)
}

var ftyp = makeBox("ftyp", []byte("isom\x00\x00\x02\x00"))

func (m movie) indexLast() []byte {
	return slices.Concat(ftyp, m.mdat(), m.moov(uint32(len(ftyp))))
}

func (m movie) indexFirst() []byte {
	n := len(ftyp) + len(m.moov(0))
	return slices.Concat(ftyp, m.moov(uint32(n)), m.mdat())
}

func describe(codec string) []byte {
	return makeBox(codec, make([]byte, 6), []byte{0, 1}, make([]byte, 8), []byte{0, 2, 0, 16, 0, 0, 0, 0}, u32(1000<<16))
}

func read(b []byte) (*Index, error) { return Read(bytes.NewReader(b), int64(len(b))) }

// samplesOf writes the track as a file and takes the samples out of that.
func samplesOf(t *testing.T, a *Audio, b []byte) []byte {
	t.Helper()
	var w bytes.Buffer
	if err := a.WriteFile(&w, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	x, err := read(w.Bytes())
	if err != nil {
		t.Fatalf("Read(WriteFile()) = %v", err)
	}
	var got []byte
	for c := range x.Audio.layout.chunks(bytes.NewReader(w.Bytes())) {
		got = append(got, w.Bytes()[c.off:c.off+c.len]...)
	}
	return got
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	want := bytes.Join(sound, nil)
	for name, b := range map[string][]byte{"index first": newMovie().indexFirst(), "index last": newMovie().indexLast()} {
		x, err := read(b)
		if err != nil {
			t.Fatalf("Read(%s) = %v", name, err)
		}
		if got := samplesOf(t, x.Audio, b); !bytes.Equal(got, want) {
			t.Errorf("WriteFile(%s) has the samples %q, want %q", name, got, want)
		}
		if x.Audio.Duration != 1500*time.Millisecond || x.Duration != 1500*time.Millisecond {
			t.Errorf("Read(%s): durations %v and %v, want 1.5s", name, x.Audio.Duration, x.Duration)
		}
	}
}

// TestReadOdd reads what few files have, and finds the same samples.
func TestReadOdd(t *testing.T) {
	t.Parallel()
	with := func(f func(*movie)) []byte {
		m := newMovie()
		f(&m)
		return m.indexLast()
	}
	track := makeBox("trak", makeBox("tkhd", u32(1, 0, 0, 9), make([]byte, 68)))
	plain := newMovie()
	mdat := plain.mdat()
	index := plain.moov(uint32(len(ftyp)) + 8)
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"64-bit sizes", slices.Concat(ftyp, wide("mdat", mdat[8:]), rewrite(index, wide))},
		{"sizes to the end", slices.Concat(ftyp, makeBox("free"), mdat, rewrite(index, toTheEnd))},
		{"mdat to the end", func() []byte {
			b := plain.indexFirst()
			copy(b[len(b)-len(mdat):], u32(0))
			return b
		}()},
		{"index in an index", with(func(m *movie) { m.more = newMovie().moov(0) })},
		{"10,000 tracks", with(func(m *movie) { m.more = bytes.Repeat(track, 10_000) })},
		{"10,000 tracks in front", slices.Concat(ftyp, makeBox("free"), mdat, makeBox("moov", bytes.Repeat(track, 10_000),
			index[8:]))},
		{"a million boxes", with(func(m *movie) { m.trak = bytes.Repeat(makeBox("xxxx"), 1_000_000) })},
		{"two descriptions", with(func(m *movie) { m.second = describe("mp4a") })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x, err := read(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := samplesOf(t, x.Audio, tt.data), bytes.Join(sound, nil); !bytes.Equal(got, want) {
				t.Errorf("WriteFile(%s) has the samples %q, want %q", tt.name, got, want)
			}
		})
	}
}

// wide makes a box with a size of 64 bits.
func wide(kind string, bodies ...[]byte) []byte {
	body := bytes.Join(bodies, nil)
	return slices.Concat(u32(1), []byte(kind), be.AppendUint64(nil, uint64(16+len(body))), body)
}

// toTheEnd makes a box that lasts to the end of what it is in.
func toTheEnd(kind string, bodies ...[]byte) []byte {
	return slices.Concat(u32(0), []byte(kind), bytes.Join(bodies, nil))
}

// rewrite makes a box, and the last one in it, anew, down to the table of offsets.
func rewrite(b []byte, to func(string, ...[]byte) []byte) []byte {
	kind, body := string(b[4:8]), b[8:]
	if kind == "stco" {
		return to(kind, body)
	}
	last := 0
	for next := last; next < len(body); next += int(be.Uint32(body[next:])) {
		last = next
	}
	return to(kind, body[:last], rewrite(body[last:], to))
}

// TestReadTruncated cuts a file at every place.
func TestReadTruncated(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{"index first": newMovie().indexFirst(), "index last": newMovie().indexLast()} {
		for n := range b {
			if _, err := read(b[:n]); !errors.Is(err, ErrTruncated) {
				t.Fatalf("Read(%s, %d of %d bytes) = %v, want %v", name, n, len(b), err, ErrTruncated)
			}
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	with := func(f func(*movie)) []byte {
		m := newMovie()
		f(&m)
		return m.indexLast()
	}
	for _, tt := range []struct {
		name string
		data []byte
		want error
	}{
		{"encrypted", with(func(m *movie) { m.codec = "enca" }), ErrEncrypted},
		{"encrypted in its second part", with(func(m *movie) { m.second = describe("enca") }), ErrEncrypted},
		{"of two codecs", with(func(m *movie) { m.second = describe("alac") }), ErrMixed},
		{"of a description that is not there", bytes.Replace(with(func(*movie) {}), u32(2, 1, 1), u32(2, 1, 0), 1),
			ErrUnsupported},
		{"elsewhere", with(func(m *movie) { m.dref = 0 }), ErrElsewhere},
		{"compressed index", makeBox("moov", makeBox("cmov")), ErrUnsupported},
		{"fragment without an index", makeBox("moof"), ErrUnsupported},
		{"no box", []byte("\x00\x00\x00\x03free"), ErrUnsupported},
		{"compact sizes", with(func(m *movie) { m.sizes = makeBox("stz2", u32(0, 8, 3, 0)) }), ErrUnsupported},
		{"more sizes than there are", with(func(m *movie) { m.sizes = makeBox("stsz", u32(0, 0, 1<<31)) }), ErrUnsupported},
		{"more samples than have a place", with(func(m *movie) { m.sizes = makeBox("stsz", u32(0, 0, 4, 1, 1, 1, 1)) }),
			ErrUnsupported},
		{"size of samples not known", with(func(m *movie) { m.sizes = makeBox("stsz", u32(0, 1, 3)) }), ErrUnsupported},
		{"sample beyond the end", with(func(m *movie) { m.sizes = makeBox("stsz", u32(0, 0, 3, 6, 7, 1<<30)) }),
			ErrTruncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := read(tt.data); !errors.Is(err, tt.want) {
				t.Errorf("Read(%s) = %v, want %v", tt.name, err, tt.want)
			}
		})
	}
	x, err := read(with(func(m *movie) { m.handler = "vide" }))
	if err != nil || x.Audio != nil {
		t.Errorf("Read(no sound) = %+v, %v, want no audio", x, err)
	}
	x, err = read(with(func(m *movie) { m.more = makeBox("mvex") }))
	if err != nil || !x.Fragmented {
		t.Errorf("Read(fragments) = %+v, %v, want them announced", x, err)
	}
}

// TestReadError checks that a reader's own error comes through.
func TestReadError(t *testing.T) {
	t.Parallel()
	b := newMovie().indexLast()
	broken := errors.New("broken")
	r := readerAt{iotest.ErrReader(broken)}
	if _, err := Read(r, int64(len(b))); !errors.Is(err, broken) {
		t.Errorf("Read = %v, want %v", err, broken)
	}
	x, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Audio.WriteFile(io.Discard, r); !errors.Is(err, broken) {
		t.Errorf("WriteFile = %v, want %v", err, broken)
	}
}

type readerAt struct{ io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return r.Read(p) }

func TestEdits(t *testing.T) {
	t.Parallel()
	const silence = 1<<32 - 1
	for _, tt := range []struct {
		name                  string
		edits                 []uint32 // length in 1/600 s, from in 1/1000 s, rate
		delay, skip, duration time.Duration
	}{
		{"skip", []uint32{600, 100, 1 << 16}, 0, 100 * time.Millisecond, time.Second},
		{"skip, longer than there is", []uint32{6000, 100, 1 << 16}, 0, 100 * time.Millisecond, 1400 * time.Millisecond},
		{"delay", []uint32{300, silence, 1 << 16, 600, 0, 1 << 16}, 500 * time.Millisecond, 0, time.Second},
		{"two parts", []uint32{300, 0, 1 << 16, 60, silence, 1 << 16, 300, 500, 1 << 16}, 0, 0, time.Second},
		{"to the end", []uint32{0, 250, 1 << 16}, 0, 250 * time.Millisecond, 1250 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMovie()
			m.edits = makeBox("edts", table("elst", len(tt.edits)/3, tt.edits...))
			x, err := read(m.indexLast())
			if err != nil {
				t.Fatal(err)
			}
			a := x.Audio
			if a.Delay != tt.delay || a.Skip != tt.skip || a.Duration != tt.duration {
				t.Errorf("Read(%s): delay %v, skip %v, duration %v, want %v, %v, %v", tt.name, a.Delay, a.Skip, a.Duration,
					tt.delay, tt.skip, tt.duration)
			}
		})
	}
}

func TestPacketOf(t *testing.T) {
	t.Parallel()
	entry := func(codec string, version, channels, bits uint16, more ...uint32) []byte {
		b := append(append(u32(0), codec...), make([]byte, 8)...)
		b = be.AppendUint16(b, version)
		b = append(b, make([]byte, 6)...)
		b = be.AppendUint16(be.AppendUint16(b, channels), bits)
		return append(append(b, make([]byte, 8)...), u32(more...)...)
	}
	for _, tt := range []struct {
		name        string
		description []byte
		size        uint64
		want        packet
		ok          bool
	}{
		{"said by the index", entry("sowt", 0, 2, 16), 4, packet{1, 4}, true},
		{"version 0, 16 bit", entry("sowt", 0, 2, 16), 1, packet{1, 4}, true},
		{"version 0, 8 bit", entry("raw ", 0, 1, 8), 1, packet{1, 1}, true},
		{"version 0, law", entry("ulaw", 0, 2, 16), 1, packet{1, 2}, true},
		{"version 0, not known", entry("xxxx", 0, 2, 16), 1, packet{}, false},
		{"version 1", entry("ima4", 1, 2, 16, 64, 34, 68, 2), 1, packet{64, 68}, true},
		{"version 2", entry("lpcm", 2, 3, 16, 72, 0, 0, 2, 0x7f000000, 24, 0, 6, 1), 1, packet{1, 6}, true},
		{"cut off", entry("sowt", 0, 2, 16)[:20], 1, packet{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := packetOf(tt.description, tt.size)
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("packetOf(%s, %d) = %v, %v, want %v, %v", tt.name, tt.size, got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	item := func(kind string, of uint32, v string) []byte {
		return makeBox(kind, makeBox("data", u32(of, 0), []byte(v)))
	}
	ilst := makeBox("ilst", item("\xa9nam", 1, "a title"), item("\xa9ART", 1, "an artist"), item("covr", 13,
		"\xff\xd8\xff"))
	text := func(kind, v string) []byte { return makeBox(kind, []byte{0, byte(len(v)), 0, 0}, []byte(v)) }
	chpl := makeBox("chpl", u32(1<<24, 0), []byte{2},
		u32(0, 0), []byte("\x03one"), u32(0, 5_000_000), []byte("\x03two"))
	m := newMovie()
	m.more = makeBox("udta", makeBox("meta", u32(0), ilst), text("\xa9alb", "an album"), text("\xa9nam", "not this"),
		chpl, u32(0))
	x, err := read(m.indexLast())
	if err != nil {
		t.Fatal(err)
	}
	want := Tags{Title: "a title", Artist: "an artist", Album: "an album", Cover: []byte("\xff\xd8\xff")}
	if diff := cmp.Diff(want, x.Tags); diff != "" {
		t.Errorf("Read: tags differ (-want +got):\n%s", diff)
	}
	chapters := []Chapter{{0, 500 * time.Millisecond, "one"}, {500 * time.Millisecond, 1500 * time.Millisecond, "two"}}
	if diff := cmp.Diff(chapters, x.Chapters); diff != "" {
		t.Errorf("Read: chapters differ (-want +got):\n%s", diff)
	}
}

func TestFraming(t *testing.T) {
	t.Parallel()
	large := append(u32(1), "mdat\x00\x00\x00\x00\x00\x00\x00\x14four"...)
	b := slices.Concat(ftyp, makeBox("moof", []byte("abc")), large, makeBox("mfra"))
	ends := []int{0, len(ftyp), len(ftyp) + 11, len(ftyp) + 31, len(b)}
	for n := range len(b) + 1 {
		for step := 1; step < 20; step += 6 {
			var f Framing
			for p := range slices.Chunk(b[:n], step) {
				if k, err := f.Write(p); k != len(p) || err != nil {
					t.Fatalf("Write = %d, %v", k, err)
				}
			}
			if got, want := f.Complete(), slices.Contains(ends, n); got != want {
				t.Errorf("Complete after %d bytes by %d = %v, want %v", n, step, got, want)
			}
		}
	}
}

// FuzzRead checks that no file makes the reader fail but by its own errors, or write more than it read.
func FuzzRead(f *testing.F) {
	f.Add(newMovie().indexFirst())
	f.Add(newMovie().indexLast())
	chapters := newMovie()
	chapters.handler = "text"
	chapters.trak = makeBox("tref", makeBox("chap", u32(7)))
	f.Add(chapters.indexLast())
	constant := newMovie()
	constant.sizes = makeBox("stsz", u32(0, 6, 3))
	constant.edits = makeBox("edts", table("elst", 1, 600, 100, 1<<16))
	f.Add(constant.indexLast())
	pcm := newMovie()
	pcm.codec, pcm.sizes = "sowt", makeBox("stsz", u32(0, 4, 3))
	f.Add(pcm.indexLast())
	pcm.edits = makeBox("edts", table("elst", 1, 600, 100, 1<<16))
	f.Add(pcm.indexFirst())
	for _, x := range arrangements() {
		f.Add(x.data)
	}
	for _, x := range brokenFragments() {
		f.Add(x.data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ours := func(err error) bool {
			return slices.ContainsFunc([]error{ErrTruncated, ErrUnsupported, ErrEncrypted, ErrElsewhere, ErrMixed},
				func(e error) bool { return errors.Is(err, e) })
		}
		x, err := read(b)
		if err != nil {
			if !ours(err) {
				t.Fatalf("Read = %v", err)
			}
			return
		}
		if x.Audio == nil {
			return
		}
		var w bytes.Buffer
		if !x.Fragmented {
			if err := x.Audio.WriteFile(&w, bytes.NewReader(b)); err != nil {
				t.Fatalf("WriteFile = %v", err)
			}
			if w.Len() > 4*len(b)+200 {
				t.Errorf("WriteFile made %d bytes of %d", w.Len(), len(b))
			}
		}
		alone, refused := x.NewSound(bytes.NewReader(b))
		if refused != nil && !ours(refused) {
			t.Errorf("NewSound = %v", refused)
		}
		if x.Audio.Stream == nil {
			return
		}
		w.Reset()
		err = x.Audio.Stream.WriteFile(&w, bytes.NewReader(b))
		if err != nil && !(x.Fragmented && ours(err)) {
			t.Fatalf("Stream.WriteFile = %v", err)
		}
		if most := 80 * len(b); w.Len() > most+400 {
			t.Errorf("Stream.WriteFile made %d bytes of %d, want %d at most", w.Len(), len(b), most)
		}
		if refused != nil {
			return
		}
		y, failed := Read(alone, alone.Size())
		if failed != nil {
			t.Fatalf("Read(NewSound) = %v", failed)
		}
		var v bytes.Buffer
		failed = y.Audio.Stream.WriteFile(&v, alone)
		if (failed == nil) != (err == nil) || err == nil && !bytes.Equal(v.Bytes(), w.Bytes()) {
			t.Errorf("of the sound alone %d bytes are fed, %v, of all %d, %v", v.Len(), failed, w.Len(), err)
		}
	})
}

// FuzzCodec checks that no sound description makes its reader fail.
func FuzzCodec(f *testing.F) {
	config := append([]byte{4, 13 + 4, 0x40, 0x15}, append(make([]byte, 11), 5, 2, 0x11, 0x90)...)
	esds := makeBox("esds", u32(0), append([]byte{3, byte(3 + len(config)), 0, 1, 0}, config...))
	dops := makeBox("dOps", []byte{0, 2, 1, 56}, u32(48000), []byte{0, 0, 0})
	entry := func(codec string, more ...[]byte) []byte {
		return makeBox(codec, describe(codec)[8:], bytes.Join(more, nil))
	}
	for _, tt := range []struct {
		description []byte
		want        string
	}{
		{entry("mp4a", esds), "A_AAC"},
		{entry("mp4a", makeBox("wave", esds)), "A_AAC"},
		{entry("Opus", dops), "A_OPUS"},
		{entry("alac", makeBox("alac", make([]byte, 28))), "A_ALAC"},
		{entry("fLaC", makeBox("dfLa", make([]byte, 42))), "A_FLAC"},
		{entry("in24", makeBox("wave", makeBox("enda", []byte{0, 1}))), "A_PCM/INT/LIT"},
		{entry("in24"), "A_PCM/INT/BIG"},
	} {
		if c, ok := codecOf(tt.description, 0); !ok || c.id != tt.want {
			f.Errorf("codecOf(%q) = %q, %v, want %q", tt.description, c.id, ok, tt.want)
		}
		f.Add(tt.description, 0)
	}
	f.Fuzz(func(t *testing.T, b []byte, layer int) {
		if c, ok := codecOf(b, layer); ok && c.id == "" {
			t.Errorf("codecOf = %+v, want a name", c)
		}
	})
}
