package job_test

import (
	"errors"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func TestSQLiteFeeds(t *testing.T) {
	t.Parallel()
	s, err := job.NewSQLiteFeeds(t.Context(), openSQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	testFeeds(t, s)
}

func TestMongoFeeds(t *testing.T) {
	t.Parallel()
	testFeeds(t, job.NewMongoFeeds(openMongo(t)))
}

// testFeeds holds a store to what job.Feeds promises.
func testFeeds(t *testing.T, s job.Feeds) {
	ctx := t.Context()
	check := func(hash, want string) {
		t.Helper()
		got, err := s.Owner(ctx, hash)
		if got != want || (want == "") != errors.Is(err, job.ErrNotFound) || want != "" && err != nil {
			t.Errorf("Owner(%s) = %q, %v, want %q", hash, got, err, want)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("1", "")
	do(s.End(ctx, "ann")) // who has none
	do(s.Replace(ctx, "ann", "1"))
	do(s.Replace(ctx, "bob", "2"))
	check("1", "ann")
	check("2", "bob")
	do(s.Replace(ctx, "ann", "3"))
	check("1", "")
	check("3", "ann")
	do(s.End(ctx, "ann"))
	check("3", "")
	check("2", "bob")
	do(s.Replace(ctx, "ann", "4"))
	check("4", "ann")
}
