package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What testdata/2026-11-29.tar.gz has: a data folder as the program of commit 7a124f4 left it. georgio is its user, who
// has an API key. One video has its MP3 and its mail. The program was killed when it had taken the other.
const (
	oldKey     = "ss_GUWRRG2UZYWRNMMGRZ3ZB6HMJU"
	oldJob     = "6b0de0eafcea7f67b6d072ff"
	oldMP3     = "7de843f755a633587949d346cee1f5cff5000a2d69c39c783c4ff44a75cd59d2" // its SHA-256
	oldWaiting = "6b0de0eafcea7f67b6d07301"
)

// TestUpgrade starts from the data of an older version, backs them up while uploads are under way, and starts from the
// copy.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	data := t.TempDir()
	run(t, "tar", "-xzf", "testdata/2026-11-29.tar.gz", "-C", data)
	// Sweep is not to give up the video that waits, however old it is.
	env := []string{"RETENTION_VIDEO=0", "SWEEP_INTERVAL=1s", "SWEEP_GRACE=1s", "SWEEP_UNANSWERED=876000h"}
	s := laptop(t, data, env...)
	token := login(t, s.url, georgio)
	if j := await(t, s.url, token, oldWaiting, "notified", "failed"); j.State != "notified" {
		t.Fatalf("the video that waited ended %+v", j)
	}
	for name, bearer := range map[string]string{"token": token, "key": oldKey} {
		if status, body := curl(t, "-H", "Authorization: Bearer "+bearer, s.url+"/jobs"); status != http.StatusOK ||
			!strings.Contains(body, oldJob) || !strings.Contains(body, oldWaiting) {
			t.Errorf("GET /jobs by the %s = %d %q, want both jobs", name, status, body)
		}
	}
	wantOldMP3(t, s.url, token)
	wantEvents(t, s.url, token, oldJob, oldWaiting)
	if status, body := curl(t, s.url+"/mailbox"); status != http.StatusOK ||
		strings.Count(body, "Your MP3 is ready") != 2 {
		t.Errorf("GET /mailbox = %d %q, want two mails", status, body)
	}

	talk := write(t, "talk.mp4", read(t, filepath.Join(data, "media", "videos", oldJob+".data")))
	pad(t, talk, 100_000)
	content := read(t, talk)
	half := len(content) / 2
	place := beginTus(t, s.url, token, content, half)
	finish := beginPut(t, s.url, token, content, half)
	eventually(t, "the other upload to have begun", func() bool { return len(mediaFiles(t, data, "videos")) == 4 })
	copied := filepath.Join(t.TempDir(), "new", "backup")
	backup := []string{"SOUNDSTRIP_DATA=" + data, filepath.Join(bin, "soundstrip"), "backup", copied}
	if out := run(t, "env", backup...); !strings.Contains(out, "4 videos and MP3s (") ||
		!strings.Contains(out, "1 unfinished uploads") || !strings.Contains(out, "start with SOUNDSTRIP_DATA="+copied) {
		t.Errorf("soundstrip backup = %q, want what it copied and how to restore it", out)
	}
	out, err := exec.CommandContext(t.Context(), "env", backup...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is not empty") {
		t.Errorf("soundstrip backup to the same folder = %v %q, want a refusal", err, out)
	}
	backup[3] = filepath.Join(data, "x")
	out, err = exec.CommandContext(t.Context(), "env", backup...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is in the folder") {
		t.Errorf("soundstrip backup into the data = %v %q, want a refusal", err, out)
	}
	finish()
	ask(t, http.StatusNoContent, http.MethodDelete, s.url+"/jobs/"+oldJob, token, "")

	s = laptop(t, copied, env...) // where the secrets are the same, and so are tokens
	wantOldMP3(t, s.url, token)
	id := finishTus(t, s.url+place, token, content, half)
	if j := await(t, s.url, token, id, "notified", "failed"); j.State != "notified" {
		t.Errorf("the upload that went on at the copy ended %+v", j)
	}
	eventually(t, "the sweep of the copy to have looked at three videos and three MP3s, and kept them", func() bool {
		looked, err := filepath.Glob(filepath.Join(copied, "media", "*.drafts", "*"))
		return err == nil && len(looked) == 0 &&
			len(mediaFiles(t, copied, "videos")) == 3 && len(mediaFiles(t, copied, "mp3s")) == 3
	})
}

