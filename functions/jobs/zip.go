package jobs

import (
	"archive/zip"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// maxBatch is how many jobs one request may name.
const maxBatch = 1000

// zip gives the MP3s of several jobs as one file, which is the same to the bit each time.
func (s *server) zip(w http.ResponseWriter, r *http.Request) error {
	chosen, err := s.chosen(r)
	if err != nil {
		return err
	}
	a, err := s.archive(r.Context(), chosen, r.URL.Query().Has("id"))
	if err != nil {
		return err
	}
	defer a.Close()
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", attachment("mp3s.zip"))
	h.Set("ETag", a.etag())
	h.Set("Cache-Control", "private, no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	serveContent(w, r, time.Time{}, a)
	if a.err != nil && r.Context().Err() == nil {
		slog.ErrorContext(r.Context(), "zip broken off", "error", a.err)
	}
	return nil
}

// chosen gives the jobs that the query names, or those of the bearer that have an MP3, newest first.
func (s *server) chosen(r *http.Request) ([]job.Job, error) {
	q, c := r.URL.Query(), token.FromContext(r.Context())
	ids, state := distinct(q["id"]), q.Get("state")
	switch {
	case len(ids) > 0 && state != "":
		return nil, problem.New(problem.Invalid, "give ids or a state, not both")
	case len(ids) > maxBatch:
		return nil, problem.New(problem.Invalid, "these are %d jobs: ask for %d at most at once", len(ids), maxBatch)
	case len(ids) > 0:
		found, err := s.named(r.Context(), c, ids)
		for _, j := range found {
			s.seen(r, j.Owner, j.ID)
		}
		return found, err
	case state != string(job.Converted):
		return nil, problem.New(problem.Invalid, "which MP3s? Give ?id=…&id=…, or ?state=converted for all of yours")
	case c.Owner() == "":
		return nil, nobody()
	}
	return s.withMP3(r.Context(), c.Owner(), maxBatch)
}

// nobody refuses a token without a name: to the store that means everyone.
func nobody() error {
	return problem.New(problem.Forbidden, "the token names nobody: log in with an account that has a name")
}

// withMP3 gives up to limit jobs of the owner that have an MP3, newest first.
func (s *server) withMP3(ctx context.Context, owner string, limit int) ([]job.Job, error) {
	var found []job.Job
	// In the order in which a job has them, so that none is missed that moves on meanwhile.
	for _, state := range []job.State{job.Converted, job.HandedOver, job.Notified} {
		some, err := s.jobs.List(ctx, job.Query{Owner: owner, State: state, Limit: limit})
		if err != nil {
			return nil, unavailable(fmt.Errorf("list jobs: %w", err))
		}
		found = append(found, some...)
	}
	found = slices.DeleteFunc(found, func(j job.Job) bool { return j.MP3 == nil })
	slices.SortFunc(found, func(a, b job.Job) int { return cmp.Compare(b.ID, a.ID) })
	found = slices.CompactFunc(found, func(a, b job.Job) bool { return a.ID == b.ID })
	return found[:min(len(found), limit)], nil
}

// named gives the jobs with the ids. Each has an MP3, or had one.
func (s *server) named(ctx context.Context, c token.Claims, ids []string) ([]job.Job, error) {
	var found []job.Job
	for _, id := range ids {
		j, err := s.jobs.Get(ctx, id)
		switch {
		case err != nil:
			return nil, fault("get", id, err)
		case !c.May(j.Owner):
			return nil, fault("get", id, job.ErrNotFound)
		case j.State == job.Expired:
			return nil, goneOf(id)
		case j.MP3 == nil:
			return nil, problem.New(problem.NotFound, "the job %s has no MP3: it is %s", id, j.State)
		}
		found = append(found, j)
	}
	return found, nil
}

// distinct gives each id once, in the order in which they came.
func distinct(ids []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again
	})
}

func goneOf(id string) error {
	return problem.New(problem.Gone, "the MP3 of the job %s is not kept any more: upload the video again", id)
}

// sums are the CRC-32 of MP3s that were read already, by file id. Files do not change.
type sums = lru.Cache[string, uint32]

// newSums has place for ten of the largest archives, in about a megabyte.
func newSums() *sums {
	c, _ := lru.New[string, uint32](10 * maxBatch) // fails for no size above 0
	return c
}

