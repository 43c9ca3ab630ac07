package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
)

// failureIn gives the failure that an error is, or fails.
func failureIn(t *testing.T, err error) *Failure {
	t.Helper()
	f := (*Failure)(nil)
	if !errors.As(err, &f) {
		t.Fatalf("error is %v, want a *Failure", err)
	}
	return f
}

// TestConvertRefuses checks the code of every video that has no MP3 in it.
func TestConvertRefuses(t *testing.T) {
	t.Parallel()
	cut := func(path string, part float64) func(*testing.T) []byte {
		return func(t *testing.T) []byte {
			b := read(t, path)
			return b[:int(float64(len(b))*part)]
		}
	}
	bytesOf := func(s string) func(*testing.T) []byte {
		return func(*testing.T) []byte { return []byte(s) }
	}
	fast := video(t, "faststart.mp4", "-c:a", "aac", "-movflags", "+faststart")
	last := video(t, "moov_at_end.mp4", "-c:a", "aac")
	frag := video(t, "fragmented.mp4", "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov+default_base_moof")
	mkv := video(t, "opus.mkv", "-c:a", "libopus")
	avi := video(t, "pcm.avi", "-c:a", "pcm_s16le")
	wav := video(t, "sound.wav", "-map", "1:a")
	flv := video(t, "aac.flv", "-c:v", "flv", "-c:a", "aac")
	sound := video(t, "sound.mp3", "-map", "1:a", "-c:a", "libmp3lame")
	silent := makeFile(t, "silent.mp4", "-f", "lavfi", "-i", picture, "-c:v", "mpeg4")
	silentMKV := makeFile(t, "silent.mkv", "-f", "lavfi", "-i", picture, "-c:v", "mpeg4")
	small := testConfig
	small.MaxBytes = 20_000
	short := testConfig
	short.MaxDuration = 2 * time.Second
	for _, tt := range []struct {
		name    string
		config  Config
		data    func(*testing.T) []byte
		options eventing.Options
		want    string
	}{
		{name: "empty", data: bytesOf(""), want: NotMedia},
		{name: "text", data: bytesOf("a letter to nobody"), want: NotMedia},
		{name: "playlist", data: bytesOf("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"), want: NotMedia},
		{name: "concat", data: bytesOf("ffconcat version 1.0\nfile /etc/passwd\n"), want: NotMedia},
		{name: "noise after a magic", data: bytesOf("\x1aE\xdf\xa3" + strings.Repeat("noise", 1000)), want: Unsupported},
		{name: "silent mp4", data: cut(silent, 1), want: NoAudio},
		{name: "silent mkv", data: cut(silentMKV, 1), want: NoAudio},
		{name: "cut mp4, index first", data: cut(fast, .7), want: Truncated},
		{name: "cut mp4, index last", data: cut(last, .7), want: Truncated},
		{name: "cut mp4 within its first box", data: bytesOf("\x00\x00\x00\x20ftypisom"), want: Truncated},
		{name: "cut mkv", data: cut(mkv, .7), want: Truncated},
		{name: "cut avi", data: cut(avi, .7), want: Truncated},
		{name: "cut wav", data: cut(wav, .7), want: Truncated},
		{name: "cut flv", data: cut(flv, .7), want: Truncated},
		{name: "TTA in mkv", data: cut(video(t, "tta.mkv", "-c:a", "tta"), 1), want: Unsupported},
		{name: "holes in mp4", data: func(t *testing.T) []byte {
			b := read(t, fast)
			clear(b[len(b)/2:])
			return b
		}, want: Truncated},
		{name: "start after the end", data: cut(fast, 1), options: eventing.Options{Start: 10}, want: OutOfRange},
		{name: "start after the end of what has no length", data: cut(flv, 1), options: eventing.Options{Start: 10},
			want: OutOfRange},
		{name: "cut mp3 of which nothing can be heard", data: func(t *testing.T) []byte { return read(t, sound)[:600] },
			options: eventing.Options{Partial: true}, want: NoAudio},
		{name: "too long by the index", config: short, data: cut(fast, 1), want: TooLong},
		{name: "too long by the sound", config: short, data: cut(flv, 1), want: TooLong},
		{name: "too long in fragments", config: short, data: cut(frag, 1), want: TooLong},
		{name: "too large", config: small, data: cut(fast, 1), options: eventing.Options{Bitrate: 320}, want: TooLarge},
		{name: "too large in fragments", config: small, data: cut(frag, 1), options: eventing.Options{Bitrate: 320},
			want: TooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.config == (Config{}) {
				tt.config = testConfig
			}
			_, _, err := convert(t, newEngine(t, tt.config), tt.data(t), tt.options)
			f := failureIn(t, err)
			if f.Code != tt.want || f.Passing {
				t.Errorf("Convert(%s) = %v (passing: %v), want %s", tt.name, f, f.Passing, tt.want)
			}
			if f.Message == "" || strings.Contains(f.Message, "\n") || strings.Contains(f.Message, "ffmpeg") {
				t.Errorf("Convert(%s): message %q, want one line for the video's owner", tt.name, f.Message)
			}
		})
	}
}

