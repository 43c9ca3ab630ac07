package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ media.Store = (*media.GridFS)(nil)
	_ media.Store = (*media.Folder)(nil)
)

const chunk = 255 << 10 // of GridFS

func TestFolder(t *testing.T) {
	t.Parallel()
	testStore(t, func(t *testing.T) media.Store {
		// A path is no pattern: whatever a person calls a folder, files are kept and found below it.
		s, err := media.NewFolder(filepath.Join(t.TempDir(), `[a-z] *?%41 #\`))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestGridFS(t *testing.T) {
	t.Parallel()
	testStore(t, func(t *testing.T) media.Store { return media.NewGridFS(database(t), nil) })
}

// TestGridFSByWire is with the wire of the real programs.
func TestGridFSByWire(t *testing.T) {
	t.Parallel()
	testStore(t, func(t *testing.T) media.Store {
		name := database(t).Name()
		stores, err := mongodb.Open(mongodb.Config{URI: os.Getenv("TEST_MONGODB_URI"), Videos: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := stores.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return stores.Videos
	})
}

// database gives an empty database of the server that the environment names.
func database(t *testing.T) *mongo.Database {
	t.Helper()
	uri := os.Getenv("TEST_MONGODB_URI")
	if uri == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("TEST_MONGODB_URI is not set")
		}
		t.Skip(`start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	client, err := mongodb.Connect(mongodb.Config{URI: uri})
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database("media_test_" + bson.NewObjectID().Hex())
	t.Cleanup(func() {
		if err := errors.Join(db.Drop(context.Background()), client.Disconnect(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return db
}

// testStore holds a store to what media.Store promises.
func testStore(t *testing.T, open func(t *testing.T) media.Store) {
	tests := []struct {
		name string
		test func(t *testing.T, s media.Store)
	}{
		{"lengths", testLengths},
		{"read from", testReadFrom},
		{"visible from commit on", testVisible},
		{"an id that is taken", testTaken},
		{"an id that is none", testNoID},
		{"reserve and patch", testReserve},
		{"reserve wrongly", testReserveWrongly},
		{"abort", testAbort},
		{"suspend and resume", testResume},
		{"resume what went on without a suspend", testResumeEarlier},
		{"resume wrongly", testResumeWrongly},
		{"resume beside another", testResumeTwice},
		{"a cancelled context", testContext},
		{"delete", testDelete},
		{"seek", testSeek},
		{"read at", testReadAt},
		{"free", func(t *testing.T, s media.Store) {
			if n, err := s.Free(t.Context()); n <= 0 || err != nil {
				t.Errorf("Free = %d, %v, want some", n, err)
			}
		}},
		{"sweep what was never committed", testSweepUncommitted},
		{"sweep what nobody knows", testSweepUnknown},
		{"writers side by side", testWriters},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, open(t))
		})
	}
}

// noise gives n bytes that are the same each time and repeat nowhere.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func begin(t *testing.T, s media.Store, owner string) (string, media.Writer) {
	t.Helper()
	id := media.NewID()
	w, err := s.Create(t.Context(), media.Info{ID: id, Name: "Käse.mp4", Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	return id, w
}

func write(t *testing.T, w io.Writer, content []byte) {
	t.Helper()
	// Not in one piece, as nobody writes a video.
	if _, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(content)}); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, w media.Writer) media.Info {
	t.Helper()
	info, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func put(t *testing.T, s media.Store, owner string, content []byte) media.Info {
	t.Helper()
	_, w := begin(t, s, owner)
	write(t, w, content)
	return commit(t, w)
}

func open(t *testing.T, s media.Store, id string) media.File {
	t.Helper()
	f, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("Open(%s) = %v", id, err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func wantContent(t *testing.T, s media.Store, id string, want []byte) {
	t.Helper()
	f := open(t, s, id)
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("file %s has %d bytes (%v), not the %d that were written", id, len(got), err, len(want))
	}
	if f.Info().Length != int64(len(want)) {
		t.Errorf("Info().Length = %d, want %d", f.Info().Length, len(want))
	}
	sum := sha256.Sum256(want)
	if got := f.Info().SHA256; got != hex.EncodeToString(sum[:]) {
		t.Errorf("Info().SHA256 = %s, want %x", got, sum)
	}
}

func wantGone(t *testing.T, s media.Store, id string) {
	t.Helper()
	if _, err := s.Open(t.Context(), id); !errors.Is(err, media.ErrNotFound) {
		t.Errorf("Open(%s) = %v, want %v", id, err, media.ErrNotFound)
	}
}

func testLengths(t *testing.T, s media.Store) {
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 16 * chunk, 18*chunk + 7} {
		content := noise(n)
		info := put(t, s, "ann", content)
		wantContent(t, s, info.ID, content)
		f := open(t, s, info.ID)
		if diff := cmp.Diff(info, f.Info()); diff != "" {
			t.Errorf("%d bytes: Info is not what Commit gave (-committed +opened):\n%s", n, diff)
		}
		if info.Name != "Käse.mp4" || info.Owner != "ann" || info.Uploaded.IsZero() {
			t.Errorf("Commit = %+v, want the name, the owner and the time", info)
		}
		if n != chunk+1 {
			continue
		}
		if err := iotest.TestReader(f, content); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// A file goes on after a reader that broke off, with all that it gave.
func testReadFrom(t *testing.T, s media.Store) {
	content := noise(40*chunk + 3)
	broken := io.ErrUnexpectedEOF // as a request's body says that the line broke
	id, w := begin(t, s, "ann")
	write(t, w, content[:7])
	rest := bytes.NewReader(content[7:])
	for _, part := range []int64{0, 1, 300 << 10, 19 * chunk} {
		src := io.MultiReader(iotest.HalfReader(io.LimitReader(rest, part)), iotest.ErrReader(broken))
		if n, err := w.ReadFrom(src); n != part || !errors.Is(err, broken) {
			t.Fatalf("ReadFrom = %d, %v, want %d, %v", n, err, part, broken)
		}
	}
	want := int64(rest.Len())
	if n, err := w.ReadFrom(rest); n != want || err != nil {
		t.Fatalf("ReadFrom = %d, %v, want %d", n, err, want)
	}
	commit(t, w)
	wantContent(t, s, id, content)
}

func testVisible(t *testing.T, s media.Store) {
	id, w := begin(t, s, "ann")
	content := noise(17 * chunk) // more than one batch
	write(t, w, content)
	wantGone(t, s, id)
	commit(t, w)
	wantContent(t, s, id, content)
	if err := w.Abort(t.Context()); err != nil {
		t.Errorf("Abort after Commit = %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write after Commit succeeded")
	}
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("second Commit succeeded")
	}
	wantContent(t, s, id, content)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
}

func testTaken(t *testing.T, s media.Store) {
	for _, content := range [][]byte{nil, noise(10)} {
		info := put(t, s, "ann", content)
		if _, err := s.Create(t.Context(), info); err == nil {
			t.Errorf("Create with the id of a file of %d bytes succeeded", len(content))
		}
		wantContent(t, s, info.ID, content)
	}
}

func testNoID(t *testing.T, s media.Store) {
	for _, id := range []string{"", "x", "../../etc/passwd", "0123456789abcdef0123456z", media.NewID() + "0",
		media.NewID()} {
		wantGone(t, s, id)
		if err := s.Delete(t.Context(), id); err != nil {
			t.Errorf("Delete(%q) = %v", id, err)
		}
		if media.ValidID(id) {
			continue
		}
		if _, err := s.Create(t.Context(), media.Info{ID: id}); err == nil {
			t.Errorf("Create(%q) succeeded", id)
		}
	}
}

func testReserve(t *testing.T, s media.Store) {
	tests := []struct {
		name          string
		before, after int
		n             int
	}{
		{"alone", 0, 0, 417},
		{"at the start", 0, 17 * chunk, 417},
		{"behind a tag", 1000, 3 * chunk, media.MaxReserve},
		{"across a chunk's border", chunk - 100, 2 * chunk, 417},
		{"up to a chunk's border", chunk - 417, 100, 417},
		{"from a chunk's border on", chunk, chunk, 417},
		{"far behind", 17*chunk - 1, chunk, 2},
		{"at the end", chunk - 10, 0, 20},
	}
	for _, tt := range tests {
		content := noise(tt.before + tt.n + tt.after)
		id, w := begin(t, s, "ann")
		write(t, w, content[:tt.before])
		if err := w.Reserve(tt.n); err != nil {
			t.Fatalf("%s: Reserve(%d) = %v", tt.name, tt.n, err)
		}
		write(t, w, content[tt.before+tt.n:])
		if err := w.Patch(content[tt.before : tt.before+tt.n]); err != nil {
			t.Fatalf("%s: Patch = %v", tt.name, err)
		}
		if info := commit(t, w); info.Length != int64(len(content)) {
			t.Errorf("%s: Commit = %+v, want %d bytes", tt.name, info, len(content))
		}
		wantContent(t, s, id, content)
	}
	id, w := begin(t, s, "ann")
	if err := w.Reserve(10); err != nil {
		t.Fatal(err)
	}
	commit(t, w)
	wantContent(t, s, id, make([]byte, 10))
}

func testReserveWrongly(t *testing.T, s media.Store) {
	id, w := begin(t, s, "ann")
	if err := w.Patch([]byte("x")); err == nil {
		t.Error("Patch without Reserve succeeded")
	}
	for _, n := range []int{-1, 0, media.MaxReserve + 1} {
		if err := w.Reserve(n); err == nil {
			t.Errorf("Reserve(%d) succeeded", n)
		}
	}
	if err := w.Reserve(4); err != nil {
		t.Fatal(err)
	}
	if err := w.Reserve(4); err == nil {
		t.Error("second Reserve succeeded")
	}
	for _, p := range []string{"", "123", "12345"} {
		if err := w.Patch([]byte(p)); err == nil {
			t.Errorf("Patch(%q) of 4 bytes succeeded", p)
		}
	}
	if err := w.Patch([]byte("1234")); err != nil {
		t.Fatal(err)
	}
	commit(t, w)
	if err := w.Patch([]byte("5678")); err == nil {
		t.Error("Patch after Commit succeeded")
	}
	wantContent(t, s, id, []byte("1234"))
}

func testAbort(t *testing.T, s media.Store) {
	id, w := begin(t, s, "ann")
	write(t, w, noise(17*chunk))
	for range 2 {
		if err := w.Abort(t.Context()); err != nil {
			t.Errorf("Abort = %v", err)
		}
	}
	wantGone(t, s, id)
	wantNothingLeft(t, s)
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("Commit after Abort succeeded")
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write after Abort succeeded")
	}
	wantGone(t, s, id)
}

// knowsCommitted keeps the files that were committed: only of them there is a name.
func knowsCommitted(_ context.Context, files []media.Info) (map[string]bool, error) {
	known := map[string]bool{}
	for _, f := range files {
		known[f.ID] = f.Name != ""
	}
	return known, nil
}

func knowsNone(context.Context, []media.Info) (map[string]bool, error) { return nil, nil }

// inAnHour is after whatever happened until now.
func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// wantNothingLeft sees that there is nothing to sweep.
func wantNothingLeft(t *testing.T, s media.Store) {
	t.Helper()
	if n, err := s.Sweep(t.Context(), inAnHour(), knowsNone); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v, want that nothing is left", n, err)
	}
}

func resume(t *testing.T, s media.Store, id string, state []byte) media.Writer {
	t.Helper()
	w, err := s.Resume(t.Context(), media.Info{ID: id, Name: "Käse.mp4", Owner: "ann"}, state)
	if err != nil {
		t.Fatalf("Resume(%s) = %v", id, err)
	}
	return w
}

func suspend(t *testing.T, w media.Writer) []byte {
	t.Helper()
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func testResume(t *testing.T, s media.Store) {
	content := noise(20*chunk + 17)
	id, state := media.NewID(), []byte(nil)
	at := 0
	for _, n := range []int{0, 1, chunk - 1, 0, 10, 3 * chunk, chunk - 10, 9*chunk + 5, len(content)} {
		w := resume(t, s, id, state)
		end := min(at+n, len(content))
		write(t, w, content[at:end])
		at = end
		state = suspend(t, w)
		wantGone(t, s, id)
		if _, err := w.Write([]byte("more")); err == nil {
			t.Error("Write after Suspend succeeded")
		}
	}
	info := commit(t, resume(t, s, id, state))
	if info.Name != "Käse.mp4" || info.Owner != "ann" {
		t.Errorf("Commit = %+v, want the name and the owner", info)
	}
	wantContent(t, s, id, content)
	if _, err := s.Resume(t.Context(), media.Info{ID: id}, state); err == nil {
		t.Error("Resume of a committed file succeeded")
	}
	wantContent(t, s, id, content)
}

// testResumeEarlier goes on from a state that is not the last, as when a process dies before it has kept that.
func testResumeEarlier(t *testing.T, s media.Store) {
	content := noise(12*chunk + 17)
	id := media.NewID()
	lost := resume(t, s, id, nil)
	write(t, lost, bytes.Repeat([]byte("lost"), 10*chunk/4))
	suspend(t, lost)

	w := resume(t, s, id, nil)
	write(t, w, content[:chunk+5])
	state := suspend(t, w)
	lost = resume(t, s, id, state)
	write(t, lost, bytes.Repeat([]byte("lost"), 20*chunk/4))
	suspend(t, lost)

	w = resume(t, s, id, state)
	write(t, w, content[chunk+5:])
	commit(t, w)
	wantContent(t, s, id, content)
}

func testResumeWrongly(t *testing.T, s media.Store) {
	id := media.NewID()
	if _, err := s.Resume(t.Context(), media.Info{ID: id}, []byte("no state")); err == nil {
		t.Error("Resume from what is no state succeeded")
	}
	w := resume(t, s, id, nil)
	write(t, w, noise(2*chunk))
	state := suspend(t, w)
	if err := s.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Resume(t.Context(), media.Info{ID: id}, state); err == nil {
		if _, err := w.Commit(t.Context()); err == nil {
			t.Error("Commit of a file whose bytes are gone succeeded")
		}
		if err := w.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	}
	_, w = begin(t, s, "ann")
	if err := w.Reserve(10); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Suspend(t.Context()); err == nil {
		t.Error("Suspend of a file with reserved bytes succeeded")
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, s)
}

// testResumeTwice has two writers go on from one state, as when a process comes back whose lease was given to another.
func testResumeTwice(t *testing.T, s media.Store) {
	content := noise(12*chunk + 17)
	id := media.NewID()
	w := resume(t, s, id, nil)
	write(t, w, content[:chunk+5])
	state := suspend(t, w)

	late := resume(t, s, id, state)
	w = resume(t, s, id, state)
	write(t, w, content[chunk+5:])
	_, lateErr := late.Write(bytes.Repeat([]byte("late"), 10*chunk/4))
	if lateErr == nil {
		_, lateErr = late.Suspend(t.Context())
	}
	info, err := w.Commit(t.Context())
	switch {
	case err == nil && lateErr == nil:
		t.Errorf("both writers wrote the same bytes: %+v", info)
	case err == nil:
		wantContent(t, s, id, content)
	default: // the late one was first in a chunk, and the client sends again what it sent last
		w = resume(t, s, id, state)
		write(t, w, content[chunk+5:])
		commit(t, w)
		wantContent(t, s, id, content)
	}
}

func testContext(t *testing.T, s media.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	id := media.NewID()
	w, err := s.Create(ctx, media.Info{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, noise(17*chunk))
	cancel()
	if _, err := w.Write(noise(17 * chunk)); !errors.Is(err, context.Canceled) {
		t.Errorf("Write with a cancelled context = %v, want %v", err, context.Canceled)
	}
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("Commit after a write that failed succeeded")
	}
	if err := w.Abort(ctx); err != nil {
		t.Errorf("Abort with a cancelled context = %v", err)
	}
	wantGone(t, s, id)
	wantNothingLeft(t, s)

	// The end of the writing's context does not undo what was written before.
	ctx, cancel = context.WithCancel(t.Context())
	w, err = s.Create(ctx, media.Info{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, []byte("hello"))
	cancel()
	commit(t, w)
	wantContent(t, s, id, []byte("hello"))

	// Nor does the end of Commit's context end Commit: only the store knows how long a file takes.
	content := noise(17 * chunk)
	id, w = begin(t, s, "ann")
	if err := w.Reserve(4); err != nil {
		t.Fatal(err)
	}
	write(t, w, content[4:])
	if err := w.Patch(content[:4]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(ctx); err != nil {
		t.Errorf("Commit with a cancelled context = %v", err)
	}
	wantContent(t, s, id, content)
}

func testDelete(t *testing.T, s media.Store) {
	gone, kept := put(t, s, "ann", noise(17*chunk)), put(t, s, "ann", noise(10))
	for range 2 {
		if err := s.Delete(t.Context(), gone.ID); err != nil {
			t.Errorf("Delete = %v", err)
		}
	}
	wantGone(t, s, gone.ID)
	wantContent(t, s, kept.ID, noise(10))
	if err := s.Delete(t.Context(), kept.ID); err != nil {
		t.Errorf("Delete = %v", err)
	}
	wantNothingLeft(t, s)
}

func testSeek(t *testing.T, s media.Store) {
	content := noise(20*chunk + 5)
	f := open(t, s, put(t, s, "ann", content).ID)
	size := int64(len(content))
	tests := []struct {
		offset int64
		whence int
		want   int64
	}{
		{0, io.SeekStart, 0},
		{chunk - 1, io.SeekStart, chunk - 1},
		{-100, io.SeekCurrent, chunk - 1 + 300 - 100},
		{-2, io.SeekEnd, size - 2},
		{19 * chunk, io.SeekStart, 19 * chunk},
		{3 * chunk, io.SeekStart, 3 * chunk},
		{0, io.SeekEnd, size},
		{10, io.SeekEnd, size + 10},
	}
	for _, tt := range tests {
		got, err := f.Seek(tt.offset, tt.whence)
		if err != nil || got != tt.want {
			t.Fatalf("Seek(%d, %d) = %d, %v, want %d", tt.offset, tt.whence, got, err, tt.want)
		}
		p := make([]byte, 300)
		n, err := io.ReadFull(f, p)
		want := content[min(got, size):min(got+300, size)]
		if !bytes.Equal(p[:n], want) {
			t.Errorf("after Seek(%d, %d) Read = %d other bytes, %v, want %d", tt.offset, tt.whence, n, err, len(want))
		}
	}
	for _, bad := range []struct {
		offset int64
		whence int
	}{{-1, io.SeekStart}, {-size - 1, io.SeekEnd}, {0, 7}} {
		if _, err := f.Seek(bad.offset, bad.whence); err == nil {
			t.Errorf("Seek(%d, %d) succeeded", bad.offset, bad.whence)
		}
	}
}

func testReadAt(t *testing.T, s media.Store) {
	content := noise(35*chunk + 5)
	f := open(t, s, put(t, s, "ann", content).ID)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 0))
			for range 12 {
				off := random.IntN(len(content))
				p := make([]byte, random.IntN(2*chunk))
				n, err := f.ReadAt(p, int64(off))
				want := content[off:min(off+len(p), len(content))]
				if !bytes.Equal(p[:n], want) {
					t.Errorf("ReadAt(%d bytes, %d) = %d other bytes, %v", len(p), off, n, err)
				}
				if short := len(want) < len(p); short != (err != nil) || short && !errors.Is(err, io.EOF) {
					t.Errorf("ReadAt(%d bytes, %d) of %d = %v, want io.EOF when there are fewer", len(p), off, len(content), err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("ReadAt(-1) succeeded")
	}
}

func testSweepUncommitted(t *testing.T, s media.Store) {
	kept := put(t, s, "", noise(chunk))
	id, w := begin(t, s, "ann")
	write(t, w, noise(25*chunk))
	// Nobody aborts it: that is a process that died.
	if n, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour), knowsNone); n != 0 || err != nil {
		t.Errorf("Sweep of what is an hour old = %d, %v, want 0", n, err)
	}
	knows := func(_ context.Context, files []media.Info) (map[string]bool, error) {
		if len(files) != 1 || files[0] != (media.Info{ID: id}) {
			t.Errorf("Sweep asks for %+v, want the id %s alone", files, id)
		}
		return map[string]bool{id: true}, nil
	}
	if n, err := s.Sweep(t.Context(), inAnHour(), knows); n != 0 || err != nil {
		t.Errorf("Sweep of what goes on = %d, %v, want 0", n, err)
	}
	if n, err := s.Sweep(t.Context(), inAnHour(), knowsNone); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want 1", n, err)
	}
	wantNothingLeft(t, s)
	wantContent(t, s, kept.ID, noise(chunk))
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("Commit of a file that was swept succeeded")
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}

func testSweepUnknown(t *testing.T, s media.Store) {
	known, unknown, foreign := put(t, s, "ann", noise(10)), put(t, s, "bob", noise(chunk+1)), put(t, s, "", noise(10))
	knows := func(_ context.Context, files []media.Info) (map[string]bool, error) {
		for _, info := range files {
			if info.Owner == "" {
				t.Errorf("Sweep asks for a file without owner: %+v", info)
			}
			if want := map[string]media.Info{known.ID: known, unknown.ID: unknown}[info.ID]; !cmp.Equal(info, want) {
				t.Errorf("Sweep asks for %+v, want %+v", info, want)
			}
		}
		return map[string]bool{known.ID: true}, nil
	}
	if n, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour), knows); n != 0 || err != nil {
		t.Errorf("Sweep of what is an hour old = %d, %v, want 0", n, err)
	}
	fails := errors.New("the database is away")
	away := func(context.Context, []media.Info) (map[string]bool, error) { return nil, fails }
	if n, err := s.Sweep(t.Context(), inAnHour(), away); n != 0 || !errors.Is(err, fails) {
		t.Errorf("Sweep when nobody can say what is known = %d, %v, want 0, %v", n, err, fails)
	}
	if n, err := s.Sweep(t.Context(), inAnHour(), knows); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want 1", n, err)
	}
	wantGone(t, s, unknown.ID)
	wantContent(t, s, known.ID, noise(10))
	wantContent(t, s, foreign.ID, noise(10))
	never := func(_ context.Context, files []media.Info) (map[string]bool, error) {
		return nil, fmt.Errorf("asked for %+v again", files)
	}
	if n, err := s.Sweep(t.Context(), inAnHour(), never); n != 0 || err != nil {
		t.Errorf("Sweep of what it has seen = %d, %v, want that it does not look at it", n, err)
	}
}

func testWriters(t *testing.T, s media.Store) {
	var wg sync.WaitGroup
	ids := make([]string, 3)
	contents := make([][]byte, len(ids))
	for n := range ids {
		wg.Go(func() {
			content := noise((n + 15) * chunk)
			w, err := s.Create(t.Context(), media.Info{ID: media.NewID(), Owner: "ann"})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := w.Write(content); err != nil {
				t.Error(err)
			}
			info, err := w.Commit(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			ids[n], contents[n] = info.ID, content
		})
	}
	wg.Wait()
	for n, id := range ids {
		wantContent(t, s, id, contents[n])
	}
}
