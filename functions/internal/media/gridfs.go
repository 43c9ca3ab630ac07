package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/soundstrip/soundstrip/functions/internal/once"
)

// GridFS keeps files in a database's default bucket as the GridFS specification has it, readable and writable by every
// other driver of MongoDB: https://github.com/mongodb/specifications/blob/master/source/gridfs/gridfs-spec.md
//
// It does not use the driver's streams. Those clean up with the context of the writing, ask for 250 chunks at once,
// cannot seek, and cannot hold a chunk back.
type GridFS struct {
	files, chunks *mongo.Collection
	wire          Wire              // for chunks; nil is the driver
	drafts        *mongo.Collection // ours: see mark

	indexed once.Once
}

// NewGridFS uses the database through a client that package mongodb made: a file that a reader sees is durable. Chunks
// go by the wire, if there is one. It does not connect.
func NewGridFS(db *mongo.Database, wire Wire) *GridFS {
	return &GridFS{files: db.Collection("fs.files"), chunks: db.Collection("fs.chunks"),
		drafts: db.Collection("fs.drafts"), wire: wire}
}

const (
	// chunkSize is what GridFS drivers use by default, in bytes.
	chunkSize = 255 << 10
	// batch is how many chunks of that size are written together at most: 1.5 MiB, because each write waits for the
	// journal. As many are filled meanwhile.
	batch = 6
	// inFlight is how many such writes are on their way at most: the server does one while the other is sent.
	inFlight = 2
	// ahead is how many are read together at most: about 1 MiB. More is no faster and costs memory.
	ahead = 4
)

// fileDoc is a document of fs.files; other writers leave fields out.
type fileDoc struct {
	ID         bson.ObjectID `bson:"_id"`
	Length     int64         `bson:"length"`
	ChunkSize  int64         `bson:"chunkSize,minsize"` // an int32, as the specification has it
	UploadDate time.Time     `bson:"uploadDate"`
	Filename   string        `bson:"filename"`
	Metadata   bson.RawValue `bson:"metadata,omitempty"`
}

type metadata struct {
	Owner  string `bson:"owner,omitempty"`
	SHA256 string `bson:"sha256,omitempty"`
}

func (d fileDoc) info() Info {
	var m metadata
	// Metadata of another writer may be anything; what is not ours is not read.
	_ = d.Metadata.Unmarshal(&m)
	return Info{ID: d.ID.Hex(), Name: d.Filename, Owner: m.Owner, Length: d.Length, SHA256: m.SHA256,
		Uploaded: d.UploadDate}
}

// index makes the specification's indexes before the first file is written, unless there are files already.
func (s *GridFS) index(ctx context.Context) error { return s.indexed.Do(ctx, s.makeIndexes) }

func (s *GridFS) makeIndexes(ctx context.Context) error {
	err := s.files.FindOne(ctx, bson.D{}, options.FindOne().SetProjection(bson.M{"_id": 1})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		_, err = s.files.Indexes().CreateOne(ctx, mongo.IndexModel{
			Keys: bson.D{{Key: "filename", Value: 1}, {Key: "uploadDate", Value: 1}}})
		if err == nil {
			_, err = s.chunks.Indexes().CreateOne(ctx, mongo.IndexModel{
				Keys: bson.D{{Key: "files_id", Value: 1}, {Key: "n", Value: 1}}, Options: options.Index().SetUnique(true)})
		}
	}
	if err == nil {
		_, err = s.drafts.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "at", Value: 1}}})
	}
	if err != nil {
		return fmt.Errorf("make the indexes of GridFS: %w", err)
	}
	return nil
}

type gridWriter struct {
	draft
	ctx    context.Context // bounds the writes, as Store.Create says
	bucket *GridFS
	id     bson.ObjectID
	next   int64         // number of the chunk that is being filled
	start  int64         // of the first that it filled
	mine   bson.ObjectID // and the id of that
	filled *insertion    // has that chunk, and full ones before it
	hashed int           // how many bytes of that chunk the sum has
	hold   bool          // whether filled has reserved bytes
	held   []*insertion  // those that had them, for the last

	sent  []sending    // what is inserted beside the writing: the first of them was sent first
	spare []*insertion // to fill again
}

// sending is an insertion on its way, and how it ends.
type sending struct {
	*insertion
	ended chan error
}

