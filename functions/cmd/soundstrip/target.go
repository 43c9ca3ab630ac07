package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// target is the MP3 on its way to where it is to be. Until it is whole it lies beside that under a name of its own; for
// standard output it has no name at all, and goes there in the end.
type target struct {
	file     *os.File // nil once it is committed or aborted
	buf      *bufio.Writer
	bar      *bar
	path     string // "" for standard output
	length   int64
	reserved int64 // where the reserved bytes are
}

func (c conversion) create(bar *bar) (*target, error) {
	t := &target{bar: bar}
	var err error
	if c.mp3 == "-" {
		if t.file, err = os.CreateTemp("", "soundstrip-"); err == nil {
			err = os.Remove(t.file.Name())
		}
	} else {
		t.path = c.mp3
		name := filepath.Join(filepath.Dir(c.mp3), "."+filepath.Base(c.mp3)+"."+rand.Text()[:8])
		t.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // the user's umask says who may read it
	}
	t.buf = bufio.NewWriterSize(t.file, 64<<10)
	return t, err
}

// Write is of [media.Writer]. The engine writes frame by frame.
func (t *target) Write(p []byte) (int, error) {
	n, err := t.buf.Write(p)
	t.length += int64(n)
	t.bar.frame(p)
	return n, err
}

// Reserve is of [media.Writer].
func (t *target) Reserve(n int) error {
	t.reserved = t.length
	_, err := t.Write(make([]byte, n))
	return err
}

// Patch is of [media.Writer].
func (t *target) Patch(p []byte) error {
	if err := t.buf.Flush(); err != nil {
		return err
	}
	_, err := t.file.WriteAt(p, t.reserved)
	return err
}

// Commit is of [media.Writer].
func (t *target) Commit(context.Context) (media.Info, error) {
	info := media.Info{ID: t.path, Name: filepath.Base(t.path), Length: t.length}
	if t.path == "" {
		_, err := io.Copy(os.Stdout, io.NewSectionReader(t.file, 0, t.length))
		return info, err
	}
	if err := errors.Join(t.file.Sync(), t.file.Close()); err != nil {
		return info, err
	}
	if err := os.Rename(t.file.Name(), t.path); err != nil {
		return info, err
	}
	t.file = nil
	return info, nil
}

// Abort is of [media.Writer].
func (t *target) Abort(context.Context) error {
	if t.file == nil {
		return nil
	}
	_ = t.file.Close() // closed already when Commit failed
	if t.path == "" {
		return nil
	}
	if err := os.Remove(t.file.Name()); err != nil {
		return fmt.Errorf("soundstrip convert: %w", err)
	}
	return nil
}