// archive is a ZIP file (PKWARE's APPNOTE 6.3.10) of MP3s, stored as they are, that is made while it is read. What
// stands around the MP3s is made by package zip beforehand: so the length is known, and each part can be read alone.
//
// A CRC-32 stands behind its MP3 (bit 3 of the flags) and again in the directory at the end. It is made while the MP3
// is sent from its start to its end, and kept for others. One that is not known when its place is reached is made by
// reading the MP3 once more: after a download was resumed, that is the MP3 in which it broke off, or, in another
// process, all that were sent before. Nothing is read for the places that a request does not ask for.
type archive struct {
	ctx     context.Context // bounds the reading
	mp3s    media.Store
	sums    *sums
	entries []entry
	frames  [][]byte // what stands before each MP3, and behind the last; their places for CRC-32s are empty
	starts  []int64  // where each frame does
	size    int64
	pos     int64
	whole   bool // the last frame has its CRC-32s

	file   media.File // of the entry that is read at the moment
	opened int
	sum    hash.Hash32 // of what was read of it in one go from its start on
	summed int64       // bytes

	err error // why it could not be read
}

// entry is an MP3 in an archive.
type entry struct {
	name   string
	fid    string
	length int64 // bytes
	time   time.Time
	sum    uint32 // CRC-32
}

// archive makes the archive of the jobs' MP3s. Those that are gone are left out, unless they are wanted by name.
func (s *server) archive(ctx context.Context, jobs []job.Job, byName bool) (*archive, error) {
	a := &archive{ctx: ctx, mp3s: s.mp3s, sums: s.sums, sum: crc32.NewIEEE(), opened: -1}
	names := namer{}
	for _, j := range jobs {
		f, err := s.mp3s.Open(ctx, j.MP3.FID)
		switch {
		case errors.Is(err, media.ErrNotFound) && byName:
			return nil, goneOf(j.ID)
		case errors.Is(err, media.ErrNotFound):
			continue
		case err != nil:
			return nil, unavailable(fmt.Errorf("open MP3 %s: %w", j.MP3.FID, err))
		}
		length := f.Info().Length // a job that began in the old system does not know it
		_ = f.Close()
		a.entries = append(a.entries, entry{
			name: names.next(cmp.Or(j.Filename, j.MP3.FID)), fid: j.MP3.FID, length: length, time: j.Created.UTC(),
		})
	}
	if len(a.entries) == 0 {
		return nil, problem.New(problem.NotFound, "you have no MP3s: GET /jobs tells how your jobs stand")
	}
	return a, a.layOut()
}

// namer makes names that can be told apart, also where capitals do not count, and taken by every system.
type namer map[string]bool

func (n namer) next(video string) string {
	base := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSuffix(video, path.Ext(video)), "\uFFFD"))
	name := base + ".mp3"
	for i := 2; n[strings.ToLower(name)]; i++ {
		name = base + " (" + strconv.Itoa(i) + ").mp3"
	}
	n[strings.ToLower(name)] = true
	return name
}

func (a *archive) layOut() (err error) {
	if a.frames, err = frame(a.entries); err != nil {
		return err
	}
	for i, f := range a.frames {
		a.starts = append(a.starts, a.size)
		a.size += int64(len(f))
		if i < len(a.entries) {
			a.size += a.entries[i].length
		}
	}
	return nil
}

// frame gives what stands before each MP3, and behind the last.
func frame(entries []entry) ([][]byte, error) {
	var f framer
	w := zip.NewWriter(&f)
	for _, e := range entries {
		f.frames = append(f.frames, nil)
		h := &zip.FileHeader{
			Name: e.name, CRC32: e.sum, CompressedSize64: uint64(e.length), UncompressedSize64: uint64(e.length),
			CreatorVersion: 20, ReaderVersion: 20, // 2.0; package zip says 4.5 where an entry needs Zip64
			Flags: 1<<3 | 1<<11, // the CRC-32 comes later; the name is UTF-8
			// The extended timestamp: seconds since 1970. The other has no time zone.
			Extra: binary.LittleEndian.AppendUint32([]byte{'U', 'T', 5, 0, 1}, uint32(e.time.Unix())),
		}
		h.SetModTime(e.time) //nolint:staticcheck // CreateRaw does not look at Modified
		mp3, err := w.CreateRaw(h)
		if err == nil {
			err = w.Flush()
		}
		f.skip = true
		for left := e.length; left > 0 && err == nil; left -= int64(len(filler)) {
			_, err = mp3.Write(filler[:min(left, int64(len(filler)))])
		}
		if err == nil {
			err = w.Flush()
		}
		f.skip = false
		if err != nil {
			return nil, fmt.Errorf("lay out zip: %w", err)
		}
	}
	f.frames = append(f.frames, nil)
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("lay out zip: %w", err)
	}
	return f.frames, nil
}

