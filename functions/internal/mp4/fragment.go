package mp4

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"sync/atomic"
	"time"
)

// fragments are what is behind the index of a file whose samples are described along the way (ISO/IEC 14496-12, section
// 8.8). Nothing of them is kept: whoever iterates over them reads them anew.
type fragments struct {
	off, size int64 // where they begin, and the size of the file
	track     uint32
	tracks    map[uint32]inFragments
	open      bool        // they may end within a box
	partial   bool        // although the file says how long they are
	cut       atomic.Bool // they do
}

// maxLooked bounds how many fragments are looked at for where the tracks begin, and maxTail how far from the end of the
// file, in bytes, for where they end, and maxBoxes at how many boxes there: all but a few files need less.
const (
	maxLooked = 8
	maxTail   = 64 << 20
	maxBoxes  = 1 << 16
)

// inFragments is what the index says of a track's samples in fragments (trex), and of its time.
type inFragments struct {
	length, size uint32
	timescale    uint32
	shift        time.Duration // from the track's time to that of the file, by the edit list
}

func (t track) fragments(off, size int64, mvex boxes, movieScale uint32, tracks []track) *fragments {
	f := &fragments{off: off, size: size, track: t.id, tracks: map[uint32]inFragments{}}
	said := map[uint32][]byte{}
	for b := range mvex.all {
		if b.kind == "trex" && len(b.body) >= 20 && len(said) < maxTracks {
			said[be.Uint32(b.body[4:])] = b.body
		}
	}
	for _, x := range tracks {
		trex := said[x.id]
		if trex == nil && x.id != t.id {
			continue
		}
		delay, skip := x.begin(movieScale)
		in := inFragments{timescale: x.timescale, shift: delay - skip}
		if trex != nil {
			in.length, in.size = be.Uint32(trex[12:]), be.Uint32(trex[16:])
		}
		f.tracks[x.id] = in
	}
	return f
}

// time turns a track's own time into that of the file.
func (t inFragments) time(at int64) time.Duration {
	if at < 0 {
		return t.shift - scaled(uint64(-at), t.timescale)
	}
	return t.shift + scaled(uint64(at), t.timescale)
}

// moofs iterates over the fragments.
func (f *fragments) moofs(r io.ReaderAt) iter.Seq2[fileBox, error] {
	return func(yield func(fileBox, error) bool) {
		end := f.off
		for p, err := range fileBoxes(r, f.off, f.size, ErrTruncated) {
			if f.open && errors.Is(err, ErrTruncated) {
				f.cut.Store(true)
				return
			}
			if err == nil && p.kind == "sidx" {
				err = f.checkIndex(r, p)
			}
			if (err != nil || p.kind == "moof") && !yield(p, err) || err != nil {
				return
			}
			end = p.off + p.size
		}
		if end < f.size && f.open {
			f.cut.Store(true)
		} else if end < f.size {
			yield(fileBox{}, fmt.Errorf("box at %d: %w", end, ErrTruncated))
		}
	}
}

// checkIndex checks that all that an index of fragments (sidx) refers to lies within the file. Nothing else of it is
// needed.
func (f *fragments) checkIndex(r io.ReaderAt, p fileBox) error {
	const most, entry = 32, 12
	b, err := p.numbers(r, most)
	if err != nil {
		return err
	}
	wide := b.u32()>>24 == 1
	b.skip(8) // track and timescale
	_, first := b.either(wide), b.either(wide)
	n := int64(b.u32() & 0xffff)
	table := rows{off: p.off + p.header + int64(b.read), n: n, record: entry}
	if b.cut || n*entry > p.off+p.size-table.off || first > uint64(f.size) {
		return nil
	}
	end := p.off + p.size + int64(first)
	entries := table.entries(r)
	for e := entries.next(); e != nil; e = entries.next() {
		end += int64(be.Uint32(e) &^ (1 << 31))
	}
	if entries.err == nil && end > f.size && f.partial {
		f.cut.Store(true)
	} else if entries.err == nil && end > f.size {
		return fmt.Errorf("fragments up to %d in a file of %d bytes: %w", end, f.size, ErrTruncated)
	}
	return entries.err
}

