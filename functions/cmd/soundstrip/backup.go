package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

const backupUsage = `usage:
  soundstrip backup FOLDER   copies the data folder, also while it is served, to one that is empty or not there`

// runBackup copies the data folder. What the copy holds is what a crash at one moment would have left, so that to start
// from it is to restore.
func runBackup(ctx context.Context, env envconfig.Lookuper, args []string, out io.Writer) (err error) {
	if len(args) != 1 || args[0] == "" || strings.HasPrefix(args[0], "-") {
		return errors.New(backupUsage)
	}
	syscall.Umask(0o077) // what is kept is nobody else's
	var c struct {
		Data string `env:"SOUNDSTRIP_DATA, default=.soundstrip"`
	}
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.Data, database)); err != nil {
		return fmt.Errorf("SOUNDSTRIP_DATA: %w", err)
	}
	f, err := openFolder(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.db.Close()) }()
	to, err := filepath.Abs(args[0])
	if err == nil {
		err = emptyFolder(to, f.path)
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	b := backup{from: f, to: to}
	if err := b.run(ctx); err != nil {
		return errors.Join(fmt.Errorf("back up %s: %w", f.path, err), empty(to))
	}
	fmt.Fprintf(out, "%s is in %s: %d videos and MP3s (%d linked, %d copied), %d unfinished uploads, %d other files\n",
		f.path, to, b.videos.Linked+b.videos.Copied+b.mp3s.Linked+b.mp3s.Copied, b.videos.Linked+b.mp3s.Linked,
		b.videos.Copied+b.mp3s.Copied, b.videos.Unfinished, b.others)
	for _, server := range []string{"MYSQL_HOST", "MONGODB_URI", "AMQP_URL"} {
		if set(env, server) {
			fmt.Fprintf(out, "what the server of %s keeps is not in it\n", server)
		}
	}
	_, err = fmt.Fprintf(out, "to restore it, start with SOUNDSTRIP_DATA=%s\n", to)
	return err
}

// emptyFolder makes a folder, or takes one that is empty, outside of the data.
func emptyFolder(path, data string) error {
	if inside(path, data) {
		return fmt.Errorf("%s is in the folder that is to be copied", path)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty", path)
	}
	return err
}

func inside(path, folder string) bool {
	// The links on the way of what is there already are followed.
	if p, err := filepath.EvalSymlinks(path); err == nil {
		path = p
	}
	if f, err := filepath.EvalSymlinks(folder); err == nil {
		folder = f
	}
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// empty removes what is in a folder.
func empty(path string) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
	}
	return err
}

// backup is one copy of a data folder. Its database gets its name when all else is on the disk.
type backup struct {
	from         *folder
	to           string
	videos, mp3s *media.Backup
	others       int
}

func (b *backup) run(ctx context.Context) (err error) {
	uploads, err := job.NewSQLiteUploads(ctx, b.from.db)
	if err != nil {
		return err
	}
	if b.videos, err = b.media("videos"); err != nil {
		return err
	}
	if b.mp3s, err = b.media("mp3s"); err != nil {
		return err
	}
	if err := b.take(ctx); err != nil {
		return err
	}
	part := filepath.Join(b.to, database+".part")
	err = b.locked(ctx, func() error {
		// A transaction of its own, on another connection, which reads only.
		if _, err := b.from.db.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
			return fmt.Errorf("copy the database: %w", err)
		}
		return errors.Join(
			b.videos.Pin(ctx, func(ctx context.Context, files []media.Info) (map[string]bool, error) {
				ids := make([]string, len(files))
				for i, f := range files {
					ids[i] = f.ID
				}
				return uploads.Keeps(ctx, ids)
			}),
			// Half an MP3 is of no use: its job is done once more.
			b.mp3s.Pin(ctx, func(context.Context, []media.Info) (map[string]bool, error) { return nil, nil }))
	})
	if err != nil {
		return err
	}
	if err := errors.Join(b.videos.Finish(), b.mp3s.Finish(), b.copyOthers()); err != nil {
		return err
	}
	// SQLite does not sync what VACUUM INTO writes.
	if err := errors.Join(durable(part), os.Rename(part, filepath.Join(b.to, database))); err != nil {
		return err
	}
	return errors.Join(durable(filepath.Join(b.to, "media")), durable(b.to), durable(filepath.Dir(b.to)))
}

func (b *backup) media(name string) (*media.Backup, error) {
	s, err := media.NewFolder(filepath.Join(b.from.path, "media", name))
	if err != nil {
		return nil, err
	}
	return s.Backup(filepath.Join(b.to, "media", name))
}

// take takes the files until hardly any are new, so that little is left to be done while others wait.
func (b *backup) take(ctx context.Context) error {
	const most = 10
	for range most {
		videos, err := b.videos.Take(ctx)
		if err != nil {
			return err
		}
		mp3s, err := b.mp3s.Take(ctx)
		if err != nil || videos+mp3s == 0 {
			return err
		}
	}
	return nil
}

// locked calls f while nobody can write to the database: no job and no upload is made, changed or deleted. Writers wait
// for up to ten seconds.
func (b *backup) locked(ctx context.Context, f func() error) error {
	tx, err := b.from.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	err = f()
	if end := tx.Rollback(); !errors.Is(end, sql.ErrTxDone) {
		err = errors.Join(err, end)
	}
	return err
}

// copyOthers copies the secrets and the mails. A mail is kept before its job says so: mails are copied after jobs.
func (b *backup) copyOthers() error {
	from, err := os.OpenRoot(b.from.path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	return fs.WalkDir(from.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		to := filepath.Join(b.to, name)
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case name == "media":
			return fs.SkipDir
		case d.IsDir():
			return os.Mkdir(to, 0o700)
		case !d.Type().IsRegular(), name == "lock", strings.HasPrefix(name, database),
			strings.HasPrefix(d.Name(), ".new-"): // a mail that is being written
			return nil
		}
		content, err := from.ReadFile(name)
		if err != nil {
			return err
		}
		b.others++
		return errors.Join(os.WriteFile(to, content, 0o600), durable(to), durable(filepath.Dir(to)))
	})
}

// durable has a file, or the names in a folder, survive a crash of the machine.
func durable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