// TestAbsurd: ffmpeg does not get to make fewer of a thousand million samples a second, which takes a gigabyte, or of
// tens of thousands of channels, which take more arguments than a program may have.
func TestAbsurd(t *testing.T) {
	t.Parallel()
	sound := video(t, "sound.wav", "-map", "1:a")
	for name, harm := range map[string]func(b []byte){
		"rate": func(b []byte) { binary.LittleEndian.PutUint32(b[24:], 1_000_000_007) },
		"channels": func(b []byte) { // of a format that nobody knows
			binary.LittleEndian.PutUint16(b[20:], 0)
			binary.LittleEndian.PutUint16(b[22:], 45_144)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := read(t, sound)
			harm(b)
			_, _, err := convert(t, newEngine(t, testConfig), b, eventing.Options{})
			exit := (*ffmpeg.ExitError)(nil)
			if f := failureIn(t, err); f.Code != Unsupported || f.Passing || errors.As(err, &exit) {
				t.Errorf("Convert = %v, want %s, before ffmpeg is run", f, Unsupported)
			}
		})
	}
}

// failing is a file whose reading fails.
type failing struct {
	*bytes.Reader
	readAt func(r *bytes.Reader, p []byte, off int64) (int, error) // instead of reading, when not nil
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.readAt != nil {
		return f.readAt(f.Reader, p, off)
	}
	return f.Reader.ReadAt(p, off)
}

// TestConvertStorageFails checks that a failing store is never taken for a fault of the video.
func TestConvertStorageFails(t *testing.T) {
	t.Parallel()
	e := newEngine(t, testConfig)
	broken := errors.New("the store is away")
	for _, name := range []string{"faststart.mp4", "opus.mkv"} {
		args := map[string][]string{"faststart.mp4": {"-c:a", "aac", "-movflags", "+faststart"}, "opus.mkv": {"-c:a",
			"libopus"}}[name]
		data := read(t, video(t, name, args...))
		for _, tt := range []struct {
			name   string
			readAt func(r *bytes.Reader, p []byte, off int64) (int, error)
			write  func([]byte) error
		}{
			{name: "reading fails in the middle", readAt: func(r *bytes.Reader, p []byte, off int64) (int, error) {
				if off+int64(len(p)) > int64(len(data))/2 {
					return 0, broken
				}
				return r.ReadAt(p, off)
			}},
			{name: "the store has less than it says", readAt: func(_ *bytes.Reader, p []byte, off int64) (int, error) {
				return bytes.NewReader(data[:len(data)/2]).ReadAt(p, off)
			}},
			{name: "reading fails at once", readAt: func(*bytes.Reader, []byte, int64) (int, error) { return 0, broken }},
			{name: "writing fails", write: func([]byte) error { return broken }},
		} {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				src, dst := &failing{bytes.NewReader(data), tt.readAt}, &memory{write: tt.write}
				_, err := e.Convert(t.Context(), src, src.Size(), eventing.Options{}, dst, func(int) {})
				if f := failureIn(t, err); f.Code != Storage || !f.Passing {
					t.Errorf("Convert = %v (passing: %v), want %s, passing", f, f.Passing, Storage)
				}
			})
		}
	}
}

