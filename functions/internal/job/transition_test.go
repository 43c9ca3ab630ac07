package job

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
)

// TestDocumentedTransitions holds the package's documentation to the table.
func TestDocumentedTransitions(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(doc), "who           guard\n")
	got, _, _ = strings.Cut(got, "package job")
	var want strings.Builder
	for _, x := range transitions {
		want.WriteString("//\t" + x.String() + "\n")
	}
	if got != want.String() {
		t.Errorf("the table in doc.go is\n%s\nwant\n%s", got, want.String())
	}
}

// TestTransitions tries every step in every state, with and without a lease that runs, by its holder and by another.
func TestTransitions(t *testing.T) {
	t.Parallel()
	const epoch = 3
	now := time.Now()
	past := now.Add(-time.Hour)
	type calls func(ctx context.Context, s steps, epoch int) error
	methods := map[string]calls{
		"Queued": func(ctx context.Context, s steps, _ int) error { return s.Queued(ctx, "1") },
		"Resent": func(ctx context.Context, s steps, _ int) error { return s.Resent(ctx, "1") },
		"Claim": func(ctx context.Context, s steps, _ int) error {
			_, err := s.Claim(ctx, "1", "w", time.Minute)
			return err
		},
		"Heartbeat": func(ctx context.Context, s steps, e int) error { return s.Heartbeat(ctx, "1", e, time.Minute, 5) },
		"Finish": func(ctx context.Context, s steps, e int) error {
			_, err := s.Finish(ctx, "1", e, MP3{FID: "2"})
			return err
		},
		"Fail": func(ctx context.Context, s steps, e int) error {
			_, err := s.Fail(ctx, "1", e, eventing.Failure{})
			return err
		},
		"Release": func(ctx context.Context, s steps, e int) error { return s.Release(ctx, "1", e, "away") },
		"GiveUp": func(ctx context.Context, s steps, _ int) error {
			_, err := s.GiveUp(ctx, "1", epoch, eventing.Failure{})
			return err
		},
		"HandOver": func(ctx context.Context, s steps, _ int) error { _, err := s.HandOver(ctx, "1"); return err },
		"Noticed":  func(ctx context.Context, s steps, _ int) error { return s.Noticed(ctx, "1", Notice{Event: "e"}, true) },
		"Cancel":   func(ctx context.Context, s steps, _ int) error { _, err := s.Cancel(ctx, "1"); return err },
		"Retry":    func(ctx context.Context, s steps, _ int) error { _, err := s.Retry(ctx, "1"); return err },
		"Expire":   func(ctx context.Context, s steps, _ int) error { _, err := s.expire(ctx, []Job{{ID: "1"}}); return err },
	}
	// What each step makes of each state where its guard holds; an empty place means that the state stays. A row's states
	// are stored, queued, converting, converted, notified, failed, cancelled, expired, handed over.
	want := map[string][]State{
		"Queued":    {Queued, "", "", "", "", "", "", "", ""},
		"Resent":    {Queued, "", "", "", "", "", "", "", ""},
		"Claim":     {Converting, Converting, Converting, "", "", "", "", "", Converting},
		"Heartbeat": {"", "", "", "", "", "", "", "", ""},
		"Finish":    {"", "", Converted, "", "", "", "", "", ""},
		"Fail":      {"", "", Failed, "", "", "", "", "", ""},
		"Release":   {"", "", Queued, "", "", "", "", "", ""},
		"GiveUp":    {Failed, Failed, Failed, "", "", "", "", "", ""},
		"HandOver":  {"", HandedOver, "", HandedOver, "", "", "", "", ""},
		"Noticed":   {"", "", "", Notified, "", "", "", "", Notified},
		"Cancel":    {Cancelled, Cancelled, Cancelled, "", "", "", "", "", ""},
		"Retry":     {"", "", "", "", "", Stored, Stored, "", Stored},
		"Expire":    {"", "", "", Expired, Expired, Expired, Expired, "", Expired},
	}
	for step, call := range methods {
		for i, state := range States {
			for _, leased := range []bool{false, true} {
				for _, holder := range []bool{true, false} {
					r := record{Job: Job{ID: "1", State: state, Lease: Lease{Epoch: epoch}, Expires: &past}, Owes: true,
						Due: &past}
					if leased {
						r.Lease.Until = now.Add(time.Minute)
					}
					s := steps{change: func(_ context.Context, _ string, f change) (Job, error) {
						if err := r.apply(f, now); err != nil && !errors.Is(err, errSame) {
							return r.Job, err
						}
						return r.Job, nil
					}}
					by := epoch
					if !holder {
						by--
					}
					err := call(t.Context(), s, by)
					next, refused := want[step][i], error(nil)
					held := step == "Heartbeat" || step == "Finish" || step == "Fail" || step == "Release"
					switch {
					case held && !holder:
						next, refused = "", ErrLost
					case (step == "Claim" || step == "GiveUp") && leased && next != "":
						next, refused = "", &BusyError{For: time.Minute}
					case held && state != Converting && (step != "Fail" || state != Failed) && (step != "Release" || state != Queued):
						refused = ErrLost
					case next == "" && (step == "Claim" || step == "GiveUp" || step == "Cancel" || step == "Retry" ||
						step == "HandOver"):
						refused = ErrState
					}
					if next == "" {
						next = state
					}
					busy := (*BusyError)(nil)
					same := errors.Is(err, refused) || errors.As(refused, &busy) && errors.As(err, &busy)
					if r.State != next || !same {
						t.Errorf("%s of a job that is %s (lease runs: %v, by its holder: %v) makes it %s, %v; want %s, %v",
							step, state, leased, holder, r.State, err, next, refused)
					}
				}
			}
		}
	}
	for _, x := range transitions {
		if want[x.step] == nil {
			t.Errorf("the table has a step %s that is not tried", x.step)
		}
	}
}
