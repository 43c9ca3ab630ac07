//go:build e2e

package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/ptr"
)

// slowLine is a reader of so many bytes a second.
type slowLine struct {
	io.ReadCloser
	rate int64
	read *atomic.Int64
}

func (s slowLine) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 32<<10)])
	s.read.Add(int64(n))
	<-time.After(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

// testResumed sends a video over a line on which it takes several times as long as a request may, and kills the pods of
// upload and gateway meanwhile.
func testResumed(t *testing.T, c *cluster, p *person) {
	for _, name := range []string{"upload", "gateway"} {
		defer c.limit(name, 20, "REQUEST_TIMEOUT", "12s")()
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "soundstrip")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./functions/cmd/soundstrip")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	sound := filepath.Join(dir, "long.mp3")
	ffmpeg(t, "-f", "lavfi", "-i", "anoisesrc=d=360:r=44100", "-ac", "2", "-c:a", "libmp3lame", "-b:a", "320k", sound)
	content, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}

	target, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	var sent, requests atomic.Int64
	line := httptest.NewServer(&httputil.ReverseProxy{
		Transport: p.client.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			if r.In.Method == http.MethodPatch {
				requests.Add(1)
				r.Out.Body = slowLine{r.Out.Body, 250_000, &sent}
			}
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	defer line.Close()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = []string{"HOME=" + dir, "SOUNDSTRIP_URL=" + line.URL}
		return cmd
	}
	login := command("login", email)
	login.Stdin = strings.NewReader(password + "\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("soundstrip login: %v: %s", err, out)
	}
	began := time.Now()
	type answer struct {
		out []byte
		err error
	}
	ended := make(chan answer, 1)
	go func() {
		out, err := command("send", "--no-wait", "--json", sound).Output()
		ended <- answer{out, err}
	}()
	eventually(t, "half of the video to be sent", func() bool { return sent.Load() > int64(len(content)/2) })
	for _, name := range []string{"upload", "gateway"} {
		for _, pod := range c.pods(namespace, name) {
			c.delete(pod.Name, ptr.To[int64](0))
		}
	}
	a := <-ended
	var o struct {
		Job string `json:"job_id"`
	}
	if err := json.Unmarshal(a.out, &o); err != nil || a.err != nil {
		t.Fatalf("soundstrip send = %s, %v", a.out, a.err)
	}
	t.Logf("%d bytes in %v and %d requests, of 20 s at most", len(content), time.Since(began).Round(time.Second),
		requests.Load())
	var j struct{ Video struct{ SHA256 string } }
	if err := json.Unmarshal(p.do(http.MethodGet, "/jobs/"+o.Job), &j); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(content); j.Video.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the video has the SHA-256 %s, want %x", j.Video.SHA256, sum)
	}
	if got := p.await(o.Job); got.MP3 == nil {
		t.Errorf("the job ended %+v, want an MP3", got)
	}
}
