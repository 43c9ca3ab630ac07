package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// memory is a media.Store in memory; what convert does not call is left out.
type memory struct {
	media.Store
	mu      sync.Mutex
	files   map[string]memoryFile
	aborted int
	open    func(id string) error // fails Open, when not nil
	commit  func() error          // fails Commit, when not nil
}

type memoryFile struct {
	info media.Info
	data []byte
}

func newMemory() *memory { return &memory{files: map[string]memoryFile{}} }

func (m *memory) put(b []byte, info media.Info) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if info.ID == "" {
		info.ID = media.NewID()
	}
	sum := sha256.Sum256(b)
	info.Length, info.SHA256 = int64(len(b)), hex.EncodeToString(sum[:])
	m.files[info.ID] = memoryFile{info, b}
	return info.ID
}

func (m *memory) get(id string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[id].data
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.files)
}

func (m *memory) Create(_ context.Context, info media.Info) (media.Writer, error) {
	return &memoryWriter{store: m, info: info}, nil
}

func (m *memory) Open(_ context.Context, id string) (media.File, error) {
	if m.open != nil {
		if err := m.open(id); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[id]
	if !ok {
		return nil, media.ErrNotFound
	}
	return &memoryReader{Reader: bytes.NewReader(f.data), info: f.info}, nil
}

func (m *memory) Delete(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, id)
	return nil
}

func (m *memory) Sweep(context.Context, time.Time, media.Known) (int, error) {
	return 0, errors.ErrUnsupported
}

func (m *memory) Ping(context.Context) error { return nil }

type memoryReader struct {
	*bytes.Reader
	info media.Info
}

func (r *memoryReader) Info() media.Info { return r.info }
func (r *memoryReader) Close() error     { return nil }

type memoryWriter struct {
	store *memory
	info  media.Info
	bytes.Buffer
	reserved [2]int
}

func (w *memoryWriter) Reserve(n int) error {
	if n > media.MaxReserve || w.reserved[1] != 0 {
		return errors.New("too much, or not the first time")
	}
	w.reserved = [2]int{w.Len(), w.Len() + n}
	w.Write(make([]byte, n))
	return nil
}

func (w *memoryWriter) Patch(p []byte) error {
	if copy(w.Bytes()[w.reserved[0]:w.reserved[1]], p) != w.reserved[1]-w.reserved[0] {
		return errors.New("patch does not fill what was reserved")
	}
	return nil
}

func (w *memoryWriter) Commit(context.Context) (media.Info, error) {
	if w.store.commit != nil {
		if err := w.store.commit(); err != nil {
			return media.Info{}, err
		}
	}
	w.store.put(w.Bytes(), w.info)
	return w.store.files[w.info.ID].info, nil
}

func (w *memoryWriter) Abort(context.Context) error {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.aborted++
	return nil
}

func (*memoryWriter) Suspend(context.Context) ([]byte, error) { return nil, errors.ErrUnsupported }
