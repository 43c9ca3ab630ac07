package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A file is kept as two: its data and its description. Their names are its id and one of these endings. The description
// makes the file visible: it gets its name when all else is on the disk.
const (
	dataExt        = ".data"
	descriptionExt = ".json"
	tempExt        = ".json.tmp"
)

// Folder keeps files in a folder. What is committed survives a crash of the machine.
type Folder struct {
	dir    string
	drafts string // a folder with an empty file for each id that Sweep is to look at: see mark

	mu      sync.Mutex
	resumed map[string]*os.File // by id, whose writers may still go on
}

// NewFolder makes the folder unless it is there.
func NewFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of media: %w", err)
	}
	s := &Folder{dir: dir, drafts: dir + ".drafts", resumed: map[string]*os.File{}}
	if err := s.makeDrafts(); err != nil {
		return nil, fmt.Errorf("make the folder of media: %w", err)
	}
	return s, nil
}

// makeDrafts makes the folder of drafts. For a folder of media that had none, until November 2026, it has all files.
func (s *Folder) makeDrafts() error {
	if _, err := os.Stat(s.drafts); err == nil {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "*"+dataExt))
	if err == nil {
		err = os.MkdirAll(s.drafts, 0o700)
	}
	for _, f := range files {
		if id := strings.TrimSuffix(filepath.Base(f), dataExt); ValidID(id) {
			err = errors.Join(err, s.mark(id))
		}
	}
	return err
}

// path is where the data or the description of a file is. An id has the form of an ObjectID, so that it cannot lead out
// of the folder.
func (s *Folder) path(id, ext string) (string, error) {
	oid, err := bson.ObjectIDFromHex(id)
	if err != nil {
		return "", fmt.Errorf("file %q: %w", id, ErrNotFound)
	}
	return filepath.Join(s.dir, oid.Hex()+ext), nil
}

// sync makes the names in the folder durable.
func (s *Folder) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type folderWriter struct {
	draft
	ctx    context.Context // bounds the writes, as Store.Create says
	folder *Folder
	file   *os.File
	bufs   [2][]byte // of ReadFrom: the first is filled while the second is hashed
}

