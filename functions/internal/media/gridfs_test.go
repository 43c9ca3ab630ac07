package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

// What the driver's own bucket uploads is a file here, whatever its chunk size.
func TestGridFSReadsOthers(t *testing.T) {
	t.Parallel()
	db := database(t)
	s := media.NewGridFS(db, nil)
	content := noise(2<<20 + 3)
	for _, size := range []int32{16 << 10, 255 << 10, 1 << 20, 5 << 20} {
		id, err := db.GridFSBucket().UploadFromStream(t.Context(), "flask.mp4", bytes.NewReader(content),
			options.GridFSUpload().SetChunkSizeBytes(size).SetMetadata(bson.M{"owner": 7, "other": "x"}))
		if err != nil {
			t.Fatal(err)
		}
		f := open(t, s, id.Hex())
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("a file in chunks of %d has %d bytes here, %v, want the %d that were uploaded", size, len(got), err,
				len(content))
		}
		info := f.Info()
		if info.Uploaded.IsZero() {
			t.Error("the file has no time")
		}
		info.Uploaded = time.Time{}
		if diff := cmp.Diff(media.Info{ID: id.Hex(), Name: "flask.mp4", Length: int64(len(content))}, info); diff != "" {
			t.Errorf("Info (-want +got):\n%s", diff)
		}
		if n, err := s.Sweep(t.Context(), inAnHour(), knowsNone); n != 0 || err != nil {
			t.Errorf("Sweep = %d, %v, want that a file of another writer stays", n, err)
		}
		if err := s.Delete(t.Context(), id.Hex()); err != nil {
			t.Error(err)
		}
	}
}