// fragmentRun is samples of a track that lie one after the other in a fragment.
type fragmentRun struct {
	track       uint32
	timed       bool  // the file tells at; otherwise the samples follow those in front of them
	at          int64 // when the first begins, in the track's time
	off         int64 // where
	len, length int64 // of all, in bytes, and in the track's time
	shift       int32 // of the first, from when it is decoded to when it is heard or seen

	entries rows
	fields  uint32 // that an entry has
	size    uint32 // of each sample, when no entry says it
	each    uint32 // how long each lasts, when no entry says it
}

// The flags of a track's header in a fragment, and of a run; those of the run's entries name their fields (ISO/IEC
// 14496-12, sections 8.8.7 and 8.8.8).
const (
	headerBase, headerDescription, headerLength, headerSize = 0x1, 0x2, 0x8, 0x10
	headerFromMoof                                          = 0x20000

	runOffset, runFlags                            = 0x1, 0x4
	entryLength, entrySize, entryFlags, entryShift = 0x100, 0x200, 0x400, 0x800
	entryFields                                    = entryLength | entrySize | entryFlags | entryShift
)

// endless is more than any time of a track that makes sense, in its own, with room to add to it.
const endless = 1 << 61

var errTime = fmt.Errorf("a time without sense: %w", ErrUnsupported)

// runs iterates over the runs of all tracks in a fragment.
func (f *fragments) runs(r io.ReaderAt, moof fileBox) iter.Seq2[fragmentRun, error] {
	return func(yield func(fragmentRun, error) bool) {
		end := moof.off // of the run before
		for traf, err := range moof.fileBoxes(r) {
			if err == nil && traf.kind != "traf" {
				continue
			}
			var next fragmentRun
			base := end
			for p, failed := range traf.fileBoxes(r) {
				switch err = cmp.Or(err, failed); {
				case err != nil:
				case p.kind == "tfhd":
					base, err = f.readHeader(r, p, moof.off, base, &next)
					end = base
				case p.kind == "tfdt":
					err = next.readTime(r, p)
				case p.kind == "trun":
					run := next
					if err = run.read(r, p, base, end, f.size); f.open && errors.Is(err, ErrTruncated) {
						f.cut.Store(true)
						err = run.clip(r, f.size)
					}
					if err != nil {
						break
					}
					if !yield(run, nil) {
						return
					}
					end, next.at = run.off+run.len, run.at+run.length
				}
				if err != nil {
					break
				}
			}
			if err != nil {
				yield(fragmentRun{}, err)
				return
			}
		}
	}
}

// readHeader reads of which track the next runs are, and gives where their data begins.
func (f *fragments) readHeader(r io.ReaderAt, p fileBox, moof, implicit int64, next *fragmentRun) (base int64,
	err error) {
	b, err := p.numbers(r, 28)
	if err != nil {
		return 0, err
	}
	flags := b.u32()
	next.track = b.u32()
	next.each, next.size = f.tracks[next.track].length, f.tracks[next.track].size
	base = implicit
	switch {
	case flags&headerBase != 0:
		base = int64(b.u64())
	case flags&headerFromMoof != 0:
		base = moof
	}
	if flags&headerDescription != 0 {
		b.skip(4)
	}
	if flags&headerLength != 0 {
		next.each = b.u32()
	}
	if flags&headerSize != 0 {
		next.size = b.u32()
	}
	if b.cut {
		return 0, p.cutOff()
	}
	return base, nil
}