// Create is of [Store].
func (s *GridFS) Create(ctx context.Context, info Info) (Writer, error) {
	id, err := s.free(ctx, info.ID)
	if err == nil {
		err = s.mark(ctx, id)
	}
	if err != nil {
		return nil, fmt.Errorf("create file %q: %w", info.ID, err)
	}
	return s.writer(ctx, newDraft(info), id)
}

// Resume is of [Store]. The state holds the chunk that is not full, so that chunks once written do not change. The
// chunks behind it are of a writer that did not come to its Suspend. Should it write on, it and the new one meet in a
// chunk that both insert.
func (s *GridFS) Resume(ctx context.Context, info Info, state []byte) (Writer, error) {
	id, err := s.free(ctx, info.ID)
	if err == nil && len(state) == 0 {
		err = s.mark(ctx, id)
	}
	if err != nil {
		return nil, fmt.Errorf("resume file %q: %w", info.ID, err)
	}
	d, tail, err := resumeDraft(info, state)
	if err != nil {
		return nil, err
	}
	if int64(len(tail)) != d.info.Length%chunkSize {
		return nil, fmt.Errorf("resume file %s at %d: its state has %d bytes", info.ID, d.info.Length, len(tail))
	}
	w, err := s.writer(ctx, d, id)
	if err != nil {
		return nil, err
	}
	if len(tail) > 0 {
		w.filled.begin(id, w.next)
		w.filled.extend(copy(w.filled.space(), tail))
		w.hashed = len(tail)
	}
	if _, err := s.chunks.DeleteMany(ctx, bson.M{"files_id": id, "n": bson.M{"$gte": w.next}}); err != nil {
		return nil, fmt.Errorf("resume file %s: %w", info.ID, err)
	}
	return w, nil
}

// writer goes on behind the bytes that the draft has, but for those of a chunk that is not full.
func (s *GridFS) writer(ctx context.Context, d draft, id bson.ObjectID) (*gridWriter, error) {
	w := &gridWriter{draft: d, ctx: ctx, bucket: s, id: id, next: d.info.Length / chunkSize}
	var err error
	w.filled, err = newInsertion(s.chunks)
	return w, err
}

// free gives the id of a file to be. To abort a second file of the same id would remove the first.
func (s *GridFS) free(ctx context.Context, file string) (bson.ObjectID, error) {
	id, err := bson.ObjectIDFromHex(file)
	if err != nil {
		return id, err
	}
	if err := s.index(ctx); err != nil {
		return id, err
	}
	err = s.files.FindOne(ctx, bson.M{"_id": id}, options.FindOne().SetProjection(bson.M{"_id": 1})).Err()
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return id, nil
	case err == nil:
		err = errors.New("the id is taken")
	}
	return id, err
}

func (w *gridWriter) Write(p []byte) (int, error) {
	n, err := w.ReadFrom(bytes.NewReader(p))
	return int(n), err
}

// ReadFrom reads straight into the chunks.
func (w *gridWriter) ReadFrom(src io.Reader) (n int64, err error) {
	for {
		if w.err != nil {
			return n, w.err
		}
		if err := w.ctx.Err(); err != nil {
			return n, w.fail("write", err)
		}
		if !w.filled.open() {
			w.filled.begin(w.id, w.next)
		}
		k, readErr := src.Read(w.filled.space())
		w.filled.extend(k)
		w.info.Length += int64(k)
		n += int64(k)
		if len(w.filled.last()) == chunkSize {
			w.seal()
		}
		if !w.filled.open() && len(w.filled.data) == batch {
			if err := w.flush(w.ctx); err != nil {
				return n, w.fail("write", err)
			}
		}
		if readErr == io.EOF {
			return n, nil
		}
		if readErr != nil {
			return n, readErr
		}
	}
}

// seal ends the chunk that is being filled.
func (w *gridWriter) seal() {
	data := w.filled.last()
	if w.mine.IsZero() {
		w.start, w.mine = w.next, w.filled.id
	}
	w.hold = w.hold || w.overlaps(w.next*chunkSize, len(data))
	w.hash(data[w.hashed:])
	w.filled.end()
	w.next++
	w.hashed = 0
}