func TestGridFSReadsSparseDocuments(t *testing.T) {
	t.Parallel()
	db := database(t)
	s := media.NewGridFS(db, nil)
	tests := []struct {
		name string
		doc  bson.M
		want string
		ok   bool
	}{
		{"no name, no metadata, numbers as a shell writes them", bson.M{"length": 3.0, "chunkSize": 2.0, "filename": nil},
			"abc", true},
		{"empty", bson.M{"length": 0}, "", true},
		{"metadata that is no document", bson.M{"length": int64(3), "chunkSize": int64(2), "metadata": "x"}, "abc", true},
		{"no chunk size", bson.M{"length": 3}, "", false},
		{"negative length", bson.M{"length": -1, "chunkSize": 2}, "", false},
	}
	for _, tt := range tests {
		id := bson.NewObjectID()
		tt.doc["_id"] = id
		if _, err := db.Collection("fs.files").InsertOne(t.Context(), tt.doc); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Collection("fs.chunks").InsertMany(t.Context(), []bson.M{
			{"files_id": id, "n": 0, "data": []byte("ab")}, {"files_id": id, "n": int64(1), "data": []byte("c")},
		}); err != nil {
			t.Fatal(err)
		}
		f, err := s.Open(t.Context(), id.Hex())
		if !tt.ok {
			if err == nil {
				t.Errorf("%s: Open succeeded", tt.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: Open = %v", tt.name, err)
			continue
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != tt.want {
			t.Errorf("%s: content is %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// A file with a hole must not read as a shorter one.
func TestGridFSNoticesDamage(t *testing.T) {
	t.Parallel()
	db := database(t)
	s := media.NewGridFS(db, nil)
	chunks := db.Collection("fs.chunks")
	tests := []struct {
		name   string
		damage func(id bson.ObjectID) error
		want   string
	}{
		{"first chunk gone", func(id bson.ObjectID) error {
			_, err := chunks.DeleteOne(t.Context(), bson.M{"files_id": id, "n": 0})
			return err
		}, "chunk 0 is missing"},
		{"a chunk gone", func(id bson.ObjectID) error {
			_, err := chunks.DeleteOne(t.Context(), bson.M{"files_id": id, "n": 5})
			return err
		}, "chunk 5 is missing"},
		{"last chunk gone", func(id bson.ObjectID) error {
			_, err := chunks.DeleteOne(t.Context(), bson.M{"files_id": id, "n": 9})
			return err
		}, "chunk 9 is missing"},
		{"a chunk too short", func(id bson.ObjectID) error {
			_, err := chunks.UpdateOne(t.Context(), bson.M{"files_id": id, "n": 5}, bson.M{"$set": bson.M{"data": []byte("x")}})
			return err
		}, "chunk 5 has 1 bytes"},
		{"last chunk too long", func(id bson.ObjectID) error {
			_, err := chunks.UpdateOne(t.Context(), bson.M{"files_id": id, "n": 9}, bson.M{"$set": bson.M{"data": noise(chunk)}})
			return err
		}, "chunk 9 has 261120 bytes"},
	}
	for _, tt := range tests {
		info := put(t, s, "ann", noise(9*chunk+10))
		id, err := bson.ObjectIDFromHex(info.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := tt.damage(id); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, open(t, s, info.ID)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: a copy of the file ends after %d bytes with %v, want an error with %q", tt.name, n, err, tt.want)
		}
	}
}

// What is written here is a file to the driver, with the specification's documents and indexes.
func TestGridFSWritesForOthers(t *testing.T) {
	t.Parallel()
	db := database(t)
	content := noise(3*chunk + 1)
	id, w := begin(t, media.NewGridFS(db, nil), "ann")
	write(t, w, content[:10])
	if err := w.Reserve(100); err != nil {
		t.Fatal(err)
	}
	write(t, w, content[110:])
	if err := w.Patch(content[10:110]); err != nil {
		t.Fatal(err)
	}
	info := commit(t, w)
	oid, err := bson.ObjectIDFromHex(id)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := db.GridFSBucket().DownloadToStream(t.Context(), oid, &got); err != nil ||
		!bytes.Equal(got.Bytes(), content) {
		t.Errorf("the driver reads %d bytes, %v, want the %d that were written", got.Len(), err, len(content))
	}

	var doc bson.M
	if err := db.Collection("fs.files").FindOne(t.Context(), bson.M{"_id": oid}).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	want := bson.M{
		"_id": oid, "length": int64(len(content)), "chunkSize": int32(chunk), "filename": "Käse.mp4",
		"uploadDate": bson.NewDateTimeFromTime(info.Uploaded),
		"metadata":   bson.D{{Key: "owner", Value: "ann"}, {Key: "sha256", Value: hex.EncodeToString(sum[:])}},
	}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("the document of the file (-want +got):\n%s", diff)
	}
	if err := db.Collection("fs.chunks").FindOne(t.Context(), bson.M{"files_id": oid, "n": 3},
		options.FindOne().SetProjection(bson.M{"_id": 0})).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if n, ok := doc["n"].(int32); !ok || n != 3 {
		t.Errorf("n of the last chunk is %T %v, want the int32 3", doc["n"], doc["n"])
	}

	for name, want := range map[string]string{"fs.files": "filename_1_uploadDate_1", "fs.chunks": "files_id_1_n_1"} {
		specs, err := db.Collection(name).Indexes().ListSpecifications(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, spec := range specs {
			found = found || spec.Name == want && (name == "fs.files" || spec.Unique != nil && *spec.Unique)
		}
		if !found {
			t.Errorf("%s has no index %s of the specification: %v", name, want, specs)
		}
	}
}

// A long upload that still goes on is no orphan, however long ago it began.
func TestGridFSSweepSparesLongUploads(t *testing.T) {
	t.Parallel()
	s := media.NewGridFS(database(t), nil)
	id := bson.NewObjectIDFromTimestamp(time.Now().Add(-48 * time.Hour)).Hex()
	w, err := s.Create(t.Context(), media.Info{ID: id, Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	content := noise(17 * chunk)
	write(t, w, content)
	if n, err := s.Sweep(t.Context(), time.Now().Add(-24*time.Hour), knowsNone); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v, want 0", n, err)
	}
	commit(t, w)
	wantContent(t, s, id, content)
}

// What is still being inserted does not outlive its file.
func TestGridFSAbortWaits(t *testing.T) {
	t.Parallel()
	db := database(t)
	s := media.NewGridFS(db, nil)
	for range 10 {
		_, w := begin(t, s, "ann")
		if _, err := w.Write(noise(8 * chunk)); err != nil {
			t.Fatal(err)
		}
		if err := w.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := db.Collection("fs.chunks").CountDocuments(t.Context(), bson.M{}); n != 0 || err != nil {
		t.Errorf("%d chunks of aborted files are left, %v", n, err)
	}
}

// What a writer sent, and had no answer to, the server may do when the file is aborted: a sweep finds it.
func TestGridFSSweepsWhatComesLate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		late func(t *testing.T, db *mongo.Database, id string, docs []bson.Raw)
	}{
		{"chunks", func(t *testing.T, db *mongo.Database, _ string, docs []bson.Raw) {
			insert(t.Context(), t, db, docs)
		}},
		{"the file's document", func(t *testing.T, db *mongo.Database, id string, _ []bson.Raw) {
			oid, err := bson.ObjectIDFromHex(id)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Collection("fs.files").InsertOne(t.Context(), bson.M{"_id": oid, "length": 8 * chunk,
				"chunkSize": chunk, "uploadDate": time.Now(), "metadata": bson.M{"owner": "ann"}}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := database(t)
			ctx, leave := context.WithCancel(t.Context())
			var docs []bson.Raw
			s := media.NewGridFS(db, wire(func(_ context.Context, message []byte) error {
				_, docs = parse(t, bytes.Clone(message))
				leave()
				return errors.Join(media.ErrSent, ctx.Err())
			}))
			id := media.NewID()
			w, err := s.Create(ctx, media.Info{ID: id, Owner: "ann"})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(noise(8 * chunk)) // fails, or what follows does
			if err := w.Abort(ctx); err != nil {
				t.Fatal(err)
			}
			if len(docs) == 0 {
				t.Fatal("nothing was sent")
			}
			tt.late(t, db, id, docs)
			if n, err := s.Sweep(t.Context(), inAnHour(), knowsNone); n != 1 || err != nil {
				t.Errorf("Sweep = %d, %v, want 1", n, err)
			}
			for _, name := range []string{"fs.files", "fs.chunks", "fs.drafts"} {
				if n, err := db.Collection(name).CountDocuments(t.Context(), bson.M{}); n != 0 || err != nil {
					t.Errorf("%d documents are left in %s, %v", n, name, err)
				}
			}
		})
	}
}

// seen is a context that tells when somebody waits for its end.
type seen struct {
	context.Context

	tell func()
}

func (s seen) Done() <-chan struct{} {
	s.tell()
	return s.Context.Done()
}

// While the server is away, nobody waits for as long as all those who came before.
func TestGridFSAway(t *testing.T) {
	t.Parallel()
	client, err := mongodb.Connect(mongodb.Config{URI: "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=2000"})
	if err != nil {
		t.Fatal(err)
	}
	s := media.NewGridFS(client.Database("media"), nil)
	create := func(ctx context.Context) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := s.Create(ctx, media.Info{ID: media.NewID()})
			ended <- err
		}()
		return ended
	}
	waiting := make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	first := create(seen{ctx, sync.OnceFunc(func() { close(waiting) })})
	<-waiting
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	select {
	case err := <-create(gone):
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Create whose client has left = %v, want %v", err, context.Canceled)
		}
	case <-first:
		t.Fatal("Create whose client has left waits for another")
	}
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("Create whose client leaves = %v, want %v", err, context.Canceled)
	}
	if err := <-create(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Create without a server = %v, want another error than that of who has left", err)
	}
	if err := client.Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Many files are asked about in a few questions, and none is passed over.
func TestGridFSSweepsManyFiles(t *testing.T) {
	t.Parallel()
	db := database(t)
	docs := make([]bson.M, 1201)
	for i := range docs {
		docs[i] = bson.M{"_id": bson.NewObjectID(), "length": 0, "chunkSize": chunk, "uploadDate": time.Now(),
			"metadata": bson.M{"owner": "ann"}}
	}
	if _, err := db.Collection("fs.files").InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	drafts := make([]bson.M, len(docs))
	for i, d := range docs {
		drafts[i] = bson.M{"_id": d["_id"], "at": time.Now()}
	}
	if _, err := db.Collection("fs.drafts").InsertMany(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	asked := 0
	n, err := media.NewGridFS(db, nil).Sweep(t.Context(), inAnHour(),
		func(_ context.Context, files []media.Info) (map[string]bool, error) {
			asked++
			return map[string]bool{docs[0]["_id"].(bson.ObjectID).Hex(): true, files[len(files)-1].ID: true}, nil
		})
	if err != nil || n != len(docs)-1-asked || asked > 3 {
		t.Errorf("Sweep of %d files = %d, %v, asking %d times, want all but the first and the last of each time", len(docs),
			n, err, asked)
	}
}

// The memory of a stream does not grow with the file.
func TestGridFSMemory(t *testing.T) { //nolint:paralleltest // the heap is everybody's
	const size, limit = 32 << 20, 20 << 20
	s := media.NewGridFS(database(t), nil)
	id, w := begin(t, s, "ann")
	block := noise(1 << 20)
	for n := 0; n < size; n += len(block) {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if held := retained(); held > limit {
		t.Errorf("%d MiB are held after %d MiB were written, want at most %d", held>>20, size>>20, limit>>20)
	}
	commit(t, w)
	f := open(t, s, id)
	if n, err := io.Copy(io.Discard, f); n != size || err != nil {
		t.Fatalf("read %d bytes, %v, want %d", n, err, size)
	}
	if held := retained(); held > limit {
		t.Errorf("%d MiB are held after %d MiB were read, want at most %d", held>>20, size>>20, limit>>20)
	}
}

// retained is what the heap holds after a collection, in bytes.
func retained() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A writer that another took for dead cannot commit: of neither's chunks a file would be whole.
func TestGridFSCommitOfTheDead(t *testing.T) {
	t.Parallel()
	content := noise(30*chunk + 9)
	for _, tt := range []struct {
		name string
		by   func(t *testing.T, db *mongo.Database, s *media.GridFS, id string, state []byte)
	}{
		{"swept", func(t *testing.T, _ *mongo.Database, s *media.GridFS, id string, _ []byte) {
			if err := s.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}},
		{"half of it swept", func(t *testing.T, db *mongo.Database, _ *media.GridFS, _ string, _ []byte) {
			if _, err := db.Collection("fs.chunks").DeleteMany(t.Context(), bson.M{"n": bson.M{"$lt": 3}}); err != nil {
				t.Fatal(err)
			}
		}},
		{"resumed", func(t *testing.T, _ *mongo.Database, s *media.GridFS, id string, state []byte) {
			resume(t, s, id, state)
		}},
		{"resumed, and written", func(t *testing.T, _ *mongo.Database, s *media.GridFS, id string, state []byte) {
			w := resume(t, s, id, state)
			write(t, w, content[5*chunk+4:12*chunk])
			suspend(t, w)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := database(t)
			s := media.NewGridFS(db, nil)
			id := media.NewID()
			w := resume(t, s, id, nil)
			write(t, w, content[:5*chunk+4])
			state := suspend(t, w)

			w = resume(t, s, id, state)
			write(t, w, content[5*chunk+4:22*chunk])
			for n := int64(0); n < 5+12; { // until both insertions are there
				var err error
				if n, err = db.Collection("fs.chunks").CountDocuments(t.Context(), bson.M{}); err != nil {
					t.Fatal(err)
				}
			}
			tt.by(t, db, s, id, state)
			_, err := w.Write(content[22*chunk:])
			if err == nil {
				_, err = w.Commit(t.Context())
			}
			if err == nil {
				t.Error("Commit succeeded")
			}
			wantGone(t, s, id)
		})
	}
}
