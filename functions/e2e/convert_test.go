package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// convertFile runs soundstrip convert, and gives its exit code and what it writes.
func convertFile(t *testing.T, dir string, env []string, args ...string) (code int, stdout, stderr []byte) {
	t.Helper()
	return convertFrom(t, nil, dir, env, args...)
}

// convertFrom is convertFile with a standard input.
func convertFrom(t *testing.T, stdin io.Reader, dir string, env []string, args ...string) (
	code int, stdout, stderr []byte,
) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "soundstrip"), append([]string{"convert"}, args...)...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, stdin, &out, &errs
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, ffmpeg()}, env...)
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.Bytes(), errs.Bytes()
}

// names lists a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestConvertFile(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	source := video(t, "talk.mp4", 5)
	dir := filepath.Dir(source)
	code, stdout, stderr := convertFile(t, dir, nil, "talk.mp4", "--bitrate", "64")
	if code != 0 || len(stdout)+len(stderr) > 0 {
		t.Fatalf("soundstrip convert talk.mp4 = %d, %q, %q, want 0 and no word where there is no terminal", code, stdout,
			stderr)
	}
	if codec, seconds := probe(t, filepath.Join(dir, "talk.mp3")); codec != "mp3" || seconds < 4.9 || seconds > 5.1 {
		t.Errorf("talk.mp3 is %s of %v s, want mp3 of 5 s", codec, seconds)
	}
	first := read(t, filepath.Join(dir, "talk.mp3"))
	if code, _, stderr := convertFile(t, dir, nil, "talk.mp4", "--bitrate", "128"); code != 2 || !bytes.Equal(first,
		read(t, filepath.Join(dir, "talk.mp3"))) {
		t.Errorf("soundstrip convert onto a file = %d %s, want 2 and the file as it was", code, stderr)
	}
	code, stdout, stderr = convertFile(t, dir, nil, "talk.mp4", "--bitrate", "64", "-o", "-")
	if code != 0 || !bytes.Equal(stdout, first) {
		t.Errorf("soundstrip convert -o - = %d, %d bytes, %s, want the %d bytes of the file", code, len(stdout), stderr,
			len(first))
	}
	if code, _, stderr := convertFile(t, dir, nil, "--force", "--end=1", "talk.mp4"); code != 0 {
		t.Errorf("soundstrip convert --force = %d %s, want 0", code, stderr)
	}
	if _, seconds := probe(t, filepath.Join(dir, "talk.mp3")); seconds > 1.1 {
		t.Errorf("after --force with --end 1 the MP3 has %v s, want 1", seconds)
	}
	if code, _, stderr := convertFile(t, dir, nil, "--force", "talk.mp3"); code != 2 || !strings.Contains(string(stderr),
		"the video itself") {
		t.Errorf("soundstrip convert talk.mp3 = %d %s, want 2: it would replace what it reads", code, stderr)
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("left in the folder: %q, want talk.mp3 and talk.mp4", got)
	}
}

