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

// create begins the MP3 that is to have the path; - is standard output.
func create(path string, bar *bar) (t *target, err error) {
	t = &target{bar: bar}
	if path == standard {
		t.file, err = nameless()
	} else {
		t.path = path
		//nolint:gosec // the user's umask says who may read it
		t.file, err = os.OpenFile(filepath.Join(filepath.Dir(path), ".soundstrip-"+rand.Text()+".mp3"),
			os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	}
	t.buf = bufio.NewWriterSize(t.file, 64<<10)
	return t, err
}

// nameless makes a file without a name, which is gone when it is closed.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "soundstrip-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
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
