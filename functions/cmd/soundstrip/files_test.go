package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBeside(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 252)
	for _, tt := range []struct{ name, path, want string }{
		{"plain", "a/b.mp4", "a/b.mp3"},
		{"no extension", "a.b/c", "a.b/c.mp3"},
		{"255 bytes", "a/" + long[:251] + ".mp4", "a/" + long[:251] + ".mp3"},
		{"255 bytes, a shorter extension", long + ".ts", long[:251] + ".mp3"},
		{"255 bytes, no extension", long + "aaa", long[:251] + ".mp3"},
		{"a letter of two bytes at the cut", long[:250] + "ü.ts", long[:250] + ".mp3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := beside(tt.path); got != tt.want {
				t.Errorf("beside(%q) = %q, want %q", tt.path, got, tt.want)
			}
		})
	}
}

func TestFindVideos(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	media := []byte("RIFF\x00\x00\x00\x00WAVEfmt ")
	for name, content := range map[string][]byte{
		"a.wav": media, "a.mp3": []byte("ID3"), "b.wav": media, "deep/c.wav": media, "deep/b.mkv": media,
		"notes.txt": []byte("no media"), "twice/d.wav": media, "twice/d.mkv": media, "out/none.txt": nil,
		"there/a.wav": media, "there/a.mp3": []byte("ID3"), "there/e.wav": media,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		paths string
		out   string
		force bool
		want  map[string]string // MP3s by their video
		left  int
		err   string
	}{
		{name: "files", paths: "b.wav deep/c.wav", want: map[string]string{"b.wav": "b.mp3", "deep/c.wav": "deep/c.mp3"}},
		{name: "one file", paths: "b.wav", out: "out/x", want: map[string]string{"b.wav": "out/x"}},
		{name: "to a folder", paths: "b.wav deep/c.wav", out: "out",
			want: map[string]string{"b.wav": "out/b.mp3", "deep/c.wav": "out/c.mp3"}},
		{name: "a folder", paths: "deep", want: map[string]string{"deep/c.wav": "deep/c.mp3", "deep/b.mkv": "deep/b.mp3"}},
		{name: "a folder with an MP3", paths: "there", want: map[string]string{"there/e.wav": "there/e.mp3"}, left: 1},
		{name: "a folder and a file of it", paths: "deep deep/c.wav",
			want: map[string]string{"deep/c.wav": "deep/c.mp3", "deep/b.mkv": "deep/b.mp3"}},
		{name: "a file whose MP3 is there", paths: "b.wav a.wav", err: "a.mp3 is there already"},
		{name: "the same, replaced", paths: "a.wav", force: true, want: map[string]string{"a.wav": "a.mp3"}},
		{name: "not there", paths: "x.wav", err: "no such file"},
		{name: "two to one file", paths: "b.wav deep/c.wav", out: "out/x", err: "no folder"},
		{name: "two of one name", paths: "b.wav deep/b.mkv", out: "out", err: "would both become"},
		{name: "two in a folder of one name", paths: "twice", err: "would both become"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var paths []string
			for _, p := range strings.Fields(tt.paths) {
				paths = append(paths, filepath.Join(dir, p))
			}
			out := tt.out
			if out != "" {
				out = filepath.Join(dir, out)
			}
			videos, left, err := findVideos(paths, out, func(v video) error { return mayWrite(v, tt.force) })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("findVideos(%q, %q) = %v, want an error with %q", tt.paths, tt.out, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("findVideos(%q, %q) = %v", tt.paths, tt.out, err)
			}
			got := map[string]string{}
			for _, v := range videos {
				got[strings.TrimPrefix(v.path, dir+"/")] = strings.TrimPrefix(v.mp3, dir+"/")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || left != tt.left {
				t.Errorf("findVideos(%q, %q) leaves out %d, want %d (-want +got):\n%s", tt.paths, tt.out, left, tt.left, diff)
			}
		})
	}
}
