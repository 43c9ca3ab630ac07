package jobs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

// live serves jobs of a real store.
func live(t *testing.T) (*job.SQLite, *httptest.Server) {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "jobs.db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := job.NewSQLite(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(New(s, nil, nil, nil, nil, nil, verify, testConfig))
	t.Cleanup(func() {
		server.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, server
}

func add(t *testing.T, s *job.SQLite, owner string) job.Job {
	t.Helper()
	j, err := s.Create(t.Context(), job.Job{ID: bson.NewObjectID().Hex(), Owner: owner, Filename: "talk.mp4"})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// received is a server-sent event.
type received struct {
	id    string
	job   struct{ ID, State, Owner string }
	names map[string]any
}

// listen gives what comes by a stream. It ends with the test.
func listen(t *testing.T, server *httptest.Server, path, bearer, last string) <-chan received {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("GET %s = %s %s, want a stream", path, resp.Status, resp.Header.Get("Content-Type"))
	}
	events := make(chan received, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		var e received
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "data":
				if err := errors.Join(json.Unmarshal([]byte(value), &e.job), json.Unmarshal([]byte(value), &e.names)); err != nil {
					t.Error(err)
				}
				events <- e
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = resp.Body.Close()
	})
	return events
}

func next(t *testing.T, events <-chan received, id string, state job.State) received {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok || e.job.ID != id || e.job.State != string(state) {
			t.Fatalf("event = %+v, %v, want %s of %s", e, ok, state, id)
		}
		return e
	case <-time.After(time.Minute):
		t.Fatalf("no event in a minute, want %s of %s", state, id)
	}
	return received{}
}

func TestStream(t *testing.T) {
	t.Parallel()
	s, server := live(t)
	ctx := t.Context()
	old := add(t, s, "georgio")
	mine := listen(t, server, "/jobs/events", "georgio", "")
	admins := listen(t, server, "/jobs/events?owner=*", "admin", "")
	one := listen(t, server, "/jobs/"+old.ID+"/events", "georgio", "")
	next(t, one, old.ID, job.Stored)
	eves := add(t, s, "eve")
	next(t, admins, eves.ID, job.Stored)
	mineNow := add(t, s, "georgio")
	e := next(t, mine, mineNow.ID, job.Stored)
	next(t, admins, mineNow.ID, job.Stored)
	if _, ok := e.names["lease"]; ok || e.names["links"] == nil {
		t.Errorf("event = %v, want what GET /jobs/{id} gives", e.names)
	}
	if _, err := s.Claim(ctx, old.ID, "w", time.Minute); err != nil {
		t.Fatal(err)
	}
	next(t, one, old.ID, job.Converting)
	next(t, mine, old.ID, job.Converting)
	if _, err := s.Fail(ctx, old.ID, 1, eventing.Failure{Code: "no_audio", Message: "none"}); err != nil {
		t.Fatal(err)
	}
	next(t, one, old.ID, job.Failed)
	next(t, mine, old.ID, job.Failed)

	// Who comes again is sent what changed meanwhile, and perhaps what it has, in the order of the changes.
	again := listen(t, server, "/jobs/events", "georgio", e.id)
	for e := range again {
		if e.job.ID == old.ID {
			if e.job.State != string(job.Failed) {
				t.Errorf("event = %+v, want the job as it is", e.job)
			}
			break
		}
	}
	if len(admins) != 0 && len(mine) != 0 {
		t.Errorf("%d and %d events more, want none", len(admins), len(mine))
	}
}

func TestStreamRefused(t *testing.T) {
	t.Parallel()
	s, server := live(t)
	eves := add(t, s, "eve")
	for _, tt := range []struct {
		path, bearer, last string
		status             int
	}{
		{"/jobs/events", "", "", 401},
		{"/jobs/events?owner=eve", "georgio", "", 403},
		{"/jobs/events", "georgio", "yesterday", 400},
		{"/jobs/" + eves.ID + "/events", "georgio", "", 404},
		{"/jobs/" + unknown + "/events", "georgio", "", 404},
	} {
		r := httptest.NewRequest(http.MethodGet, tt.path, nil)
		if tt.bearer != "" {
			r.Header.Set("Authorization", "Bearer "+tt.bearer)
		}
		r.Header.Set("Last-Event-ID", tt.last)
		w := httptest.NewRecorder()
		server.Config.Handler.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("GET %s by %q = %d %s, want %d", tt.path, tt.bearer, w.Code, w.Body, tt.status)
		}
	}
}

// TestStreamDropped has a client that takes nothing: it is dropped, the others go on, and without a stream nobody asks
// the store.
func TestStreamDropped(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	w := watch{jobs: &store{before: func(string, string) error {
		select {
		case asked <- struct{}{}:
		default:
		}
		return nil
	}}}
	slow, quick := &stream{changes: make(chan snapshot, backlog)}, &stream{changes: make(chan snapshot, backlog+1)}
	for _, s := range []*stream{slow, quick} {
		if err := w.add(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	for range backlog + 1 {
		w.tell(snapshot{job: job.Job{ID: unknown}})
	}
	if n := len(slow.changes); n != backlog || len(quick.changes) != backlog+1 {
		t.Errorf("%d and %d changes, want %d and one more", n, len(quick.changes), backlog)
	}
	for range backlog {
		<-slow.changes
	}
	if _, ok := <-slow.changes; ok || w.streams[slow] {
		t.Error("the slow client is not dropped")
	}
	w.remove(slow)
	w.remove(quick)
	if len(w.streams) != 0 {
		t.Errorf("%d streams, want none", len(w.streams))
	}
}

// TestStreamWithoutStore tells that the store is away.
func TestStreamWithoutStore(t *testing.T) {
	t.Parallel()
	w := watch{jobs: &store{before: func(string, string) error { return errStore }}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := w.add(ctx, &stream{}); err == nil || len(w.streams) != 0 {
		t.Errorf("add = %v with %d streams, want that the store cannot be reached, and none", err, len(w.streams))
	}
}

// BenchmarkStreams has a thousand clients watch one owner's jobs, and a job change: the time is that until all of them
// know. The memory is that of a client and its stream together, as the kernel's is not.
func BenchmarkStreams(b *testing.B) {
	const clients = 1000
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "jobs.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s, err := job.NewSQLite(b.Context(), db)
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(New(s, nil, nil, nil, nil, nil, verify, testConfig))
	defer server.Close()
	before := memory()
	ctx, cancel := context.WithCancel(b.Context())
	var reading sync.WaitGroup
	told := make(chan struct{}, clients)
	for range clients {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/jobs/events", nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer georgio")
		resp, err := server.Client().Do(r)
		if err != nil {
			b.Fatal(err)
		}
		reading.Go(func() {
			defer resp.Body.Close()
			for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "data: ") {
					told <- struct{}{}
				}
			}
		})
	}
	each := float64(memory()-before) / clients / 1024
	for b.Loop() {
		if _, err := s.Create(b.Context(), job.Job{ID: bson.NewObjectID().Hex(), Owner: "georgio"}); err != nil {
			b.Fatal(err)
		}
		for range clients {
			<-told
		}
	}
	b.ReportMetric(each, "KiB/client")
	cancel()
	reading.Wait()
}
