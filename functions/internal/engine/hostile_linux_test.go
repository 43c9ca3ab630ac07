package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// firstSounds are those that the hostile files have, by the names of muxers. AMR is recorded, and not among them.
var firstSounds = map[string]string{
	"MP4": "AAC", "fragmented MP4": "AAC", "MOV": "PCM", "3GP": "AAC", "M4A": "ALAC", "Matroska": "Vorbis",
	"WebM": "Opus",
	"AVI":  "MP3", "MPEG-TS": "AAC", "M2TS": "AC-3", "MPEG-PS": "MP2", "FLV": "MP3", "ASF": "WMA", "Ogg": "Vorbis",
	"WAV": "PCM", "W64": "ADPCM", "AIFF": "PCM", "CAF": "ALAC", "raw FLAC": "FLAC", "raw MP3": "MP3", "raw AAC": "AAC",
	"raw AC-3": "AC-3", "raw E-AC-3": "E-AC-3", "raw DTS": "DTS", "raw MP2": "MP2", "AU": "PCM", "WavPack": "WavPack",
	"TTA": "TTA", "MXF": "PCM", "RealMedia": "AC-3",
}

// finalCodes are those of failures that another try would meet again.
var finalCodes = []string{NotMedia, NoAudio, NoTrack, Truncated, TooLong, TooLarge, OutOfRange, Unsupported, Timeout}

// TestHostile converts as many files as TEST_HOSTILE says that somebody made to do harm, from those of all containers:
// each is made of the SEED and its number (ONLY tries one). Each ends as an MP3 or by a code that is final. None of
// them makes ffmpeg open a file or call an address, or takes more than 256 MB.
func TestHostile(t *testing.T) {
	t.Parallel()
	n, _ := strconv.Atoi(os.Getenv("TEST_HOSTILE"))
	if n == 0 {
		t.Skip("TEST_HOSTILE=100 tries so many files, and make hostile 10,000")
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SEED"), "1"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	only, err := strconv.Atoi(cmp.Or(os.Getenv("ONLY"), "-1")) // one file of these
	if err != nil {
		t.Fatal(err)
	}
	h := newHostile(t)
	const longest = time.Minute
	config := testConfig
	config.MaxDuration, config.MaxBytes = 2*time.Minute, 16<<20
	run(t, "ffmpeg", "-version") // or skip
	e, err := New(config, longest)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	codes := map[string]int{}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		if only >= 0 && i != only {
			continue
		}
		g.Go(func() error {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			said, data, o := h.file(r)
			if only >= 0 {
				if err := os.WriteFile("hostile.bin", data, 0o600); err != nil { // to look at
					t.Error(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), longest)
			code, fault := hostileCode(ctx, e, data, o)
			if ctx.Err() != nil && code != Timeout {
				fault = fmt.Errorf("%w, after %v", cmp.Or(fault, ctx.Err()), longest)
			}
			cancel()
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
			if most := peak(t, unix.RUSAGE_CHILDREN); most > max(256<<20, h.peak, peak(t, unix.RUSAGE_SELF)) {
				h.peak = most
				fault = errors.Join(fault, fmt.Errorf("ffmpeg took %d MB, for this file or one beside it", most>>20))
			}
			if fault != nil {
				t.Errorf("file %d of SEED=%d, %s, with %+v: %v", i, seed, said, o, fault)
			}
			return nil
		})
	}
	_ = g.Wait() // each has said its fault
	h.check(t)
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		t.Logf("%6d %s", codes[code], code)
	}
	t.Logf("the largest process had %d MB", peak(t, unix.RUSAGE_CHILDREN)>>20)
}

// peak is the most memory, in bytes, that the process had, or one of those that it started. These count what it had
// itself when it started them.
func peak(t *testing.T, who int) int64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		t.Fatal(err)
	}
	return u.Maxrss << 10
}

