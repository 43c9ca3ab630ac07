package sweep_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
	"github.com/soundstrip/soundstrip/functions/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sender keeps the events that it is given, by job.
type sender struct {
	refuse func(e event.Event) error // may be nil

	mu    sync.Mutex
	tried int
	sent  map[string][]event.Event
}

func (s *sender) Send(_ context.Context, e event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried++
	if s.refuse != nil {
		if err := s.refuse(e); err != nil {
			return err
		}
	}
	if s.sent == nil {
		s.sent = map[string][]event.Event{}
	}
	s.sent[e.Subject()] = append(s.sent[e.Subject()], e)
	return nil
}

type setup struct {
	*sweep.Sweeper
	jobs         *job.SQLite
	db           *sql.DB
	dir          string
	uploads      *job.SQLiteUploads
	videos, mp3s *media.Folder
	events       *sender
}

func newSetup(t testing.TB, cfg sweep.Config) setup {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(filepath.Join(dir, "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := setup{db: db, dir: dir, events: &sender{}}
	if s.jobs, err = job.NewSQLite(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if s.videos, err = media.NewFolder(filepath.Join(dir, "videos")); err != nil {
		t.Fatal(err)
	}
	if s.mp3s, err = media.NewFolder(filepath.Join(dir, "mp3s")); err != nil {
		t.Fatal(err)
	}
	if s.uploads, err = job.NewSQLiteUploads(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	s.Sweeper = sweep.New(s.jobs, s.uploads, s.videos, s.mp3s, s.events, cfg)
	return s
}

// soon is a configuration to which whatever is a moment old is stuck, or left behind.
var soon = sweep.Config{
	Unanswered: time.Hour,
	Unsent:     time.Nanosecond, Stuck: time.Nanosecond, Grace: time.Nanosecond, MaxAttempts: 3,
	Interval: time.Millisecond,
}

func (s setup) create(t testing.TB, expires *time.Time) string {
	t.Helper()
	id := put(t, s.videos, "ann")
	if _, err := s.jobs.Create(t.Context(), job.Job{ID: id, Owner: "ann", Expires: expires}); err != nil {
		t.Fatal(err)
	}
	return id
}

func (s setup) claim(t *testing.T, id string, ttl time.Duration) job.Job {
	t.Helper()
	j, err := s.jobs.Claim(t.Context(), id, "w", ttl)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// release claims the job and gives it back, so many times.
func (s setup) release(t *testing.T, id string, times int) {
	t.Helper()
	for range times {
		if err := s.jobs.Release(t.Context(), id, s.claim(t, id, running).Lease.Epoch, "the storage is away"); err != nil {
			t.Fatal(err)
		}
	}
}

func (s setup) state(t *testing.T, id string) job.State {
	t.Helper()
	j, err := s.jobs.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j.State
}

func put(t testing.TB, s media.Store, owner string) string {
	t.Helper()
	w, err := s.Create(t.Context(), media.Info{ID: media.NewID(), Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

// aMoment waits until a store's clock, which counts milliseconds, has moved on.
func aMoment(t *testing.T) {
	t.Helper()
	for start := time.Now().UnixMilli(); time.Now().UnixMilli() < start+2; {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
}

const (
	running = time.Minute
	over    = -time.Second
)

func TestSweepJobs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	failure := eventing.Failure{Code: "no_audio", Message: "no sound"}
	tests := []struct {
		name  string
		do    func(t *testing.T, s setup, id string)
		typ   string // of the event to be sent; empty for none
		state job.State
	}{
		{"stored", nil, eventing.TypeVideoUploaded, job.Queued},
		{"queued", func(t *testing.T, s setup, id string) {
			if err := s.jobs.Queued(ctx, id); err != nil {
				t.Fatal(err)
			}
		}, eventing.TypeVideoUploaded, job.Queued},
		{"converted by a live worker", func(t *testing.T, s setup, id string) { s.claim(t, id, running) }, "",
			job.Converting},
		{"converted by a dead worker", func(t *testing.T, s setup, id string) { s.claim(t, id, over) },
			eventing.TypeVideoUploaded, job.Converting},
		{"tried too often", func(t *testing.T, s setup, id string) {
			for range soon.MaxAttempts {
				s.claim(t, id, over)
			}
		}, eventing.TypeConversionFailed, job.Failed},
		{"given back often", func(t *testing.T, s setup, id string) { s.release(t, id, 9*soon.MaxAttempts) },
			eventing.TypeVideoUploaded, job.Queued},
		{"given back too often", func(t *testing.T, s setup, id string) { s.release(t, id, 10*soon.MaxAttempts) },
			eventing.TypeConversionFailed, job.Failed},
		{"tried for the last time", func(t *testing.T, s setup, id string) {
			for range soon.MaxAttempts - 1 {
				s.claim(t, id, over)
			}
			s.claim(t, id, running)
		}, "", job.Converting},
		{"converted at the last try", func(t *testing.T, s setup, id string) {
			for range soon.MaxAttempts {
				s.claim(t, id, over)
			}
			if _, err := s.jobs.Finish(ctx, id, soon.MaxAttempts, job.MP3{FID: put(t, s.mp3s, "ann")}); err != nil {
				t.Fatal(err)
			}
		}, eventing.TypeAudioConverted, job.Converted},
		{"failed", func(t *testing.T, s setup, id string) {
			if _, err := s.jobs.Fail(ctx, id, s.claim(t, id, running).Lease.Epoch, failure); err != nil {
				t.Fatal(err)
			}
		}, eventing.TypeConversionFailed, job.Failed},
		{"failed and told", func(t *testing.T, s setup, id string) {
			if _, err := s.jobs.Fail(ctx, id, s.claim(t, id, running).Lease.Epoch, failure); err != nil {
				t.Fatal(err)
			}
			if err := s.jobs.Noticed(ctx, id, job.Notice{Event: "e", Channel: "email", Round: 1}, true); err != nil {
				t.Fatal(err)
			}
		}, "", job.Failed},
		{"cancelled", func(t *testing.T, s setup, id string) {
			if _, err := s.jobs.Cancel(ctx, id); err != nil {
				t.Fatal(err)
			}
		}, "", job.Cancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, soon)
			id := s.create(t, nil)
			if tt.do != nil {
				tt.do(t, s, id)
			}
			aMoment(t)
			r, err := s.Sweep(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var types []string
			for _, e := range s.events.sent[id] {
				types = append(types, e.Type())
			}
			if tt.typ == "" && len(types) > 0 || tt.typ != "" && (len(types) == 0 || types[0] != tt.typ) {
				t.Errorf("Sweep sent %q, want %q", types, tt.typ)
			}
			if r.Sent != len(types) || (r.GivenUp == 1) != strings.HasSuffix(tt.name, "too often") || r.Videos != 0 ||
				r.MP3s != 0 {
				t.Errorf("Sweep = %+v with %d events sent", r, len(types))
			}
			if got := s.state(t, id); got != tt.state {
				t.Errorf("after Sweep the job is %s, want %s", got, tt.state)
			}
		})
	}
}

// TestSweepUnanswered has nobody answer an event, for a week or beside programs of the old system.
func TestSweepUnanswered(t *testing.T) {
	t.Parallel()
	week, old := soon, soon
	week.Unanswered, old.HandedOver = time.Millisecond, time.Millisecond
	for _, tt := range []struct {
		name      string
		cfg       sweep.Config
		converted bool
		sent      []string
		state     job.State
	}{
		{"queued for a week", week, false, []string{eventing.TypeConversionFailed}, job.Failed},
		{"converted for a week", week, true, nil, job.HandedOver},
		{"queued for an old converter", old, false, nil, job.HandedOver},
		{"converted for an old notification", old, true, nil, job.HandedOver},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, tt.cfg)
			id := s.create(t, nil)
			if err := s.jobs.Queued(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if tt.converted {
				epoch := s.claim(t, id, over).Lease.Epoch
				if _, err := s.jobs.Finish(t.Context(), id, epoch, job.MP3{FID: put(t, s.mp3s, "ann")}); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				aMoment(t)
				if _, err := s.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			var types []string
			for _, e := range s.events.sent[id] {
				types = append(types, e.Type())
			}
			slices.Sort(types)
			if types = slices.Compact(types); !slices.Equal(types, tt.sent) || s.state(t, id) != tt.state {
				t.Errorf("sweeps sent %q and left the job %s, want %q and %s", types, s.state(t, id), tt.sent, tt.state)
			}
		})
	}
}

// A repeat is the event that was sent before, by source and id, so that who saw it knows it again.
func TestSweepRepeats(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	id := s.create(t, nil)
	aMoment(t)
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := s.events.sent[id][0]
	if want := id + "/" + eventing.TypeVideoUploaded + "/1"; e.ID() != want || e.Source() != "/soundstrip/upload" {
		t.Errorf("the event is %s of %s, want %s of /soundstrip/upload", e.ID(), e.Source(), want)
	}
}

func TestSweepLeavesYoungJobs(t *testing.T) {
	t.Parallel()
	cfg := soon
	cfg.Unsent, cfg.Stuck = time.Hour, time.Hour
	s := newSetup(t, cfg)
	s.create(t, nil)
	aMoment(t)
	if r, err := s.Sweep(t.Context()); r != (sweep.Report{}) || err != nil || s.events.tried != 0 {
		t.Errorf("Sweep of a young job = %+v, %v, want nothing done", r, err)
	}
}

// A broker that is away is not asked for every job, and no job is marked.
func TestSweepWithoutBroker(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	away := errors.New("the broker is away")
	s.events.refuse = func(event.Event) error { return away }
	var ids []string
	for range 10 {
		ids = append(ids, s.create(t, nil))
	}
	aMoment(t)
	r, err := s.Sweep(t.Context())
	if !errors.Is(err, away) || r != (sweep.Report{}) || s.events.tried != 3 {
		t.Errorf("Sweep = %+v, %v after %d tries, want %v after 3", r, err, s.events.tried, away)
	}
	for _, id := range ids {
		if got := s.state(t, id); got != job.Stored {
			t.Errorf("a job whose event nobody took is %s, want stored", got)
		}
	}
	s.events.refuse = nil
	if r, err := s.Sweep(t.Context()); err != nil || r.Sent < len(ids) {
		t.Errorf("Sweep with the broker back = %+v, %v, want %d sent", r, err, len(ids))
	}
}

// One event that is always refused does not keep the others back.
func TestSweepWithOneRefused(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	bad := s.create(t, nil)
	s.events.refuse = func(e event.Event) error {
		if e.Subject() == bad {
			return errors.New("refused")
		}
		return nil
	}
	good := s.create(t, nil)
	aMoment(t)
	if _, err := s.Sweep(t.Context()); err == nil {
		t.Error("Sweep succeeded, want the refusal")
	}
	if len(s.events.sent[good]) == 0 {
		t.Error("the good event was not sent")
	}
}

func TestSweepMedia(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	ctx := t.Context()
	past := time.Now().Add(-time.Hour)
	kept, expired := s.create(t, nil), s.create(t, &past)
	mp3s := map[string]string{}
	for _, id := range []string{kept, expired} {
		mp3s[id] = put(t, s.mp3s, "ann")
		if _, err := s.jobs.Finish(ctx, id, s.claim(t, id, running).Lease.Epoch, job.MP3{FID: mp3s[id]}); err != nil {
			t.Fatal(err)
		}
	}
	j, err := s.jobs.Create(ctx, job.Job{ID: put(t, s.videos, "ann"), Owner: "ann", VideoExpires: &past})
	if err == nil {
		_, err = s.jobs.Cancel(ctx, j.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	orphan, loser, foreign := put(t, s.videos, "bob"), put(t, s.mp3s, "bob"), put(t, s.videos, "")
	aMoment(t)
	r, err := s.Sweep(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.Sent = 0 // the event of the job that is kept, which nobody answered
	if diff := cmp.Diff(sweep.Report{Expired: 1, Videos: 2, MP3s: 1}, r); diff != "" {
		t.Errorf("Sweep (-want +got):\n%s", diff)
	}
	for _, f := range []struct {
		store media.Store
		id    string
		there bool
	}{
		{s.videos, kept, true}, {s.mp3s, mp3s[kept], true}, {s.videos, foreign, true},
		{s.videos, expired, false}, {s.mp3s, mp3s[expired], false}, {s.videos, orphan, false}, {s.mp3s, loser, false},
		{s.videos, j.ID, false},
	} {
		file, err := f.store.Open(ctx, f.id)
		if err == nil {
			_ = file.Close()
		}
		if (err == nil) != f.there {
			t.Errorf("after Sweep Open(%s) = %v, want a file: %v", f.id, err, f.there)
		}
	}
	if got := s.state(t, expired); got != job.Expired {
		t.Errorf("the job whose time is up is %s, want expired", got)
	}
	if j, err = s.jobs.Get(ctx, j.ID); j.State != job.Cancelled || !j.Video.Deleted || err != nil {
		t.Errorf("the job whose video's time is up is %+v, %v, want cancelled and without a video", j, err)
	}
	aMoment(t)
	r, err = s.Sweep(ctx)
	if r.Sent = 0; r != (sweep.Report{}) || err != nil {
		t.Errorf("the second Sweep = %+v, %v, want that there was nothing to do", r, err)
	}
}

// begin keeps an upload of which some bytes are stored, and all of them when it is done.
func (s setup) begin(t *testing.T, ttl time.Duration, partial, done bool) string {
	t.Helper()
	ctx := t.Context()
	u, err := s.uploads.Begin(ctx, job.Upload{ID: media.NewID(), Owner: "ann", Length: 10, Partial: partial}, ttl)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.videos.Resume(ctx, media.Info{ID: u.ID, Name: "a.mp4", Owner: "ann"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Write([]byte("some bytes")); err != nil {
		t.Fatal(err)
	}
	if done {
		_, err = w.Commit(ctx)
	} else {
		_, err = w.Suspend(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	if done {
		if u, err = s.uploads.Lock(ctx, u.ID, -running); err != nil {
			t.Fatal(err)
		}
		u.Progress.Done = true
		if err := s.uploads.Save(ctx, u, ttl); err != nil {
			t.Fatal(err)
		}
	}
	return u.ID
}

func TestSweepUploads(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	ctx := t.Context()
	over := -time.Second
	ended, part := s.begin(t, over, false, false), s.begin(t, over, true, true)
	coming, comingPart := s.begin(t, time.Hour, false, false), s.begin(t, time.Hour, true, true)
	busy, done, lost := s.begin(t, over, false, false), s.begin(t, over, false, true), s.begin(t, over, false, true)
	if _, err := s.uploads.Lock(ctx, busy, running); err != nil {
		t.Fatal(err)
	}
	if _, err := s.jobs.Create(ctx, job.Job{ID: done, Owner: "ann"}); err != nil {
		t.Fatal(err)
	}
	aMoment(t)
	r, err := s.Sweep(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.Sent = 0
	if diff := cmp.Diff(sweep.Report{Uploads: 4}, r); diff != "" {
		t.Errorf("Sweep (-want +got):\n%s", diff)
	}
	for id, want := range map[string]struct{ upload, data bool }{
		ended: {}, part: {}, coming: {true, true}, comingPart: {true, true}, busy: {true, true}, done: {false, true},
		lost: {},
	} {
		_, err := s.uploads.Get(ctx, id)
		_, dataErr := os.Stat(filepath.Join(s.dir, "videos", id+".data"))
		if got := (struct{ upload, data bool }{err == nil, dataErr == nil}); got != want {
			t.Errorf("after Sweep %s is %+v, want %+v", id, got, want)
		}
	}
}

// TestSweepUploadThatDied: who received the last byte of an upload made its job, and died before it could record that.
// Its client never came back.
func TestSweepUploadThatDied(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	id := s.begin(t, -time.Second, false, false)
	if _, err := s.jobs.Create(t.Context(), job.Job{ID: id, Owner: "ann"}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Sweep(t.Context()); err != nil || r.Uploads != 1 {
		t.Errorf("Sweep = %+v, %v, want 1 upload", r, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "videos", id+".data")); err != nil {
		t.Errorf("the video of a job after Sweep: %v", err)
	}
}

// meanwhile are uploads of which a client goes on with one between the look that finds its time up and the lock.
type meanwhile struct {
	*job.SQLiteUploads
	do func()
}

func (m meanwhile) Lock(ctx context.Context, id string, lease time.Duration) (job.Upload, error) {
	m.do()
	return m.SQLiteUploads.Lock(ctx, id, lease)
}

// TestSweepUploadThatGoesOn: the client was answered that all of its video is there.
func TestSweepUploadThatGoesOn(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	ctx := t.Context()
	id := s.begin(t, -time.Second, false, false)
	sweeper := sweep.New(s.jobs, meanwhile{s.uploads, func() {
		u, err := s.uploads.Lock(ctx, id, running)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.jobs.Create(ctx, job.Job{ID: id, Owner: "ann"}); err != nil {
			t.Fatal(err)
		}
		u.Progress = job.Progress{Offset: u.Length, Done: true}
		if err := errors.Join(s.uploads.Save(ctx, u, time.Hour), s.uploads.Unlock(ctx, id, u.Lease.Epoch)); err != nil {
			t.Fatal(err)
		}
	}}, s.videos, s.mp3s, s.events, soon)
	if r, err := sweeper.Sweep(ctx); err != nil || r.Uploads != 0 {
		t.Errorf("Sweep = %+v, %v, want no upload", r, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "videos", id+".data")); err != nil {
		t.Errorf("the video of an upload that was answered 204, after Sweep: %v", err)
	}
	if u, err := s.uploads.Lock(ctx, id, running); err != nil || !u.Progress.Done {
		t.Errorf("the upload after Sweep = %+v, %v, want it done and free", u.Progress, err)
	}
}

// While nobody can say which jobs there are, no file is removed.
func TestSweepWithoutJobs(t *testing.T) {
	t.Parallel()
	s := newSetup(t, soon)
	video := put(t, s.videos, "ann")
	aMoment(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // which the jobs heed, and the folder does not
	if _, err := s.Sweep(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Sweep = %v, want %v", err, context.Canceled)
	}
	f, err := s.videos.Open(t.Context(), video)
	if err != nil {
		t.Fatalf("Open = %v, want the video", err)
	}
	_ = f.Close()
}

func TestServeHTTP(t *testing.T) {
	t.Parallel()
	const wantBody = `{"sent":0,"given_up":0,"handed":0,"expired":0,"uploads":0,"videos":1,"mp3s":0,"forgotten":0}`
	tests := []struct {
		name   string
		method string
		header http.Header
		body   string
		status int
	}{
		{"plain", "POST", nil, "", http.StatusOK},
		{"event", "POST", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/timer"},
			"Ce-Type": {"tick"}}, "", http.StatusOK},
		{"event that is none", "POST", http.Header{"Ce-Specversion": {"1.0"}}, "", http.StatusBadRequest},
		{"batch", "POST", http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, "[]",
			http.StatusUnsupportedMediaType},
		{"look", "GET", nil, "", http.StatusMethodNotAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, soon)
			video := put(t, s.videos, "ann")
			aMoment(t)
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/", strings.NewReader(tt.body))
			for k, v := range tt.header {
				r.Header[k] = v
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("%s = %d %s, want %d", tt.method, w.Code, w.Body, tt.status)
			}
			_, err := s.videos.Open(t.Context(), video)
			if swept := errors.Is(err, media.ErrNotFound); swept != (tt.status == http.StatusOK) {
				t.Errorf("after %d Open = %v", w.Code, err)
			}
			if got := strings.TrimSpace(w.Body.String()); tt.status == http.StatusOK && got != wantBody {
				t.Errorf("body is %s, want %s", got, wantBody)
			}
		})
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	cfg := soon
	cfg.Grace = time.Hour
	s := newSetup(t, cfg)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	// Twice, so that it is the interval that sweeps the second.
	for range 2 {
		id := s.create(t, nil)
		for deadline := time.Now().Add(10 * time.Second); s.state(t, id) != job.Queued; {
			if time.Now().After(deadline) {
				t.Fatal("no sweep sent the event of a stuck job")
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil after its context ended", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := soon.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	err := sweep.Config{}.Validate()
	for _, name := range []string{
		"SWEEP_UNSENT", "SWEEP_STUCK", "SWEEP_UNANSWERED", "SWEEP_GRACE", "SWEEP_MAX_ATTEMPTS", "SWEEP_INTERVAL",
	} {
		if err == nil || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("Validate of the zero value = %v, want a line about %s", err, name)
		}
	}
}
