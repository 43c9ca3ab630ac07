package upload

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// people verifies that a token is the name of somebody.
type people struct{}

func (people) Verify(_ context.Context, raw string) (token.Claims, error) {
	return claimsOf(raw), nil
}

// brittleJobs are jobs whose Create and Delete fail for a while.
type brittleJobs struct {
	job.Store
	before, after int // how many calls of Create are still to fail
	deletes       int // and how many of Delete
}

func (b *brittleJobs) Delete(ctx context.Context, id string) error {
	if b.deletes > 0 {
		b.deletes--
		return errStore
	}
	return b.Store.Delete(ctx, id)
}

func (b *brittleJobs) Create(ctx context.Context, j job.Job) (job.Job, error) {
	if b.before > 0 {
		b.before--
		return job.Job{}, errStore
	}
	j, err := b.Store.Create(ctx, j)
	if b.after > 0 {
		b.after--
		return job.Job{}, errStore // its answer is lost
	}
	return j, err
}

// tusSetup is an upload function on the stores of a laptop.
type tusSetup struct {
	videos  media.Store
	jobs    *brittleJobs
	uploads job.Uploads
	url     string

	mu   sync.Mutex
	sent []event.Event
}

func newTusSetup(t testing.TB, maxBytes int64) *tusSetup {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(filepath.Join(dir, "soundstrip.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := &tusSetup{jobs: &brittleJobs{}}
	if s.videos, err = media.NewFolder(filepath.Join(dir, "videos")); err != nil {
		t.Fatal(err)
	}
	if s.jobs.Store, err = job.NewSQLite(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if s.uploads, err = job.NewSQLiteUploads(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	s.serve(t, s.videos, Config{MaxBytes: maxBytes, Expires: time.Hour})
	return s
}

// serve serves the stores, with another one of videos than before.
func (s *tusSetup) serve(t testing.TB, videos media.Store, cfg Config) {
	t.Helper()
	sender := senderFunc(func(_ context.Context, e event.Event) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent = append(s.sent, e)
		return nil
	})
	h := New(videos, s.jobs, s.uploads, sender, people{}, cfg)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(r.Context())
		r.Body = duplexBody{r.Body, http.NewResponseController(w)}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
}

// duplexBody is what package serve makes of a body, so that an answer need not wait for the end of it.
type duplexBody struct {
	io.ReadCloser
	c *http.ResponseController
}

func (b duplexBody) Read(p []byte) (int, error) {
	_ = b.c.EnableFullDuplex()
	return b.ReadCloser.Read(p)
}

// headers are those of a request beside the usual ones; an empty value takes one of these away.
type headers map[string]string

const pieceType = "application/offset+octet-stream"

// call sends a request as ann does.
func (s *tusSetup) call(t *testing.T, method, path string, body []byte, h headers) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+owner)
	r.Header.Set("Tus-Resumable", tusVersion)
	if body != nil {
		r.Header.Set("Content-Type", pieceType)
	}
	for k, v := range h {
		if v == "" {
			r.Header.Del(k)
			continue
		}
		r.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(text))
	return res
}

// want is call, and looks at the status.
func (s *tusSetup) want(t *testing.T, status int, method, path string, body []byte, h headers) *http.Response {
	t.Helper()
	res := s.call(t, method, path, body, h)
	if res.StatusCode != status {
		text, _ := io.ReadAll(res.Body)
		t.Fatalf("%s %s with %v = %d %s, want %d", method, path, h, res.StatusCode, text, status)
	}
	return res
}

// begin creates an upload and gives its path.
func (s *tusSetup) begin(t *testing.T, length int, h headers) string {
	t.Helper()
	all := headers{"Upload-Length": strconv.Itoa(length)}
	for k, v := range h {
		all[k] = v
	}
	res := s.want(t, http.StatusCreated, http.MethodPost, "/files", nil, all)
	path := res.Header.Get("Location")
	if !strings.HasPrefix(path, "/files/") {
		t.Fatalf("Location is %q", path)
	}
	if _, err := http.ParseTime(res.Header.Get("Upload-Expires")); err != nil {
		t.Errorf("Upload-Expires: %v", err)
	}
	return path
}

func at(offset int) headers { return headers{"Upload-Offset": strconv.Itoa(offset)} }

// patch sends a piece that is to be taken.
func (s *tusSetup) patch(t *testing.T, path string, offset int, piece []byte) *http.Response {
	t.Helper()
	res := s.want(t, http.StatusNoContent, http.MethodPatch, path, piece, at(offset))
	if got, want := res.Header.Get("Upload-Offset"), strconv.Itoa(offset+len(piece)); got != want {
		t.Errorf("Upload-Offset is %s after a piece of %d bytes at %d, want %s", got, len(piece), offset, want)
	}
	return res
}

func (s *tusSetup) offset(t *testing.T, path string) int {
	t.Helper()
	res := s.want(t, http.StatusOK, http.MethodHead, path, nil, nil)
	n, err := strconv.Atoi(res.Header.Get("Upload-Offset"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantJob sees that the upload has become one video and one job, and was told of once.
func (s *tusSetup) wantJob(t *testing.T, path string, content []byte) job.Job {
	t.Helper()
	id := strings.TrimPrefix(path, "/files/")
	j, err := s.jobs.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if want := (job.Video{Length: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}); j.Video != want {
		t.Errorf("the job's video is %+v, want %+v", j.Video, want)
	}
	f, err := s.videos.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the video has %d bytes (%v), not the %d that were sent", len(got), err, len(content))
	}
	res := s.want(t, http.StatusOK, http.MethodHead, path, nil, nil)
	if got := res.Header.Get("Location"); got != "/jobs/"+id {
		t.Errorf("Location of a complete upload is %q, want /jobs/%s", got, id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) != 1 || s.sent[0].Subject() != id || j.State != job.Queued {
		t.Errorf("the job is %s and %d events were sent, want queued and 1", j.State, len(s.sent))
	}
	return j
}

// wantNothing sees that nothing is left of an upload.
func (s *tusSetup) wantNothing(t *testing.T) {
	t.Helper()
	s.wantNothingVisible(t)
	none := func(context.Context, []media.Info) (map[string]bool, error) { return nil, nil }
	if n, err := s.videos.Sweep(t.Context(), time.Now().Add(time.Hour), none); n != 0 || err != nil {
		t.Errorf("%d videos are left, %v", n, err)
	}
}

func metadata(pairs ...string) headers {
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return headers{"Upload-Metadata": strings.Join(all, ", ")}
}

func TestTus(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	path := s.begin(t, len(video),
		metadata("filename", "a/Käse.mp4", "filetype", "video/mp4", "bitrate", "128", "mono", "1"))
	at := 0
	for _, n := range []int{1, 0, 20, 4096, 70_000, len(video)} {
		s.wantNothingVisible(t)
		end := min(at+n, len(video))
		res := s.patch(t, path, at, video[at:end])
		at = end
		if got := res.Header.Get("Location"); (got != "") != (at == len(video)) {
			t.Errorf("Location is %q after %d of %d bytes", got, at, len(video))
		}
		if got := s.offset(t, path); got != at {
			t.Errorf("the offset is %d, want %d", got, at)
		}
	}
	j := s.wantJob(t, path, video)
	if j.Owner != owner || j.Filename != "Käse.mp4" {
		t.Errorf("the job is %s's %q, want %s's Käse.mp4", j.Owner, j.Filename, owner)
	}
	if diff := cmp.Diff(eventing.Options{Bitrate: 128, Mono: true}, j.Options); diff != "" {
		t.Errorf("options differ (-want +got):\n%s", diff)
	}
}

// TestTusWebhook: the job has it, though it comes with the first request, and no answer or event.
func TestTusWebhook(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	const address = "https://example.com/hook?key=hunter2"
	path := s.begin(t, len(video),
		metadata("filename", "a.mp4", "webhook", address, "webhook_secret", hookSecret, "expires", "2h"))
	for _, at := range []int{0, 4096} {
		res := s.want(t, http.StatusOK, http.MethodHead, path, nil, nil)
		got := res.Header.Get("Upload-Metadata")
		if !strings.Contains(got, "filename YS5tcDQ=") || strings.Contains(got, "webhook") {
			t.Errorf("Upload-Metadata is %q, want the name, and nothing of the webhook", got)
		}
		end := len(video)
		if at == 0 {
			end = 4096
		}
		s.patch(t, path, at, video[at:end])
	}
	j := s.wantJob(t, path, video)
	if want := (job.Webhook{URL: address, Secret: hookSecret}); j.Webhook == nil || *j.Webhook != want {
		t.Errorf("the job's webhook is %v, want %v", j.Webhook, want)
	}
	if want := (job.Retention{Video: 7200, MP3: 7200}); j.Keep != want {
		t.Errorf("the job's files are kept %+v, want %+v", j.Keep, want)
	}
	if text := s.sent[0].String(); strings.Contains(text, "example.com") || strings.Contains(text, "hunter2") {
		t.Errorf("the webhook is in the event %s", text)
	}
}

// wantNothingVisible sees that nobody sees an upload before it is complete.
func (s *tusSetup) wantNothingVisible(t *testing.T) {
	t.Helper()
	jobs, err := s.jobs.List(t.Context(), job.Query{Limit: 10})
	if len(jobs) != 0 || err != nil {
		t.Errorf("there are the jobs %v, %v", jobs, err)
	}
}

func TestTusCreationWithUpload(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	length := headers{"Upload-Length": strconv.Itoa(len(video))}
	res := s.want(t, http.StatusCreated, http.MethodPost, "/files", video, length)
	path := res.Header.Get("Location")
	if got := res.Header.Get("Upload-Offset"); got != strconv.Itoa(len(video)) {
		t.Errorf("Upload-Offset is %s, want %d", got, len(video))
	}
	s.wantJob(t, path, video)
}

func TestTusDraft(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	draft := headers{"Tus-Resumable": "", "Content-Type": "", "Upload-Draft-Interop-Version": "6", "Upload-Complete": "?0",
		"Content-Disposition": `attachment; filename="talk.mp4"`}
	res := s.want(t, http.StatusCreated, http.MethodPost, "/files", video[:5000], draft)
	path := res.Header.Get("Location")
	draft["Upload-Offset"], draft["Upload-Complete"] = "5000", "?1"
	draft["Content-Type"] = "application/partial-upload"
	s.want(t, http.StatusNoContent, http.MethodPatch, path, video[5000:], draft)
	if j := s.wantJob(t, path, video); j.Filename != "talk.mp4" {
		t.Errorf("the video is called %q, want talk.mp4", j.Filename)
	}
}

// TestTusBreaksOff closes the connection in the middle of a piece.
func TestTusBreaksOff(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	path := s.begin(t, len(video), nil)
	const sent = 70_001
	conn := s.write(t, path, 0, len(video), video[:sent])
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	// The question for the offset waits until what has arrived is stored.
	for s.offset(t, path) != sent {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	s.patch(t, path, sent, video[sent:])
	s.wantJob(t, path, video)
}

// write begins a piece of the given length on a connection of its own, and sends the first bytes of it.
func (s *tusSetup) write(t *testing.T, path string, offset, length int, content []byte) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nTus-Resumable: 1.0.0\r\n"+
		"Content-Type: %s\r\nUpload-Offset: %d\r\nContent-Length: %d\r\n\r\n", path, owner, pieceType, offset, length)
	if err == nil {
		_, err = conn.Write(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestTusTakenOver has a second request come while the first still waits for its body, as after a line was lost.
func TestTusTakenOver(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	path := s.begin(t, len(video), nil)
	const sent = 70_001
	conn := s.write(t, path, 0, len(video), video[:sent])
	// Whether all of it had arrived when the other took over is not certain, but no byte is counted that is not stored.
	offset := 0
	for offset == 0 {
		offset = s.offset(t, path)
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Upload-Offset") != strconv.Itoa(offset) {
		t.Errorf("the first request = %d, Upload-Offset %s, want %d", res.StatusCode, res.Header.Get("Upload-Offset"), offset)
	}
	s.patch(t, path, offset, video[offset:])
	s.wantJob(t, path, video)
}

// TestTusTwoAtOnce has two clients send the same upload as fast as they can.
func TestTusTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	path := s.begin(t, len(video), nil)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for t.Context().Err() == nil {
				offset := s.offset(t, path)
				if offset == len(video) {
					return
				}
				end := min(offset+30_000, len(video))
				res := s.call(t, http.MethodPatch, path, video[offset:end], at(offset))
				if res.StatusCode >= 500 {
					t.Errorf("PATCH = %d", res.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	s.wantJob(t, path, video)
}

func TestTusChecksum(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	path := s.begin(t, len(video), nil)
	const n = 50_000
	sum := sha1.Sum(video[:n])
	right := headers{"Upload-Offset": "0", "Upload-Checksum": "sha1 " + base64.StdEncoding.EncodeToString(sum[:])}
	s.want(t, 460, http.MethodPatch, path, video[1:n+1], right)
	if got := s.offset(t, path); got != 0 {
		t.Errorf("the offset is %d after a wrong checksum, want 0", got)
	}
	s.want(t, http.StatusNoContent, http.MethodPatch, path, video[:n], right)
	s.patch(t, path, n, video[n:])
	s.wantJob(t, path, video)
}

func TestTusDeferredLength(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	res := s.want(t, http.StatusCreated, http.MethodPost, "/files", nil, headers{"Upload-Defer-Length": "1"})
	path := res.Header.Get("Location")
	s.patch(t, path, 0, video[:7])
	s.patch(t, path, 7, video[7:9000])
	h := at(9000)
	h["Upload-Length"] = strconv.Itoa(len(video))
	s.want(t, http.StatusNoContent, http.MethodPatch, path, video[9000:], h)
	s.wantJob(t, path, video)
}

func TestTusConcatenation(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	cuts := []int{0, 11, 5000, 130_000, len(video)}
	var parts []string
	for i, from := range cuts[:len(cuts)-1] {
		piece := video[from:cuts[i+1]]
		path := s.begin(t, len(piece), headers{"Upload-Concat": "partial"})
		half := len(piece) / 2
		s.patch(t, path, 0, piece[:half])
		if i == 0 {
			s.want(t, http.StatusBadRequest, http.MethodPost, "/files", nil, headers{"Upload-Concat": "final;" + path})
		}
		s.patch(t, path, half, piece[half:])
		parts = append(parts, path)
	}
	s.wantNothingVisible(t)
	whole := s.begin(t, len(video), nil)
	s.patch(t, whole, 0, video[:10])
	h := metadata("filename", "whole.mp4")
	h["Upload-Concat"] = "final;" + strings.Join(parts, " ")
	path := s.want(t, http.StatusCreated, http.MethodPost, "/files", nil, h).Header.Get("Location")
	if j := s.wantJob(t, path, video); j.Filename != "whole.mp4" {
		t.Errorf("the video is called %q, want whole.mp4", j.Filename)
	}
	s.want(t, http.StatusForbidden, http.MethodPatch, path, video, at(len(video)))
	s.want(t, http.StatusNoContent, http.MethodDelete, parts[0], nil, nil)
	s.want(t, http.StatusNotFound, http.MethodPost, "/files", nil, h)
}

func TestTusTermination(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	path := s.begin(t, len(video), nil)
	s.patch(t, path, 0, video[:9000])
	s.want(t, http.StatusNoContent, http.MethodDelete, path, nil, nil)
	s.want(t, http.StatusNotFound, http.MethodHead, path, nil, nil)
	s.want(t, http.StatusNotFound, http.MethodPatch, path, video[9000:], at(9000))
	s.wantNothing(t)
}

// TestTusJobFails has the last step fail, before or after it is done: the client asks for the offset, and there is one
// job.
func TestTusJobFails(t *testing.T) {
	t.Parallel()
	for _, jobs := range []brittleJobs{{before: 1}, {before: 2}, {after: 1}} {
		t.Run(fmt.Sprintf("before %d, after %d", jobs.before, jobs.after), func(t *testing.T) {
			t.Parallel()
			s := newTusSetup(t, 1<<30)
			s.jobs.before, s.jobs.after = jobs.before, jobs.after
			path := s.begin(t, len(video), nil)
			s.want(t, http.StatusServiceUnavailable, http.MethodPatch, path, video, at(0))
			for range jobs.before - 1 {
				s.want(t, http.StatusServiceUnavailable, http.MethodHead, path, nil, nil)
			}
			if got := s.offset(t, path); got != len(video) {
				t.Errorf("the offset is %d, want %d", got, len(video))
			}
			if jobs.after > 0 { // sweep sends the event, since nobody knows whether it was sent
				if _, err := s.jobs.Get(t.Context(), strings.TrimPrefix(path, "/files/")); err != nil {
					t.Error(err)
				}
				return
			}
			s.wantJob(t, path, video)
		})
	}
}

// TestTusJobFailsAtOnce has the last step fail of an upload that the client learns of by its end only: it sends the
// same again, and there is one job.
func TestTusJobFailsAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, s *tusSetup) (body []byte, h headers)
	}{
		{"creation with upload", func(*testing.T, *tusSetup) ([]byte, headers) {
			h := metadata("filename", "a.mp4")
			h["Upload-Length"] = strconv.Itoa(len(video))
			return video, h
		}},
		{"concatenation", func(t *testing.T, s *tusSetup) ([]byte, headers) {
			h := metadata("filename", "a.mp4")
			h["Upload-Concat"] = "final;"
			for _, piece := range [][]byte{video[:9000], video[9000:]} {
				path := s.begin(t, len(piece), headers{"Upload-Concat": "partial"})
				s.patch(t, path, 0, piece)
				h["Upload-Concat"] += path + " "
			}
			return nil, h
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTusSetup(t, 1<<30)
			body, h := tt.prepare(t, s)
			s.jobs.after = 1
			s.want(t, http.StatusServiceUnavailable, http.MethodPost, "/files", body, h)
			if jobs, _ := s.count(t); jobs != 0 {
				t.Errorf("there are %d jobs of an upload that was refused, want none", jobs)
			}
			path := s.want(t, http.StatusCreated, http.MethodPost, "/files", body, h).Header.Get("Location")
			s.wantJob(t, path, video)
		})
	}
}

// brittleUploads cannot be recorded as done at first.
type brittleUploads struct {
	job.Uploads
	fails int // how often
}

func (b *brittleUploads) Save(ctx context.Context, u job.Upload, ttl time.Duration) error {
	if u.Progress.Done && b.fails > 0 {
		b.fails--
		return errStore
	}
	return b.Uploads.Save(ctx, u, ttl)
}

// TestTusNotRecorded: an upload whose job is made is answered so, though it cannot be recorded. The record follows.
func TestTusNotRecorded(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	s.uploads = &brittleUploads{s.uploads, 1}
	s.serve(t, s.videos, Config{MaxBytes: 1 << 30, Expires: time.Hour})
	path := s.begin(t, len(video), nil)
	s.patch(t, path, 0, video)
	if got := s.offset(t, path); got != len(video) {
		t.Errorf("the offset is %d, want %d", got, len(video))
	}
	s.wantJob(t, path, video)
	if u, err := s.uploads.Get(t.Context(), strings.TrimPrefix(path, "/files/")); err != nil || !u.Progress.Done {
		t.Errorf("the upload is %+v, %v, want it done", u.Progress, err)
	}
}

func TestTusRefuses(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	tests := []struct {
		name   string
		method string
		path   string // empty is that of an upload of 200,000 bytes, of which 9,000 are there
		body   []byte
		headers
		status int
		words  string
	}{
		{"no token", "POST", "/files", nil, headers{"Authorization": "", "Upload-Length": "9"}, 401, "log in"},
		{"another version", "POST", "/files", nil,
			headers{"Tus-Resumable": "0.2.2", "Upload-Length": "9"}, 412, "tus.io"},
		{"no length", "POST", "/files", nil, nil, 400, "Upload-Length"},
		{"empty", "POST", "/files", nil, headers{"Upload-Length": "0"}, 400, "empty"},
		{"too large", "POST", "/files", nil, headers{"Upload-Length": "1048577"}, 413, "size"},
		{"malformed metadata", "POST", "/files", nil,
			headers{"Upload-Length": "9", "Upload-Metadata": "filename a.mp4"}, 400, `malformed \"filename\": want`},
		{"unknown option", "POST", "/files", nil,
			headers{"Upload-Length": "9", "Upload-Metadata": "bitrat MQ=="}, 422, "bitrat"},
		{"webhook without a secret", "POST", "/files?webhook=https://example.com", nil, headers{"Upload-Length": "9"}, 422,
			"webhook_secret"},
		{"bad option in the query", "POST", "/files?bitrate=1", nil, headers{"Upload-Length": "9"}, 422, "bitrate"},
		{"no media file", "POST", "/files", bytes.Repeat([]byte("text "), 2000),
			headers{"Upload-Length": "99999"}, 415, "MP4"},
		{"short, and no media file", "POST", "/files", []byte("text"), headers{"Upload-Length": "4"}, 415, "MP4"},
		{"unknown checksum", "PATCH", "", video[:9],
			headers{"Upload-Offset": "9000", "Upload-Checksum": "sha9 MQ=="}, 400, "sha1"},
		{"malformed checksum", "PATCH", "", video[:9],
			headers{"Upload-Offset": "9000", "Upload-Checksum": "md5 MQ=="}, 400, "md5"},
		{"wrong offset", "PATCH", "", video[:9], headers{"Upload-Offset": "8999"}, 409, "offset"},
		{"no offset", "PATCH", "", video[:9], nil, 400, "Upload-Offset"},
		{"too much", "PATCH", "", video, headers{"Upload-Offset": "9000"}, 413, "size"},
		{"another type", "PATCH", "", video[:9],
			headers{"Upload-Offset": "9000", "Content-Type": "video/mp4"}, 400, "Content-Type"},
		{"another's", "PATCH", "", video[:9],
			headers{"Upload-Offset": "9000", "Authorization": "Bearer bob"}, 404, "no such"},
		{"another's to delete", "DELETE", "", nil, headers{"Authorization": "Bearer bob"}, 404, "no such"},
		{"one that is not there", "PATCH", "/files/" + strings.Repeat("a", 24), video[:9], at(0), 404, "no such"},
		{"what is no id", "PATCH", "/files/a", video[:9], at(0), 404, "no such"},
		{"download", "GET", "", nil, nil, 405, "HEAD"},
		{"list", "GET", "/files", nil, nil, 405, "POST"},
		{"parts that are none", "POST", "/files", nil, headers{"Upload-Concat": "final;/files/a"}, 404, "no such"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTusSetup(t, limit)
			path := s.begin(t, 100_000, nil)
			s.patch(t, path, 0, video[:9000])
			h := headers{"Accept": "application/json"}
			for k, v := range tt.headers {
				h[k] = v
			}
			target := tt.path
			if target == "" {
				target = path
			}
			res := s.want(t, tt.status, tt.method, target, tt.body, h)
			text, _ := io.ReadAll(res.Body)
			kind := res.Header.Get("Content-Type")
			if kind != "application/problem+json" || !strings.Contains(string(text), tt.words) {
				t.Errorf("the answer is %s %s, want a problem with %q", kind, text, tt.words)
			}
			if tt.status == http.StatusPreconditionFailed && res.Header.Get("Tus-Version") != tusVersion {
				t.Errorf("Tus-Version is %q, want %s", res.Header.Get("Tus-Version"), tusVersion)
			}
			if got := s.offset(t, path); got != 9000 {
				t.Errorf("the offset is %d, want 9000", got)
			}
			s.want(t, http.StatusNoContent, http.MethodDelete, path, nil, nil)
			s.wantNothing(t)
		})
	}
}

func TestTusOptions(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<20)
	res := s.want(t, http.StatusOK, http.MethodOptions, "/files", nil, headers{"Authorization": "", "Tus-Resumable": ""})
	want := map[string]string{
		"Tus-Version":  "1.0.0",
		"Tus-Max-Size": "1048576",
		"Tus-Extension": "creation,creation-with-upload,termination,concatenation,creation-defer-length," +
			"checksum,expiration",
		"Tus-Checksum-Algorithm": "crc32,md5,sha1,sha256",
	}
	got := map[string]string{}
	for k := range want {
		got[k] = res.Header.Get(k)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("OPTIONS differs (-want +got):\n%s", diff)
	}
}