// flush begins to insert the chunks that are full, when no more than one other insertion is on its way.
func (w *gridWriter) flush(ctx context.Context) error {
	if len(w.filled.data) == 0 {
		return nil
	}
	if err := w.settle(inFlight - 1); err != nil {
		return err
	}
	full := w.filled
	if n := len(w.spare); n > 0 {
		w.filled, w.spare = w.spare[n-1], w.spare[:n-1]
	} else {
		var err error
		if w.filled, err = newInsertion(w.bucket.chunks); err != nil {
			return err
		}
	}
	if w.hold {
		w.held, w.hold = append(w.held, full), false
		return nil
	}
	s := sending{full, make(chan error, 1)}
	w.sent = append(w.sent, s)
	go func() { s.ended <- w.bucket.insert(ctx, s.insertion) }()
	return nil
}

// settle waits until no more than n insertions are on their way. When one has failed it waits for all.
func (w *gridWriter) settle(n int) error {
	var err error
	for len(w.sent) > n || err != nil && len(w.sent) > 0 {
		s := w.sent[0]
		w.sent = w.sent[1:]
		err = errors.Join(err, <-s.ended)
		w.sum.wait() // which reads what is to be filled again
		s.reset()
		w.spare = append(w.spare, s.insertion)
	}
	return err
}

func (w *gridWriter) Reserve(n int) error {
	if err := w.reserve(n); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, n))
	return err
}

func (w *gridWriter) Patch(p []byte) error {
	if err := w.patchable(p); err != nil {
		return err
	}
	for _, i := range append(w.held, w.filled) {
		for k := range i.data {
			off, data := (i.next+int64(k))*chunkSize, i.chunk(k)
			if w.overlaps(off, len(data)) {
				copy(data[max(0, w.from-off):], p[max(0, off-w.from):])
			}
		}
	}
	return nil
}

func (w *gridWriter) Suspend(ctx context.Context) ([]byte, error) {
	if w.err != nil {
		_ = w.settle(0) // nothing goes on behind a writer that has ended
		return nil, w.err
	}
	tail := bytes.Clone(w.filled.last())
	w.filled.cut()
	if err := w.flush(ctx); err != nil {
		return nil, w.fail("suspend", err)
	}
	if err := w.settle(0); err != nil {
		return nil, w.fail("suspend", err)
	}
	_, _ = w.sum.Write(tail[w.hashed:]) // has no error
	return w.suspend(tail)
}

func (w *gridWriter) Commit(ctx context.Context) (Info, error) {
	if w.err != nil {
		return Info{}, w.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime(w.info.Length))
	defer cancel()
	if err := w.commit(ctx); err != nil {
		return Info{}, w.fail("commit", err)
	}
	w.err = errClosed
	return w.info, nil
}

func (w *gridWriter) commit(ctx context.Context) error {
	if len(w.filled.last()) > 0 {
		w.seal()
	}
	w.filled.cut()
	if err := w.flush(ctx); err != nil {
		return err
	}
	if err := w.settle(0); err != nil {
		return err
	}
	for _, i := range w.held {
		if err := w.bucket.insert(ctx, i); err != nil {
			return err
		}
	}
	w.filled, w.held, w.spare = nil, nil, nil
	if err := w.check(ctx); err != nil {
		return err
	}
	info := w.final()
	kind, meta, err := bson.MarshalValue(metadata{Owner: info.Owner, SHA256: info.SHA256})
	if err != nil {
		return err
	}
	_, err = w.bucket.files.InsertOne(ctx, fileDoc{
		ID: w.id, Length: info.Length, ChunkSize: chunkSize, UploadDate: info.Uploaded, Filename: info.Name,
		Metadata: bson.RawValue{Type: kind, Value: meta},
	})
	return err
}

// commitTime bounds a Commit: half a minute, and a second for each 4 MiB of the file. A server that is busy with others
// may be as slow as that when all of it is read, as check may.
func commitTime(length int64) time.Duration {
	const rate = 4 << 20 // bytes a second
	return 30*time.Second + time.Duration(length/rate)*time.Second
}