// readTime reads when the next run begins.
func (s *fragmentRun) readTime(r io.ReaderAt, p fileBox) error {
	b, err := p.numbers(r, 12)
	if err != nil {
		return err
	}
	at := b.either(b.u32()>>24 == 1)
	if b.cut {
		return p.cutOff()
	}
	if at > endless {
		return errTime
	}
	s.timed, s.at = true, int64(at)
	return nil
}

// read reads a run; end is that of the run before, whose data it follows when it does not say where its own is.
func (s *fragmentRun) read(r io.ReaderAt, p fileBox, base, end, size int64) error {
	b, err := p.numbers(r, 16)
	if err != nil {
		return err
	}
	flags := b.u32()
	s.entries.n = int64(b.u32())
	s.off = end
	if flags&runOffset != 0 {
		s.off = base + int64(int32(b.u32()))
	}
	if flags&runFlags != 0 {
		b.skip(4)
	}
	s.fields = flags & entryFields
	s.entries.record = 4 * bits.OnesCount32(s.fields)
	s.entries.off = p.off + p.header + int64(b.read)
	if b.cut || s.entries.n*int64(s.entries.record) > p.off+p.size-s.entries.off {
		return p.cutOff()
	}
	if err := s.measure(r); err != nil {
		return err
	}
	if s.len < 0 || s.off < 0 || s.off > size || s.len > size-s.off {
		return fmt.Errorf("samples at %d of a file of %d bytes: %w", s.off, size, ErrTruncated)
	}
	if s.length < 0 || s.length > endless || s.at > endless {
		return errTime
	}
	return nil
}

// clip leaves the samples that are within a file of the given size.
func (s *fragmentRun) clip(r io.ReaderAt, size int64) error {
	n := s.entries.n
	s.entries.n, s.len, s.length = 0, 0, 0
	if s.off < 0 || s.off > size {
		return nil
	}
	if s.fields&(entryLength|entrySize) == 0 && s.size > 0 {
		n = min(n, (size-s.off)/int64(s.size))
		s.entries.n, s.len, s.length = n, n*int64(s.size), n*int64(s.each)
		return nil
	}
	for i := range n {
		length, bytes, _, err := s.entry(r, i)
		if err != nil {
			return err
		}
		if s.off+s.len+int64(bytes) > size {
			break
		}
		s.entries.n, s.len, s.length = i+1, s.len+int64(bytes), s.length+int64(length)
	}
	return nil
}

// measure adds the samples up.
func (s *fragmentRun) measure(r io.ReaderAt) error {
	alike := s.fields&(entryLength|entrySize) == 0
	for i := range s.entries.n {
		length, size, shift, err := s.entry(r, i)
		if err != nil {
			return err
		}
		if i == 0 {
			s.shift = shift
		}
		if alike {
			s.len, s.length = s.entries.n*int64(size), s.entries.n*int64(length)
			break
		}
		s.len, s.length = s.len+int64(size), s.length+int64(length)
	}
	return nil
}

// entry reads the i-th entry.
func (s *fragmentRun) entry(r io.ReaderAt, i int64) (length, size uint32, shift int32, err error) {
	var entry [16]byte
	length, size = s.each, s.size
	if s.entries.record > 0 {
		if err := readFull(r, entry[:s.entries.record], s.entries.off+i*int64(s.entries.record)); err != nil {
			return 0, 0, 0, err
		}
	}
	b := numbers{b: entry[:]}
	if s.fields&entryLength != 0 {
		length = b.u32()
	}
	if s.fields&entrySize != 0 {
		size = b.u32()
	}
	if s.fields&entryFlags != 0 {
		b.skip(4)
	}
	if s.fields&entryShift != 0 {
		shift = int32(b.u32())
	}
	return length, size, shift, nil
}

