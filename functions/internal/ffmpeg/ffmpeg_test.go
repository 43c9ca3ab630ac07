package ffmpeg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// find finds the ffmpeg under test: the one on the PATH, which makes the media as well, unless TEST_FFMPEG names
// another.
func find(t *testing.T) *Tool {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("ffmpeg is missing: apt-get install ffmpeg")
		}
		t.Skip("ffmpeg is missing: apt-get install ffmpeg")
	}
	name := os.Getenv("TEST_FFMPEG")
	if name == "" {
		name = "ffmpeg"
	}
	tool, err := Find(name, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

func feed(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

var whole = Encoding{MaxDuration: time.Hour, MaxBytes: 1 << 20}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files []string
		want  string
	}{
		{"nothing", nil, ""},
		{"one build", []string{"ffmpeg", "ffprobe"}, "ffmpeg"},
		{"a build for newer machines", []string{"ffmpeg", "ffmpeg-v3", "ffprobe"}, map[bool]string{true: "ffmpeg-v3",
			false: "ffmpeg"}[isV3()]},
		{"that build alone", []string{"ffmpeg-v3", "ffprobe"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, f := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			tool, err := Find(filepath.Join(dir, "ffmpeg"), time.Minute)
			if tt.want == "" {
				if !errors.Is(err, ErrMissing) {
					t.Errorf("Find(%v) = %v, want ErrMissing", tt.files, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(dir, tt.want); tool.ffmpeg != want || tool.ffprobe != filepath.Join(dir, "ffprobe") {
				t.Errorf("Find(%v) = %s and %s, want %s and the ffprobe beside it", tt.files, tool.ffmpeg, tool.ffprobe, want)
			}
		})
	}
}

// TestIsV3 compares with what the kernel tells.
func TestIsV3(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || runtime.GOARCH != "amd64" {
		t.Skip("/proc/cpuinfo does not tell")
	}
	_, flags, _ := strings.Cut(string(b), "\nflags")
	flags, _, _ = strings.Cut(flags, "\n")
	want := true
	for _, f := range []string{"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"} {
		want = want && slices.Contains(strings.Fields(flags), f)
	}
	if got := isV3(); got != want {
		t.Errorf("isV3() = %v, want %v: flags%s", got, want, flags)
	}
}

// TestAttacks feeds what makes ffmpeg open other files and addresses when it is let.
func TestAttacks(t *testing.T) {
	t.Parallel()
	tool := find(t)
	secret := filepath.Join(t.TempDir(), "secret.wav")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=d=1",
		secret).CombinedOutput(); err != nil {
		t.Fatalf("make a file: %v: %s", err, out)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "http://" + l.Addr().String() + "/"
	wav, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"another container": string(wav),
		"HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://" + secret + "\n#EXTINF:1,\n" + url +
			"\n#EXT-X-ENDLIST\n",
		"concat": "ffconcat version 1.0\nfile '" + secret + "'\nfile '" + url + "'\n",
		"DASH": `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" ` +
			`type="static" mediaPresentationDuration="PT1S"><Period>` +
			`<AdaptationSet contentType="audio"><Representation id="1" bandwidth="1"><BaseURL>` + url +
			`</BaseURL></Representation></AdaptationSet></Period></MPD>`,
	} {
		for _, demuxers := range []string{"mov", "matroska", "mpegts", "mp3"} {
			in := Input{Demuxers: demuxers, Feed: feed([]byte(body))}
			var made int
			_, err := tool.Encode(t.Context(), in, whole, func(r io.Reader) error {
				b, err := io.ReadAll(r)
				made = len(b)
				return err
			})
			if exit := (*ExitError)(nil); !errors.As(err, &exit) || made > 0 {
				t.Errorf("Encode(%s as %s) = %v, made %d bytes, want it refused", name, demuxers, err, made)
			}
			if _, err := tool.Probe(t.Context(), in); err == nil {
				t.Errorf("Probe(%s as %s) reads it, want it refused", name, demuxers)
			}
		}
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Accept(); err == nil {
		_ = c.Close()
		t.Error("ffmpeg made a request")
	}
}

// script makes a tool whose ffmpeg is a shell script.
func script(t *testing.T, body string) *Tool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ffmpeg")
	// A process forked while the file is open for writing would keep it busy (go.dev/issue/22315).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Tool{ffmpeg: path, cpu: time.Minute}
}

// TestRunLimits checks what a process gets before its first byte of input.
func TestRunLimits(t *testing.T) {
	t.Parallel()
	tool := script(t, "cat >/dev/null; env | grep -v '^\\(PWD\\|SHLVL\\|_\\|OLDPWD\\)='; ulimit -v; ulimit -t; ulimit "+
		"-f; ulimit -n; ulimit -c")
	var got []byte
	_, err := tool.Encode(t.Context(), Input{Feed: feed(nil)}, whole, func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "2097152\n61\n0\n64\n0\n"; string(got) != want {
		t.Errorf("environment and limits are %q, want %q", got, want)
	}
}

// TestRunErrors checks that the first failure is the one that is told, and that nothing waits for ever.
func TestRunErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	cause := errors.New("the cause")
	endless := func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	}
	for _, tt := range []struct {
		name, script string
		feed         func(io.Writer) error
		out          func(io.Reader) error
		cancel       bool
		want         func(error) bool
	}{
		{name: "feed fails", script: "exec cat >/dev/null", feed: func(io.Writer) error { return broken },
			want: func(err error) bool { return errors.Is(err, broken) }},
		{name: "feed's source is a connection that broke", script: "exec cat >/dev/null",
			feed: func(io.Writer) error { return fmt.Errorf("read: %w", &net.OpError{Op: "write", Err: syscall.EPIPE}) },
			want: func(err error) bool { return errors.Is(err, syscall.EPIPE) }},
		{name: "out fails", script: "exec cat", feed: endless, out: func(io.Reader) error { return broken },
			want: func(err error) bool { return errors.Is(err, broken) }},
		{name: "it wants no more", script: "exit 0", feed: endless, want: func(err error) bool { return err == nil }},
		{name: "it talks without end", script: "while :; do echo '[error] no'; done >&2", feed: endless, cancel: true,
			want: func(err error) bool {
				s := (*Stopped)(nil)
				return errors.As(err, &s) && errors.Is(err, cause)
			}},
		{name: "it fails", script: "cat >/dev/null; echo '[mov @ 0x1] [error] bad' >&2; echo '[info] chat' >&2; exit 3",
			feed: feed(nil), want: func(err error) bool {
				e := (*ExitError)(nil)
				return errors.As(err, &e) && e.Code == 3 && !e.Killed && e.Lines == "[mov @ 0x1] [error] bad"
			}},
		{name: "it is not there", script: "", feed: feed(nil), want: func(err error) bool {
			return errors.Is(err,
				os.ErrNotExist)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tool := script(t, tt.script)
			if tt.script == "" {
				tool.ffmpeg += " is not here"
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := tt.out
			if out == nil {
				out = discard
			}
			if tt.cancel {
				go cancel(cause)
			}
			if _, err := tool.Encode(ctx, Input{Feed: tt.feed}, whole, out); !tt.want(err) {
				t.Errorf("Encode = %v", err)
			}
		})
	}
}

// TestRunCPU checks that a process which used up its time is told from one that somebody killed.
func TestRunCPU(t *testing.T) {
	t.Parallel()
	tool := script(t, "while :; do :; done")
	tool.cpu = 0 // the limit is one second more
	_, err := tool.Encode(t.Context(), Input{Feed: feed(nil)}, whole, discard)
	if e := (*ExitError)(nil); !errors.As(err, &e) || !e.CPU || e.Killed {
		t.Errorf("Encode = %v, want it ended by its limit", err)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		e    Encoding
		last []string
		want string
	}{
		{Encoding{}, nil, "aformat=channel_layouts=mono|stereo"},
		{Encoding{Mono: true}, []string{"x"}, "aformat=channel_layouts=mono,x"},
		{Encoding{Start: time.Second}, nil, "atrim=start=1.000000,asetpts=PTS-STARTPTS,aformat=channel_layouts=mono|stereo"},
		{Encoding{End: 2500 * time.Millisecond}, nil,
			"atrim=start=0.000000:end=2.500000,asetpts=PTS-STARTPTS,aformat=channel_layouts=mono|stereo"},
	} {
		if got := tt.e.filters(tt.last...); got != tt.want {
			t.Errorf("filters(%+v) = %s, want %s", tt.e, got, tt.want)
		}
	}
}

func TestDescription(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, json string
		want       Media
	}{
		{"nothing", `{}`, Media{Picture: -1}},
		{"matroska", `{"format":{"format_name":"matroska,webm","start_time":"-0.007","tags":{"title":"A film","ARTIST":"x"}},
			"streams":[{"index":0,"codec_type":"video"},{"index":1,"codec_type":"audio","codec_name":"opus","start_time":"0.993",
			"tags":{"title":"Commentary","DURATION":"00:01:05.500000000"}},
			{"index":2,"codec_type":"audio","codec_name":"mp3","duration":"N/A","disposition":{"default":1}},
			{"index":3,"codec_type":"video","disposition":{"attached_pic":1}}],
			"chapters":[{"start_time":"1.5","end_time":"2.0","tags":{"title":"One"}}]}`,
			Media{Start: -7 * time.Millisecond, Audio: []Stream{{Index: 1, Codec: "opus", Begin: time.Second,
				End: 65500 * time.Millisecond, Title: "Commentary"},
				{Index: 2, Codec: "mp3", Default: true}}, Picture: 3,
				Title: "A film", Artist: "x",
				Chapters: []Chapter{{1500 * time.Millisecond, 2 * time.Second, "One"}}}},
		{"end of a track that begins later",
			`{"format":{"start_time":"1.0"},"streams":[{"index":0,"codec_type":"audio","codec_name":"opus",
			"start_time":"2.0","tags":{"DURATION":"00:01:05.500000000"}}]}`,
			Media{Start: time.Second, Audio: []Stream{{Codec: "opus", Begin: time.Second, End: 65500 * time.Millisecond}},
				Picture: -1}},
		{"ogg", `{"format":{"format_name":"ogg"},"streams":[{"index":0,"codec_type":"audio",
			"codec_name":"vorbis","duration":"3","tags":{"TITLE":"A song"}}]}`,
			Media{Audio: []Stream{{Codec: "vorbis", End: 3 * time.Second, Title: "A song"}}, Picture: -1, Title: "A song"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var d description
			if err := json.Unmarshal([]byte(tt.json), &d); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, d.media(), cmpopts.IgnoreUnexported(Stream{}),
				cmpopts.IgnoreFields(Media{}, "Others")); diff != "" {
				t.Errorf("media(%s) differs (-want +got):\n%s", tt.name, diff)
			}
		})
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	said, err := newReport(r, func(s string) { got = append(got, s) })
	if err != nil {
		t.Fatal(err)
	}
	say := func(s string) {
		if _, err := io.WriteString(w, s); err != nil {
			t.Fatal(err)
		}
	}
	say("one\n" + long + "\ntw")
	said.now()
	if diff := cmp.Diff([]string{"one", long[:maxLine]}, got); diff != "" {
		t.Errorf("lines up to now differ (-want +got):\n%s", diff)
	}
	say("o\nlast")
	if err := errors.Join(w.Close(), said.all()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", long[:maxLine], "two", "last"}, got); diff != "" {
		t.Errorf("lines differ (-want +got):\n%s", diff)
	}
	var last tail
	for _, s := range []string{"[error] 1", "[error] 2", "[info] no", "[fatal] 3", "[error] 4", "[error] 5", "[error] 6"} {
		last.add(s)
	}
	if got, want := last.String(), "[error] 2; [fatal] 3; [error] 4; [error] 5; [error] 6"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"without libmp3lame": "echo Codec libmp3lame is not recognized",
		"broken": "exit 1"} {
		if err := script(t, body).Check(t.Context()); !errors.Is(err, ErrMissing) {
			t.Errorf("Check(%s) = %v, want %v", name, err, ErrMissing)
		}
	}
}
