package ffmpeg

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"syscall"
)

// maxLine bounds a line of what a program says, in bytes; of a longer one the rest is dropped.
const maxLine = 1024

// report is what a program says, line by line.
type report struct {
	conn syscall.RawConn
	line func(string) // for one line after the other

	mu   sync.Mutex
	part []byte // of a line that is not whole yet
	buf  [4 << 10]byte
}

// newReport takes the reading end of a pipe of package os.
func newReport(pipe io.Reader, line func(string)) (*report, error) {
	p, ok := pipe.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	conn, err := p.SyscallConn()
	return &report{conn: conn, line: line}, err
}

// all reads to the end.
func (r *report) all() error {
	err := r.conn.Read(r.read)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.part) > 0 {
		r.line(string(r.part))
	}
	return err
}

// now reads what was said up to now.
func (r *report) now() {
	_ = r.conn.Control(func(fd uintptr) { r.read(fd) })
}

// read reads what is there, and tells whether that was the end.
func (r *report) read(fd uintptr) (end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		n, err := syscall.Read(int(fd), r.buf[:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return false
		case n <= 0:
			return true
		}
		r.split(r.buf[:n])
	}
}

func (r *report) split(b []byte) {
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		r.part = append(r.part, line[:min(len(line), maxLine-len(r.part))]...)
		if !whole {
			return
		}
		r.line(string(r.part))
		r.part, b = r.part[:0], rest
	}
}

// following reads what a program writes, and before it gives that, what the program had said.
type following struct {
	io.Reader
	said *report
}

func (f *following) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	f.said.now()
	return n, err
}
