package container

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mkv makes an element.
func mkv(id string, bodies ...[]byte) []byte {
	body := slices.Concat(bodies...)
	return slices.Concat([]byte(id), ebmlSize(int64(len(body)), 4), body)
}

// endless makes an element of unknown length.
func endless(id string, bodies ...[]byte) []byte {
	return slices.Concat([]byte(id), []byte("\x01\xff\xff\xff\xff\xff\xff\xff"), slices.Concat(bodies...))
}

func track(number, kind byte, codec string, more ...[]byte) []byte {
	return mkv(matroskaTrackEntry, mkv(matroskaTrackNumber, []byte{number}), mkv(matroskaTrackType, []byte{kind}),
		mkv(matroskaCodecID, []byte(codec)), slices.Concat(more...))
}

func block(id string, track byte, data string) []byte {
	return mkv(id, []byte{0x80 | track, 0, 0, 0}, []byte(data))
}

func simple(track byte, data string) []byte { return block(matroskaSimpleBlock, track, data) }

const (
	matroskaInfo      = "\x15\x49\xa9\x66"
	matroskaTags      = "\x12\x54\xc3\x67"
	matroskaTimestamp = "\xe7"
)

var (
	head     = mkv(ebmlHead, mkv("\x42\x82", []byte("matroska")))
	info     = mkv(matroskaInfo, mkv("\x2a\xd7\xb1", []byte{15, 66, 64}))
	tracks   = mkv(matroskaTracks, track(1, matroskaVideo, "V_MPEG4"), track(2, matroskaAudio, "A_OPUS"))
	tags     = mkv(matroskaTags, []byte("tags"))
	at       = mkv(matroskaTimestamp, []byte{1})
	encoding = mkv(matroskaEncodings, []byte{1})
	none     = mkv(ebmlCRC, []byte("sum!"))
)

func segment(parts ...[]byte) []byte { return slices.Concat(head, mkv(matroskaSegment, parts...)) }

func cluster(parts ...[]byte) []byte { return mkv(matroskaCluster, parts...) }

// soundAlone gives a file with its picture left out as soon as there were packets of so many bytes.
func soundAlone(b []byte, probed int64) ([]byte, error) {
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	s, err := f.matroskaSound(probed)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
}

// keepNone is so little that no packet is kept for being among the first.
const keepNone = -1 << 20

// aloneTests are files, and what they are without their pictures when none need be kept.
func aloneTests() []struct {
	name       string
	data, want []byte
} {
	group := func(track byte, more ...[]byte) []byte {
		return mkv(matroskaBlockGroup, block(matroskaBlock, track, "group"), slices.Concat(more...))
	}
	long := bytes.Repeat([]byte("cues"), 100)
	void := slices.Concat([]byte{ebmlVoid}, ebmlSize(int64(len(long)-9), 8), long[9:])
	both := func(first, second []byte) []byte {
		return mkv(matroskaTracks, track(3, matroskaVideo, "V_VP9"), first, second)
	}
	second, third := track(2, matroskaAudio, "A_OPUS"), track(1, matroskaAudio, "A_AAC")
	of := func(tracks []byte, blocks ...[]byte) []byte {
		return segment(tracks, cluster(at, slices.Concat(blocks...)))
	}
	return []struct {
		name       string
		data, want []byte
	}{
		{"clusters", segment(info, tracks, cluster(at, simple(1, "picture"), simple(2, "sound"), simple(1, "more"), simple(2,
			"again")), cluster(at, simple(1, "next"), simple(2, "end")), tags),
			segment(info, tracks, cluster(at, simple(2, "sound"), simple(2, "again")), cluster(at, simple(2, "end")), tags)},
		{"groups", of(tracks, group(1), group(2, mkv("\x9b", []byte{1})), group(1, mkv("\xfb", []byte{1}))),
			of(tracks, group(2, mkv("\x9b", []byte{1})))},
		{"what would be wrong", segment(mkv(matroskaSeekHead, []byte("seek")), tracks, mkv(matroskaCues), cluster(none, at,
			mkv(matroskaClusterPosition, []byte{9}), mkv(matroskaPrevSize, []byte{9}), mkv("\xec", []byte("void")),
			simple(1, "x"), simple(2, "y")), mkv(matroskaCues, long), mkv(matroskaCues, []byte{1})),
			segment(mkv(matroskaSeekHead, []byte("\xec\x82ek")), tracks, mkv(matroskaCues), cluster(at, simple(2, "y")),
				mkv(matroskaCues, void), mkv(matroskaCues, []byte{1}))},
		{"what is not known", of(tracks, simple(7, "seven"), mkv("\xaf", []byte("encrypted")), mkv("\x58\x54", []byte{0}),
			simple(1, "x")), of(tracks, simple(7, "seven"), mkv("\xaf", []byte("encrypted")), mkv("\x58\x54", []byte{0}))},
		{"a live recording", slices.Concat(head, endless(matroskaSegment, tracks, endless(matroskaCluster, at, simple(1, "x"),
			simple(2, "y")), endless(matroskaCluster, at, simple(2, "z"), simple(1, "x")), tags)),
			slices.Concat(head, endless(matroskaSegment, tracks, endless(matroskaCluster, at, simple(2, "y")),
				endless(matroskaCluster, at, simple(2, "z")), tags))},
		{"a live recording that is cut off", slices.Concat(head, endless(matroskaSegment, tracks, endless(matroskaCluster, at,
			simple(1, "x"), simple(2, "y"), simple(1, "cut off")[:9]))), slices.Concat(head, endless(matroskaSegment, tracks,
			endless(matroskaCluster, at, simple(2, "y"), simple(1, "cut off")[:9])))},
		{"a cluster that is cut off", slices.Concat(head, endless(matroskaSegment, tracks, cluster(at, simple(1, "x")),
			cluster(simple(1, "x"), simple(2, "cut off"))[:20])), slices.Concat(head, endless(matroskaSegment, tracks,
			cluster(at), cluster(simple(1, "x"), simple(2, "cut off"))[:20]))},
		{"a header that is cut off", slices.Concat(head, endless(matroskaSegment, tracks, cluster(at, simple(1, "x")),
			cluster()[:3])), slices.Concat(head, endless(matroskaSegment, tracks, cluster(at), cluster()[:3]))},
		{"two tracks of sound", of(both(second, third), simple(3, "x"), simple(1, "y"), simple(2, "z")), of(both(second,
			third), simple(1, "y"), simple(2, "z"))},
	}
}

func TestSoundAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range aloneTests() {
		got, err := soundAlone(tt.data, keepNone)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: differs (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestSoundAloneFirst has the first packets kept, and as many more as the largest two have bytes.
func TestSoundAloneFirst(t *testing.T) {
	t.Parallel()
	laced := mkv(matroskaSimpleBlock, []byte{0x81, 0, 0, 2}, make([]byte, 8))
	for name, tt := range map[string]struct {
		tracks []byte
		block  []byte
		kept   int // of 100 blocks of 10 bytes
	}{
		"plain":        {tracks, simple(1, "0123456789"), 50 + 2},
		"a group":      {tracks, mkv(matroskaBlockGroup, block(matroskaBlock, 1, "0123456789")), 50 + 2},
		"laced":        {tracks, laced, 100},
		"not known":    {tracks, simple(3, "0123456789"), 100},
		"compressed":   {mkv(matroskaTracks, track(1, 1, "V_X", encoding), track(2, 2, "A_X")), simple(1, "0123456789"), 100},
		"no video":     {mkv(matroskaTracks, track(1, 1, "D_X"), track(2, 2, "A_X")), simple(1, "0123456789"), 100},
		"of the sound": {mkv(matroskaTracks, track(3, 1, "V_X"), track(1, 2, "A_X")), simple(1, "0123456789"), 100},
	} {
		got, err := soundAlone(segment(tt.tracks, cluster(bytes.Repeat(tt.block, 100))), 500)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if n := bytes.Count(got, tt.block); n != tt.kept {
			t.Errorf("%s: %d blocks are kept, want %d", name, n, tt.kept)
		}
	}
}

func TestSoundAloneUnsupported(t *testing.T) {
	t.Parallel()
	entries := func(entries ...[]byte) []byte { return segment(mkv(matroskaTracks, entries...), cluster(at)) }
	video, sound := track(1, matroskaVideo, "V_VP9"), track(2, matroskaAudio, "A_OPUS")
	for name, b := range map[string][]byte{
		"an ID3 tag":                  append([]byte("ID3\x04\x00\x00\x00\x00\x00\x00"), segment(tracks)...),
		"a segment that is cut off":   segment(tracks, cluster(at, simple(2, "y")))[:len(segment(tracks))+10],
		"two segments":                slices.Concat(segment(tracks), segment(tracks)),
		"two live segments":           slices.Concat(head, endless(matroskaSegment, tracks), segment(tracks)),
		"no segment":                  slices.Concat(head, cluster()),
		"a header of unknown length":  endless(ebmlHead, mkv(matroskaSegment)),
		"nothing but a header":        head,
		"a cluster before the tracks": segment(cluster(at), tracks),
		"tracks twice":                segment(tracks, tracks),
		"no sound":                    entries(video),
		"a track of number 0":         entries(video, sound, track(0, 17, "S_X")),
		"a number twice":              entries(video, track(1, matroskaAudio, "A_OPUS")),
		"a kind twice":                entries(video, track(2, matroskaAudio, "A_OPUS", mkv(matroskaTrackType, []byte{1}))),
		"a codec without a name":      entries(sound, track(1, matroskaAudio, "")),
		"a number of nine bytes":      entries(mkv(matroskaTrackEntry, mkv(matroskaTrackNumber, make([]byte, 9)))),
		"a track that is cut off":     entries(sound, sound[:9]),
		"too many tracks":             entries(manyTracks()...),
		"tracks that are too large":   segment(mkv(matroskaTracks, sound, mkv("\xec", make([]byte, maxMetadata)))),
		"a block without a header":    segment(tracks, cluster(mkv(matroskaSimpleBlock, []byte{0x81, 0, 0}))),
		"a block of no track":         segment(tracks, cluster(mkv(matroskaSimpleBlock, make([]byte, 9)))),
		"an empty block":              segment(tracks, cluster(mkv(matroskaSimpleBlock))),
		"an empty group":              segment(tracks, cluster(mkv(matroskaBlockGroup))),
		"a group of two": segment(tracks, cluster(mkv(matroskaBlockGroup, block(matroskaBlock, 1, "x"),
			block(matroskaBlock, 2, "y")))),
		"a group that is cut off":      segment(tracks, cluster(mkv(matroskaBlockGroup, block(matroskaBlock, 2, "x")[:6]))),
		"a group of unknown length":    segment(tracks, cluster(endless(matroskaBlockGroup))),
		"a block of unknown length":    segment(tracks, cluster(mkv(matroskaBlockGroup, endless(matroskaBlock)))),
		"a block beyond its cluster":   segment(tracks, cluster(simple(1, "x")[:6]), simple(2, "y")),
		"a cluster in a cluster":       segment(tracks, cluster(cluster())),
		"a block outside of a cluster": segment(tracks, simple(1, "x")),
		"tags of unknown length":       segment(tracks, endless(matroskaTags)),
		"zeros":                        segment(tracks, make([]byte, 20)),
		"zeros in a cluster":           segment(tracks, cluster(make([]byte, 20))),
	} {
		if s, err := soundAlone(b, 0); s != nil || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %d bytes, %v, want %v", name, len(s), err, ErrUnsupported)
		}
	}
	for _, b := range []string{"OggS", "RIFF\x00\x00\x00\x00AVI "} {
		f, err := Open(strings.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if s, err := f.SoundAlone(); s != nil || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v, want %v", f.Format, err, ErrUnsupported)
		}
	}
}

func manyTracks() (entries [][]byte) {
	for i := range maxTracks + 1 {
		entries = append(entries, track(byte(i+1), matroskaAudio, "A_X"))
	}
	return entries
}

// TestSoundAloneFails has a file that cannot be read: that says nothing about what it is.
func TestSoundAloneFails(t *testing.T) {
	t.Parallel()
	b := segment(tracks, cluster(at, simple(1, strings.Repeat("x", 20_000)), simple(2, "y")))
	bad := errors.New("bad disk")
	f, err := Open(failing{bytes.NewReader(b), 10_000, bad}, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.matroskaSound(0); !errors.Is(err, bad) || errors.Is(err, ErrUnsupported) {
		t.Errorf("SoundAlone = %v, want %v", err, bad)
	}
}

// failing cannot be read from a place on.
type failing struct {
	io.ReaderAt
	from int64
	err  error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

// FuzzSoundAlone checks that what is left out once is all that there is to leave out.
func FuzzSoundAlone(f *testing.F) {
	for _, tt := range aloneTests() {
		f.Add(tt.data, int64(keepNone))
		f.Add(tt.data, int64(20))
	}
	f.Fuzz(func(t *testing.T, b []byte, probed int64) {
		once, err := soundAlone(b, probed)
		if err != nil {
			if other := (*OtherError)(nil); !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrUnknown) &&
				!errors.As(err, &other) {
				t.Fatalf("SoundAlone = %v", err)
			}
			return
		}
		if len(once) > len(b) {
			t.Errorf("%d bytes became %d", len(b), len(once))
		}
		if twice, err := soundAlone(once, max(probed, 1<<20)); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%x became %x, %v", once, twice, err)
		}
	})
}