// TestConvertPipe converts what comes by a pipe: an MP4, which is read from its end.
func TestConvertPipe(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	source := video(t, "talk.mp4", 3)
	dir := filepath.Dir(source)
	if code, _, stderr := convertFile(t, dir, nil, source); code != 0 {
		t.Fatalf("soundstrip convert talk.mp4 = %d, %s", code, stderr)
	}
	want := read(t, filepath.Join(dir, "talk.mp3"))
	content := read(t, source)
	pipe := func(content []byte, args ...string) (code int, stdout, stderr []byte) {
		t.Helper()
		return convertFrom(t, bytes.NewReader(content), dir, nil, args...)
	}
	if code, stdout, stderr := pipe(content, "-"); code != 0 || !bytes.Equal(stdout, want) {
		t.Errorf("soundstrip convert - = %d, %d bytes, %s, want the %d bytes of the file", code, len(stdout), stderr,
			len(want))
	}
	if code, _, stderr := pipe(content, "-", "-o", "x.mp3"); code != 0 || !bytes.Equal(read(t, filepath.Join(dir,
		"x.mp3")), want) {
		t.Errorf("soundstrip convert - -o x.mp3 = %d, %s, want the MP3 of the file", code, stderr)
	}
	if code, stdout, stderr := pipe(content[:len(content)/2], "-"); code != 5 || len(stdout) > 0 {
		t.Errorf("soundstrip convert - of half a video = %d, %d bytes, %s, want 5", code, len(stdout), stderr)
	}
	if code, stdout, stderr := pipe(nil, "-"); code != 3 || len(stdout) > 0 || !bytes.Contains(stderr,
		[]byte("standard input: ")) {
		t.Errorf("soundstrip convert - of nothing = %d, %d bytes, %s, want 3 and a word of standard input", code,
			len(stdout), stderr)
	}
	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if code, stdout, stderr := convertFrom(t, f, dir, nil, "-"); code != 0 || !bytes.Equal(stdout, want) {
		t.Errorf("soundstrip convert - <talk.mp4 = %d, %d bytes, %s, want the MP3 of the file", code, len(stdout), stderr)
	}
	if got := names(t, dir); len(got) != 3 {
		t.Errorf("left in the folder: %q, want talk.mp3, talk.mp4 and x.mp3", got)
	}
}

