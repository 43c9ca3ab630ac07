//go:build e2e

package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// curl runs curl with the person's token and gives the status of the answer; the answer goes to output. The code is
// that of curl's exit.
func (p *person) curl(stdin io.Reader, output string, args ...string) (status string, code int) {
	p.t.Helper()
	all := []string{"-sS", "-o", output, "-w", "%{http_code}", "-H", "Authorization: Bearer " + p.token}
	if ingress := os.Getenv("INGRESS"); ingress != "" {
		all = append(all, "--connect-to", "::"+ingress)
	}
	cmd := exec.CommandContext(p.t.Context(), "curl", append(all, args...)...)
	cmd.Stdin = stdin
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		p.t.Fatalf("curl %q: %v", args, err)
	}
	p.t.Logf("curl %q: %s, exit %d %s", args, out, code, strings.TrimSpace(said.String()))
	return string(out), code
}

// testCurl uploads with curl, which expects a 100 before it sends more than a megabyte. What it is told is the truth.
func testCurl(t *testing.T, c *cluster, p *person) {
	dir := t.TempDir()
	answer, junk, good := filepath.Join(dir, "answer"), filepath.Join(dir, "junk.mp4"), filepath.Join(dir, "good.wav")
	if err := os.WriteFile(junk, bytes.Repeat([]byte("no video "), 350_000), 0o600); err != nil {
		t.Fatal(err)
	}
	ffmpeg(t, "-f", "lavfi", "-i", "sine=d=40:r=44100", good)
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"junk as a form", "415", []string{"-F", "file=@" + junk, p.url + "/upload"}},
		{"junk", "415", []string{"-T", junk, p.url + "/upload/"}},
		{"a bad option in a form", "422", []string{"-F", "bitrate=7", "-F", "file=@" + good, p.url + "/upload"}},
		{"a bad option", "422", []string{"-T", good, p.url + "/upload/good.wav?bitrate=7"}},
		{"a video as a form", "202", []string{"-F", "file=@" + good, p.url + "/upload"}},
		{"a video", "202", []string{"-T", good, p.url + "/upload/"}},
		{"a video without Expect", "202", []string{"-H", "Expect:", "-T", good, p.url + "/upload/"}},
	} {
		status, code := p.curl(nil, answer, tt.args...)
		if said, err := os.ReadFile(answer); status != tt.want || code != 0 || len(said) == 0 || err != nil {
			t.Errorf("%s: curl = %s %q, exit %d, want %s and all of the answer", tt.name, status, said, code, tt.want)
		}
	}

	// The pod is killed when it has a part of the video.
	sound, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	body, feed := io.Pipe()
	go func() {
		defer feed.Close()
		for range 10 {
			if _, err := feed.Write(sound); err != nil {
				return
			}
		}
		pods, err := c.list(namespace, "upload")
		for _, pod := range pods {
			kill := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
			err = errors.Join(err, c.kube.Pods(namespace).Delete(t.Context(), pod.Name, kill))
		}
		if err != nil || len(pods) == 0 {
			t.Errorf("kill the pods of upload: %d, %v", len(pods), err)
		}
		// It goes on until it learns that the pod is dead, which takes a moment.
		for err == nil {
			_, err = feed.Write(sound[:1<<16])
			<-time.After(20 * time.Millisecond)
		}
	}()
	status, code := p.curl(body, answer, "-T", "-", p.url+"/upload/killed.wav")
	_ = body.Close()
	if code == 0 && status < "500" {
		t.Errorf("curl of an upload whose pod was killed = %s, want a 5xx or no answer", status)
	}
}

// testTimers has requests last longer than Knative's timers.
func testTimers(t *testing.T, c *cluster, p *person) {
	for _, name := range []string{"jobs", "gateway"} {
		defer c.limit(name, 100, "ANSWER_TIMEOUT", "20s")()
	}
	// Its sound is MP3 already, so that it is converted in a moment.
	dir := t.TempDir()
	once, long := filepath.Join(dir, "once.mp3"), filepath.Join(dir, "long.mp3")
	ffmpeg(t, "-f", "lavfi", "-i", "anoisesrc=d=60:r=44100", "-ac", "2", "-c:a", "libmp3lame", "-b:a", "320k", once)
	ffmpeg(t, "-stream_loop", "99", "-i", once, "-c", "copy", long)
	fid := p.await(p.upload(long)).MP3.FID
	url := p.url + "/download?fid=" + fid
	want := sha256.Sum256(p.do(http.MethodGet, "/download?fid="+fid))
	out := filepath.Join(dir, "out.mp3")

	// It takes longer than an answer may, though the proxies' buffers take a hundred megabytes at once.
	broken := 0
	for {
		status, code := p.curl(nil, out, "-C", "-", "--limit-rate", "2M", url)
		if code == 0 {
			break
		}
		if broken++; broken > 20 || status != "200" && status != "206" {
			t.Fatalf("curl = %s, exit %d, want a part of the file", status, code)
		}
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if broken == 0 || sha256.Sum256(got) != want {
		t.Errorf("a download that broke %d times gives %d bytes that end in %q, want the MP3", broken, len(got),
			got[max(0, len(got)-20):])
	}
	// An upload may take longer than an answer.
	short := filepath.Join(dir, "short.mp3")
	if err := os.WriteFile(short, got[:4<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _ := p.curl(nil, os.DevNull, "--limit-rate", "150k", "-T", short, p.url+"/upload/"); status != "202" {
		t.Errorf("a slow upload = %s, want 202", status)
	}
	if status, _ := p.curl(nil, os.DevNull, p.url+"/jobs"); status != "200" {
		t.Errorf("GET /jobs afterwards = %s, want 200", status)
	}
}
