package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// gridFile reads a file of GridFS by ranges of chunks, and keeps those it used last. A read out of order gets one
// chunk. While chunks are read in order it gets more and more at once, so that all of a file takes few queries.
type gridFile struct {
	ctx  context.Context // bounds the reads, as Store.Open says
	grid *GridFS
	doc  fileDoc
	pos  int64

	mu    sync.Mutex
	cache *simplelru.LRU[int64, []byte]
	spare [][]byte // buffers of the cache, to fill again
	next  int64    // the chunk after those that were read last
	ahead int64    // how many were read last
	most  int64    // how many may be read at once
}

func (s *GridFS) file(ctx context.Context, d fileDoc) *gridFile {
	// Other writers may choose chunks up to MongoDB's 16 MiB; the memory stays about the same.
	most := int64(ahead)
	if d.ChunkSize > chunkSize {
		most = max(1, ahead*chunkSize/d.ChunkSize)
	}
	f := &gridFile{ctx: ctx, grid: s, doc: d, most: most}
	reuse := func(_ int64, data []byte) { f.spare = append(f.spare, data) }
	f.cache, _ = simplelru.NewLRU(int(2*most), reuse) // fails for no size above 0
	return f
}

func (f *gridFile) Info() Info { return f.doc.info() }

func (f *gridFile) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.pos >= f.doc.Length {
		return 0, io.EOF
	}
	n, err := f.read(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *gridFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read file %s at %d: the offset is negative", f.doc.ID.Hex(), off)
	}
	for n := 0; n < len(p); {
		if off+int64(n) >= f.doc.Length {
			return n, io.EOF
		}
		k, err := f.read(p[n:], off+int64(n))
		n += k
		if err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// read copies what is left from off on of the chunk that holds it.
func (f *gridFile) read(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := f.chunk(off / f.doc.ChunkSize)
	if err != nil {
		return 0, fmt.Errorf("read file %s: %w", f.doc.ID.Hex(), err)
	}
	return copy(p, data[off%f.doc.ChunkSize:]), nil
}

// chunk gives a chunk. It stays as it is until the next is asked for.
func (f *gridFile) chunk(n int64) ([]byte, error) {
	if data, ok := f.cache.Get(n); ok {
		return data, nil
	}
	if n == f.next {
		f.ahead = min(max(1, f.ahead*2), f.most)
	} else {
		f.ahead = 1
	}
	last := (f.doc.Length - 1) / f.doc.ChunkSize
	end := min(n+f.ahead, last+1)
	f.next = end
	if err := f.load(n, end); err != nil {
		return nil, err
	}
	data, _ := f.cache.Get(n)
	return data, nil
}

// load reads the chunks from n up to end into the cache. One that is missing, or not as long as it must be, is an
// error.
func (f *gridFile) load(n, end int64) error {
	cur, err := f.grid.chunks.Find(f.ctx,
		bson.M{"files_id": f.doc.ID, "n": bson.M{"$gte": n, "$lt": end}},
		options.Find().SetSort(bson.M{"n": 1}).SetProjection(bson.M{"_id": 0, "n": 1, "data": 1}))
	if err != nil {
		return err
	}
	defer func() { _ = cur.Close(f.ctx) }()
	for ; n < end; n++ {
		if !cur.Next(f.ctx) {
			return errors.Join(cur.Err(), fmt.Errorf("chunk %d is missing", n))
		}
		// Decoded into a struct, the data would be copied twice.
		if got, ok := cur.Current.Lookup("n").AsInt64OK(); !ok || got != n {
			return fmt.Errorf("chunk %d is missing", n)
		}
		_, data, ok := cur.Current.Lookup("data").BinaryOK()
		if want := min(f.doc.ChunkSize, f.doc.Length-n*f.doc.ChunkSize); !ok || int64(len(data)) != want {
			return fmt.Errorf("chunk %d has %d bytes, want %d", n, len(data), want)
		}
		var buf []byte
		if last := len(f.spare) - 1; last >= 0 {
			buf, f.spare = f.spare[last], f.spare[:last]
		}
		f.cache.Add(n, append(buf[:0], data...))
	}
	return nil
}

func (f *gridFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.doc.Length
	}
	if offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, fmt.Errorf("seek in file %s: whence %d to %d is not possible", f.doc.ID.Hex(), whence, offset)
	}
	f.pos = offset
	return offset, nil
}

func (f *gridFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cache.Purge()
	f.spare = nil
	return nil
}
