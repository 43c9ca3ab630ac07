package job_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func TestSQLiteWebhooks(t *testing.T) {
	t.Parallel()
	s, err := job.NewSQLiteWebhooks(t.Context(), openSQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	testWebhooks(t, s)
}

func TestMongoWebhooks(t *testing.T) {
	t.Parallel()
	testWebhooks(t, job.NewMongoWebhooks(openMongo(t)))
}

// testWebhooks holds a store to what job.Webhooks promises.
func testWebhooks(t *testing.T, s job.Webhooks) {
	ctx := t.Context()
	none := job.Webhook{}
	check := func(owner string, want job.Webhook) {
		t.Helper()
		got, err := s.Get(ctx, owner)
		if got != want || (want == none) != errors.Is(err, job.ErrNotFound) || want != none && err != nil {
			t.Errorf("Get(%s) = %#v, %v, want %#v", owner, got, err, want)
		}
	}
	set := func(owner string, w, want job.Webhook) {
		t.Helper()
		if got, err := s.Set(ctx, owner, w); err != nil || got != want {
			t.Fatalf("Set(%s, %#v) = %#v, %v, want %#v", owner, w, got, err, want)
		}
		check(owner, want)
	}
	end := func(owner string) {
		t.Helper()
		if err := s.End(ctx, owner); err != nil {
			t.Fatal(err)
		}
		check(owner, none)
	}
	a1 := job.Webhook{URL: "https://a.example/?a=b", Secret: "1"}
	a2 := job.Webhook{URL: a1.URL, Secret: "2"}
	b3 := job.Webhook{URL: "https://b.example/", Secret: "3"}
	end("ann") // who has none
	set("ann", a1, a1)
	set("ann", a2, a1) // the URL is the same
	set("bob", a2, a2)
	set("ann", b3, b3)
	set("ann", a2, a2)
	end("ann")
	check("bob", a2)
	set("ann", a1, a1)

	// Whoever sets the same URL at once learns the one secret.
	var sets sync.WaitGroup
	kept := make([]job.Webhook, 8)
	for i := range kept {
		sets.Go(func() {
			var err error
			if kept[i], err = s.Set(ctx, "eve", job.Webhook{URL: a1.URL, Secret: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	sets.Wait()
	for _, w := range kept {
		if w != kept[0] {
			t.Errorf("Set at once = %#v, and %#v to another", w, kept[0])
		}
	}
	check("eve", kept[0])
}
