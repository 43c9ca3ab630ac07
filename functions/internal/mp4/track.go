package mp4

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// track is a trak box, taken apart as far as needed.
type track struct {
	id        uint32
	enabled   bool
	handler   string // soun, vide, text, …
	timescale uint32
	children  boxes
	stbl      boxes // with a stub in the place of each table
	gapless   gapless
}

func readTrack(trak []byte) track {
	t := track{children: trak}
	if h := t.children.find("tkhd"); len(h) >= 24 {
		t.enabled = h[3]&1 != 0
		t.id = be.Uint32(h[12:])
		if h[0] == 1 {
			t.id = be.Uint32(h[20:])
		}
	}
	mdia := boxes(t.children.find("mdia"))
	if h := mdia.find("hdlr"); len(h) >= 12 {
		t.handler = string(h[8:12])
	}
	if h := mdia.find("mdhd"); len(h) >= 24 && h[0] == 1 {
		t.timescale = be.Uint32(h[20:])
	} else if len(h) >= 16 {
		t.timescale = be.Uint32(h[12:])
	}
	t.stbl = mdia.path("minf", "stbl")
	return t
}

// part finds a table.
func (t track) fileBox(kind string) (fileBox, bool) {
	b := t.stbl.find(kind)
	if b == nil {
		return fileBox{}, false
	}
	return fileBoxOf(box{kind, b}), true
}

// description is what stsd holds behind its own head.
func (t track) description() []byte {
	stsd := t.stbl.find("stsd")
	return stsd[min(8, len(stsd)):]
}

// table finds a table that begins with version, flags and the count of its entries.
func (t track) table(r io.ReaderAt, kind string, record int) (rows, error) {
	p, ok := t.fileBox(kind)
	if !ok {
		return rows{}, fmt.Errorf("no table %q: %w", kind, ErrUnsupported)
	}
	return p.table(r, 4, record)
}

// Audio is a track of sound.
type Audio struct {
	Codec    string        // the sample description's four characters: mp4a, ac-3, sowt, …
	MP3      bool          // the samples are MPEG Layer III frames
	Duration time.Duration // of the sound itself, within its edits; 0 when not known
	Delay    time.Duration // how long after the beginning of the file the sound begins
	Rate     int           // samples a second; 0 when not surely known
	Channels int           // the same
	Last     time.Duration // of what the stream writes, where the sound ends, to the sample; 0 when that is the end of it
	Skip     time.Duration // how much at the beginning of the samples is not to be heard
	Cut      bool          // its end is missing, as far as that is known before the fragments are read
	Stream   *Stream       // writes the sound for a reader that builds no index; nil where that is not possible

	mvhd    []byte
	inMovie []byte // boxes of the index that tell of fragments
	track   track
	layout  layout
}

// audio checks that all of the track lies within the file. Of fragments, if there are any, that shows as they are read;
// announced is how long the file says they all last.
func (t track) audio(r io.ReaderAt, size int64, movieScale uint32, f *fragments, announced time.Duration,
	partial bool) (*Audio, error) {
	stsd := t.stbl.find("stsd")
	if len(stsd) < 16 {
		return nil, fmt.Errorf("sound without a description: %w", ErrUnsupported)
	}
	a := &Audio{track: t}
	var err error
	if a.Codec, err = t.codec(r, stsd[8:], f != nil); err != nil {
		return nil, err
	}
	a.Delay, a.Skip = t.begin(movieScale)
	if !t.selfContained() {
		return nil, ErrElsewhere
	}
	if a.layout, err = t.layout(r, size, partial); err != nil {
		if f != nil && errors.Is(err, ErrUnsupported) {
			return a, nil
		}
		return nil, err
	}
	times, err := t.times(r)
	if err != nil {
		return nil, err
	}
	if a.Cut = a.layout.cut; a.Cut && times.samples > a.layout.samples {
		k := times.clock(r)
		if k.tick(a.layout.samples); k.c.err != nil {
			return nil, k.c.err
		}
		times.sum, times.samples = k.at, a.layout.samples
	}
	a.Duration = t.duration(movieScale, times)
	layer, err := a.layer(r, f)
	if err != nil {
		return nil, err
	}
	a.MP3 = layer == 3
	if a.Stream, err = a.stream(r, movieScale, layer, times, f); err != nil {
		return nil, err
	}
	if a.Stream == nil && (a.Cut || f != nil && f.cut.Load()) {
		return nil, fmt.Errorf("no sample, or of a kind that is not cut: %w", ErrTruncated)
	}
	if layer == 2 || layer == 3 {
		a.Channels = 2
	}
	if a.Stream == nil {
		return a, nil
	}
	a.Rate, a.Last = int(a.Stream.codec.rate), a.Stream.last
	if a.Last > 0 {
		a.Duration = min(a.Duration, a.Last-a.Stream.Preroll)
	}
	if a.Channels == 0 {
		a.Channels = a.Stream.codec.surely()
	}
	if f == nil {
		return a, nil
	}
	err = a.addFragments(r, f, announced)
	a.Cut = a.Cut || f.cut.Load()
	return a, err
}

