//go:build faults

package faults

import (
	"bytes"
	"encoding/base64"
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
	"sync"
	"testing"
	"time"
)

// clip is a small video; failing ones have no sound.
type clip struct {
	name    string
	bytes   []byte
	failing bool
	long    bool // takes seconds to convert, so that it is uploaded only where that matters
}

// clips makes the videos: seconds of a tone that differ, and one without. The large one, of more than
// a MB, is several chunks of GridFS.
func clips(t *testing.T) []clip {
	t.Helper()
	dir := t.TempDir()
	var all []clip
	for _, c := range [][2]string{
		{"a.mp4", "-f lavfi -i sine=f=440:d=1 -c:v mpeg4 -c:a aac"},
		{"b.mkv", "-f lavfi -i sine=f=880:d=2 -c:v mpeg4 -c:a ac3"},
		{"large.mkv", "-f lavfi -i sine=f=660:d=2 -vf scale=320:240,noise=alls=100:allf=t -r 8 -c:v mpeg4 -q:v 2 -c:a ac3"},
		{"long.mkv", "-f lavfi -i sine=f=330:d=300 -c:v mpeg4 -c:a ac3 -b:a 64k"},
		{"silent.mp4", "-c:v mpeg4 -an"},
	} {
		name, args := c[0], c[1]
		file := filepath.Join(dir, name)
		line := "-v error -f lavfi -i testsrc2=s=160x120:r=5:d=2 " + args + " -threads 1 " + file
		if out, err := exec.Command("ffmpeg", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ffmpeg: %v\n%s", err, out)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, clip{name, b, name == "silent.mp4", name == "long.mkv"})
	}
	return all
}

// ways are those of an upload.
var ways = []string{"POST", "PUT", "tus", "tus cut"}

// attempt is one upload as its client knows it.
type attempt struct {
	name  string // of the file, which is no other's
	clip  clip
	way   string
	fault string // at whose time it was
	// status is that of the answer; 0 when there was none, and the client does not know.
	status int
	job    string // its id, of a 2xx

	cancelled, deleted, retried bool // what the client did to it then, and has an answer to
	asked                       bool // it did something to it, and may have no answer
}

// stem is what mails say of the file's name.
func (a *attempt) stem() string { return strings.TrimSuffix(a.name, filepath.Ext(a.name)) }

// acknowledged reports whether the client was told that its video will be converted.
func (a *attempt) acknowledged() bool { return a.status/100 == 2 }

// client uploads as people do, and remembers what it was told. What it was told stands outside of the system.
type client struct {
	t     *testing.T
	url   string
	token string
	http  *http.Client

	fault string // that is on

	mu       sync.Mutex
	attempts []*attempt
}

func newClient(t *testing.T, url string) *client {
	t.Helper()
	c := &client{t: t, url: url, http: &http.Client{Timeout: time.Minute,
		Transport: &http.Transport{DisableKeepAlives: true}}}
	c.token = c.login(user, "Admin123")
	if c.token == "" {
		t.Fatal("no login")
	}
	return c
}

// login gives a token, or nothing.
func (c *client) login(email, password string) string {
	r, err := http.NewRequest(http.MethodPost, c.url+"/login", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth(email, password)
	status, body, _ := c.send(r)
	if status != http.StatusOK {
		return ""
	}
	return body
}

// send gives status 0 when there is no answer.
func (c *client) send(r *http.Request) (status int, body string, h http.Header) {
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return resp.StatusCode, string(b), resp.Header
}

func (c *client) call(method, path string, body io.Reader, headers ...string) (int, string, http.Header) {
	r, err := http.NewRequest(method, c.url+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return c.send(r)
}

// upload uploads once. A 5xx or no answer is not tried again, but in the way of tus, which is there for that.
func (c *client) upload(v clip, way string) *attempt {
	c.mu.Lock()
	a := &attempt{name: fmt.Sprintf("v%04d%s", len(c.attempts), filepath.Ext(v.name)), clip: v, way: way,
		fault: c.fault}
	c.attempts = append(c.attempts, a)
	c.mu.Unlock()
	var status int
	var id string
	switch way {
	case "POST":
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, _ := w.CreateFormFile("file", a.name)
		_, _ = part.Write(v.bytes)
		_ = w.Close()
		status, id = c.take(c.call(http.MethodPost, "/upload", &form, "Content-Type", w.FormDataContentType()))
	case "PUT":
		status, id = c.take(c.call(http.MethodPut, "/upload/"+a.name, bytes.NewReader(v.bytes)))
	default:
		status, id = c.tus(a, way == "tus cut")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a.status, a.job = status, id
	return a
}

func (c *client) take(status int, body string, _ http.Header) (int, string) {
	var v struct {
		JobID string `json:"job_id"`
	}
	if err := json.Unmarshal([]byte(body), &v); status/100 == 2 && (err != nil || v.JobID == "") {
		c.t.Errorf("an upload was answered %d without a job: %q", status, body)
	}
	return status, v.JobID
}

// tus sends the video in two halves, the first of which may be cut, and goes on where the server says, as often as it
// takes. The last byte's 204 counts.
func (c *client) tus(a *attempt, cut bool) (status int, id string) {
	size := len(a.clip.bytes)
	meta := "filename " + base64.StdEncoding.EncodeToString([]byte(a.name))
	var place string
	status, _, h := c.call(http.MethodPost, "/files", nil, "Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(size),
		"Upload-Metadata", meta)
	if status != http.StatusCreated {
		return status, "" // nothing was begun that the client knows of
	}
	place = h.Get("Location")
	place = place[strings.Index(place, "/files/"):]
	id = strings.TrimPrefix(place, "/files/")
	done := holds(func() bool {
		var offset int
		status, _, h = c.call(http.MethodHead, place, nil, "Tus-Resumable", "1.0.0")
		switch status {
		case http.StatusOK:
		case http.StatusNotFound, http.StatusGone, http.StatusForbidden:
			return true
		default:
			return false
		}
		offset, _ = strconv.Atoi(h.Get("Upload-Offset"))
		if offset == size {
			status = http.StatusNoContent
			return true
		}
		end := size
		if offset < size/2 {
			end = size / 2
		}
		var body io.Reader = bytes.NewReader(a.clip.bytes[offset:end])
		if cut {
			cut = false
			body = io.MultiReader(bytes.NewReader(a.clip.bytes[offset:(offset+end)/2]), broken{})
		}
		status, _, h = c.call(http.MethodPatch, place, body, "Tus-Resumable", "1.0.0", "Upload-Offset",
			strconv.Itoa(offset), "Content-Type", "application/offset+octet-stream")
		return status == http.StatusNoContent && h.Get("Upload-Offset") == strconv.Itoa(size)
	})
	if !done {
		c.t.Errorf("tus: %s did not come to an end, last answer %d", a.name, status)
	}
	if status != http.StatusNoContent {
		return status, ""
	}
	return status, id
}

// broken is the rest of a body whose sender has gone.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// act does something to a job that there is: DELETE it, cancel or retry it.
func (c *client) act(a *attempt, what string) (status int) {
	c.mu.Lock()
	a.asked = true
	c.mu.Unlock()
	switch what {
	case "delete":
		status, _, _ = c.call(http.MethodDelete, "/jobs/"+a.job, nil)
	default:
		status, _, _ = c.call(http.MethodPost, "/jobs/"+a.job+"/"+what, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if status/100 == 2 {
		switch what {
		case "delete":
			a.deleted = true
		case "cancel":
			a.cancelled = true
		case "retry":
			a.retried, a.cancelled = true, false
		}
	}
	return status
}
