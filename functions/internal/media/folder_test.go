package media_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// killedFolder tells a child of this test where to write until it is killed.
const killedFolder = "MEDIA_TEST_KILLED_FOLDER"

// Whatever a kill -9 interrupts: what was committed is whole, what was not is not there, and Sweep removes it.
func TestFolderKilled(t *testing.T) {
	t.Parallel()
	content := noise(3 << 20)
	if dir := os.Getenv(killedFolder); dir != "" {
		s, err := media.NewFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		for {
			fmt.Println(put(t, s, "ann", content).ID)
		}
	}
	dir := t.TempDir()
	s, err := media.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	committed := map[string]bool{}
	for round := range 4 {
		ctx, kill := context.WithCancel(t.Context()) // its end is a SIGKILL
		child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestFolderKilled$")
		child.Env = append(os.Environ(), killedFolder+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if media.ValidID(lines.Text()) {
				committed[lines.Text()] = true
			}
			if n == round {
				kill()
			}
		}
		kill()
		_ = child.Wait() // it was killed
	}
	for id := range committed {
		wantContent(t, s, id, content)
	}
	visible, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range visible {
		wantContent(t, s, strings.TrimSuffix(filepath.Base(path), ".json"), content)
	}
	if _, err := s.Sweep(t.Context(), inAnHour(), knowsCommitted); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2*len(visible) {
		t.Errorf("after Sweep %v are left, %v, want the two parts of each of %d files", left, err, len(visible))
	}
}

// The states in which a crash may leave the folder, one step of a commit or a delete after the other.
func TestFolderCrashed(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef01234567"
	tests := []struct {
		name  string
		parts []string
	}{
		{"begun", []string{".data"}},
		{"described", []string{".data", ".json.tmp"}},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		for _, ext := range tt.parts { // as until November 2026, when there was no list of what is begun
			if err := os.WriteFile(filepath.Join(dir, id+ext), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := media.NewFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		wantGone(t, s, id)
		if n, err := s.Sweep(t.Context(), inAnHour(), knowsNone); n != 1 || err != nil {
			t.Errorf("%s: Sweep = %d, %v, want 1", tt.name, n, err)
		}
		left, err := os.ReadDir(dir)
		if diff := cmp.Diff(0, len(left)); err != nil || diff != "" {
			t.Errorf("%s: after Sweep %v are left, %v", tt.name, left, err)
		}
	}
}

// What somebody else put into the folder stays, and is no file that was removed.
func TestFolderSweepsOwnFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := media.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept := put(t, s, "", []byte("hello"))
	for _, name := range []string{"notes.data", kept.ID, ".data"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sweep(t.Context(), inAnHour(), knowsNone); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v, want 0", n, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 5 {
		t.Errorf("after Sweep %v are left, %v, want all 5", left, err)
	}
	wantContent(t, s, kept.ID, []byte("hello"))
}

func TestFolderPing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "media")
	s, err := media.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("Ping of a folder that is gone succeeded")
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("Ping of a file succeeded")
	}
	if _, err := media.NewFolder(dir); err == nil {
		t.Error("NewFolder where a file is succeeded")
	}
}

// A reader goes on after the file was deleted.
func TestFolderDeleteWhileReading(t *testing.T) {
	t.Parallel()
	s, err := media.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	info := put(t, s, "ann", []byte("hello"))
	f := open(t, s, info.ID)
	if err := s.Delete(t.Context(), info.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || string(got) != "hello" {
		t.Errorf("content is %q, %v, want %q", got, err, "hello")
	}
}