// hostileCode converts a file. The fault is what is wrong about how that ended.
func hostileCode(ctx context.Context, e *Engine, data []byte, o eventing.Options) (code string, fault error) {
	var dst memory
	r, err := e.Convert(ctx, bytes.NewReader(data), int64(len(data)), o, &dst, func(int) {})
	if err == nil {
		m, err := mp3.Measure(bytes.NewReader(dst.Bytes()))
		if diff := (m.Duration - r.Duration).Abs(); err != nil || m.Duration <= 0 || diff > time.Second {
			fault = fmt.Errorf("the MP3 of %v lasts %v, %w", r.Duration, m.Duration, err)
		}
		return "an MP3", fault
	}
	f := (*Failure)(nil)
	if !errors.As(err, &f) {
		return "", err
	}
	if f.Passing || !slices.Contains(finalCodes, f.Code) || f.Message == "" {
		fault = f
	}
	return f.Code, fault
}

// hostile makes files, and knows whether what they refer to was touched.
type hostile struct {
	files   [][]byte
	names   []string
	refs    []string // a file and an address
	calls   chan struct{}
	watched int // inotify's descriptor
	peak    int64
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	h := &hostile{calls: make(chan struct{}, 1), names: slices.Sorted(maps.Keys(firstSounds))}
	outputs := map[string][]string{}
	for _, name := range h.names {
		mux, encode := muxers[name], encoders[firstSounds[name]]
		if mux == "" || encode == "" {
			t.Fatalf("no test knows how to make %s with %s", name, firstSounds[name])
		}
		const same = "-map 0:v -map 1:a -t 1 -fflags +bitexact -metadata title=x "
		outputs["hostile "+name] = strings.Fields(same + encode + " " + mux)
	}
	makeFiles(t, []string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone}, outputs)
	for _, name := range h.names {
		h.files = append(h.files, read(t, filepath.Join(made.dir, "hostile "+name)))
	}
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.wav")
	if err := os.WriteFile(secret, h.files[slices.Index(h.names, "WAV")], 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.watched, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err == nil {
		_, err = unix.InotifyAddWatch(h.watched, dir, unix.IN_ALL_EVENTS)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close() // it is enough to know
			select {
			case h.calls <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		_ = unix.Close(h.watched)
	})
	h.refs = []string{secret, "file:" + secret, "file://" + secret, "http://" + l.Addr().String() + "/x.ts",
		"tcp://" + l.Addr().String(), "subfile,,start,0,end,0,,:" + secret, "concat:" + secret + "|" + secret,
		"/dev/stdin", "pipe:0", "crypto:" + secret, "hls+http://" + l.Addr().String() + "/x.m3u8"}
	return h
}

// check sees that nothing was touched.
func (h *hostile) check(t *testing.T) {
	t.Helper()
	select {
	case <-h.calls:
		t.Error("an address was called")
	default:
	}
	if n, err := unix.Read(h.watched, make([]byte, 4096)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the file was touched: %d bytes of events, %v", n, err)
	}
}

// file makes one, and says what was done.
func (h *hostile) file(r *rand.Rand) (said string, b []byte, o eventing.Options) {
	i := r.IntN(len(h.files))
	said, b = h.names[i], slices.Clone(h.files[i])
	for range 1 + r.IntN(3) {
		m := harms[r.IntN(len(harms))]
		if len(b) > 8 {
			said, b = said+", "+m.name, m.do(h, r, b)
		}
	}
	if r.IntN(4) == 0 {
		o.Partial = true
	}
	if r.IntN(8) == 0 {
		o.Start, o.End = r.Float64(), 1+r.Float64()
	}
	return said, b, o
}

