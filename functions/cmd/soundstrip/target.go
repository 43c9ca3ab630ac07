package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
		//nolint:gosec // the user's umask says who may read it
		t.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL,
			0o666)
	}
	t.buf = bufio.NewWriterSize(t.file, 64<<10)
	return t, err
}

// Write is of [engine.Destination]. The engine writes frame by frame.
func (t *target) Write(p []byte) (int, error) {
	n, err := t.buf.Write(p)
	t.length += int64(n)
	t.bar.frame(p)
	return n, err
}

// Reserve is of [engine.Destination].
func (t *target) Reserve(n int) error {
	t.reserved = t.length
	_, err := t.Write(make([]byte, n))
	return err
}

// Patch is of [engine.Destination].
func (t *target) Patch(p []byte) error {
	if err := t.buf.Flush(); err != nil {
		return err
	}
	_, err := t.file.WriteAt(p, t.reserved)
	return err
}

// Commit gives the MP3 its name, or writes it to standard output, and tells its length in bytes.
func (t *target) Commit() (int64, error) {
	if t.path == "" {
		_, err := io.Copy(os.Stdout, io.NewSectionReader(t.file, 0, t.length))
		return t.length, err
	}
	if err := errors.Join(t.file.Sync(), t.file.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(t.file.Name(), t.path); err != nil {
		return 0, err
	}
	t.file = nil
	return t.length, nil
}

// Abort removes what was written; after Commit it does nothing.
func (t *target) Abort() error {
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