// addFragments adds what the fragments tell of when there is sound. No edit list leaves out any of theirs.
func (a *Audio) addFragments(r io.ReaderAt, f *fragments, announced time.Duration) error {
	if f.open {
		announced = 0
	}
	s, err := f.span(r, int64(a.Stream.times.sum), announced)
	if err == nil {
		err = f.doubt(r, &s)
	}
	if a.layout.samples == 0 {
		a.Delay = s.begin - s.zero + a.Stream.Preroll
		a.Duration = max(0, s.end-s.begin)
	} else {
		a.Duration = max(0, s.end-a.Delay)
	}
	return err
}

// maxDescriptions is how many descriptions the samples of a track may refer to; those of real ones refer to one, or
// two.
const maxDescriptions = 64

// codec gives the four characters of the descriptions that samples refer to; those of fragments may refer to any. They
// must be of one codec: ffmpeg leaves out the samples of another and says nothing.
func (t track) codec(r io.ReaderAt, descriptions boxes, fragmented bool) (codec string, err error) {
	var used uint64 // a bit each
	if !fragmented {
		table, err := t.table(r, "stsc", 12)
		if err != nil {
			return "", err
		}
		runs := table.entries(r)
		for b := runs.next(); b != nil; b = runs.next() {
			i := be.Uint32(b[8:]) - 1
			if i >= maxDescriptions {
				return "", fmt.Errorf("description %d: %w", i+1, ErrUnsupported)
			}
			used |= 1 << i
		}
		if runs.err != nil {
			return "", runs.err
		}
	}
	i := 0
	for d := range descriptions.all {
		switch {
		case i >= maxDescriptions || used>>i&1 == 0 && !fragmented:
		case d.kind == "enca" || d.kind == "drms" || d.kind == "aavd":
			return "", ErrEncrypted
		case codec != "" && codec != d.kind:
			return "", fmt.Errorf("%q and %q: %w", codec, d.kind, ErrMixed)
		default:
			codec = d.kind
		}
		i++
	}
	return codec, nil
}

// layer looks at the first sample: mp4a may stand for MPEG audio of layer II or III too (object types 0x69 and 0x6b),
// and no AAC access unit begins with what is a frame header of these. It is 0 for anything else.
func (a *Audio) layer(r io.ReaderAt, f *fragments) (int, error) {
	if a.Codec != "mp4a" && a.Codec != ".mp3" && a.Codec != "ms\x00\x55" {
		return 0, nil
	}
	for c, err := range a.layout.chunks(r) {
		if err != nil {
			return 0, err
		}
		if c.len >= 4 {
			return layerAt(r, c.off)
		}
	}
	if f == nil {
		return 0, nil
	}
	for x, err := range f.frames(r, 0, -1) {
		if err != nil || x.len < 4 {
			return 0, err
		}
		return layerAt(r, x.off)
	}
	return 0, nil
}

