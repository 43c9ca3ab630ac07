package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/soundstrip/soundstrip/functions/internal/splice"
)

// More ids of elements (RFC 9559, section 5.1; RFC 8794, section 11.3).
const (
	ebmlHead                = "\x1a\x45\xdf\xa3"
	ebmlCRC                 = "\xbf"
	matroskaSeekHead        = "\x11\x4d\x9b\x74"
	matroskaCues            = "\x1c\x53\xbb\x6b"
	matroskaTracks          = "\x16\x54\xae\x6b"
	matroskaTrackEntry      = "\xae"
	matroskaTrackNumber     = "\xd7"
	matroskaTrackType       = "\x83"
	matroskaCodecID         = "\x86"
	matroskaEncodings       = "\x6d\x80"
	matroskaClusterPosition = "\xa7"
	matroskaPrevSize        = "\xab"
	matroskaSimpleBlock     = "\xa3"
	matroskaBlockGroup      = "\xa0"
	matroskaBlock           = "\xa1"
)

// probed is how many bytes of packets ffmpeg looks at, of all tracks, to learn what they are and when the first begins:
// 5,000,000 (its option probesize), and what its parsers may hold back.
const probed = 5_000_000 + 1<<20

// maxElements bounds how many elements are looked at: twelve hours have about five millions.
const maxElements = 1 << 24

// SoundAlone gives the file without what it holds of other tracks than those of sound, where that can be told. ffmpeg
// reads the same of both: all other elements are as they are, and so are the packets of all tracks among which it looks
// for the time at which the file begins. Indexes, which would be wrong, are empty. The error is ErrUnsupported, or that
// of reading the file.
func (f *File) SoundAlone() (*splice.File, error) {
	if f.Format != Matroska || f.tag > 0 {
		return nil, fmt.Errorf("%w: of %s the sound is not told from the rest", ErrUnsupported, f.Format)
	}
	return f.matroskaSound(probed)
}