// TestConvertSeveral converts a folder in which all that can happen does.
func TestConvertSeveral(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	talk := video(t, "talk.mp4", 3)
	dir := t.TempDir()
	long := strings.Repeat("ü", 126) + ".ts"
	for name, content := range map[string][]byte{
		"a.mp4": read(t, talk), "deep/b.mp4": read(t, talk), "there.mp4": read(t, talk), "there.mp3": []byte("mine"),
		"cut.mp4": read(t, talk)[:9000], "notes.txt": []byte("no media"),
		long: read(t, video(t, "b.ts", 2, "-c:a", "mp2")),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr := convertFile(t, dir, nil, ".", "--json", "-j", "2")
	if code != 5 || !bytes.Contains(stderr, []byte("3 made, 1 there already, 1 failed: 0:00:0")) {
		t.Errorf("soundstrip convert . = %d, %s, want 5 and a summary", code, stderr)
	}
	got := map[string]string{}
	for line := range bytes.Lines(stdout) {
		var r struct {
			File, MP3 string
			Duration  float64
			Bytes     int64
			Error     *struct{ Code string }
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got[r.File] = r.MP3
		switch {
		case r.Error != nil:
			got[r.File] = r.Error.Code
		case int64(len(read(t, filepath.Join(dir, r.MP3)))) != r.Bytes || r.Duration < 1.9 || r.Duration > 3.1:
			t.Errorf("%s: want what the MP3 is", line)
		}
	}
	want := map[string]string{"a.mp4": "a.mp3", "deep/b.mp4": "deep/b.mp3", "cut.mp4": "truncated",
		long: strings.Repeat("ü", 125) + ".mp3"}
	if !maps.Equal(got, want) {
		t.Errorf("soundstrip convert --json . tells %q, want %q", got, want)
	}
	if mine := read(t, filepath.Join(dir, "there.mp3")); string(mine) != "mine" {
		t.Errorf("there.mp3 is %q, want as it was", mine)
	}
	if got := names(t, dir); len(got) != 9 {
		t.Errorf("left in the folder: %q, want the files and two MP3s more", got)
	}
}

// TestConvertFileExits checks the exit code of each kind of failure, one line about it, and that nothing is left.
func TestConvertFileExits(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	whole := video(t, "whole.mp4", 5, "-movflags", "+faststart")
	for _, tt := range []struct {
		name string
		file string
		env  []string
		args []string
		code int
	}{
		{name: "internal", file: whole, env: []string{"FFMPEG=/none"}, code: 1},
		{name: "unknown option", file: whole, args: []string{"--none"}, code: 2},
		{name: "bad value", file: whole, args: []string{"--bitrate", "31"}, code: 2},
		{name: "no such video", file: filepath.Join(t.TempDir(), "none.mp4"), code: 2},
		{name: "an empty folder", file: t.TempDir(), code: 2},
		{name: "beyond the end", file: whole, args: []string{"--start", "60"}, code: 2},
		{name: "no media", file: write(t, "notes.txt", []byte("this is no video\n")), code: 3},
		{name: "unsupported", file: write(t, "noise.mkv", []byte("\x1aE\xdf\xa3"+strings.Repeat("noise", 1000))), code: 3},
		{name: "no sound", file: video(t, "silent.mp4", 2, "-an"), code: 4},
		{name: "truncated", file: cut(t, whole, 40_000), code: 5},
		{name: "too long", file: whole, env: []string{"CONVERT_MAX_DURATION=2s"}, code: 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			code, stdout, stderr := convertFile(t, dir, tt.env, append([]string{tt.file, "-o", "out.mp3"}, tt.args...)...)
			if code != tt.code || len(stdout) > 0 || bytes.Count(bytes.TrimSpace(stderr), []byte("\n")) > 0 || len(stderr) == 0 {
				t.Errorf("soundstrip convert %q = %d, %q, %q, want %d and one line", tt.args, code, stdout, stderr, tt.code)
			}
			if left := names(t, dir); len(left) > 0 {
				t.Errorf("soundstrip convert %q leaves %q", tt.args, left)
			}
		})
	}
	code, _, stderr := convertFile(t, t.TempDir(), nil, cut(t, whole, 40_000), "-o", "out.mp3", "--partial")
	if want := "the recording ends abruptly at "; code != 0 || !bytes.Contains(stderr, []byte(want)) {
		t.Errorf("soundstrip convert --partial of a cut file = %d, %q, want 0 and %q", code, stderr, want)
	}
}

var barLine = regexp.MustCompile(`\[#*\.*\] +(\d+%)? \d:\d\d:\d\d \d+x`)

// TestConvertFileBar gives the command a terminal.
func TestConvertFileBar(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	needCommand(t, "script")
	source := video(t, "talk.mp4", 3)
	out := run(t, "script", "-qec", ffmpeg()+" "+filepath.Join(bin, "soundstrip")+" convert "+source, os.DevNull)
	if !barLine.MatchString(out) || !strings.Contains(out, "talk.mp3: 0:00:03") {
		t.Errorf("on a terminal soundstrip convert shows %q, want a bar and what was made", out)
	}
	other := video(t, "other.mp4", 3)
	out = run(t, "script", "-qec", ffmpeg()+" "+filepath.Join(bin, "soundstrip")+" convert --force "+source+" "+other,
		os.DevNull)
	for _, want := range []string{
		"x talk.mp4", "x other.mp4", "talk.mp3: 0:00:03", "other.mp3: 0:00:03", "2 made: 0:00:06",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("on a terminal soundstrip convert of two shows %q, want %q", out, want)
		}
	}
}

// TestConvertFileStopped sends what Ctrl-C and a closed terminal send.
func TestConvertFileStopped(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	source := video(t, "long.mp4", 3600, "-r", "1", "-c:a", "aac", "-b:a", "64k", "-ar", "22050")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
		dir := t.TempDir()
		cmd := exec.Command(filepath.Join(bin, "soundstrip"), "convert", source, "-o", "out.mp3")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), ffmpeg())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the conversion to run", func() bool { return len(names(t, dir)) > 0 })
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code, left := cmd.ProcessState.ExitCode(), names(t, dir); code != 1 || len(left) > 0 {
			t.Errorf("soundstrip convert ended by %v exits with %d and leaves %q, want 1 and nothing", s, code, left)
		}
	}
}