// frames iterates over the samples of the sound, which go on at the given time, after one that began at last, or -1.
// Those that begin no later than the last one of the run before are only decoded, as ffmpeg does it.
func (f *fragments) frames(r io.ReaderAt, at, last int64) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		r := &nearby{r: r, size: f.size}
		most := uint64(f.tracks[f.track].timescale) << 32 // 136 years
		var sum int64
		for run, err := range f.sound(r) {
			if err != nil {
				yield(frame{}, err)
				return
			}
			if run.timed {
				at = run.at
			}
			if uint64(at) > most {
				yield(frame{}, errTime)
				return
			}
			if sum += run.len; sum > f.size {
				yield(frame{}, fmt.Errorf("samples share their bytes: %w", ErrUnsupported))
				return
			}
			before := last
			for i := range run.entries.n {
				length, size, _, err := run.entry(r, i)
				if err == nil && size == 0 {
					err = fmt.Errorf("sample without bytes: %w", ErrUnsupported)
				}
				x := frame{off: run.off, len: int64(size), at: uint64(at), length: uint64(length), unheard: at <= before}
				if !yield(x, err) || err != nil {
					return
				}
				run.off, last, at = run.off+x.len, at, at+int64(length)
			}
		}
	}
}

// sound iterates over the runs of the sound in all fragments.
func (f *fragments) sound(r io.ReaderAt) iter.Seq2[fragmentRun, error] {
	return func(yield func(fragmentRun, error) bool) {
		for moof, err := range f.moofs(r) {
			if err != nil {
				yield(fragmentRun{}, err)
				return
			}
			for run, err := range f.runs(r, moof) {
				if (err != nil || run.track == f.track) && !yield(run, err) || err != nil {
					return
				}
			}
		}
	}
}

// span is when there is sound in the fragments, in the file's time.
type span struct {
	zero       time.Duration // when the first of all tracks begins, 0 at least: what is in front of that begins no file
	begin, end time.Duration // of the sound, pauses included; end is 0 when it is not known
}

// span looks at the first and the last fragments. Samples without a time go on at the given one. The error is
// ErrTruncated when the fragments clearly end before what is announced of them.
func (f *fragments) span(r io.ReaderAt, at int64, announced time.Duration) (s span, err error) {
	r = &nearby{r: r, size: f.size}
	first, err := f.first(r)
	begin, ok := first[f.track]
	if err != nil || !ok {
		return s, err
	}
	sound := f.tracks[f.track]
	s.zero = sound.time(begin.at)
	for id, run := range first {
		s.zero = min(s.zero, f.tracks[id].time(run.at+int64(run.shift)))
	}
	ends, err := f.ends(r, announced > 0)
	if err != nil {
		return s, err
	}
	var end time.Duration
	for id, at := range ends {
		end = max(end, f.tracks[id].time(at))
	}
	if slack := 500*time.Millisecond + announced/1000; len(ends) == len(f.tracks) && end < announced-slack {
		return s, fmt.Errorf("fragments up to %v of %v: %w", end, announced, ErrTruncated)
	}
	switch last, ok := ends[f.track]; {
	case !begin.timed:
		var sum int64
		sum, err = f.sum(r)
		begin.at = at
		s.end = sound.time(at + sum)
	case ok:
		s.end = sound.time(last)
	}
	s.begin, s.zero = sound.time(begin.at), max(0, s.zero)
	return s, err
}

// doubt takes sound that begins a minute late, and behind the end of all other tracks, for one whose time is not true.
func (f *fragments) doubt(r io.ReaderAt, s *span) error {
	if s.begin-s.zero < time.Minute {
		return nil
	}
	ends, err := f.ends(&nearby{r: r, size: f.size}, true)
	var others time.Duration
	for id, at := range ends {
		if id != f.track {
			others = max(others, f.tracks[id].time(at))
		}
	}
	if s.begin > others+time.Second {
		s.zero = s.begin
	}
	return err
}