// filler stands for the MP3s while an archive is laid out: package zip counts it.
var filler = make([]byte, 1<<20)

// framer keeps what package zip writes around the MP3s.
type framer struct {
	frames [][]byte
	skip   bool
}

func (f *framer) Write(p []byte) (int, error) {
	if last := len(f.frames) - 1; !f.skip && len(p) > 0 {
		f.frames[last] = append(f.frames[last], p...)
	}
	return len(p), nil
}

// etag is strong: the same frames around the same files are the same bytes.
func (a *archive) etag() string {
	sum := sha256.New()
	for i, f := range a.frames {
		_, _ = sum.Write(f)
		if i < len(a.entries) {
			_, _ = io.WriteString(sum, a.entries[i].fid)
		}
	}
	return `"` + hex.EncodeToString(sum.Sum(nil)) + `"`
}

// Seek is of [io.Seeker].
func (a *archive) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += a.pos
	case io.SeekEnd:
		offset += a.size
	}
	if offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, fmt.Errorf("seek in zip: whence %d to %d is not possible", whence, offset)
	}
	a.pos = offset
	return offset, nil
}

// Read is of [io.Reader].
func (a *archive) Read(p []byte) (n int, err error) {
	if a.pos >= a.size {
		return 0, io.EOF
	}
	i, found := slices.BinarySearch(a.starts, a.pos)
	if !found {
		i--
	}
	off := a.pos - a.starts[i]
	if header := int64(len(a.frames[i])); off >= header {
		n, err = a.readMP3(p, i, off-header)
	} else if err = a.complete(i); err == nil {
		n = copy(p, a.frames[i][off:])
	}
	a.pos += int64(n)
	a.err = err
	return n, err
}

// readMP3 reads of the entry from off on, up to its end at most.
func (a *archive) readMP3(p []byte, i int, off int64) (int, error) {
	e := a.entries[i]
	if a.opened != i {
		a.Close()
		f, err := a.mp3s.Open(a.ctx, e.fid)
		if err != nil {
			return 0, fmt.Errorf("open MP3 %s: %w", e.fid, err)
		}
		a.file, a.opened, a.summed = f, i, 0
		a.sum.Reset()
	}
	n, err := a.file.ReadAt(p[:min(int64(len(p)), e.length-off)], off)
	if n == 0 {
		return 0, fmt.Errorf("read MP3 %s at %d of %d: %w", e.fid, off, e.length, cmp.Or(err, io.ErrUnexpectedEOF))
	}
	if off == a.summed {
		_, _ = a.sum.Write(p[:n])
		a.summed += int64(n)
		if a.summed == e.length {
			a.sums.Add(e.fid, a.sum.Sum32())
		}
	}
	return n, nil // an error shows again at the next reading
}

// complete fills in the CRC-32s of a frame: that of the MP3 before it, or those of all where it has the directory.
func (a *archive) complete(i int) error {
	if i == 0 || i == len(a.entries) && a.whole {
		return nil
	}
	if i < len(a.entries) {
		err := a.check(i - 1)
		binary.LittleEndian.PutUint32(a.frames[i][4:], a.entries[i-1].sum) // behind the signature of the data descriptor
		return err
	}
	for k := range a.entries {
		if err := a.check(k); err != nil {
			return err
		}
	}
	all, err := frame(a.entries)
	if err != nil {
		return err
	}
	a.frames[i], a.whole = all[i], true
	return nil
}

// check makes the CRC-32 of an entry known.
func (a *archive) check(i int) error {
	e := &a.entries[i]
	if sum, ok := a.sums.Get(e.fid); ok {
		e.sum = sum
		return nil
	}
	f, err := a.mp3s.Open(a.ctx, e.fid)
	if err != nil {
		return fmt.Errorf("open MP3 %s: %w", e.fid, err)
	}
	defer f.Close()
	sum := crc32.NewIEEE()
	if _, err := io.CopyN(sum, f, e.length); err != nil {
		return fmt.Errorf("read MP3 %s: %w", e.fid, err)
	}
	e.sum = sum.Sum32()
	a.sums.Add(e.fid, e.sum)
	return nil
}

// Close closes the MP3 that is open.
func (a *archive) Close() {
	if a.file != nil {
		_ = a.file.Close()
	}
	a.file, a.opened = nil, -1
}
