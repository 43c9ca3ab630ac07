package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

// growth measures what stores of jobs do while there are more and more of them.
func (l *load) growth(t *testing.T) {
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "jobs.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // for the PRAGMA, which is a connection's
	jobs, err := job.NewSQLite(t.Context(), db)
	if err == nil {
		_, err = db.ExecContext(t.Context(), "PRAGMA synchronous=OFF") // the disk does not grow slower
	}
	if err != nil {
		t.Fatal(err)
	}
	l.grow(t, "SQLite without fsync", jobs)
	if _, err := exec.LookPath("mongod"); err != nil {
		return // the stand-in has no indexes
	}
	name := "e2e_" + strings.ToLower(bson.NewObjectID().Hex())
	client, _ := databases(t, name)
	l.grow(t, "MongoDB", job.NewMongo(client.Database(name)))
}

// grow fills a store tenfold at each step, with a hundred jobs at rest of each owner, and measures what is done often.
func (l *load) grow(t *testing.T, store string, jobs job.Store) {
	t.Helper()
	const page = 50
	list := func(state job.State) func(string) error {
		return func(string) error {
			found, err := jobs.List(t.Context(), job.Query{Owner: "owner 7", State: state, Limit: page})
			if err == nil && len(found) != page {
				err = fmt.Errorf("%d jobs, want %d", len(found), page)
			}
			return err
		}
	}
	work := []struct {
		name string
		once func(waiting string) error
	}{
		{"list", list("")},
		{"feed", list(job.Notified)},
		{"claim", func(waiting string) error {
			_, err := jobs.Take(t.Context(), waiting, "load", time.Minute)
			return err
		}},
		{"sweep", func(string) error {
			_, err := jobs.Stuck(t.Context(), time.Hour, time.Hour, page)
			if err == nil {
				_, err = jobs.Expire(t.Context(), page)
			}
			return err
		}},
	}
	first := map[string]float64{}
	later := time.Now().Add(1000 * time.Hour)
	from := 0
	for to := 10_000; to <= l.jobs; from, to = to, 10*to {
		var g errgroup.Group
		g.SetLimit(16)
		for i := from; i < to; i++ {
			g.Go(func() error {
				_, err := jobs.Adopt(t.Context(), job.Job{ID: fmt.Sprintf("%024x", i), Owner: fmt.Sprintf("owner %d", i/100),
					Filename: "a.mp4", State: job.Notified, Progress: 100, Expires: &later,
					MP3: &job.MP3{FID: fmt.Sprintf("a%023x", i), Length: 1e6}})
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		said := make([]string, 0, len(work))
		for _, w := range work {
			var took []time.Duration
			for range 100 {
				j, err := jobs.Create(t.Context(), job.Job{ID: media.NewID(), Owner: "busy", Filename: "b.mp4"})
				if err == nil {
					err = jobs.Queued(t.Context(), j.ID)
				}
				begin := time.Now()
				if err == nil {
					err = w.once(j.ID)
				}
				took = append(took, time.Since(begin))
				if err == nil {
					err = jobs.Delete(t.Context(), j.ID)
				}
				if err != nil {
					t.Fatalf("%s of %s with %d jobs: %v", w.name, store, to, err)
				}
			}
			quick := quantile(took, 0.1) // what else the machine does adds to the others, and with them to their median
			if from == 0 {
				first[w.name] = quick
			}
			said = append(said, fmt.Sprintf("%s %.2f (%.2f)", w.name, quick, quick/first[w.name]))
		}
		l.row(fmt.Sprintf("%s with %d jobs: ms, of the quick ones (to that of 10,000)", store, to), "", "%s",
			strings.Join(said, ", "))
	}
}