// check sees that nobody took this writer for dead. [GridFS.Sweep] removes the chunks of one that was silent for too
// long, beginning with the first; and a writer that resumes removes those behind the state, which is where this one
// began. To count all chunks would take longer the longer the file is.
//
// With reserved bytes it reads the file, since it cannot be hashed before those. The alternatives are no hash, or the
// MP3 in memory; and an MP3 is small beside the video that was read for it.
func (w *gridWriter) check(ctx context.Context) error {
	if w.to != 0 {
		w.sum.Reset()
		_, err := io.Copy(&w.sum, w.bucket.file(ctx, fileDoc{ID: w.id, Length: w.info.Length, ChunkSize: chunkSize}))
		return err
	}
	if w.next == 0 {
		return nil
	}
	marks := []int64{0, w.start, w.next - 1}
	slices.Sort(marks)
	marks = slices.Compact(marks)
	var there []struct {
		ID bson.ObjectID `bson:"_id"`
		N  int64         `bson:"n"`
	}
	cur, err := w.bucket.chunks.Find(ctx, bson.M{"files_id": w.id, "n": bson.M{"$in": marks}},
		options.Find().SetProjection(bson.M{"_id": 1, "n": 1}))
	if err == nil {
		err = cur.All(ctx, &there)
	}
	if err != nil {
		return err
	}
	if len(there) != len(marks) {
		return fmt.Errorf("%d of the chunks %v are there", len(there), marks)
	}
	for _, c := range there {
		if c.N == w.start && !w.mine.IsZero() && c.ID != w.mine {
			return fmt.Errorf("another writer has written chunk %d", c.N)
		}
	}
	return nil
}

func (w *gridWriter) Abort(ctx context.Context) error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	w.err = errClosed
	_ = w.settle(0) // or what is being inserted would stay
	w.filled, w.held, w.spare = nil, nil, nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	// The file's document as well: a Commit that failed may have stored it before its answer was lost.
	return w.bucket.delete(ctx, w.id)
}

// Open is of [Store].
func (s *GridFS) Open(ctx context.Context, id string) (File, error) {
	oid, err := bson.ObjectIDFromHex(id)
	if err != nil {
		return nil, fmt.Errorf("file %q: %w", id, ErrNotFound)
	}
	var d fileDoc
	err = s.files.FindOne(ctx, bson.M{"_id": oid}).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, fmt.Errorf("file %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open file %s: %w", id, err)
	}
	if d.Length < 0 || d.Length > 0 && d.ChunkSize <= 0 {
		return nil, fmt.Errorf("open file %s: its length is %d and its chunks' %d", id, d.Length, d.ChunkSize)
	}
	return s.file(ctx, d), nil
}

// Delete is of [Store].
func (s *GridFS) Delete(ctx context.Context, id string) error {
	oid, err := bson.ObjectIDFromHex(id)
	if err != nil {
		return nil //nolint:nilerr // such a file is not there
	}
	return s.delete(ctx, oid)
}

// delete removes a file. One that was not committed stays marked: the server may still do what a writer sent that got
// no answer, or does not know yet that its file is gone. Sweep sees to that.
func (s *GridFS) delete(ctx context.Context, id bson.ObjectID) error {
	files, _, err := s.unmake(ctx, id)
	if err == nil && files > 0 {
		err = s.unmark(ctx, id)
	}
	return err
}

// unmake makes the file invisible first, so that nobody meets one without its chunks. It tells how many documents of
// either kind there were.
func (s *GridFS) unmake(ctx context.Context, id bson.ObjectID) (files, chunks int64, err error) {
	res, err := s.files.DeleteOne(ctx, bson.M{"_id": id})
	if err != nil {
		return 0, 0, fmt.Errorf("delete file %s: %w", id.Hex(), err)
	}
	files = res.DeletedCount
	if res, err = s.chunks.DeleteMany(ctx, bson.M{"files_id": id}); err != nil {
		return 0, 0, fmt.Errorf("delete chunks of file %s: %w", id.Hex(), err)
	}
	return files, res.DeletedCount, nil
}

// mark keeps the id of a file that is begun in fs.drafts, until Sweep has seen that it is complete and somebody's: so
// it has to look at those only.
func (s *GridFS) mark(ctx context.Context, id bson.ObjectID) error {
	_, err := s.drafts.UpdateByID(ctx, id, bson.M{"$set": bson.M{"at": time.Now()}}, options.UpdateOne().SetUpsert(true))
	return err
}

func (s *GridFS) unmark(ctx context.Context, id bson.ObjectID) error {
	if _, err := s.drafts.DeleteOne(ctx, bson.M{"_id": id}); err != nil {
		return fmt.Errorf("unmark file %s: %w", id.Hex(), err)
	}
	return nil
}

