package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sender is somebody who uses soundstrip send.
type sender struct {
	t    testing.TB
	home string
	url  string
}

func newSender(t testing.TB, url string) *sender {
	t.Helper()
	s := &sender{t: t, home: t.TempDir(), url: url}
	login := s.command("login", "georgio@email.com")
	login.Stdin = strings.NewReader("Admin123\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("soundstrip login: %v: %s", err, out)
	}
	return s
}

func (s *sender) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(bin, "soundstrip"), args...)
	cmd.Env = []string{"HOME=" + s.home, "SOUNDSTRIP_URL=" + s.url, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// send runs soundstrip send and gives its exit code and what it says.
func (s *sender) send(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	cmd := s.command(append([]string{"send"}, args...)...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run() // its code says how it ended
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

func TestSend(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	s := laptop(t, t.TempDir(), "QUOTAS=default bytes=1G; admin minutes=600", "RETENTION_MP3=30d")
	someone := newSender(t, s.url)
	dir := t.TempDir()
	film := video(t, "film.mp4", 4, "-c:a", "aac", "-b:v", "2M", "-metadata", "title=Über")
	files := map[string]string{"film.mp4": film, "silent.mp4": makeSilent(t), "cut.mp4": cutFile(t, film)}
	for name, from := range files {
		if err := os.WriteFile(filepath.Join(dir, name), read(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	junk := write(t, "junk.mp4", bytes.Repeat([]byte("no video "), 1000))
	tests := []struct {
		name, words string
		args        []string
		code        int
	}{
		{"no file", "no video is given", nil, 2},
		{"a file that is not there", "no such file", []string{filepath.Join(dir, "none.mp4")}, 2},
		{"a bad option", "bitrate", []string{"--bitrate", "1", film}, 2},
		{"no media", "not a media file", []string{junk}, 3},
		{"no sound", "nothing to convert", []string{filepath.Join(dir, "silent.mp4")}, 4},
		{"not complete", "not complete", []string{filepath.Join(dir, "cut.mp4")}, 5},
		{"another service", "connect", []string{"--url", "http://127.0.0.1:1", film}, 7},
	}
	for _, tt := range tests {
		if code, _, said := someone.send(tt.args...); code != tt.code || tt.code != 7 && !strings.Contains(said, tt.words) {
			t.Errorf("%s: soundstrip send = %d %q, want %d and %q", tt.name, code, said, tt.code, tt.words)
		}
	}
	stranger := &sender{t: t, home: t.TempDir(), url: s.url}
	if code, _, said := stranger.send(film); code != 7 || !strings.Contains(said, "soundstrip login") {
		t.Errorf("soundstrip send without a login = %d %q, want 7", code, said)
	}

	for _, film := range []string{film, video(t, "film.mkv", 60, "-c:v", "rawvideo", "-pix_fmt", "yuv420p", "-s",
		"320x240", "-c:a", "libopus")} {
		name := filepath.Base(film)
		whole, alone := filepath.Join(dir, name+".whole.mp3"), filepath.Join(dir, name+".alone.mp3")
		if code, _, said := someone.send("--whole", "--out", whole, film); code != 0 {
			t.Fatalf("soundstrip send --whole %s = %d %s", name, code, said)
		}
		code, out, said := someone.send("--json", "--out", alone, film)
		var o struct {
			MP3          string
			Sent, Length int64
			Expires      time.Time
		}
		if err := json.Unmarshal([]byte(out), &o); code != 0 || err != nil || o.MP3 != alone ||
			time.Until(o.Expires) < 29*24*time.Hour {
			t.Fatalf("soundstrip send --json %s = %d %s %s, %v", name, code, out, said, err)
		}
		if o.Sent > o.Length/4 {
			t.Errorf("%d of %d bytes of %s were sent, want the sound only", o.Sent, o.Length, name)
		}
		if !bytes.Equal(read(t, whole), read(t, alone)) {
			t.Errorf("the MP3 of the sound of %s alone differs from that of the whole video", name)
		}
	}

	// A folder: what fails does not keep the others from being sent, and what is there is left out.
	for range 2 {
		if code, _, said := someone.send(dir); code != 4 && code != 5 {
			t.Errorf("soundstrip send of a folder = %d %q, want the code of one that failed", code, said)
		}
		if !bytes.Equal(read(t, filepath.Join(dir, "film.mp3")), read(t, filepath.Join(dir, "film.mp4.whole.mp3"))) {
			t.Error("the MP3 from the folder differs")
		}
	}

	said, err := someone.command("usage").CombinedOutput()
	if want := regexp.MustCompile(`(?s)stored +\d+\.\d MB +of no limit.*minutes made today +\d +of 600.*` +
		`film\.mkv +is kept until \d{4}-`); err != nil || !want.Match(said) {
		t.Errorf("soundstrip usage = %v %s, want what is used and when the MP3s end", err, said)
	}
	said, err = stranger.command("usage").CombinedOutput()
	if err == nil || !strings.Contains(string(said), "not logged in") {
		t.Errorf("soundstrip usage without a login = %v %s", err, said)
	}
}

// makeSilent gives a video without a track of sound.
func makeSilent(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "silent.mp4")
	run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=5:d=1", "-c:v", "mpeg4", file)
	return file
}

// cutFile gives the first half of a file whose index comes first.
func cutFile(t *testing.T, file string) string {
	t.Helper()
	front := filepath.Join(t.TempDir(), "front.mp4")
	run(t, "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-movflags", "+faststart", front)
	b := read(t, front)
	return write(t, "cut.mp4", b[:len(b)/2])
}

// meter is a proxy that counts the bytes of bodies, and calls reached each time that so many have come.
type meter struct {
	proxy   *httputil.ReverseProxy
	count   atomic.Int64
	every   int64
	reached func()
	rate    int64 // bytes a second of each body; 0 is as fast as it goes
}

func newMeter(t testing.TB, to string, every int64, reached func()) (*meter, string) {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{proxy: httputil.NewSingleHostReverseProxy(target), every: every, reached: reached}
	m.proxy.FlushInterval = -1
	m.proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	return m, server.URL
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		r.Body = meteredBody{r.Body, m}
		if m.rate > 0 {
			r.Body = &pacedBody{ReadCloser: r.Body, rate: m.rate}
		}
	}
	m.proxy.ServeHTTP(w, r)
}

type meteredBody struct {
	io.ReadCloser
	m *meter
}

func (b meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if now := b.m.count.Add(int64(n)); now/b.m.every > (now-int64(n))/b.m.every {
		b.m.reached()
	}
	return n, err
}

// TestSendInterrupted kills the command in the middle of an upload, and sends again what had not arrived, not more.
func TestSendInterrupted(t *testing.T) {
	t.Parallel()
	s := laptop(t, t.TempDir())
	const size = 40 << 20
	half, hold := make(chan struct{}), make(chan struct{})
	m, address := newMeter(t, s.url, size/2, sync.OnceFunc(func() {
		close(half)
		<-hold // nothing more arrives until the command is dead
	}))
	someone := newSender(t, address)
	file, sum := noisyVideo(t, size)
	cmd := someone.command("send", "--no-wait", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	close(hold)
	code, out, said := someone.send("--no-wait", "--json", file)
	var o struct {
		JobID string `json:"job_id"`
	}
	if err := json.Unmarshal([]byte(out), &o); code != 0 || err != nil {
		t.Fatalf("soundstrip send = %d %s %s, %v", code, out, said, err)
	}
	if j := getJob(t, s.url, login(t, s.url, georgio), o.JobID); j.Video.SHA256 != sum {
		t.Errorf("the video has the SHA-256 %s, want %s", j.Video.SHA256, sum)
	}
	// What the process and the proxy had on their hands may have to be sent again.
	if total := m.count.Load(); total > size+16<<20 {
		t.Errorf("%d bytes were sent of a file of %d", total, int64(size))
	}
}

// TestUploadKilled kills gateway and upload twice each while a video is sent: there is one job, of the same bytes.
// SOUNDSTRIP_BIG sets the size in bytes, for a line of 200 Mbit/s (make killed takes 20 GB).
func TestUploadKilled(t *testing.T) {
	t.Parallel()
	const small = 40 << 20
	size := bigSize(t, small)
	s := deploy(t)
	victims := []string{"upload", "gateway", "upload", "gateway"}
	due := make(chan struct{}, 100)
	m, address := newMeter(t, s.url, size/5, func() { due <- struct{}{} })
	if size > small {
		m.rate = 200_000_000 / 8
	}
	file, sum := noisyVideo(t, size)
	someone := newSender(t, address)
	cmd := someone.command("send", "--no-wait", "--whole", "--json", file)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	killed, heap, begun := 0, map[string]int{}, time.Now()
	var err error
	for running := true; running; {
		select {
		case <-due:
			if killed < len(victims) {
				p := s.restart(t, victims[killed])
				heap[p.name] = max(heap[p.name], p.peakHeap())
				killed++
			}
		case err = <-ended:
			running = false
		}
	}
	var o struct {
		JobID string `json:"job_id"`
	}
	if parse := json.Unmarshal(out.Bytes(), &o); err != nil || parse != nil {
		t.Fatalf("soundstrip send: %v, %v: %s %s", err, parse, &out, &said)
	}
	token := login(t, s.url, georgio)
	if j := getJob(t, s.url, token, o.JobID); j.Video.SHA256 != sum {
		t.Errorf("the video has the SHA-256 %s, want %s", j.Video.SHA256, sum)
	}
	if _, body := curl(t, "-H", "Authorization: Bearer "+token, s.url+"/jobs"); strings.Count(body, `"id"`) != 1 {
		t.Errorf("GET /jobs = %s, want one job", body)
	}
	if killed < len(victims) {
		t.Errorf("%d processes were killed, want %d", killed, len(victims))
	}
	for _, p := range s.processes {
		if p.name != "upload" && p.name != "gateway" {
			continue
		}
		if heap := max(heap[p.name], p.peakHeap()); heap > maxHeap {
			t.Errorf("the heap of %s was %d MiB, want %d at most", p.name, heap, maxHeap)
		}
		t.Logf("%s: heap of %d MiB at most", p.name, max(heap[p.name], p.peakHeap()))
	}
	t.Logf("%d MiB sent for a video of %d, %d processes killed, in %v", m.count.Load()>>20, size>>20, killed,
		time.Since(begun).Round(time.Second))
}

// restart kills a process, and starts it anew at the same address. It gives the one that was killed.
func (s *system) restart(t *testing.T, name string) *process {
	t.Helper()
	for i, p := range s.processes {
		if p.name != name {
			continue
		}
		p.signal(syscall.SIGKILL)
		u, err := url.Parse(p.url)
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(u.Host)
		if err != nil {
			t.Fatal(err)
		}
		s.processes[i] = start(t, name, with(p.env, map[string]string{"PORT": port}))
		return p
	}
	t.Fatalf("there is no %s", name)
	return nil
}
