package mp4

import (
	"fmt"
	"io"
	"math"

	"github.com/soundstrip/soundstrip/functions/internal/splice"
)

// inMovie makes what an index says of fragments: the mvex box, and of each other track its number, time and edits. It
// does not say what kind of track that is, so that none of them is heard.
func (f *fragments) inMovie(mvex []byte, tracks []track) []byte {
	b := makeBox("mvex", mvex)
	for _, t := range tracks {
		if _, known := f.tracks[t.id]; !known || t.id == f.track {
			continue
		}
		trak := makeBox("tkhd", t.children.find("tkhd"))
		if edits := t.children.find("edts"); edits != nil {
			trak = append(trak, makeBox("edts", edits)...)
		}
		mdia := makeBox("mdia", makeBox("mdhd", t.children.path("mdia", "mdhd")))
		b = append(b, makeBox("trak", trak, mdia)...)
	}
	return b
}

// pick copies the fragments with the samples of the sound only. Of other tracks it keeps when they begin and end in
// each fragment: the time of a file begins with the first of all, and where it ends shows whether it is whole.
func (f *fragments) pick(r io.ReaderAt, to *splice.File) error {
	r = &nearby{r: r, size: f.size}
	var sum int64
	for moof, err := range f.moofs(r) {
		if err != nil {
			return err
		}
		p, err := f.picked(r, moof)
		if err != nil {
			return err
		}
		if sum += p.bytes(); sum > f.size {
			return fmt.Errorf("samples share their bytes: %w", ErrUnsupported)
		}
		if err := p.write(to); err != nil {
			return unsupported(err)
		}
	}
	return nil
}

// picked is what is kept of a fragment.
type picked struct {
	sound, others []fragmentRun // others have one sample at most, without bytes
}

func (f *fragments) picked(r io.ReaderAt, moof fileBox) (p picked, err error) {
	at := map[uint32]int{} // of each other track, in others
	for run, err := range f.runs(r, moof) {
		if err != nil {
			return p, err
		}
		if len(p.sound)+len(p.others) > maxBoxes {
			return p, fmt.Errorf("a fragment of more than %d runs: %w", maxBoxes, ErrUnsupported)
		}
		if run.track == f.track {
			p.sound = append(p.sound, run)
			continue
		}
		if _, known := f.tracks[run.track]; !known {
			continue
		}
		i, seen := at[run.track]
		if !seen {
			at[run.track] = len(p.others)
			p.others = append(p.others, run)
			continue
		}
		first := &p.others[i]
		if first.timed != run.timed {
			return p, fmt.Errorf("a track with a time here and none there: %w", ErrUnsupported)
		}
		if first.entries.n == 0 {
			*first = run
		}
		first.length = run.at + run.length - first.at
	}
	for i := range p.others {
		o := &p.others[i]
		if o.length < 0 || o.length > math.MaxUint32 {
			return p, errTime
		}
		o.each, o.size, o.len = uint32(o.length), 0, 0
		o.entries.n, o.entries.record, o.fields = min(1, o.entries.n), 0, 0
	}
	return p, nil
}

// bytes are those of the samples.
func (p picked) bytes() (sum int64) {
	for _, run := range p.sound {
		sum += run.len
	}
	return sum
}

// write writes each run as if it were alone in the fragment.
func (p picked) write(to *splice.File) error {
	const header = 8
	inMoof := makeBox("mfhd", make([]byte, 8))
	for _, run := range p.others {
		inMoof = append(inMoof, run.traf(0, be.AppendUint32(nil, uint32(run.shift)))...)
	}
	size := int64(header + len(inMoof))
	for _, run := range p.sound {
		size += int64(len(run.traf(0, nil))) + run.table()
	}
	data := size + header // where the next samples are, from the beginning of the fragment
	if data+p.bytes() > math.MaxInt32 {
		return fmt.Errorf("a fragment of %d bytes: %w", data+p.bytes(), ErrUnsupported)
	}
	moof := makeBox("moof", inMoof)
	be.PutUint32(moof, uint32(size))
	if _, err := to.Write(moof); err != nil {
		return err
	}
	for _, run := range p.sound {
		if _, err := to.Write(run.traf(data, nil)); err != nil {
			return err
		}
		if err := to.Copy(run.entries.off, run.table()); err != nil {
			return err
		}
		data += run.len
	}
	mdat := makeBox("mdat")
	be.PutUint32(mdat, uint32(header+p.bytes()))
	if _, err := to.Write(mdat); err != nil {
		return err
	}
	for _, run := range p.sound {
		if err := to.Copy(run.off, run.len); err != nil {
			return err
		}
	}
	return nil
}

// table is the length of the run's entries, in bytes.
func (s *fragmentRun) table() int64 { return s.entries.n * int64(s.entries.record) }

// traf makes a box up to the run's entries, or with the one entry that tells the shift of its sample. The data are that
// far from the beginning of the fragment.
func (s *fragmentRun) traf(data int64, shift []byte) []byte {
	numbers := func(kind string, ns ...uint32) []byte {
		var b []byte
		for _, n := range ns {
			b = be.AppendUint32(b, n)
		}
		return makeBox(kind, b)
	}
	traf := numbers("tfhd", headerFromMoof|headerLength|headerSize, s.track, s.each, s.size)
	if s.timed {
		traf = append(traf, makeBox("tfdt", be.AppendUint64([]byte{1, 0, 0, 0}, uint64(s.at)))...)
	}
	fields := s.fields
	if len(shift) > 0 {
		fields, shift = entryShift, shift[:4*s.entries.n]
	}
	trun := append(numbers("trun", runOffset|fields, uint32(s.entries.n), uint32(data)), shift...)
	be.PutUint32(trun, uint32(int64(len(trun))+s.table()))
	traf = makeBox("traf", traf, trun)
	be.PutUint32(traf, uint32(int64(len(traf))+s.table()))
	return traf
}