// matroskaSound keeps all of the first packets, of so many bytes together.
func (f *File) matroskaSound(probed int64) (*splice.File, error) {
	s := &matroskaSound{window: window{file: f}, out: splice.New(f.src), left: probed}
	if err := s.all(); err != nil {
		if errors.Is(err, splice.ErrTooLarge) || errors.Is(err, errCut) {
			err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		return nil, err
	}
	return s.out, nil
}

// matroskaSound is the file without pictures as far as it is made.
type matroskaSound struct {
	window
	out      *splice.File
	end      int64 // of the segment
	live     bool  // its writer did not know that
	tracks   map[uint64]matroskaTrack
	left     int64 // bytes of packets that are kept, whatever they are
	largest  int64 // packet, in bytes
	elements int
}

// errCut says that an element goes on behind what it is in.
var errCut = errors.New("an element is cut off")

func odd(what string) error { return fmt.Errorf("%w: Matroska with %s", ErrUnsupported, what) }

// element reads the header at a place. The error is errCut where the element is not whole.
func (s *matroskaSound) element(off, end int64) (ebml, error) {
	if s.elements++; s.elements > maxElements {
		return ebml{}, odd("too many elements")
	}
	b, err := s.at(off, int(min(ebmlHeader, end-off)))
	if err != nil {
		return ebml{}, err
	}
	e, ok := readEBML(b)
	switch {
	case !ok && len(b) < ebmlHeader:
		return e, errCut
	case !ok:
		return e, odd("what is no element")
	case off+int64(e.header)+e.size > end:
		return e, errCut
	}
	return e, nil
}

// all makes the file.
func (s *matroskaSound) all() error {
	size := s.file.size
	head, err := s.element(0, size)
	if err != nil {
		return err
	}
	off := int64(head.header) + head.size
	if head.id != ebmlHead || head.size < 0 {
		return odd("no header")
	}
	segment, err := s.element(off, size)
	if err != nil {
		return err
	}
	body := off + int64(segment.header)
	s.end, s.live = size, segment.size < 0
	if segment.id != matroskaSegment || !s.live && body+segment.size != size {
		return odd("more than one segment")
	}
	if err := s.out.Copy(0, off); err != nil {
		return err
	}
	patch, err := s.begin(off, segment)
	if err != nil {
		return err
	}
	for off = body; off < s.end; {
		e, err := s.element(off, s.end)
		if errors.Is(err, errCut) && s.live {
			return s.out.Copy(off, s.end-off)
		}
		if err != nil {
			return err
		}
		if off, err = s.level1(off, e); err != nil {
			return err
		}
	}
	patch()
	return nil
}

// level1 takes an element of the segment, and tells where the next one is.
func (s *matroskaSound) level1(off int64, e ebml) (next int64, err error) {
	next = off + int64(e.header) + e.size
	switch {
	case e.id == matroskaCluster:
		return s.cluster(off, e)
	case e.size < 0:
		return 0, odd("an element of unknown length")
	case e.id == matroskaSeekHead || e.id == matroskaCues:
		return next, s.hollow(off, e)
	case e.id == matroskaTracks:
		err = s.readTracks(off+int64(e.header), e.size)
	case len(e.id) < len(matroskaCluster) && e.id[0] != ebmlVoid && e.id != ebmlCRC:
		return 0, odd("a block outside of a cluster")
	case e.id == ebmlHead || e.id == matroskaSegment:
		return 0, odd("more than one segment")
	}
	if err == nil {
		err = s.out.Copy(off, next-off)
	}
	return next, err
}

// begin writes the header of an element whose content comes next. At its end patch writes how long that has become.
func (s *matroskaSound) begin(off int64, e ebml) (patch func(), err error) {
	b, err := s.at(off, e.header)
	if err != nil {
		return nil, err
	}
	at := s.out.Size()
	if _, err := s.out.Write(b); err != nil {
		return nil, err
	}
	return func() {
		if e.size >= 0 {
			body := at + int64(e.header)
			s.out.Patch(at+int64(len(e.id)), ebmlSize(s.out.Size()-body, e.header-len(e.id)))
		}
	}, nil
}

// hollow copies an element with nothing but a void in it.
func (s *matroskaSound) hollow(off int64, e ebml) error {
	if err := s.out.Copy(off, int64(e.header)); err != nil {
		return err
	}
	const longest, short = 1<<7 - 2, 2 // of what one byte can tell; of a header that does so, in bytes
	void := []byte{ebmlVoid}
	switch {
	case e.size < short:
		void = nil
	case e.size-short <= longest:
		void = append(void, ebmlSize(e.size-short, 1)...)
	default:
		void = append(void, ebmlSize(e.size-9, 8)...)
	}
	if _, err := s.out.Write(void); err != nil {
		return err
	}
	n := int64(len(void))
	return s.out.Copy(off+int64(e.header)+n, e.size-n)
}

// cluster takes a cluster, and tells where what follows it is. One of unknown length ends with the first element that
// cannot be in it.
func (s *matroskaSound) cluster(off int64, e ebml) (next int64, err error) {
	if s.tracks == nil {
		return 0, odd("clusters in front of the tracks")
	}
	patch, err := s.begin(off, e)
	if err != nil {
		return 0, err
	}
	off += int64(e.header)
	end := s.end
	if e.size >= 0 {
		end = off + e.size
	}
	for off < end {
		c, err := s.element(off, end)
		if errors.Is(err, errCut) && e.size < 0 && s.live {
			return end, s.out.Copy(off, end-off)
		}
		if err != nil {
			return 0, err
		}
		if len(c.id) == len(matroskaCluster) {
			if e.size >= 0 {
				return 0, odd("a cluster with what cannot be in it")
			}
			break
		}
		if c.size < 0 {
			return 0, odd("an element of unknown length")
		}
		keep, err := s.keeps(off, c)
		if err != nil {
			return 0, err
		}
		n := int64(c.header) + c.size
		if keep {
			if err := s.out.Copy(off, n); err != nil {
				return 0, err
			}
		}
		off += n
	}
	patch()
	return off, nil
}

// keeps tells whether an element of a cluster is kept: what would be wrong is not, nor is a packet of another track.
func (s *matroskaSound) keeps(off int64, e ebml) (bool, error) {
	body := off + int64(e.header)
	switch e.id {
	case matroskaSimpleBlock:
		return s.keepsBlock(body, e.size, int64(e.header)+e.size)
	case matroskaBlockGroup:
		return s.keepsGroup(off, e)
	case ebmlCRC, matroskaClusterPosition, matroskaPrevSize:
		return false, nil
	}
	return e.id[0] != ebmlVoid, nil
}

func (s *matroskaSound) keepsGroup(off int64, group ebml) (keep bool, err error) {
	blocks := 0
	whole := int64(group.header) + group.size
	end := off + whole
	for off += int64(group.header); off < end; {
		e, err := s.element(off, end)
		if err != nil {
			return false, err
		}
		if e.size < 0 {
			return false, odd("an element of unknown length")
		}
		if e.id == matroskaBlock {
			blocks++
			if keep, err = s.keepsBlock(off+int64(e.header), e.size, whole); err != nil {
				return false, err
			}
		}
		off += int64(e.header) + e.size
	}
	if blocks != 1 {
		return false, odd("a group that has not one block")
	}
	return keep, nil
}

// keepsBlock reads the header of a block: the track's number, a time, and flags. The element that it is in has so many
// bytes; ffmpeg is not shown one that is too large.
func (s *matroskaSound) keepsBlock(off, size, whole int64) (bool, error) {
	const most, timeAndFlags, lacing = 8 + 2 + 1, 3, 0x06
	b, err := s.at(off, int(min(most, size)))
	if err != nil {
		return false, err
	}
	if len(b) == 0 || b[0] == 0 || len(b) < bits.LeadingZeros8(b[0])+1+timeAndFlags {
		return false, odd("a block without a header")
	}
	width := bits.LeadingZeros8(b[0]) + 1
	number := ebmlUint(b[:width]) &^ (1 << (7 * width))
	t, known := s.tracks[number]
	keep := !known || t.kind == matroskaAudio || s.left > -2*s.largest
	if keep {
		packet := size - int64(width+timeAndFlags)
		s.largest = max(s.largest, packet)
		if t.probed && whole <= maxMetadata && b[width+timeAndFlags-1]&lacing == 0 {
			s.left -= packet
		}
	}
	return keep, nil
}

// matroskaTrack is what counts of a track.
type matroskaTrack struct {
	number, kind uint64
	codec        string
	probed       bool // its packets are surely as long for ffmpeg as they are here
}

// The kinds of tracks that count, and how many tracks there may be: ffmpeg is told to take no more.
const matroskaVideo, matroskaAudio, maxTracks = 1, 2, 64

// readTracks finds the tracks.
func (s *matroskaSound) readTracks(off, size int64) error {
	if s.tracks != nil || size > maxMetadata {
		return odd("too many tracks")
	}
	b, err := s.file.read(off, int(size))
	if err != nil {
		return err
	}
	s.tracks = map[uint64]matroskaTrack{}
	sound := false
	err = ebmlElements(b, func(id string, body []byte) error {
		if id != matroskaTrackEntry {
			return nil
		}
		t, err := readTrack(body)
		if err != nil {
			return err
		}
		if _, seen := s.tracks[t.number]; seen || t.number == 0 {
			return odd("tracks that have no numbers of their own")
		}
		if s.tracks[t.number] = t; len(s.tracks) > maxTracks {
			return odd("too many tracks")
		}
		sound = sound || t.kind == matroskaAudio
		return nil
	})
	if err == nil && !sound {
		err = odd("no sound")
	}
	return err
}

func readTrack(b []byte) (t matroskaTrack, err error) {
	var encoded bool
	seen := map[string]bool{}
	err = ebmlElements(b, func(id string, body []byte) error {
		switch id {
		case matroskaTrackNumber:
			t.number = ebmlUint(body)
		case matroskaTrackType:
			t.kind = ebmlUint(body)
		case matroskaCodecID:
			t.codec = string(body)
		case matroskaEncodings:
			encoded = true
		default:
			return nil
		}
		if seen[id] || len(body) == 0 || id != matroskaCodecID && id != matroskaEncodings && len(body) > 8 {
			return odd("a track that says a thing twice, or nothing")
		}
		seen[id] = true
		return nil
	})
	t.probed = !encoded && (t.kind == matroskaVideo && strings.HasPrefix(t.codec, "V_") ||
		t.kind == matroskaAudio && strings.HasPrefix(t.codec, "A_"))
	return t, err
}

// ebmlElements calls f with each element that b consists of.
func ebmlElements(b []byte, f func(id string, body []byte) error) error {
	for len(b) > 0 {
		e, ok := readEBML(b)
		if !ok || e.size < 0 || e.size > int64(len(b)-e.header) {
			return odd("a track that is cut off")
		}
		if err := f(e.id, b[e.header:int64(e.header)+e.size]); err != nil {
			return err
		}
		b = b[int64(e.header)+e.size:]
	}
	return nil
}

func ebmlUint(b []byte) (n uint64) {
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// ebmlSize writes the length of an element in so many bytes (RFC 8794, section 6).
func ebmlSize(n int64, width int) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)|1<<(7*width))[8-width:]
}

// window reads small parts of a file that lie together.
type window struct {
	file *File
	off  int64 // of what was read
	b    []byte
}

// at gives up to n bytes at off, until the next call; fewer at the end of the file.
func (w *window) at(off int64, n int) ([]byte, error) {
	const size = 1 << 10
	if off < w.off || off+int64(n) > w.off+int64(len(w.b)) {
		if cap(w.b) == 0 {
			w.b = make([]byte, size)
		}
		b := w.b[:max(0, min(size, w.file.size-off))]
		w.b = b[:0] // of no use after an error
		if k, err := w.file.src.ReadAt(b, off); k < len(b) {
			return nil, err
		}
		w.off, w.b = off, b
	}
	b := w.b[off-w.off:]
	return b[:min(n, len(b))], nil
}