func layerAt(r io.ReaderAt, off int64) (int, error) {
	var head [2]byte
	if err := readFull(r, head[:], off); err != nil || head[0] != 0xff || head[1]&0xe0 != 0xe0 {
		return 0, err
	}
	return []int{0, 3, 2, 0}[head[1]>>1&3], nil
}

// selfContained reports whether the data reference is to the file itself (ISO/IEC 14496-12, section 8.7.2).
func (t track) selfContained() bool {
	dref := t.children.path("mdia", "minf", "dinf", "dref")
	if len(dref) < 8 {
		return true
	}
	for ref := range boxes(dref[8:]).all {
		if len(ref.body) < 4 || ref.body[3]&1 == 0 {
			return false
		}
	}
	return true
}

// edits calls f with each entry of the edit list, in order: how long it lasts in the movie's time, and where in the
// track's time it begins, -1 for silence.
func (t track) edits(f func(length uint64, from int64)) {
	elst := t.children.path("edts", "elst")
	if len(elst) < 8 {
		return
	}
	if elst[0] == 1 {
		for es := records(elst, 20); len(es) > 0; es = es[20:] {
			f(be.Uint64(es), int64(be.Uint64(es[8:])))
		}
		return
	}
	for es := records(elst, 12); len(es) > 0; es = es[12:] {
		f(uint64(be.Uint32(es)), int64(int32(be.Uint32(es[4:]))))
	}
}

// begin is the silence that the edit list puts in front, and what of the samples it leaves out there.
func (t track) begin(movieScale uint32) (delay, skip time.Duration) {
	begun := false
	t.edits(func(length uint64, from int64) {
		switch {
		case begun:
		case from < -1:
			begun = true // all of the samples, and nothing in front
		case from < 0:
			delay += scaled(length, movieScale)
		default:
			begun, skip = true, scaled(uint64(from), t.timescale)
		}
	})
	return delay, skip
}

// duration is what the edits leave of the samples, silence in between not counted.
func (t track) duration(movieScale uint32, of times) time.Duration {
	all := scaled(of.sum, t.timescale)
	var sum time.Duration
	edited := false
	t.edits(func(length uint64, from int64) {
		if from == -1 {
			return
		}
		from = max(0, from)
		edited = true
		left := max(0, all-scaled(uint64(from), t.timescale))
		if d := scaled(length, movieScale); d > 0 {
			left = min(left, d)
		}
		sum += left
	})
	if !edited {
		return all
	}
	return sum
}

// times are what the table of durations (stts) says.
type times struct {
	rows
	samples uint64
	sum     uint64 // in the track's time
	plain   bool   // each sample lasts more than nothing, and no longer than is sensible
}

// times reads the durations, if there are any.
func (t track) times(r io.ReaderAt) (ts times, err error) {
	if ts.rows, err = t.table(r, "stts", 8); errors.Is(err, ErrUnsupported) {
		return times{}, nil
	}
	if err != nil {
		return times{}, err
	}
	ts.plain = true
	c := ts.entries(r)
	for b := c.next(); b != nil; b = c.next() {
		n, each := uint64(be.Uint32(b)), uint64(be.Uint32(b[4:]))
		ts.samples, ts.sum = ts.samples+n, ts.sum+n*each
		ts.plain = ts.plain && each > 0 && each < 1<<24
	}
	return ts, c.err
}

// clock tells when each sample begins.
type clock struct {
	c              *cursor
	at, left, each uint64
}

func (ts times) clock(r io.ReaderAt) *clock { return &clock{c: ts.entries(r)} }

// tick tells when the next n samples begin and how long they last, in the track's time; false when the table has no
// more.
func (k *clock) tick(n uint64) (at, length uint64, ok bool) {
	at = k.at
	for n > 0 {
		for k.left == 0 {
			b := k.c.next()
			if b == nil {
				return 0, 0, false
			}
			k.left, k.each = uint64(be.Uint32(b)), uint64(be.Uint32(b[4:]))
		}
		m := min(n, k.left)
		k.left, n = k.left-m, n-m
		k.at += m * k.each
	}
	return at, k.at - at, true
}