// first finds the first run of each track, among the first fragments.
func (f *fragments) first(r io.ReaderAt) (map[uint32]fragmentRun, error) {
	runs := map[uint32]fragmentRun{}
	looked := 0
	for moof, err := range f.moofs(r) {
		if err != nil {
			return nil, err
		}
		for run, err := range f.runs(r, moof) {
			if err != nil {
				return nil, err
			}
			_, known := f.tracks[run.track]
			if _, seen := runs[run.track]; known && !seen && run.entries.n > 0 {
				runs[run.track] = run
			}
		}
		if looked++; looked == maxLooked || len(runs) == len(f.tracks) {
			break
		}
	}
	return runs, nil
}

// ends finds when the sound ends in its own time, or all tracks do, by looking from the end of the file for the last
// fragments. A track is left out when that is not found, or not told there.
func (f *fragments) ends(r io.ReaderAt, all bool) (map[uint32]int64, error) {
	ends := map[uint32]int64{}
	for moof, err := range f.backwards(r) {
		if err != nil {
			return nil, err
		}
		here := map[uint32]int64{}
		for run, err := range f.runs(r, moof) {
			if err != nil {
				return nil, err
			}
			if _, known := f.tracks[run.track]; known && run.timed {
				here[run.track] = run.at + run.length
			}
		}
		for id, at := range here {
			if _, seen := ends[id]; !seen {
				ends[id] = at
			}
		}
		if _, sound := ends[f.track]; sound && !all || len(ends) == len(f.tracks) {
			break
		}
	}
	return ends, nil
}

// backwards iterates over the fragments from the last one on, as far as the boxes behind each lead to the one that is
// known, or to the end of the file, and that is not far.
func (f *fragments) backwards(r io.ReaderAt) iter.Seq2[fileBox, error] {
	return func(yield func(fileBox, error) bool) {
		known, left := f.size, maxBoxes
		b := make([]byte, 256<<10)
		for to := f.size; to-f.off >= 8 && f.size-to < maxTail; {
			from := max(f.off, to-int64(len(b)))
			if err := readFull(r, b[:to-from], from); err != nil {
				yield(fileBox{}, err)
				return
			}
			for at := int(to - from); ; {
				if at = bytes.LastIndex(b[:at], []byte("moof")); at < 0 {
					break
				}
				moof, ok, err := f.chain(r, from+int64(at)-4, known, &left)
				if (ok || err != nil) && !yield(moof, err) || err != nil || left <= 0 {
					return
				}
				if ok {
					known = moof.off
				}
			}
			to = from + 3 // one may begin in front of what was read
		}
	}
}

// chain finds the fragment at off, if it is one, and boxes lead from there to known; it takes those it looks at off
// what is left.
func (f *fragments) chain(r io.ReaderAt, off, known int64, left *int) (moof fileBox, ok bool, err error) {
	const first = 16 // bytes of the box that each begins with
	if off < f.off || off+8 > known {
		return fileBox{}, false, nil
	}
	if moof, err = fileBoxAt(r, off, f.size); err != nil || off+moof.header+first > known {
		return fileBox{}, false, err
	}
	inner, err := fileBoxAt(r, off+moof.header, f.size)
	if err != nil || inner.kind != "mfhd" || inner.size != first {
		return fileBox{}, false, err
	}
	end := off
	for p, err := range fileBoxes(r, off, f.size, ErrTruncated) {
		if f.open && errors.Is(err, ErrTruncated) && known == f.size {
			return moof, p.off != off, nil
		}
		if err != nil {
			return fileBox{}, false, err
		}
		*left--
		if end = p.off + p.size; end >= known || *left <= 0 {
			break
		}
	}
	return moof, end == known || f.open && known == f.size && f.size-end < 8, nil
}

// sum is how long all samples of the sound last.
func (f *fragments) sum(r io.ReaderAt) (sum int64, err error) {
	for run, err := range f.sound(r) {
		if err != nil {
			return 0, err
		}
		if sum += run.length; sum > endless {
			return 0, errTime
		}
	}
	return sum, nil
}
