//go:build browser

package browser

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// video makes a video whose picture is much larger than its sound.
func video(t testing.TB, name string, seconds int, args ...string) string {
	t.Helper()
	return ffmpeg(t, name, append([]string{"-f", "lavfi", "-i", "testsrc2=s=480x270:r=10:d=" + strconv.Itoa(seconds), "-f",
		"lavfi", "-i", "sine=f=440:d=" + strconv.Itoa(seconds), "-c:v", "mpeg4", "-q:v", "2"}, args...)...)
}

// large makes a video of so many megabytes, of which only the whole can be sent. Nearly all of it is a hole.
func large(t testing.TB, name string, megabytes int) string {
	t.Helper()
	file := ffmpeg(t, name, "-f", "lavfi", "-i", "testsrc2=s=160x120:r=5:d=2", "-f", "lavfi", "-i", "sine=f=440:d=2",
		"-c:v", "rawvideo", "-pix_fmt", "yuv420p", "-c:a", "libmp3lame")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// AVI is RIFF, whose length stands behind its name; JUNK is a chunk that readers skip.
	size := int64(megabytes) * 1_000_000
	junk := binary.LittleEndian.AppendUint32([]byte("JUNK"), uint32(size-stat.Size()-8))
	_, err1 := f.WriteAt(junk, stat.Size())
	_, err2 := f.WriteAt(binary.LittleEndian.AppendUint32(nil, uint32(size-8)), 4)
	if err := errors.Join(err1, err2, f.Truncate(size)); err != nil {
		t.Fatal(err)
	}
	return file
}

func ffmpeg(t testing.TB, name string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	run(t, "ffmpeg", append(append([]string{"-v", "error"}, args...), "-y", file)...)
	return file
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

// seconds is how long an MP3 sounds.
func seconds(t testing.TB, mp3 []byte) float64 {
	t.Helper()
	out := run(t, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", write(t, "a.mp3", mp3))
	s, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