// Create is of [Store].
func (s *Folder) Create(ctx context.Context, info Info) (Writer, error) {
	path, err := s.path(info.ID, dataExt)
	if err != nil {
		return nil, err
	}
	if err := s.mark(info.ID); err != nil {
		return nil, fmt.Errorf("create file %s: %w", info.ID, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create file %s: %w", info.ID, err)
	}
	return &folderWriter{draft: newDraft(info), ctx: ctx, folder: s, file: f}, nil
}

// Resume is of [Store].
func (s *Folder) Resume(ctx context.Context, info Info, state []byte) (Writer, error) {
	d, _, err := resumeDraft(info, state)
	if err != nil {
		return nil, err
	}
	path, err := s.path(info.ID, dataExt)
	if err != nil {
		return nil, err
	}
	flag := os.O_RDWR
	if len(state) == 0 {
		flag |= os.O_CREATE
		if err := s.mark(info.ID); err != nil {
			return nil, fmt.Errorf("resume file %s: %w", info.ID, err)
		}
	}
	f, err := os.OpenFile(path, flag, 0o600)
	if err == nil {
		if err = goOn(f, d.info.Length); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("resume file %s: %w", info.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.resumed[info.ID]; old != nil {
		_ = old.Close() // its writer can do nothing any more
	}
	s.resumed[info.ID] = f
	return &folderWriter{draft: d, ctx: ctx, folder: s, file: f}, nil
}

// forget is called when the writer of a file ends.
func (s *Folder) forget(id string, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumed[id] == f {
		delete(s.resumed, id)
	}
}

// goOn makes an uncommitted file of data end at the length, where writing goes on.
func goOn(f *os.File, length int64) error {
	_, err := os.Stat(strings.TrimSuffix(f.Name(), dataExt) + descriptionExt)
	if err == nil {
		return errors.New("it is committed")
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if stat.Size() < length {
		return fmt.Errorf("%d of %d bytes are there", stat.Size(), length)
	}
	if err := f.Truncate(length); err != nil {
		return err
	}
	_, err = f.Seek(length, io.SeekStart)
	return err
}

func (w *folderWriter) Write(p []byte) (int, error) {
	n, err := w.write(p)
	w.sum.wait()
	return n, err
}

func (w *folderWriter) ReadFrom(src io.Reader) (n int64, err error) {
	for {
		if w.bufs[0] == nil {
			w.bufs[0] = make([]byte, 256<<10)
		}
		k, readErr := fill(w.bufs[0], src)
		k, err = w.write(w.bufs[0][:k])
		w.bufs[0], w.bufs[1] = w.bufs[1], w.bufs[0]
		n += int64(k)
		switch {
		case err != nil:
			return n, err
		case readErr == io.EOF: //nolint:errorlint // io.Reader returns it bare
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

// fill reads until p is full or src fails. For io.ReadFull, a source that broke off may be one that ended.
func fill(p []byte, src io.Reader) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = src.Read(p[n:])
		n += k
	}
	return n, err
}

// write does not wait for p to be hashed.
func (w *folderWriter) write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if err := w.ctx.Err(); err != nil {
		return 0, w.fail("write", err)
	}
	w.hash(p)
	n, err := w.file.Write(p)
	w.info.Length += int64(n)
	if err != nil {
		return n, w.fail("write", err)
	}
	return n, nil
}

func (w *folderWriter) Reserve(n int) error {
	if err := w.reserve(n); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, n))
	return err
}

func (w *folderWriter) Patch(p []byte) error {
	if err := w.patchable(p); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(p, w.from); err != nil {
		return w.fail("patch", err)
	}
	return nil
}

// Suspend takes as long as the disk does, as Commit.
func (w *folderWriter) Suspend(context.Context) ([]byte, error) {
	defer w.folder.forget(w.info.ID, w.file)
	if w.err != nil {
		_ = w.file.Close()
		return nil, w.err
	}
	if err := errors.Join(w.file.Sync(), w.file.Close(), w.folder.sync()); err != nil {
		return nil, w.fail("suspend", err)
	}
	return w.suspend(nil)
}

// Commit takes as long as the disk does: nothing ends an fsync.
func (w *folderWriter) Commit(context.Context) (Info, error) {
	defer w.folder.forget(w.info.ID, w.file)
	if w.err != nil {
		return Info{}, w.err
	}
	if err := w.commit(); err != nil {
		return Info{}, w.fail("commit", err)
	}
	w.err = errClosed
	return w.info, nil
}

func (w *folderWriter) commit() error {
	if w.to != 0 {
		// The bytes from the reserved ones on were not hashed; they are still in the page cache.
		w.sum.Reset()
		if _, err := io.Copy(&w.sum, io.NewSectionReader(w.file, 0, w.info.Length)); err != nil {
			return err
		}
	}
	description, err := json.Marshal(w.final())
	if err != nil {
		return err
	}
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return err
	}
	// Sweep removes the data of a writer that was silent for too long.
	if _, err := os.Stat(w.file.Name()); err != nil {
		return err
	}
	temp, err := w.folder.path(w.info.ID, tempExt)
	if err != nil {
		return err
	}
	if err := writeSynced(temp, description); err != nil {
		return err
	}
	// The data's name must be durable before the name that makes the file visible.
	if err := w.folder.sync(); err != nil {
		return err
	}
	if err := os.Rename(temp, strings.TrimSuffix(temp, tempExt)+descriptionExt); err != nil {
		return err
	}
	return w.folder.sync()
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func (w *folderWriter) Abort(ctx context.Context) error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	defer w.folder.forget(w.info.ID, w.file)
	w.err = errClosed
	_ = w.file.Close() // closed already when Commit failed
	return w.folder.Delete(ctx, w.info.ID)
}

type folderFile struct {
	*os.File
	info Info
}

func (f folderFile) Info() Info { return f.info }

// Open is of [Store].
func (s *Folder) Open(_ context.Context, id string) (File, error) {
	path, err := s.path(id, descriptionExt)
	if err != nil {
		return nil, err
	}
	info, err := describe(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(strings.TrimSuffix(path, descriptionExt) + dataExt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file %s: %w", id, ErrNotFound) // deleted meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("open file %s: %w", id, err)
	}
	return folderFile{f, info}, nil
}

func describe(path string) (Info, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Info{}, fmt.Errorf("read description: %w", err)
	}
	var info Info
	if err := json.Unmarshal(b, &info); err != nil {
		return Info{}, fmt.Errorf("read description %s: %w", path, err)
	}
	return info, nil
}

// Delete is of [Store].
func (s *Folder) Delete(_ context.Context, id string) error {
	if !ValidID(id) {
		return nil
	}
	// In this order, so that a crash in between leaves no file without data.
	return errors.Join(s.remove(id, descriptionExt), s.sync(), s.remove(id, tempExt), s.remove(id, dataExt),
		s.unmark(id))
}

func (s *Folder) remove(id, ext string) error {
	path, err := s.path(id, ext)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete file %s: %w", id, err)
	}
	return nil
}

