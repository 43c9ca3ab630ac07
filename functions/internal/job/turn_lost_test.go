package job

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

func newSQLite(t *testing.T) *SQLite {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "jobs.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := NewSQLite(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// meanwhile are turns where something else happens after a look that finds a job.
type meanwhile struct {
	turns
	do func()
}

func (m meanwhile) Get(ctx context.Context, id string) (Job, error) {
	defer m.do()
	return m.turns.Get(ctx, id)
}

func (m meanwhile) taken(ctx context.Context, turn string) (string, error) {
	id, err := m.turns.taken(ctx, turn)
	if id != "" {
		m.do()
	}
	return id, err
}

// TestTakeMeanwhile: an event whose own job ends or is deleted between the look and the claim is the turn of another
// that waits. It was the only event left for that one.
func TestTakeMeanwhile(t *testing.T) {
	t.Parallel()
	end := func(ctx context.Context, s *SQLite) error {
		_, err := s.Finish(ctx, "a", 1, MP3{FID: "x"})
		return err
	}
	remove := func(ctx context.Context, s *SQLite) error { return s.Delete(ctx, "a") }
	for _, tt := range []struct {
		name, turn string // the turn in which the job was taken before
		do         func(ctx context.Context, s *SQLite) error
		want       string
	}{
		{"ends, taken by another's event", "b", end, "b"},
		{"ends, taken by this event", "a", end, "a"}, // which is still to be answered
		{"is deleted, taken by another's event", "b", remove, "b"},
		{"is deleted, taken by this event", "a", remove, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, s := t.Context(), newSQLite(t)
			for _, id := range []string{"a", "b"} {
				_, err := s.Create(ctx, Job{ID: id, Owner: "ann"})
				if err = errors.Join(err, s.Queued(ctx, id)); err != nil {
					t.Fatal(err)
				}
			}
			if j, err := s.Take(ctx, tt.turn, "w", time.Minute); err != nil || j.ID != "a" {
				t.Fatalf("Take(%s) = %s, %v, want a", tt.turn, j.ID, err)
			}
			once := func() {
				if _, err := s.Get(ctx, "a"); err == nil {
					if err := tt.do(ctx, s); err != nil {
						t.Error(err)
					}
				}
			}
			raced := steps{change: s.change, turns: meanwhile{s, once}}
			j, err := raced.Take(ctx, "a", "v", time.Minute)
			if errors.Is(err, ErrNotFound) { // the function asks so when there is no such video either
				j, err = raced.TakeNext(ctx, "a", "v", time.Minute)
			}
			if j.ID != tt.want || (err != nil) != (tt.want == "a") {
				t.Errorf("Take(a) = %q, %v, want %s", j.ID, err, tt.want)
			}
		})
	}
}

// forgetful are turns of which none is recorded.
type forgetful struct{ turns }

func (forgetful) had(context.Context, string) error { return errors.New("the store is away") }

// TestTakeNotRecorded: a worker that has a job by now is told so, or nobody would work on it while its lease runs.
func TestTakeNotRecorded(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), newSQLite(t)
	_, err := s.Create(ctx, Job{ID: "a", Owner: "ann"})
	if err = errors.Join(err, s.Queued(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	forgets := steps{change: s.change, turns: forgetful{s}}
	if j, err := forgets.Take(ctx, "a", "w", time.Minute); err != nil || j.ID != "a" {
		t.Errorf("Take(a) = %q, %v, want a", j.ID, err)
	}
}

// TestTakeUntold has an event lost, and the owner of the job that it was about not be told: the job in whose turn that
// one was taken has another when a sweep sends its event again.
func TestTakeUntold(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), newSQLite(t)
	for i, id := range []string{"a", "b"} {
		_, err := s.Create(ctx, Job{ID: id, Owner: "ann", Video: Video{Length: int64(2 - i)}})
		if err = errors.Join(err, s.Queued(ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	take := func(want string, wantErr error) {
		t.Helper()
		if j, err := s.Take(ctx, "a", "w", time.Minute); j.ID != want || !errors.Is(err, wantErr) {
			t.Errorf("Take(a) = %s, %v, want %s, %v", j.ID, err, want, wantErr)
		}
	}
	take("b", nil)
	if _, err := s.Finish(ctx, "b", 1, MP3{FID: "x"}); err != nil {
		t.Fatal(err)
	}
	take("b", ErrState)
	if _, err := s.change(ctx, "b", func(r *record, now time.Time) error {
		r.Updated = now.Add(-answering)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	take("a", nil)
}