func wantOldMP3(t *testing.T, url, token string) {
	t.Helper()
	_, body := curl(t, "-H", "Authorization: Bearer "+token, url+"/jobs/"+oldJob+"/mp3")
	if sum := sha256.Sum256([]byte(body)); hex.EncodeToString(sum[:]) != oldMP3 {
		t.Errorf("the old MP3 has %d bytes of SHA-256 %x, want %s", len(body), sum, oldMP3)
	}
}

// wantEvents reads the events since 1970, until they tell of the jobs.
func wantEvents(t *testing.T, url, token string, ids ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp := request(ctx, t, http.MethodGet, url+"/jobs/events", token, map[string]string{"Last-Event-ID": "1"}, nil)
	defer resp.Body.Close()
	told := ""
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		told += lines.Text()
		missing := false
		for _, id := range ids {
			missing = missing || !strings.Contains(told, id)
		}
		if !missing {
			return
		}
	}
	t.Errorf("the events end with %v, and told %q, want %q", lines.Err(), told, ids)
}

// request sends a request with a token.
func request(ctx context.Context, t *testing.T, method, url, token string, header map[string]string, body io.Reader,
) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// beginTus sends the first half of a video, and gives the path of the upload.
func beginTus(t *testing.T, to, token string, content []byte, half int) (path string) {
	t.Helper()
	resp := request(ctx(t), t, http.MethodPost, to+"/files", token, map[string]string{"Tus-Resumable": "1.0.0",
		"Upload-Length": strconv.Itoa(len(content)), "Upload-Metadata": "filename dGFsay5tcDQ="}, nil)
	resp.Body.Close()
	place, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST /files = %s, Location %q", resp.Status, resp.Header.Get("Location"))
	}
	patchTus(t, to+place.Path, token, content[:half], 0)
	return place.Path
}

// finishTus sends the other half, and gives the id of the job.
func finishTus(t *testing.T, to, token string, content []byte, half int) string {
	t.Helper()
	resp := request(ctx(t), t, http.MethodHead, to, token, map[string]string{"Tus-Resumable": "1.0.0"}, nil)
	resp.Body.Close()
	if got := resp.Header.Get("Upload-Offset"); got != strconv.Itoa(half) {
		t.Fatalf("HEAD of the upload = %s, offset %q, want %d", resp.Status, got, half)
	}
	resp = patchTus(t, to, token, content[half:], half)
	return resp.Header.Get("Location")[strings.LastIndexByte(resp.Header.Get("Location"), '/')+1:]
}

func patchTus(t *testing.T, to, token string, content []byte, offset int) *http.Response {
	t.Helper()
	resp := request(ctx(t), t, http.MethodPatch, to, token, map[string]string{"Tus-Resumable": "1.0.0",
		"Upload-Offset": strconv.Itoa(offset), "Content-Type": "application/offset+octet-stream"}, bytes.NewReader(content))
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("PATCH of the upload at %d = %s", offset, resp.Status)
	}
	return resp
}

// beginPut sends the first part of a video in one request; what it gives sends the rest.
func beginPut(t *testing.T, url, token string, content []byte, n int) (finish func()) {
	t.Helper()
	r, w := io.Pipe()
	ended := make(chan struct{})
	ctx := ctx(t)
	go func() {
		defer close(ended)
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, url+"/upload/put.mp4", r)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Errorf("PUT of a video = %s", resp.Status)
		}
	}()
	if _, err := w.Write(content[:n]); err != nil {
		t.Fatal(err)
	}
	return func() {
		_, err := w.Write(content[n:])
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err != nil {
			t.Error(err)
		}
		<-ended
	}
}
