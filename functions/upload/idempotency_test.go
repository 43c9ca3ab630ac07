package upload

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// put sends a video by an Idempotency-Key, as the owner unless bearer names another, and gives the status, the job and
// what is said.
func (s *tusSetup) put(t *testing.T, key, target, bearer string, body io.Reader) (status int, id, said string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+target, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("Authorization", "Bearer "+bearer)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		JobID string `json:"job_id"`
	}
	_ = json.Unmarshal(b, &answer) // what is no JSON has no job
	return res.StatusCode, answer.JobID, string(b)
}

// count tells how many jobs and events there are.
func (s *tusSetup) count(t *testing.T) (jobs, events int) {
	t.Helper()
	all, err := s.jobs.List(t.Context(), job.Query{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(all), len(s.sent)
}

// TestIdempotencyKey sends requests one after the other, each with a key of its own unless it says otherwise.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	type request struct {
		key, target, bearer string
		body                []byte
		status              int
		same                bool // job as that of the first request
	}
	first := request{`"k"`, "/upload/a.mp4?mono=true", owner, video, 202, true}
	with := func(change func(r *request)) request {
		r := first
		change(&r)
		return r
	}
	for _, tt := range []struct {
		name     string
		requests []request
		jobs     int
	}{
		{"the same again", []request{first, first, first}, 1},
		{"without quotes", []request{first, with(func(r *request) { r.key = "k" })}, 1},
		{"another body", []request{first, with(func(r *request) { r.body, r.status = video[:9000], 422 }), first}, 1},
		{"another body of its length", []request{first, with(func(r *request) {
			r.body, r.status = append(bytes.Clone(video[:len(video)-1]), 'x'), 422
		})}, 1},
		{"another option", []request{first, with(func(r *request) { r.target, r.status = "/upload/a.mp4", 422 })}, 1},
		{"another name", []request{first, with(func(r *request) { r.target, r.status = "/upload/b.mp4?mono=true", 422 })}, 1},
		{"another webhook", []request{first, with(func(r *request) {
			r.target, r.status = r.target+"&webhook=https://example.com&webhook_secret="+hookSecret, 422
		})}, 1},
		{"another key", []request{first, with(func(r *request) { r.key, r.same = `"l"`, false })}, 2},
		{"another's key", []request{first, with(func(r *request) { r.bearer, r.same = "bob", false })}, 2},
		{"after a refusal", []request{with(func(r *request) {
			r.body, r.status, r.same = []byte("no media"), 415, false
		}), first, first}, 1},
		{"after nothing", []request{with(func(r *request) { r.body, r.status, r.same = nil, 400, false }), first}, 1},
		{"empty", []request{with(func(r *request) { r.key, r.status, r.same = `""`, 400, false })}, 0},
		{"half a string", []request{with(func(r *request) { r.key, r.status, r.same = `"k`, 400, false })}, 0},
		{"too long", []request{with(func(r *request) { r.key, r.status, r.same = strings.Repeat("k", 256), 400, false })}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTusSetup(t, 1<<20)
			want := ""
			for i, r := range tt.requests {
				status, id, said := s.put(t, r.key, r.target, r.bearer, bytes.NewReader(r.body))
				if status != r.status {
					t.Errorf("request %d = %d %s, want %d", i, status, said, r.status)
				}
				if status == 202 && want == "" {
					want = id
				}
				if status == 202 && (id == want) != r.same {
					t.Errorf("request %d has the job %s, that of the first is %s", i, id, want)
				}
			}
			if jobs, events := s.count(t); jobs != tt.jobs || events != tt.jobs {
				t.Errorf("there are %d jobs and %d events, want %d of each", jobs, events, tt.jobs)
			}
		})
	}
}

// TestIdempotencyKeyForm: a form is another one by its boundary, and the same by what is in it.
func TestIdempotencyKeyForm(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<20)
	ids := map[string]bool{}
	for range 2 {
		form, kind := newForm(t, part{"bitrate", "64", ""}, part{"file", string(video), `filename="a.mp4"`})
		res := s.want(t, http.StatusAccepted, http.MethodPost, "/upload", form,
			headers{"Content-Type": kind, "Idempotency-Key": `"k"`, "Tus-Resumable": ""})
		ids[res.Header.Get("Location")] = true
	}
	if jobs, _ := s.count(t); len(ids) != 1 || jobs != 1 {
		t.Errorf("two forms with one key have the jobs %v of %d, want one", ids, jobs)
	}
}

// TestIdempotencyKeyUnderWay has the second request come while the first sends its body.
func TestIdempotencyKeyUnderWay(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<20)
	body, sent := io.Pipe()
	done := make(chan int, 1)
	go func() {
		status, _, _ := s.put(t, "k", "/upload/a.mp4", owner, body)
		done <- status
	}()
	if _, err := sent.Write(video[:9000]); err != nil {
		t.Fatal(err)
	}
	id := keyID(owner, "k")
	for u := (job.Upload{}); u.Lease.Until.IsZero(); {
		var err error
		if u, err = s.uploads.Get(t.Context(), id); err != nil && !errors.Is(err, job.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if status, _, said := s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video)); status != 409 {
		t.Errorf("a request with the key of one that is under way = %d %s, want 409", status, said)
	}
	s.want(t, http.StatusNotFound, http.MethodHead, "/files/"+id, nil, nil) // it is no upload to go on with
	if _, err := sent.Write(video[9000:]); err != nil {
		t.Fatal(err)
	}
	_ = sent.Close()
	if status := <-done; status != 202 {
		t.Errorf("the first request = %d, want 202", status)
	}
	if status, _, said := s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video)); status != 202 {
		t.Errorf("the same request when the first has ended = %d %s, want 202", status, said)
	}
	if jobs, _ := s.count(t); jobs != 1 {
		t.Errorf("there are %d jobs, want 1", jobs)
	}
}