// harms are what is done to a file.
var harms = []struct {
	name string
	do   func(h *hostile, r *rand.Rand, b []byte) []byte
}{
	{"cut off", func(_ *hostile, r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] }},
	{"bits", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		for range 1 + r.IntN(50) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	}},
	{"bits of the head", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		for range 1 + r.IntN(20) {
			b[r.IntN(min(len(b), 2000))] ^= 1 << r.IntN(8)
		}
		return b
	}},
	{"sizes", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		for range 1 + r.IntN(4) {
			overwrite(b, tagAt(r, b)-4, extreme(r, len(b)))
		}
		return b
	}},
	{"durations and rates", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		for range 1 + r.IntN(8) {
			overwrite(b, tagAt(r, b)+4+4*r.IntN(12), extreme(r, len(b)))
		}
		return b
	}},
	{"no numbers", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		for range 1 + r.IntN(4) {
			v := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1, 5e-324}[r.IntN(6)]
			at := tagAt(r, b) + r.IntN(16)
			if i := bytes.Index(b, []byte("\x44\x89\x88")); i > 0 && r.IntN(2) == 0 {
				at = i + 3 // Matroska's duration
			} else if i := bytes.Index(b, []byte("\xb5\x88")); i > 0 {
				at = i + 2 // its rate
			}
			overwrite(b, at, binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
		}
		return b
	}},
	{"many pieces", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		from := tagAt(r, b)
		piece := b[max(0, from-4):min(len(b), from+20+r.IntN(1000))]
		return slices.Concat(b[:from], bytes.Repeat(piece, min(10_000, 2<<20/max(1, len(piece)))), b[from:])
	}},
	{"many tracks", func(_ *hostile, _ *rand.Rand, b []byte) []byte {
		// Of an MP4.
		if !bytes.Equal(b[4:min(8, len(b))], []byte("ftyp")) {
			return b
		}
		at := bytes.Index(b, []byte("trak"))
		if at < 4 {
			return b
		}
		n := int(binary.BigEndian.Uint32(b[at-4:]))
		if n < 8 || n > len(b)-at {
			return b
		}
		trak := b[at-4 : min(len(b), at-4+n)]
		many := bytes.Repeat(trak, min(10_000, 8<<20/len(trak)))
		if moov := bytes.Index(b, []byte("moov")); moov >= 4 {
			binary.BigEndian.PutUint32(b[moov-4:], binary.BigEndian.Uint32(b[moov-4:])+uint32(len(many)))
		}
		return slices.Concat(b[:at-4], many, b[at-4:])
	}},
	{"giant tag", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		size := []int{1 << 10, 1 << 20, 9 << 20, 1<<28 - 1}[r.IntN(4)]
		safe := func(n int) []byte {
			return []byte{byte(n >> 21 & 127), byte(n >> 14 & 127), byte(n >> 7 & 127), byte(n & 127)}
		}
		kind := []string{"APIC", "TIT2", "CHAP", "PRIV", "GEOB", "USLT"}[r.IntN(6)]
		body := make([]byte, min(size, 9<<20))
		head := []byte{'I', 'D', '3', byte(2 + r.IntN(3)), 0, byte(r.IntN(2)) * 0x80}
		return slices.Concat(head, safe(size), []byte(kind), safe(max(0, size-10)), []byte{0, 0}, body, b)
	}},
	{"playlist", func(h *hostile, r *rand.Rand, b []byte) []byte {
		ref := h.refs[r.IntN(len(h.refs))]
		list := []byte([]string{
			"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n" + ref + "\n#EXT-X-ENDLIST\n",
			"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + ref + "\n",
			"ffconcat version 1.0\nfile '" + ref + "'\nduration 1\n",
			"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=audio 9 RTP/AVP 0\nc=IN IP4 127.0.0.1\n",
			"<?xml version=\"1.0\"?><MPD><BaseURL>" + ref + "</BaseURL></MPD>",
			"[playlist]\nFile1=" + ref + "\n", "RTSPtext\r\n" + ref, ";FFMETADATA1\ntitle=" + ref + "\n",
		}[r.IntN(8)])
		switch at := r.IntN(len(b)); r.IntN(4) {
		case 0:
			return list
		case 1:
			return append(list, b...)
		case 2:
			return slices.Concat(b[:at], list, b[at:])
		default:
			overwrite(b, at, list)
			return b
		}
	}},
	{"elsewhere", func(h *hostile, r *rand.Rand, b []byte) []byte { // an MP4 whose sound is in another file
		ref := h.refs[r.IntN(len(h.refs))]
		url := makeBox("url ", u32(0), []byte(ref), []byte{0})
		if r.IntN(2) == 0 {
			url = makeBox("alis", u32(0), make([]byte, 150), []byte(ref))
		}
		at := bytes.Index(b, []byte("dref"))
		if at < 4 {
			return b
		}
		overwrite(b, at+12, url)
		return b
	}},
	{"two in one", func(h *hostile, r *rand.Rand, b []byte) []byte {
		other := h.files[r.IntN(len(h.files))]
		return slices.Concat(b[:r.IntN(len(b))], other[r.IntN(len(other)):])
	}},
	{"a run of one byte", func(_ *hostile, r *rand.Rand, b []byte) []byte {
		from := r.IntN(len(b))
		v := []byte{0, 0xff, 0x7f, 0x80}[r.IntN(4)]
		copy(b[from:], bytes.Repeat([]byte{v}, 1+r.IntN(5000)))
		return b
	}},
}