// fakeFFmpeg makes an engine whose ffmpeg is a shell script; ffprobe is the real one.
func fakeFFmpeg(t *testing.T, script string) *Engine {
	t.Helper()
	dir := t.TempDir()
	body := "#!/bin/sh\ncase \"$*\" in *encoder=libmp3lame*) echo Encoder libmp3lame; exit;; esac\n" + script
	// A process forked while the file is open for writing would keep it busy (go.dev/issue/22315).
	syscall.ForkLock.RLock()
	err := os.WriteFile(filepath.Join(dir, "ffmpeg"), []byte(body), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	probe, err := exec.LookPath("ffprobe")
	if err != nil {
		t.Skip("ffprobe is missing: apt-get install ffmpeg")
	}
	if err := os.Symlink(probe, filepath.Join(dir, "ffprobe")); err != nil {
		t.Fatal(err)
	}
	c := testConfig
	c.FFmpeg = filepath.Join(dir, "ffmpeg")
	return newEngine(t, c)
}

// TestConvertEnds checks how the end of a process is read.
func TestConvertEnds(t *testing.T) {
	t.Parallel()
	src := video(t, "faststart.mp4", "-c:a", "aac", "-movflags", "+faststart")
	for _, tt := range []struct {
		name, script, want string
		passing            bool
	}{
		{"out of memory", "kill -9 $$", Killed, true},
		{"told to end", "kill -15 $$", Killed, true},
		{"told to end, and it did", "exit 255", Killed, true},
		{"told to end more than once", "exit 123", Killed, true},
		{"hung up", "kill -1 $$", Killed, true},
		{"stopped by Ctrl-\\", "kill -3 $$", Killed, true},
		{"killed when it had all", "cat >/dev/null; kill -9 $$", Killed, true},
		{"crash", "kill -11 $$", Unsupported, false},
		{"failure", "echo '[error] no' >&2; exit 1", Unsupported, false},
		{"nothing made", "exec cat >/dev/null", Truncated, false},
		{"no frames", "cat >/dev/null; exec echo no frames", Interrupted, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.name == "hung up" && signal.Ignored(syscall.SIGHUP) {
				t.Skip("nohup makes that signal be ignored")
			}
			_, _, err := convert(t, fakeFFmpeg(t, tt.script), read(t, src), eventing.Options{})
			if f := failureIn(t, err); f.Code != tt.want || f.Passing != tt.passing {
				t.Errorf("Convert with %q = %v (passing: %v), want %s (passing: %v)", tt.script, f, f.Passing, tt.want, tt.passing)
			}
		})
	}
}

// TestConvertStops checks that the whole process group is gone when the context ends. The process did nothing
// meanwhile, which is not the video's fault.
func TestConvertStops(t *testing.T) {
	t.Parallel()
	src := video(t, "faststart.mp4", "-c:a", "aac", "-movflags", "+faststart")
	for _, tt := range []struct {
		name    string
		timeout time.Duration // 0 means that it is cancelled
	}{
		{"deadline", time.Second},
		{"cancelled", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// The process may write no file, but a pipe.
			pipe := filepath.Join(t.TempDir(), "pid")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			e := fakeFFmpeg(t, "echo $$ >"+pipe+"\nsleep 600 & wait")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.timeout > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.timeout)
				defer cancel()
			}
			group := make(chan string, 1)
			go func() {
				b, _ := os.ReadFile(pipe)
				group <- strings.TrimSpace(string(b))
				if tt.timeout == 0 {
					cancel()
				}
			}()
			data := bytes.NewReader(read(t, src))
			_, err := e.Convert(ctx, data, data.Size(), eventing.Options{}, &memory{}, func(int) {})
			if f := failureIn(t, err); f.Code != Interrupted || !f.Passing {
				t.Errorf("Convert = %v (passing: %v), want %s, passing", f, f.Passing, Interrupted)
			}
			waitGone(t, <-group)
		})
	}
}

