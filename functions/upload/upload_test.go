package upload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

func TestMain(m *testing.M) {
	// tusd lets the context of each request live for graceFor longer.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/tus/tusd/v2/pkg/handler.newDelayedContext.func1"))
}

const owner = "georgio@email.com"

var (
	video    = append([]byte("\x00\x00\x00\x18ftypmp42"), bytes.Repeat([]byte("moving pictures "), 10_000)...)
	errStore = errors.New("server selection timeout: mongodb.internal:27017")
)

type videos struct {
	media.Store
	onCreate, onWrite, onCommit func() error
	onDelete                    func(ctx context.Context)

	mu    sync.Mutex
	files map[string]*file // those that are committed
	begun int
	ended chan struct{} // gets one for each file that was committed or aborted
}

type file struct {
	media.Writer
	store   *videos
	info    media.Info
	content bytes.Buffer
	done    bool
}

func call(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func (v *videos) Create(_ context.Context, info media.Info) (media.Writer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := call(v.onCreate); err != nil {
		return nil, err
	}
	v.begun++
	return &file{store: v, info: info}, nil
}

func (v *videos) Delete(ctx context.Context, id string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.onDelete != nil {
		v.onDelete(ctx)
	}
	delete(v.files, id)
	return ctx.Err()
}

func (f *file) Write(p []byte) (int, error) {
	if err := call(f.store.onWrite); err != nil {
		return 0, err
	}
	return f.content.Write(p)
}

func (f *file) ReadFrom(src io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{f}, src) }