// Sweep is of [Store].
func (s *GridFS) Sweep(ctx context.Context, before time.Time, known Known) (int, error) {
	sw := sweeper{known: known, keep: s.settle, remove: s.purge}
	var drafts []struct {
		ID bson.ObjectID `bson:"_id"`
	}
	cur, err := s.drafts.Find(ctx, bson.M{"at": bson.M{"$lt": before}}, options.Find().SetProjection(bson.M{"_id": 1}))
	if err == nil {
		err = cur.All(ctx, &drafts)
	}
	if err != nil {
		return 0, fmt.Errorf("sweep files: %w", err)
	}
	for some := range slices.Chunk(drafts, sweepBatch) {
		ids := make([]bson.ObjectID, len(some))
		for i, d := range some {
			ids[i] = d.ID
		}
		if err := s.sweepSome(ctx, &sw, ids, before); err != nil {
			return sw.removed, err
		}
	}
	err = sw.flush(ctx)
	return sw.removed, err
}

// sweepSome leaves files to the sweeper that were committed before the time, or never and not written to since.
func (s *GridFS) sweepSome(ctx context.Context, sw *sweeper, ids []bson.ObjectID, before time.Time) error {
	var files []fileDoc
	cur, err := s.files.Find(ctx, bson.M{"_id": bson.M{"$in": ids}})
	if err == nil {
		err = cur.All(ctx, &files)
	}
	if err != nil {
		return fmt.Errorf("sweep files: %w", err)
	}
	for _, id := range ids {
		i := slices.IndexFunc(files, func(d fileDoc) bool { return d.ID == id })
		file := Info{ID: id.Hex()}
		if i >= 0 {
			file = files[i].info()
		} else if old, err := s.abandoned(ctx, id, before); err != nil {
			return err
		} else if !old {
			continue
		}
		switch {
		case i >= 0 && file.Owner == "":
			err = s.settle(ctx, file)
		case file.Uploaded.Before(before):
			err = sw.add(ctx, file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// purge is called for a file that nobody knows, and tells whether anything of it was there.
func (s *GridFS) purge(ctx context.Context, file string) (there bool, err error) {
	id, err := bson.ObjectIDFromHex(file)
	if err != nil {
		return false, err
	}
	files, chunks, err := s.unmake(ctx, id)
	if err == nil {
		err = s.unmark(ctx, id)
	}
	return files+chunks > 0, err
}

// settle is called for a file that somebody knows. One that is complete needs no look any more.
func (s *GridFS) settle(ctx context.Context, file Info) error {
	id, err := bson.ObjectIDFromHex(file.ID)
	if err == nil && file.Uploaded.IsZero() {
		err = s.mark(ctx, id)
	} else if err == nil {
		err = s.unmark(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("sweep file %s: %w", file.ID, err)
	}
	return nil
}

// abandoned reports whether the last chunk of a file was written before the time. The id only tells when the file was
// begun, and a long upload may still go on.
func (s *GridFS) abandoned(ctx context.Context, file bson.ObjectID, before time.Time) (bool, error) {
	var last struct {
		ID any `bson:"_id"`
	}
	err := s.chunks.FindOne(ctx, bson.M{"files_id": file},
		options.FindOne().SetSort(bson.M{"n": -1}).SetProjection(bson.M{"_id": 1})).Decode(&last)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("sweep chunks of %s: %w", file.Hex(), err)
	}
	id, ours := last.ID.(bson.ObjectID)
	return !ours || id.Timestamp().Before(before), nil
}

// Free is of [Store]: of the disk on which the server has the database, where it says so (MongoDB from 3.6 on).
func (s *GridFS) Free(ctx context.Context) (int64, error) {
	var stats struct {
		Total float64 `bson:"fsTotalSize"`
		Used  float64 `bson:"fsUsedSize"`
	}
	if err := s.files.Database().RunCommand(ctx, bson.D{{Key: "dbStats", Value: 1}}).Decode(&stats); err != nil {
		return 0, fmt.Errorf("free space of the server: %w", err)
	}
	if stats.Total == 0 {
		return Unlimited, nil
	}
	return int64(stats.Total - stats.Used), nil
}

// Ping is of [Store].
func (s *GridFS) Ping(ctx context.Context) error {
	return s.files.Database().Client().Ping(ctx, readpref.Primary())
}
