//go:build e2e

package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	email    = "georgio@email.com"
	password = "a long pass phrase"
)

// person uses Soundstrip through the gateway's route.
type person struct {
	t      *testing.T
	client *http.Client
	url    string
	token  string
}

// view is what the API says of a job.
type view struct {
	ID       string
	State    string
	Progress int
	Created  time.Time
	Attempts []struct {
		From  time.Time
		To    *time.Time
		Error string
	}
	MP3 *struct {
		FID      string
		Duration float64
		Plan     string
	}
	Error *struct{ Code, Message string }
}

func (v view) finished() bool { return v.State == "notified" || v.State == "failed" }

// waited is how long the video lay until a converter took it for the last time.
func (v view) waited() time.Duration { return v.Attempts[len(v.Attempts)-1].From.Sub(v.Created) }

// worked is how long the converter took that took it first.
func (v view) worked() time.Duration { return v.Attempts[0].To.Sub(v.Attempts[0].From) }

// send sends a request with the person's token, or with the password of one who has none.
func (p *person) send(method, url string, header map[string]string, body io.Reader) (int, []byte, error) {
	r, err := http.NewRequestWithContext(p.t.Context(), method, url, body)
	if err != nil {
		return 0, nil, err
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	} else {
		r.SetBasicAuth(email, password)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// do sends a request, again while the answer is that the function or its pod is not there yet, and gives the answer,
// which must be a 200.
func (p *person) do(method, path string) (answer []byte) {
	p.t.Helper()
	eventually(p.t, method+" "+path+" to be answered", func() bool {
		var status int
		var err error
		status, answer, err = p.send(method, p.url+path, nil, nil)
		switch {
		case err != nil:
			p.t.Fatalf("%s %s: %v", method, path, err)
		case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
			p.t.Logf("%s %s = %d %q: try it again", method, path, status, answer)
			return false
		case status != http.StatusOK:
			p.t.Fatalf("%s %s = %d %q, want 200", method, path, status, answer)
		}
		return true
	})
	return answer
}

// routed waits until the ingress leads to every function: a Service is Ready a moment before.
func (p *person) routed() {
	p.t.Helper()
	for _, r := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/healthz", http.StatusOK},
		{http.MethodGet, "/.well-known/jwks.json", http.StatusOK},
		{http.MethodPost, "/validate", http.StatusUnauthorized},
		{http.MethodPost, "/upload", http.StatusUnauthorized},
		{http.MethodGet, "/jobs", http.StatusUnauthorized},
	} {
		eventually(p.t, r.method+" "+r.path+" to be routed", func() bool {
			status, _, err := p.send(r.method, p.url+r.path, nil, nil)
			return err == nil && status == r.status
		})
	}
}

// signUp makes the account, unless an earlier run has.
func (p *person) signUp() {
	p.t.Helper()
	account, err := json.Marshal(map[string]string{"email": email, "password": password})
	if err != nil {
		p.t.Fatal(err)
	}
	header := map[string]string{"Content-Type": "application/json"}
	status, answer, err := p.send("POST", p.url+"/users", header, bytes.NewReader(account))
	if err != nil || status != http.StatusCreated && status != http.StatusConflict {
		p.t.Fatalf("POST /users = %d %q (%v), want 201 or 409", status, answer, err)
	}
}

// lifetime logs in at a route of login and gives how many seconds the token holds.
func (p *person) lifetime(url string) (int, error) {
	nobody := *p
	nobody.token = ""
	status, answer, err := nobody.send("POST", url+"/login", map[string]string{"Accept": "application/json"}, nil)
	var token struct {
		ExpiresIn int `json:"expires_in"`
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(answer, &token) != nil {
		return 0, fmt.Errorf("POST %s/login = %d %q (%w), want 200 and a token", url, status, answer, err)
	}
	return token.ExpiresIn, nil
}

// upload uploads a file as a browser does and gives the job's id.
func (p *person) upload(file string) string {
	p.t.Helper()
	id, err := p.tryUpload(file)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// tryUpload is upload for goroutines, which cannot end the test.
func (p *person) tryUpload(file string) (id string, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", filepath.Base(file))
	if err != nil {
		return "", err
	}
	if _, err := part.Write(content); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	header := map[string]string{"Content-Type": w.FormDataContentType()}
	status, answer, err := p.send("POST", p.url+"/upload", header, &form)
	if err != nil {
		return "", err
	}
	var v struct {
		JobID string `json:"job_id"`
	}
	if status != http.StatusAccepted || json.Unmarshal(answer, &v) != nil || v.JobID == "" {
		return "", fmt.Errorf("POST /upload = %d %q, want 202 and a job", status, answer)
	}
	return v.JobID, nil
}

func (p *person) job(id string) (v view) {
	p.t.Helper()
	body := p.do("GET", "/jobs/"+id)
	if err := json.Unmarshal(body, &v); err != nil {
		p.t.Fatalf("GET /jobs/%s answered %q: %v", id, body, err)
	}
	return v
}

// await waits until a job is done, and fails the test when that is without an MP3.
func (p *person) await(id string) (v view) {
	p.t.Helper()
	eventually(p.t, "job "+id+" to end", func() bool {
		v = p.job(id)
		return v.finished()
	})
	if v.State != "notified" || v.MP3 == nil {
		p.t.Fatalf("job %s ended %s %+v, want an MP3", id, v.State, v.Error)
	}
	return v
}

// download gives the length in seconds of the MP3 that comes down.
func (p *person) download(fid string) float64 {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "out.mp3")
	if err := os.WriteFile(file, p.do("GET", "/download?fid="+fid), 0o600); err != nil {
		p.t.Fatal(err)
	}
	out, err := exec.CommandContext(p.t.Context(), "ffprobe", "-v", "error", "-select_streams", "a:0",
		"-show_entries", "stream=codec_name,duration", "-of", "csv=p=0", file).Output()
	codec, duration, _ := strings.Cut(strings.TrimSpace(string(out)), ",")
	length, parseErr := strconv.ParseFloat(duration, 64)
	if err != nil || codec != "mp3" || parseErr != nil {
		p.t.Fatalf("ffprobe says %q (%v), want an mp3 and its length", out, err)
	}
	return length
}

// video makes a test video of the given length, in seconds: one that is longer than a minute repeats its first.
func video(t *testing.T, name string, length int) string {
	t.Helper()
	dir := t.TempDir()
	once, file := filepath.Join(dir, "once.mp4"), filepath.Join(dir, name)
	d := strconv.Itoa(min(length, 60))
	ffmpeg(t, "-f", "lavfi", "-i", "testsrc2=s=64x48:r=1:d="+d, "-f", "lavfi", "-i", "sine=f=440:r=44100:d="+d,
		"-c:v", "mpeg4", "-c:a", "aac", "-ac", "2", once)
	ffmpeg(t, "-stream_loop", strconv.Itoa((length-1)/60), "-i", once, "-c", "copy", file)
	return file
}

// ffmpeg makes a file.
func ffmpeg(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffmpeg", append([]string{"-v", "error"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg %q: %v\n%s", args, err, out)
	}
}