// telling are words behind which containers tell of times, rates, sizes and places.
var telling = []string{"mvhd", "mdhd", "tkhd", "elst", "stts", "stsz", "stsc", "stco", "stsd", "esds", "ctts", "dref",
	"trun", "tfdt", "tfhd", "fmt ", "data", "strh", "strf", "avih", "idx1", "LIST", "COMM", "SSND", "desc", "pakt", "kuki",
	"OggS", "vorb", "Opus", "fLaC", "onMe", "wvpk", "TTA1", "PROP", "MDPR", "\x2a\xd7\xb1", "\x16\x54\xae\x6b",
	"\x1f\x43\xb6\x75", "\x23\xe3\x83", "\x00\x00\x01\xba", "\x00\x00\x01\xc0", "\xff\xfb"}

// tagAt gives the place of a word of four letters, as boxes and chunks have, or of anything.
func tagAt(r *rand.Rand, b []byte) int {
	begin := r.IntN(len(b))
	if word := []byte(telling[r.IntN(len(telling))]); r.IntN(2) == 0 {
		for range telling { // until one is there
			if i := bytes.Index(b, word); i >= 0 {
				return i
			}
			word = []byte(telling[r.IntN(len(telling))])
		}
	}
	switch r.IntN(3) { // most tell about themselves at the one end or the other
	case 0:
		begin = r.IntN(min(len(b), 4000))
	case 1:
		begin = max(0, len(b)-1-r.IntN(4000))
	}
	letter := func(c byte) bool { return c == ' ' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
	for i := begin; i+4 <= min(len(b), begin+20_000); i++ {
		if letter(b[i]) && letter(b[i+1]) && letter(b[i+2]) && letter(b[i+3]) {
			return i
		}
	}
	return begin
}

// extreme gives a number of four or eight bytes that somebody may not have thought of.
func extreme(r *rand.Rand, size int) []byte {
	v := []uint64{0, 1, 7, 8, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fff0, uint64(size), uint64(size) + 1,
		r.Uint64(), math.MaxInt64, 1 << 63, math.MaxUint64, 0x0100_0000, 0x10001}[r.IntN(16)]
	switch r.IntN(4) {
	case 0:
		return binary.BigEndian.AppendUint64(nil, v)
	case 1:
		return binary.LittleEndian.AppendUint32(nil, uint32(v))
	}
	return binary.BigEndian.AppendUint32(nil, uint32(v))
}

// overwrite writes as much as fits.
func overwrite(b []byte, at int, v []byte) {
	if at >= 0 && at < len(b) {
		copy(b[at:], v)
	}
}
