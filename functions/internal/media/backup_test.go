package media_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// TestBackup: a copy has each file that is there when it pins, whatever is deleted afterwards, and nothing that is done
// to the copy is done to the folder.
func TestBackup(t *testing.T) {
	t.Parallel()
	for name, parent := range map[string]string{"linked": os.TempDir(), "copied": "/dev/shm"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp(parent, "soundstrip-backup-") //nolint:usetesting // on a file system that is given
			if err != nil {
				t.Skip("no second file system: ", err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			testBackup(t, filepath.Join(dir, "copy"))
		})
	}
}

func testBackup(t *testing.T, to string) {
	t.Helper()
	ctx := t.Context()
	s, err := media.NewFolder(filepath.Join(t.TempDir(), "videos"))
	if err != nil {
		t.Fatal(err)
	}
	content := noise(100_000)
	early, deleted := put(t, s, "ann", content), put(t, s, "ann", content)
	b, err := s.Backup(to)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := b.Take(ctx); n != 2 || err != nil {
		t.Fatalf("Take() = %d, %v, want 2", n, err)
	}
	late := put(t, s, "ann", content)
	upload, w := begin(t, s, "ann")
	write(t, w, content)
	state := suspend(t, w)
	_, lost := begin(t, s, "ann")
	write(t, lost, content)
	if err := b.Pin(ctx, func(_ context.Context, files []media.Info) (map[string]bool, error) {
		known := map[string]bool{}
		for _, f := range files {
			known[f.ID] = f.ID == upload
		}
		return known, nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{deleted.ID, late.ID} {
		if err := s.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	w = resume(t, s, upload, state)
	write(t, w, content) // of which the copy knows nothing
	if err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	if b.Linked+b.Copied != 3 || b.Unfinished != 1 {
		t.Errorf("%d linked, %d copied, %d unfinished, want 3 and 1", b.Linked, b.Copied, b.Unfinished)
	}

	c, err := media.NewFolder(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{early.ID, deleted.ID, late.ID} {
		wantContent(t, c, id, content)
	}
	if err := c.Delete(ctx, early.ID); err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, early.ID, content)
	copied := resume(t, c, upload, state)
	commit(t, copied)
	commit(t, w)
	wantContent(t, c, upload, content)
	wantContent(t, s, upload, append(content[:len(content):len(content)], content...))
	if n, err := c.Sweep(ctx, inAnHour(), knowsNone); n != 3 || err != nil {
		t.Errorf("Sweep() of the copy = %d, %v, want that it looks at all 3", n, err)
	}
	if err := lost.Abort(ctx); err != nil {
		t.Error(err)
	}
}