// TestIdempotencyKeyDied leaves the record as a process does that died at some point.
func TestIdempotencyKeyDied(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, s *tusSetup, u *job.Upload)
		status int
		same   bool
	}{
		{"before there was a job", func(t *testing.T, s *tusSetup, u *job.Upload) {
			u.Progress.Done = false
			if err := s.jobs.Delete(t.Context(), u.Job); err != nil {
				t.Fatal(err)
			}
		}, 202, false},
		{"when there was a job", func(_ *testing.T, _ *tusSetup, u *job.Upload) { u.Progress.Done = false }, 202, true},
		{"never, and the job was deleted", func(t *testing.T, s *tusSetup, u *job.Upload) {
			if err := s.jobs.Delete(t.Context(), u.Job); err != nil {
				t.Fatal(err)
			}
		}, 410, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTusSetup(t, 1<<20)
			_, first, _ := s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video))
			u, err := s.uploads.Lock(t.Context(), keyID(owner, "k"), leaseFor)
			if err != nil {
				t.Fatal(err)
			}
			if u.Job != first || !media.ValidID(u.ID) {
				t.Errorf("the record is %+v, want the job %s and an id", u, first)
			}
			tt.change(t, s, &u)
			if err := errors.Join(s.uploads.Save(t.Context(), u, keyFor), s.uploads.Unlock(t.Context(), u.ID,
				u.Lease.Epoch)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				status, id, said := s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video))
				if status != tt.status || status == 202 && (id == first) != tt.same {
					t.Errorf("the same request = %d %s, want %d, and the job %s: %v", status, said, tt.status, first, tt.same)
				}
			}
		})
	}
	t.Run("a day ago", func(t *testing.T) {
		t.Parallel()
		s := newTusSetup(t, 1<<20)
		_, first, _ := s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video))
		u, err := s.uploads.Lock(t.Context(), keyID(owner, "k"), leaseFor)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(s.uploads.Save(t.Context(), u, -1), s.uploads.Unlock(t.Context(), u.ID, u.Lease.Epoch))
		if err != nil {
			t.Fatal(err)
		}
		if status, id, said := s.put(t, "k", "/upload/b.mp4", owner, bytes.NewReader(video)); status != 202 || id == first {
			t.Errorf("a request with the key a day later = %d %s, want 202 and a job of its own", status, said)
		}
	})
}

// TestIdempotencyKeyJobFails: what could not be stored can be sent again by its key.
func TestIdempotencyKeyJobFails(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<20)
	s.jobs.before = 1
	for i, want := range []int{503, 202, 202} {
		if status, _, said := s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video)); status != want {
			t.Errorf("request %d = %d %s, want %d", i, status, said, want)
		}
	}
	if jobs, _ := s.count(t); jobs != 1 {
		t.Errorf("there are %d jobs, want 1", jobs)
	}
}

// TestIdempotencyKeyJobUnknown: the answer of who was to make the job is lost, and the job cannot be removed. A request
// that comes again gets that job, which has its video.
func TestIdempotencyKeyJobUnknown(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<20)
	s.jobs.after, s.jobs.deletes = 1, 1
	id := ""
	for i, want := range []int{503, 202} {
		var status int
		var said string
		if status, id, said = s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video)); status != want {
			t.Errorf("request %d = %d %s, want %d", i, status, said, want)
		}
	}
	if jobs, _ := s.count(t); jobs != 1 {
		t.Errorf("there are %d jobs, want 1", jobs)
	}
	f, err := s.videos.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("the video of the job: %v", err)
	}
	_ = f.Close()
}

// TestIdempotencyKeyLost: a request whose lease has ended leaves the key to the one that has it now.
func TestIdempotencyKeyLost(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<20)
	body, sent := io.Pipe()
	done := make(chan int, 1)
	go func() {
		status, _, _ := s.put(t, "k", "/upload/a.mp4", owner, body)
		done <- status
	}()
	if _, err := sent.Write(video[:9000]); err != nil {
		t.Fatal(err)
	}
	var seen struct{ Used struct{ Uploads int } }
	for seen.Used.Uploads == 0 { // while the key is not looked up
		res := s.want(t, http.StatusOK, http.MethodGet, "/users/me/usage", nil, nil)
		if err := json.NewDecoder(res.Body).Decode(&seen); err != nil {
			t.Fatal(err)
		}
	}
	for status := 0; status != 202; {
		// As its lease ends when nobody prolongs it.
		if err := s.uploads.Unlock(t.Context(), keyID(owner, "k"), 1); err != nil {
			t.Fatal(err)
		}
		status, _, _ = s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video))
	}
	if _, err := sent.Write(video[9000:]); err != nil {
		t.Fatal(err)
	}
	_ = sent.Close()
	if status := <-done; status != 409 {
		t.Errorf("the request that lost the key = %d, want 409", status)
	}
	if status, _, said := s.put(t, "k", "/upload/a.mp4", owner, bytes.NewReader(video)); status != 202 {
		t.Errorf("the same request again = %d %s, want 202", status, said)
	}
	if jobs, _ := s.count(t); jobs != 1 {
		t.Errorf("there are %d jobs, want 1", jobs)
	}
}