func (f *file) Commit(context.Context) (media.Info, error) {
	if err := call(f.store.onCommit); err != nil {
		return media.Info{}, err
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.info.Length, f.info.SHA256 = int64(f.content.Len()), "ab12"
	f.store.files[f.info.ID] = f
	f.end()
	return f.info, nil
}

func (f *file) Abort(ctx context.Context) error {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	if ctx.Err() == nil {
		f.end()
	}
	return ctx.Err()
}

func (f *file) end() {
	if !f.done {
		f.done = true
		f.store.ended <- struct{}{}
	}
}

type jobStore struct {
	onCreate func() error

	mu   sync.Mutex
	jobs map[string]job.Job
}

func (s *jobStore) Create(ctx context.Context, j job.Job) (job.Job, error) {
	if err := errors.Join(call(s.onCreate), ctx.Err()); err != nil {
		return job.Job{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.State, j.Round = job.Stored, 1
	s.jobs[j.ID] = j
	return j, nil
}

func (s *jobStore) Get(_ context.Context, id string) (job.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, there := s.jobs[id]
	if !there {
		return j, job.ErrNotFound
	}
	return j, nil
}

func (s *jobStore) Usage(context.Context, string) (job.Usage, error) { return job.Usage{}, nil }

func (s *jobStore) Queued(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	j.State = job.Queued
	s.jobs[id] = j
	return nil
}

func (s *jobStore) Delete(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, id)
	return ctx.Err()
}

type senderFunc func(ctx context.Context, e event.Event) error

func (f senderFunc) Send(ctx context.Context, e event.Event) error { return f(ctx, e) }

type verifier struct{}

func (verifier) Verify(_ context.Context, raw string) (token.Claims, error) {
	if raw != "good" {
		return token.Claims{}, errors.New("bad signature")
	}
	return claimsOf(owner), nil
}

func claimsOf(owner string) token.Claims {
	return token.Claims{Username: "address of " + owner, RegisteredClaims: jwt.RegisteredClaims{Subject: owner}}
}

// setup is an upload function and all that it touches.
type setup struct {
	videos *videos
	jobs   *jobStore
	sent   []event.Event
	send   func(ctx context.Context) error
	http.Handler
}

// days is a period of so many days.
func days(n int) job.Period { return job.Period(n) * job.Period(24*time.Hour) }

// TestFormParts: a form costs no more than what is worth to be read of it.
func TestFormParts(t *testing.T) {
	t.Parallel()
	fields := func(n int) []part {
		var all []part
		for range n {
			all = append(all, part{"title", "x", ""})
		}
		return append(all, part{"file", string(video), `filename="a.mp4"`})
	}
	var long bytes.Buffer
	w := multipart.NewWriter(&long)
	head := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="file"; filename="a.mp4"`},
		"X-Long": {strings.Repeat("x", 40<<10)}}
	if _, err := w.CreatePart(head); err != nil {
		t.Fatal(err)
	}
	empty := "--x\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n"
	for _, tt := range []struct {
		name   string
		body   io.Reader
		kind   string
		status int
		words  string
	}{
		{"many options", nil, "", 202, ""},
		{"too many", nil, "", 400, "100 parts"},
		{"long headers", &long, w.FormDataContentType(), 400, "headers of a part"},
		{"empty parts without end", &endless{text: empty}, "multipart/form-data; boundary=x", 400, "100 parts"},
		{"a header without end", io.MultiReader(strings.NewReader("--x\r\nA: "), &endless{text: "x"}),
			"multipart/form-data; boundary=x", 400, "headers of a part"},
		{"no boundary without end", &endless{text: "x\r\n"}, "multipart/form-data; boundary=x", 400, "headers of a part"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(1 << 30)
			r := httptest.NewRequest(http.MethodPost, "/upload", tt.body)
			r.Header.Set("Content-Type", tt.kind)
			switch tt.name {
			case "many options":
				r = formRequest(t, "/upload", fields(99)...)
			case "too many":
				r = formRequest(t, "/upload", fields(100)...)
			}
			w := s.do(r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.words) {
				t.Errorf("POST /upload = %d %s, want %d and %q", w.Code, w.Body, tt.status, tt.words)
			}
			if e, ok := tt.body.(*endless); ok && e.read > 1<<20 {
				t.Errorf("%d bytes were read", e.read)
			}
		})
	}
}

// endless is a text again and again.
type endless struct {
	text string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text[(e.read+n)%len(e.text):])
	}
	e.read += n
	return n, nil
}

// TestExpires: the job and the answer tell how long files are kept, whichever way a video comes.
func TestExpires(t *testing.T) {
	t.Parallel()
	s := newSetup(1 << 20)
	cfg := Config{MaxBytes: 1 << 20, Expires: time.Hour, Retention: job.RetentionConfig{Video: days(1), MP3: days(30)}}
	s.Handler = New(s.videos, s.jobs, nil, nothing{}, verifier{}, cfg)
	for _, tt := range []struct {
		target string
		status int
		keep   job.Retention
	}{
		{"/upload/a.mp4", 202, job.Retention{Video: 86400, MP3: 30 * 86400}},
		{"/upload/a.mp4?expires=2h", 202, job.Retention{Video: 7200, MP3: 7200}},
		{"/upload/a.mp4?expires=31d", 422, job.Retention{}},
	} {
		w := s.do(httptest.NewRequest(http.MethodPut, tt.target, bytes.NewReader(video)))
		var answer struct {
			JobID string `json:"job_id"`
			Keep  job.Retention
		}
		_ = json.Unmarshal(w.Body.Bytes(), &answer) // an error has none
		if j := s.jobs.jobs[answer.JobID]; w.Code != tt.status || answer.Keep != tt.keep || j.Keep != tt.keep {
			t.Errorf("PUT %s = %d %s, and the job's files are kept %+v, want %d, %+v", tt.target, w.Code, w.Body, j.Keep,
				tt.status, tt.keep)
		}
	}
}

// nothing takes events.
type nothing struct{}

func (nothing) Send(context.Context, event.Event) error { return nil }

func newSetup(maxBytes int64) *setup {
	s := &setup{
		videos: &videos{files: map[string]*file{}, ended: make(chan struct{}, 100)},
		jobs:   &jobStore{jobs: map[string]job.Job{}},
		send:   func(context.Context) error { return nil },
	}
	sender := senderFunc(func(ctx context.Context, e event.Event) error {
		s.sent = append(s.sent, e)
		return s.send(ctx)
	})
	s.Handler = New(s.videos, s.jobs, nil, sender, verifier{}, Config{MaxBytes: maxBytes, Expires: time.Hour})
	return s
}

// checkEmpty reports whatever of an upload that failed is there all the same.
func (s *setup) checkEmpty(t *testing.T) {
	t.Helper()
	if len(s.videos.files) != 0 || len(s.jobs.jobs) != 0 || len(s.sent) != 0 {
		t.Errorf("a failed upload left %d videos, %d jobs and %d events", len(s.videos.files), len(s.jobs.jobs), len(s.sent))
	}
	if ended := len(s.videos.ended); ended != s.videos.begun {
		t.Errorf("%d files were begun and %d of them ended", s.videos.begun, ended)
	}
}

// checkOne reports what is missing of the one upload that succeeded, and gives its job.
func (s *setup) checkOne(t *testing.T, content []byte) job.Job {
	t.Helper()
	if len(s.videos.files) != 1 || len(s.jobs.jobs) != 1 {
		t.Fatalf("an upload left %d videos and %d jobs, want one of each", len(s.videos.files), len(s.jobs.jobs))
	}
	for id, f := range s.videos.files {
		if !bytes.Equal(f.content.Bytes(), content) {
			t.Errorf("the video stored has %d bytes, want the %d that were sent", f.content.Len(), len(content))
		}
		return s.jobs.jobs[id]
	}
	return job.Job{}
}

func (s *setup) do(r *http.Request) *httptest.ResponseRecorder {
	if r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer good")
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// part is one part of a form: a field, unless it has a file name.
type part struct {
	name, value string
	file        string
}

func newForm(t testing.TB, parts ...part) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		h := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf("form-data; name=%q", p.name)}}
		if p.file != "" {
			h.Set("Content-Disposition", h.Get("Content-Disposition")+"; "+p.file)
		}
		to, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(to, p.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

func formRequest(t testing.TB, target string, parts ...part) *http.Request {
	t.Helper()
	body, contentType := newForm(t, parts...)
	r := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

func TestTaken(t *testing.T) {
	t.Parallel()
	quality := 4
	theVideo := part{"file", string(video), `filename="my video.mp4"`}
	for _, tt := range []struct {
		name     string
		request  *http.Request
		filename string
		options  eventing.Options
	}{
		{"form", formRequest(t, "/upload", theVideo), "my video.mp4", eventing.Options{}},
		{"form on the function's own route", formRequest(t, "/", theVideo), "my video.mp4", eventing.Options{}},
		{"any field name", formRequest(t, "/upload", part{"clip", string(video), `filename="a.mp4"`}), "a.mp4",
			eventing.Options{}},
		{"no field name", formRequest(t, "/upload", part{"", string(video), `filename="a.mp4"`}), "a.mp4",
			eventing.Options{}},
		{"file without a name", formRequest(t, "/upload", part{"file", string(video), `filename=""`}), "video",
			eventing.Options{}},
		{"UTF-8 name", formRequest(t, "/upload", part{"file", string(video), `filename="Übung.mp4"`}), "Übung.mp4",
			eventing.Options{}},
		{
			"extended name", formRequest(t, "/upload", part{"file", string(video),
				`filename="_.mp4"; filename*=UTF-8''%C3%9Cbung.mp4`}),
			"Übung.mp4", eventing.Options{},
		},
		{
			"a quote as browsers write it",
			formRequest(t, "/upload", part{"file", string(video), `filename="a %22b%22%0D%0A %41.mp4"`}), `a "b" %41.mp4`,
			eventing.Options{},
		},
		{"a quote as curl writes it", formRequest(t, "/upload", part{"file", string(video), `filename="a \"b\".mp4"`}),
			`a "b".mp4`, eventing.Options{}},
		{
			"a name that looks like an escaped one",
			formRequest(t, "/upload", part{"file", string(video), `filename*=UTF-8''100%2522.mp4`}), "100%22.mp4",
			eventing.Options{},
		},
		{
			"options before the file", formRequest(t, "/upload", part{"bitrate", "192", ""}, part{"title", "A talk", ""},
				theVideo),
			"my video.mp4", eventing.Options{Bitrate: 192, Title: "A talk"},
		},
		{"options after the file", formRequest(t, "/upload", theVideo, part{"quality", "4", ""}), "my video.mp4",
			eventing.Options{Quality: &quality}},
		{"options in the query", formRequest(t, "/upload?mono=true&start=1:30", theVideo), "my video.mp4",
			eventing.Options{Mono: true, Start: 90}},
		{"a field overrides the query", formRequest(t, "/upload?bitrate=128", theVideo, part{"bitrate", "64", ""}),
			"my video.mp4", eventing.Options{Bitrate: 64}},
		{"raw", httptest.NewRequest(http.MethodPut, "/upload/my%20video.mp4", bytes.NewReader(video)), "my video.mp4",
			eventing.Options{}},
		{"raw with a folder", httptest.NewRequest(http.MethodPut, "/upload/a%2Fb.mp4", bytes.NewReader(video)), "b.mp4",
			eventing.Options{}},
		{"raw with options", httptest.NewRequest(http.MethodPut, "/upload/a.mp4?end=9", bytes.NewReader(video)), "a.mp4",
			eventing.Options{End: 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(int64(len(video)))
			w := s.do(tt.request)
			if w.Code != http.StatusAccepted {
				t.Fatalf("%s %s = %d %s, want 202", tt.request.Method, tt.request.URL, w.Code, w.Body)
			}
			j := s.checkOne(t, video)
			want := job.Job{
				ID: j.ID, Owner: owner, Username: "address of " + owner, Filename: tt.filename, Options: tt.options,
				State: job.Queued, Round: 1,
				Video: job.Video{Length: int64(len(video)), SHA256: "ab12"},
			}
			if diff := cmp.Diff(want, j); diff != "" {
				t.Errorf("job (-want +got):\n%s", diff)
			}
			if info := s.videos.files[j.ID].info; info.Name != tt.filename || info.Owner != owner {
				t.Errorf("the video is stored as %+v, want name %q and owner %q", info, tt.filename, owner)
			}
			if len(s.sent) != 1 || s.sent[0].Type() != eventing.TypeVideoUploaded || s.sent[0].Subject() != j.ID ||
				s.sent[0].Source() != source {
				t.Errorf("events %v, want one about job %s", s.sent, j.ID)
			}
			if got := w.Header().Get("Location"); got != "/jobs/"+j.ID {
				t.Errorf("Location = %q, want /jobs/%s", got, j.ID)
			}
			var answer, wantAnswer any
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatalf("the answer %q is no JSON: %v", w.Body, err)
			}
			wantAnswer = map[string]any{
				"job_id": j.ID, "video_fid": j.ID, "state": "queued",
				"links": map[string]any{"self": "/jobs/" + j.ID, "mp3": "/jobs/" + j.ID + "/mp3",
					"cancel": "/jobs/" + j.ID + "/cancel"},
			}
			if diff := cmp.Diff(wantAnswer, answer); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// unread fails a test that reads the body of a request which can be refused by its head.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// lines is an endless text.
type lines struct{}

func (lines) Read(p []byte) (int, error) { return copy(p, "more\n"), nil }

// TestLegacyAnswer has forms answered as the old gateway did, unless JSON is asked for.
func TestLegacyAnswer(t *testing.T) {
	t.Parallel()
	s := newSetup(1 << 20)
	s.Handler = New(s.videos, s.jobs, nil, nothing{}, verifier{}, Config{MaxBytes: 1 << 20, Expires: time.Hour,
		Legacy: true})
	theVideo := part{"file", string(video), `filename="a.mp4"`}
	form := formRequest(t, "/upload", theVideo)
	if w := s.do(form); w.Code != 200 || w.Body.String() != "success!" {
		t.Errorf("POST /upload = %d %q, want 200 and success!", w.Code, w.Body)
	}
	asked := formRequest(t, "/upload", theVideo)
	asked.Header.Set("Accept", "application/json")
	for _, r := range []*http.Request{asked, httptest.NewRequest("PUT", "/upload/a.mp4", bytes.NewReader(video))} {
		if w := s.do(r); w.Code != 202 || !strings.Contains(w.Body.String(), `"job_id"`) {
			t.Errorf("%s with Accept %q = %d %q, want 202 and a job", r.Method, r.Header.Get("Accept"), w.Code, w.Body)
		}
	}
	if len(s.jobs.jobs) != 3 {
		t.Errorf("there are %d jobs, want 3", len(s.jobs.jobs))
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	theVideo := part{"file", string(video), `filename="a.mp4"`}
	long := part{"file", string(video) + "x", `filename="a.mp4"`}
	withHeader := func(r *http.Request, key, value string) *http.Request {
		r.Header.Set(key, value)
		return r
	}
	bare := func(method, target string, body io.Reader) *http.Request {
		return httptest.NewRequest(method, target, body)
	}
	chunked := func(r *http.Request) *http.Request {
		r.ContentLength = -1
		return r
	}
	huge := func(r *http.Request) *http.Request {
		r.ContentLength = 1 << 40
		return r
	}
	for _, tt := range []struct {
		name    string
		request *http.Request
		status  int
		says    []string
	}{
		{"no token", withHeader(formRequest(t, "/upload", theVideo), "Authorization", "Basic x"), 401, []string{"log in"}},
		{"bad token", withHeader(formRequest(t, "/upload", theVideo), "Authorization", "Bearer bad"), 403,
			[]string{"log in"}},
		{"no token for the raw way", withHeader(bare("PUT", "/upload/a.mp4", unread{t}), "Authorization", "Basic x"), 401,
			[]string{"log in"}},
		{"no body", bare("POST", "/upload", nil), 400, []string{"no file", "curl -F"}},
		{"no form", withHeader(bare("POST", "/upload", bytes.NewReader(video)), "Content-Type", "video/mp4"), 400,
			[]string{"no file"}},
		{"no boundary", withHeader(bare("POST", "/upload", bytes.NewReader(video)), "Content-Type", "multipart/form-data"),
			400, []string{"no file"}},
		{"empty form", formRequest(t, "/upload"), 400, nil},
		{"no file", formRequest(t, "/upload", part{"title", "x", ""}), 400, []string{"no file"}},
		{"two files", formRequest(t, "/upload", theVideo, part{"other", string(video), `filename="b.mp4"`}), 400,
			[]string{"more than one file"}},
		{"empty file", formRequest(t, "/upload", part{"file", "", `filename="a.mp4"`}), 400, []string{"the file is empty"}},
		{"text", formRequest(t, "/upload", part{"file", "hello", `filename="a.txt"`}), 415,
			[]string{`"a.txt"`, "not a media file", "MP4"}},
		{"picture", formRequest(t, "/upload", part{"file", "\x89PNG\r\n\x1a\n", `filename="a.mp4"`}), 415,
			[]string{"not a media file"}},
		{"a part with a malformed head", formRequest(t, "/upload", part{"file", string(video), `filename=my video.mp4`}), 400,
			[]string{"malformed"}},
		{"unknown field before", formRequest(t, "/upload", part{"speed", "2", ""}, theVideo), 422,
			[]string{"speed", "bitrate, quality, start"}},
		{"unknown field after", formRequest(t, "/upload", theVideo, part{"speed", "2", ""}), 422,
			[]string{"speed", "bitrate, quality, start"}},
		{"two bad options", formRequest(t, "/upload", part{"bitrate", "31", ""}, part{"start", "x", ""}, theVideo), 422,
			[]string{"start", "1:30.5"}},
		{"bad option in the query", withHeader(bare("POST", "/upload?bitrate=31", unread{t}), "Content-Type",
			"multipart/form-data; boundary=x"), 422, []string{"320"}},
		{"webhook without a secret", formRequest(t, "/upload", part{"webhook", "https://example.com", ""}, theVideo), 422,
			[]string{"webhook_secret", "24 bytes"}},
		{"bad webhook and bad option", bare("PUT", "/upload/a.mp4?speed=2&webhook=ftp://x&webhook_secret="+hookSecret,
			unread{t}), 422, []string{"bitrate, quality, start", "album, webhook, webhook_secret", "https://example.com/hook"}},
		{"malformed query", bare("PUT", "/upload/a.mp4?title=100%", unread{t}), 400, []string{"query"}},
		{"long field", formRequest(t, "/upload", part{"file", string(video), ""}), 400,
			[]string{"longer than", "curl -F file=@"}},
		{"many fields", formRequest(t, "/upload", part{"title", strings.Repeat("x", 40_000), ""},
			part{"title", strings.Repeat("x", 40_000), ""}, theVideo), 400, []string{"longer than"}},
		{"too large", formRequest(t, "/upload", long), 413, []string{fmt.Sprint(len(video))}},
		{"too large by its head", huge(withHeader(bare("POST", "/upload", unread{t}), "Content-Type",
			"multipart/form-data; boundary=x")), 413, nil},
		{
			"endless preamble", chunked(withHeader(bare("POST", "/upload", io.LimitReader(lines{}, 4<<20)), "Content-Type",
				"multipart/form-data; boundary=x")),
			400, []string{"headers"},
		},
		{"raw without a name", bare("PUT", "/upload/", unread{t}), 400, []string{"name"}},
		{"raw without a name or slash", bare("PUT", "/upload", unread{t}), 400, []string{"name"}},
		{"raw and empty", bare("PUT", "/upload/a.mp4", nil), 400, []string{"the file is empty"}},
		{"raw text", bare("PUT", "/upload/a.mp4", strings.NewReader("hello")), 415, []string{"not a media file"}},
		{"raw bad option", bare("PUT", "/upload/a.mp4?quality=10", unread{t}), 422, []string{"0 (best) to 9"}},
		{"raw too large", chunked(bare("PUT", "/upload/a.mp4", strings.NewReader(long.value))), 413, nil},
		{"raw too large by its head", huge(bare("PUT", "/upload/a.mp4", unread{t})), 413, nil},
		{"raw resumed", withHeader(bare("PUT", "/upload/a.mp4", unread{t}), "Content-Range", "bytes 5-9/10"), 400,
			[]string{"Content-Range"}},
		{"raw in folders", bare("PUT", "/upload/a/b.mp4", unread{t}), 404, nil},
		{"wrong method", bare("GET", "/upload", nil), 405, []string{"POST, PUT"}},
		{"wrong method with a name", bare("POST", "/upload/a.mp4", unread{t}), 405, []string{"PUT"}},
		{"no such path", bare("POST", "/elsewhere", unread{t}), 404, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(int64(len(video)))
			w := s.do(tt.request)
			if w.Code != tt.status {
				t.Fatalf("%s %s = %d %s, want %d", tt.request.Method, tt.request.URL, w.Code, w.Body, tt.status)
			}
			for _, want := range tt.says {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s %s says %q, want %q in it", tt.request.Method, tt.request.URL, w.Body, want)
				}
			}
			if n := strings.Count(w.Body.String(), "\n"); n != 1 {
				t.Errorf("%s %s says %q, want one line", tt.request.Method, tt.request.URL, w.Body)
			}
			s.checkEmpty(t)
		})
	}
}

// TestOptionsFirst has a bad option before the file: nothing of the file is stored only to be thrown away.
const hookSecret = "hunter2-hunter2-hunter2-"

// TestWebhook: what tells of a webhook is in its job, and nowhere else.
func TestWebhook(t *testing.T) {
	t.Parallel()
	theVideo := part{"file", string(video), `filename="a.mp4"`}
	const address = "https://example.com/hook?key=hunter2"
	query := url.Values{"webhook": {address}, "webhook_secret": {hookSecret}}.Encode()
	for name, r := range map[string]*http.Request{
		"fields": formRequest(t, "/upload", part{"webhook", address, ""}, part{"webhook_secret", hookSecret, ""}, theVideo),
		"query":  formRequest(t, "/upload?"+query, theVideo),
		"raw":    httptest.NewRequest(http.MethodPut, "/upload/a.mp4?"+query, bytes.NewReader(video)),
	} {
		s := newSetup(int64(len(video)))
		w := s.do(r)
		if w.Code != http.StatusAccepted {
			t.Errorf("%s: answer = %d %s, want 202", name, w.Code, w.Body)
			continue
		}
		j := s.checkOne(t, video)
		if want := (job.Webhook{URL: address, Secret: hookSecret}); j.Webhook == nil || *j.Webhook != want {
			t.Errorf("%s: the job's webhook is %v, want %v", name, j.Webhook, want)
		}
		for _, text := range []string{s.sent[0].String(), w.Body.String(), fmt.Sprint(w.Header())} {
			if strings.Contains(text, "hook") || strings.Contains(text, "hunter2") {
				t.Errorf("%s: the webhook is in %s", name, text)
			}
		}
	}
}

func TestOptionsFirst(t *testing.T) {
	t.Parallel()
	s := newSetup(1 << 20)
	w := s.do(formRequest(t, "/upload", part{"bitrate", "31", ""}, part{"file", string(video), `filename="a.mp4"`}))
	if w.Code != http.StatusUnprocessableEntity || s.videos.begun != 0 {
		t.Errorf("POST = %d with %d files begun, want 422 and none", w.Code, s.videos.begun)
	}
}

// TestBrokenOffForm cuts a form at every byte: whatever is missing, nothing may be kept of it.
func TestBrokenOffForm(t *testing.T) {
	t.Parallel()
	body, contentType := newForm(t, part{"title", "x", ""}, part{"file", "\x00\x00\x00\x18ftypmp42", `filename="a.mp4"`})
	whole := len(body) - len("\r\n") // after the last boundary
	for n := range whole {
		s := newSetup(1 << 20)
		r := httptest.NewRequest(http.MethodPost, "/upload", bytes.NewReader(body[:n]))
		r.Header.Set("Content-Type", contentType)
		if w := s.do(r); w.Code != http.StatusBadRequest {
			t.Errorf("POST of %d of %d bytes (…%q) = %d %s, want 400", n, len(body), body[max(0, n-20):n], w.Code, w.Body)
		}
		s.checkEmpty(t)
	}
}

// TestStoreFails makes each step of the way fail.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	fail := func() error { return errStore }
	for _, tt := range []struct {
		name    string
		prepare func(s *setup)
	}{
		{"create", func(s *setup) { s.videos.onCreate = fail }},
		{"write", func(s *setup) { s.videos.onWrite = fail }},
		{"commit", func(s *setup) { s.videos.onCommit = fail }},
		{"create job", func(s *setup) { s.jobs.onCreate = fail }},
	} {
		for _, r := range []*http.Request{
			formRequest(t, "/upload", part{"file", string(video), `filename="a.mp4"`}),
			httptest.NewRequest(http.MethodPut, "/upload/a.mp4", bytes.NewReader(video)),
		} {
			t.Run(tt.name+" "+r.Method, func(t *testing.T) {
				t.Parallel()
				s := newSetup(1 << 20)
				tt.prepare(s)
				w := s.do(r)
				if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
					t.Errorf("%s = %d %v, want 503 with Retry-After", r.Method, w.Code, w.Header())
				}
				if strings.Contains(w.Body.String(), "mongodb") {
					t.Errorf("%s tells what only the log may: %s", r.Method, w.Body)
				}
				s.checkEmpty(t)
			})
		}
	}
}

func TestSinkDown(t *testing.T) {
	t.Parallel()
	s := newSetup(1 << 20)
	s.send = func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the event is sent without a deadline")
		}
		return errors.New("connection refused")
	}
	w := s.do(httptest.NewRequest(http.MethodPut, "/upload/a.mp4", bytes.NewReader(video)))
	if w.Code != http.StatusAccepted || !strings.Contains(w.Body.String(), `"state":"stored"`) {
		t.Errorf("PUT = %d %s, want 202 and state stored", w.Code, w.Body)
	}
	if j := s.checkOne(t, video); j.State != job.Stored {
		t.Errorf("the job is %s, want stored", j.State)
	}
}

// TestClientLeavesLate has the client go when its video is whole: the upload counts.
func TestClientLeavesLate(t *testing.T) {
	t.Parallel()
	s := newSetup(1 << 20)
	ctx, leave := context.WithCancel(t.Context())
	s.videos.onCommit = func() error { leave(); return nil }
	s.send = func(ctx context.Context) error { return ctx.Err() }
	s.do(httptest.NewRequest(http.MethodPut, "/upload/a.mp4", bytes.NewReader(video)).WithContext(ctx))
	if j := s.checkOne(t, video); j.State != job.Queued {
		t.Errorf("the job is %s, want queued", j.State)
	}
}

// TestCommitTakesLong has a large video take its time to be written to the disk: its job is made all the same.
func TestCommitTakesLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSetup(1 << 20)
		s.videos.onCommit = func() error { <-time.After(10 * finishFor); return nil }
		s.send = func(ctx context.Context) error { return ctx.Err() }
		w := s.do(httptest.NewRequest(http.MethodPut, "/upload/a.mp4", bytes.NewReader(video)))
		if w.Code != http.StatusAccepted {
			t.Errorf("PUT = %d %s, want 202", w.Code, w.Body)
		}
		if j := s.checkOne(t, video); j.State != job.Queued {
			t.Errorf("the job is %s, want queued", j.State)
		}
	})
}

// TestForgetsAfterTimeout has the job store fail by a deadline; the video is removed under another.
func TestForgetsAfterTimeout(t *testing.T) {
	t.Parallel()
	s := newSetup(1 << 20)
	ctx, leave := context.WithCancel(t.Context())
	s.jobs.onCreate = func() error { leave(); return context.DeadlineExceeded }
	s.videos.onDelete = func(ctx context.Context) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) <= 0 {
			t.Error("the video is removed without time for it")
		}
	}
	s.do(httptest.NewRequest(http.MethodPut, "/upload/a.mp4", bytes.NewReader(video)).WithContext(ctx))
	s.checkEmpty(t)
}

// TestClientLeaves has a real client close its connection in the middle of the body.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, method, path, head string }{
		{"form", http.MethodPost, "/upload",
			"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\r\n"},
		{"raw", http.MethodPut, "/upload/a.mp4", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(1 << 30)
			server := httptest.NewServer(s)
			defer server.Close()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			body, feed := io.Pipe()
			r, err := http.NewRequestWithContext(ctx, tt.method, server.URL+tt.path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer good")
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				if resp, err := server.Client().Do(r); err == nil {
					resp.Body.Close()
					t.Errorf("%s = %s, want no answer", tt.method, resp.Status)
				}
			}()
			if _, err := io.WriteString(feed, tt.head+string(video)); err != nil {
				t.Fatal(err)
			}
			leave()
			feed.CloseWithError(io.ErrClosedPipe) // the transport may wait for it
			<-gone
			select {
			case <-s.videos.ended:
				s.videos.ended <- struct{}{}
			case <-time.After(30 * time.Second):
				t.Fatal("nothing was aborted")
			}
			server.Close() // waits for the handler
			s.checkEmpty(t)
		})
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("curl is not installed: apt-get install curl")
	}
	name := filepath.Join(t.TempDir(), "my video.mp4")
	if err := os.WriteFile(name, video, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		args     []string
		path     string
		filename string
		options  eventing.Options
	}{
		{"form", []string{"-X", "POST", "-F", "bitrate=96", "-F", "file=@" + name}, "/upload", "my video.mp4",
			eventing.Options{Bitrate: 96}},
		{"raw", []string{"-T", name}, "/upload/", "my video.mp4", eventing.Options{}},
		{"raw with options", []string{"-T", name}, "/upload/?mono=true", "my video.mp4", eventing.Options{Mono: true}},
		{"raw from a pipe", []string{"-T", "-"}, "/upload/piped.mp4", "piped.mp4", eventing.Options{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(1 << 30)
			server := httptest.NewServer(s)
			defer server.Close()
			curl := exec.CommandContext(t.Context(), "curl", append(tt.args, "-sS", "--fail-with-body", "-H",
				"Authorization: Bearer good", server.URL+tt.path)...)
			curl.Stdin = bytes.NewReader(video)
			out, err := curl.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %v\n%s", curl, err, out)
			}
			j := s.checkOne(t, video)
			if !bytes.Contains(out, []byte(j.ID)) || !bytes.HasSuffix(out, []byte("\n")) {
				t.Errorf("curl prints %q, want a line with the job %s", out, j.ID)
			}
			if diff := cmp.Diff(job.Job{Filename: tt.filename, Options: tt.options},
				job.Job{Filename: j.Filename, Options: j.Options}); diff != "" {
				t.Errorf("job (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzForm sends any bytes as a form: what is not taken leaves nothing, what is taken is one video.
func FuzzForm(f *testing.F) {
	for _, parts := range [][]part{
		{{"file", string(video[:100]), `filename="a.mp4"`}},
		{{"title", "x", ""}, {"file", string(video[:100]), `filename*=UTF-8''%C3%9C.mp4`}, {"mono", "1", ""}},
		{{"a", string(video[:100]), `filename="a.mp4"`}, {"b", string(video[:100]), `filename="b.mp4"`}},
	} {
		body, contentType := newForm(f, parts...)
		_, boundary, _ := strings.Cut(contentType, "boundary=")
		f.Add(bytes.ReplaceAll(body, []byte(boundary), []byte("x")), "bitrate=96")
	}
	f.Fuzz(func(t *testing.T, body []byte, query string) {
		s := newSetup(1 << 20)
		r := httptest.NewRequest(http.MethodPost, "/upload", bytes.NewReader(body))
		r.URL = &url.URL{Path: "/upload", RawQuery: query}
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		w := s.do(r)
		switch {
		case w.Code == http.StatusAccepted:
			if len(s.videos.files) != 1 || len(s.jobs.jobs) != 1 {
				t.Errorf("202 with %d videos and %d jobs", len(s.videos.files), len(s.jobs.jobs))
			}
		case w.Code >= 500:
			t.Errorf("POST = %d %s", w.Code, w.Body)
		default:
			s.checkEmpty(t)
		}
	})
}
