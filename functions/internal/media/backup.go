package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Backup is a copy of a [Folder] that is made while files are committed and deleted there. The caller takes what there
// is, as often as it likes. Then it keeps the records of the files from being changed, copies those, and pins: what the
// records name was taken or is pinned, whatever is deleted afterwards. The copy has no list of drafts, so that the
// first Sweep there looks at every file.
type Backup struct {
	from, to string
	taken    map[string]bool
	pinned   []*os.File

	Linked, Copied, Unfinished int   // files
	Bytes                      int64 // of Copied and Unfinished
}

// Backup begins a copy in another folder, which it makes.
func (s *Folder) Backup(to string) (*Backup, error) {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return nil, fmt.Errorf("back up media: %w", err)
	}
	return &Backup{from: s.dir, to: to, taken: map[string]bool{}}, nil
}

// Take takes the committed files that are new since the last time, and tells how many those were. Nobody writes to such
// a file any more, so that a link is as good as a copy, where both folders are on one file system.
func (b *Backup) Take(ctx context.Context) (n int, err error) {
	committed, _, err := b.list()
	for _, id := range committed {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = b.take(id)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = b.drop(id) // it was deleted meanwhile
		case err == nil:
			b.taken[id] = true
			n++
		}
	}
	if err != nil {
		return n, fmt.Errorf("back up media: %w", err)
	}
	return n, nil
}

// list gives the ids that were not taken yet: those of committed files, and those of which there is data only.
func (b *Backup) list() (committed, drafts []string, err error) {
	entries, err := os.ReadDir(b.from)
	described := map[string]bool{}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), descriptionExt)
		if ok && ValidID(id) && !b.taken[id] {
			described[id] = true
			committed = append(committed, id)
		}
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), dataExt)
		if ok && ValidID(id) && !b.taken[id] && !described[id] {
			drafts = append(drafts, id)
		}
	}
	return committed, drafts, err
}

func (b *Backup) take(id string) error {
	data, description := id+dataExt, id+descriptionExt
	if os.Link(filepath.Join(b.from, data), filepath.Join(b.to, data)) == nil {
		b.Linked++
		return os.Link(filepath.Join(b.from, description), filepath.Join(b.to, description))
	}
	if err := b.pin(id, dataExt, descriptionExt); err != nil {
		return err
	}
	b.Copied++
	return b.copyPinned()
}

// drop undoes half a take.
func (b *Backup) drop(id string) error {
	err := os.Remove(filepath.Join(b.to, id+dataExt))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	b.Linked--
	return err
}

// Pin opens the committed files that were not taken yet, and those that are not committed and that are known.
// [Backup.Finish] has to follow.
func (b *Backup) Pin(ctx context.Context, known Known) error {
	committed, drafts, err := b.list()
	for _, id := range committed {
		if err == nil {
			err = b.pin(id, dataExt, descriptionExt)
			b.Copied++
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
			b.Copied--
		}
	}
	sw := sweeper{
		known: known,
		keep: func(_ context.Context, f Info) error {
			err := b.pin(f.ID, dataExt)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			b.Unfinished++
			return err
		},
		remove: func(context.Context, string) (bool, error) { return false, nil }, // it is left where it is
	}
	for _, id := range drafts {
		if err == nil {
			err = sw.add(ctx, Info{ID: id})
		}
	}
	if err == nil {
		err = sw.flush(ctx)
	}
	if err != nil {
		return fmt.Errorf("back up media: %w", err)
	}
	return nil
}

// pin opens the files of an id, all or none.
func (b *Backup) pin(id string, exts ...string) error {
	were := len(b.pinned)
	for _, ext := range exts {
		f, err := os.Open(filepath.Join(b.from, id+ext))
		if err != nil {
			for _, f := range b.pinned[were:] {
				_ = f.Close()
			}
			b.pinned = b.pinned[:were]
			return err
		}
		b.pinned = append(b.pinned, f)
	}
	return nil
}

// Finish copies what is pinned. After it, all that was taken survives a crash of the machine.
func (b *Backup) Finish() error {
	if err := errors.Join(b.copyPinned(), (&Folder{dir: b.to}).sync()); err != nil {
		return fmt.Errorf("back up media: %w", err)
	}
	return nil
}

func (b *Backup) copyPinned() (err error) {
	for _, f := range b.pinned {
		if err == nil {
			err = b.copy(f)
		}
		err = errors.Join(err, f.Close())
	}
	b.pinned = nil
	return err
}

// copy copies a file as long as it is now: one that is not committed may still grow.
func (b *Backup) copy(from *os.File) error {
	stat, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(filepath.Join(b.to, stat.Name()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, io.LimitReader(from, stat.Size()))
	b.Bytes += n
	return errors.Join(err, to.Sync(), to.Close())
}
