package sweep_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
	"github.com/soundstrip/soundstrip/functions/sweep"
)

type gone struct {
	all   []sweep.Deletion
	swept []string
}

func (g *gone) Deletions(context.Context) ([]sweep.Deletion, error) { return g.all, nil }

func (g *gone) Swept(_ context.Context, id string) error {
	g.swept = append(g.swept, id)
	return nil
}

// TestDeletedAccount has all go that a deleted account has left, and nothing of another.
func TestDeletedAccount(t *testing.T) {
	t.Parallel()
	s := newSetup(t, sweep.Config{Unsent: time.Hour, Stuck: time.Hour, Grace: time.Hour, MaxAttempts: 3})
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "b.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	feeds, err := job.NewSQLiteFeeds(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := job.NewSQLiteWebhooks(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	var kept []job.Job
	for _, owner := range []string{"u_gone", "u_here"} {
		for _, done := range []bool{true, false} {
			j, err := s.jobs.Create(t.Context(), job.Job{ID: put(t, s.videos, owner), Owner: owner})
			if err == nil && done {
				if j, err = s.jobs.Claim(t.Context(), j.ID, "w", running); err == nil {
					j, err = s.jobs.Finish(t.Context(), j.ID, j.Lease.Epoch, job.MP3{FID: put(t, s.mp3s, owner)})
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, j)
		}
		if err := feeds.Replace(t.Context(), owner, "hash of "+owner); err != nil {
			t.Fatal(err)
		}
		if _, err := hooks.Set(t.Context(), owner, job.Webhook{URL: "https://example.com/", Secret: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	g := &gone{all: []sweep.Deletion{{ID: "1", Owner: "u_gone"}, {ID: "2", Owner: ""}}}
	s.WithAccounts(sweep.Accounts{Deleted: g, Feeds: feeds, Webhooks: hooks})
	r, err := s.Sweep(t.Context())
	if err == nil || r.Forgotten != 2 {
		t.Errorf("Sweep() = %+v, %v, want 2 jobs forgotten, and the owner refused that means everyone", r, err)
	}
	if diff := cmp.Diff([]string{"1"}, g.swept); diff != "" {
		t.Errorf("swept (-want +got):\n%s", diff)
	}
	for i, j := range kept {
		here := i >= 2
		_, err := s.jobs.Get(t.Context(), j.ID)
		_, videoErr := s.videos.Open(t.Context(), j.ID)
		if errors.Is(err, job.ErrNotFound) == here || errors.Is(videoErr, media.ErrNotFound) == here {
			t.Errorf("job %d of %s: %v, its video: %v", i, j.Owner, err, videoErr)
		}
		if j.MP3 != nil {
			if _, err := s.mp3s.Open(t.Context(), j.MP3.FID); errors.Is(err, media.ErrNotFound) == here {
				t.Errorf("the MP3 of job %d of %s: %v", i, j.Owner, err)
			}
		}
	}
	for owner, want := range map[string]error{"u_gone": job.ErrNotFound, "u_here": nil} {
		_, feedErr := feeds.Owner(t.Context(), "hash of "+owner)
		_, hookErr := hooks.Get(t.Context(), owner)
		if !errors.Is(feedErr, want) || !errors.Is(hookErr, want) {
			t.Errorf("podcast and webhook of %s: %v, %v, want %v", owner, feedErr, hookErr, want)
		}
	}
}

// TestAskLogin asks with the signature that login wants.
func TestAskLogin(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789abcdef"
	var told string
	server := httptest.NewServer(eventing.Authenticated([]byte(secret), "login",
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method + " " + r.URL.Path {
			case "GET /users/deleted":
				_, _ = w.Write([]byte(`{"deleted": [{"id": "u_1", "owner": "a@email.com"}]}`))
			case "DELETE /users/deleted/u_1":
				told = r.URL.Path
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		})))
	t.Cleanup(func() { server.Close(); http.DefaultClient.CloseIdleConnections() })
	d := sweep.LoginConfig{URL: server.URL}.Deletions(secret)
	all, err := d.Deletions(t.Context())
	if diff := cmp.Diff([]sweep.Deletion{{ID: "u_1", Owner: "a@email.com"}}, all); diff != "" || err != nil {
		t.Errorf("Deletions() = %v (-want +got):\n%s", err, diff)
	}
	if err := d.Swept(t.Context(), "u_1"); err != nil || told == "" {
		t.Errorf("Swept() = %v", err)
	}
	if err := d.Swept(t.Context(), "u_2"); err == nil {
		t.Error("Swept() of what login does not know = nil")
	}
	if _, err := (sweep.LoginConfig{URL: server.URL}).Deletions("x" + secret).Deletions(t.Context()); err == nil {
		t.Error("Deletions() with another secret = nil")
	}
}