// waitGone waits until no process of the group is left; the kernel reaps orphans when it likes.
func waitGone(t *testing.T, group string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for exec.Command("kill", "-0", "--", "-"+group).Run() == nil {
		if time.Now().After(deadline) {
			t.Fatalf("process group %s is still there", group)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestFailure checks who is to blame for the end of a run.
func TestFailure(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithTimeout(t.Context(), 0)
	t.Cleanup(cancel)
	errLost := errors.New("lost")
	lost, lose := context.WithCancelCause(t.Context())
	lose(errLost)
	broken := errors.New("broken")
	errSilent := StorageFailure(fmt.Errorf("no heartbeat: %w", context.DeadlineExceeded))
	silent, loseSilent := context.WithCancelCause(t.Context())
	loseSilent(errSilent)
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		err     error
		want    string
		passing bool
		is      error
	}{
		{"worked until the deadline", over, &ffmpeg.Stopped{Cause: over.Err(), Busy: true}, Timeout, false, over.Err()},
		{"waited until the deadline", over, &ffmpeg.Stopped{Cause: over.Err()}, Interrupted, true, over.Err()},
		{"out of CPU time", t.Context(), &ffmpeg.ExitError{CPU: true}, Timeout, false, nil},
		{"lost", lost, &ffmpeg.Stopped{Cause: errLost, Busy: true}, Interrupted, true, errLost},
		{"worked until a heartbeat's deadline", silent, &ffmpeg.Stopped{Cause: errSilent, Busy: true}, Interrupted, true,
			errSilent},
		{"read failed because it is over", over, passing(broken, Storage, "x"), Interrupted, true, broken},
		{"read failed", t.Context(), passing(broken, Storage, "x"), Storage, true, broken},
		{"killed", t.Context(), &ffmpeg.ExitError{Killed: true}, Killed, true, nil},
		{"failed", t.Context(), &ffmpeg.ExitError{Code: 1}, Unsupported, false, nil},
		{"without its libraries", t.Context(), &ffmpeg.ExitError{Code: 127}, Interrupted, true, nil},
		{"without LAME", t.Context(), &ffmpeg.ExitError{Code: 1, Lines: "[fatal] Unknown encoder 'libmp3lame'"},
			Interrupted, true, nil},
		{"without libspeex", t.Context(), &ffmpeg.ExitError{Code: 1, Lines: "[fatal] Unknown decoder 'libspeex'"},
			Interrupted, true, nil},
		{"anything else", t.Context(), broken, Interrupted, true, broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := (&Engine{cfg: testConfig}).failure(tt.ctx, tt.err)
			if f.Code != tt.want || f.Passing != tt.passing || tt.is != nil && !errors.Is(f, tt.is) {
				t.Errorf("failure(%v) = %v (passing: %v), want %s (passing: %v) because of %v", tt.err, f, f.Passing, tt.want,
					tt.passing, tt.is)
			}
		})
	}
}

func TestNewMissing(t *testing.T) {
	t.Parallel()
	c := testConfig
	c.FFmpeg = filepath.Join(t.TempDir(), "ffmpeg")
	if _, err := New(c, time.Minute); !errors.Is(err, ffmpeg.ErrMissing) || !strings.Contains(err.Error(),
		"apt-get install ffmpeg") {
		t.Errorf("New(missing) = %v, want how to get ffmpeg", err)
	}
}