// Sweep is of [Store]. What is not named as ours is not looked at.
func (s *Folder) Sweep(ctx context.Context, before time.Time, known Known) (int, error) {
	entries, err := os.ReadDir(s.drafts)
	if err != nil {
		return 0, fmt.Errorf("sweep media: %w", err)
	}
	sw := sweeper{known: known, keep: s.settle, remove: func(ctx context.Context, id string) (bool, error) {
		return true, s.Delete(ctx, id)
	}}
	for _, e := range entries {
		if !ValidID(e.Name()) {
			continue
		}
		if err := s.sweep(ctx, &sw, e.Name(), before); err != nil {
			return sw.removed, err
		}
	}
	err = sw.flush(ctx)
	return sw.removed, err
}

// sweep leaves the data of an id to the sweeper when it belongs to no file, or to one that has an owner.
func (s *Folder) sweep(ctx context.Context, sw *sweeper, id string, before time.Time) error {
	path := filepath.Join(s.dir, id)
	stat, err := os.Stat(path + dataExt)
	if errors.Is(err, fs.ErrNotExist) { // there never was any, or it is being deleted
		stat, err = os.Stat(filepath.Join(s.drafts, id))
	}
	if errors.Is(err, fs.ErrNotExist) || err == nil && !stat.ModTime().Before(before) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep file %s: %w", id, err)
	}
	info, err := describe(path + descriptionExt)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sw.add(ctx, Info{ID: id})
	case err != nil:
		return fmt.Errorf("sweep file %s: %w", id, err)
	case info.Owner == "":
		return s.settle(ctx, info)
	case !info.Uploaded.Before(before):
		return nil
	}
	return sw.add(ctx, info)
}

// mark keeps the id of a file that is begun, until Sweep has seen that it is complete and somebody's: so it has to look
// at those only.
func (s *Folder) mark(id string) error {
	f, err := os.OpenFile(filepath.Join(s.drafts, strings.ToLower(id)), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// settle is called for a file that somebody knows. One that is complete needs no look any more.
func (s *Folder) settle(_ context.Context, file Info) error {
	if file.Uploaded.IsZero() {
		return nil
	}
	return s.unmark(file.ID)
}

func (s *Folder) unmark(id string) error {
	if err := os.Remove(filepath.Join(s.drafts, strings.ToLower(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Ping is of [Store].
func (s *Folder) Ping(context.Context) error {
	stat, err := os.Stat(s.dir)
	if err == nil && !stat.IsDir() {
		err = fmt.Errorf("%s is no folder", s.dir)
	}
	return err
}
