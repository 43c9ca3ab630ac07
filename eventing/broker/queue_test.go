package broker

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var queues = []struct {
	name string
	open func(*testing.T, Triggers) Queue
}{
	{"Rabbit", func(t *testing.T, ts Triggers) Queue { return newRabbit(t, ts) }},
	{"SQLite", func(t *testing.T, ts Triggers) Queue { return newSQLite(t, ts) }},
}

// TestQueue is the contract of [Queue], on both of them.
func TestQueue(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		test func(*testing.T, Queue)
	}{
		{"each trigger that wants an event gets it whole", func(t *testing.T, q Queue) {
			e := newEvent(t, "1", "a.x")
			e.SetSource("/soundstrip/%C3%A4")
			e.SetSubject("ä %20")
			e.DataEncoded = []byte(`{"broken": "\xff`) // not the queue's business
			publish(t, q, e, newEvent(t, "2", "b.x"), newEvent(t, "3", "a.y"))
			for trigger, want := range map[string][]string{"exact": {"1"}, "prefix": {"1", "3"}, "suffix": {"1", "2"}} {
				s := subscribe(t, q, trigger)
				for _, id := range want {
					m := next(t, s)
					if m.Event().ID() != id || m.Attempts() != 0 {
						t.Errorf("Next() of %s = %s, %d attempts, want %s, 0", trigger, m.Event().ID(), m.Attempts(), id)
					}
					got := m.Event()
					if diff := cmp.Diff(e.Context.String(), got.Context.String()); id == "1" && diff != "" {
						t.Errorf("event changed on its way (-want +got):\n%s", diff)
					}
					if diff := cmp.Diff(e.Data(), got.Data()); id == "1" && diff != "" {
						t.Errorf("data changed on its way (-want +got):\n%s", diff)
					}
					ack(t, m)
				}
				empty(t, q, s, "a.x")
			}
		}},
		{"an event nobody wants is taken", func(t *testing.T, q Queue) {
			publish(t, q, newEvent(t, "1", "nobody"))
			empty(t, q, subscribe(t, q, "exact"), "a.x")
		}},
		{"two workers hold different messages", func(t *testing.T, q Queue) {
			publish(t, q, newEvent(t, "1", "a.x"), newEvent(t, "2", "a.x"))
			one, two := next(t, subscribe(t, q, "exact")), next(t, subscribe(t, q, "exact"))
			if one.Event().ID() == two.Event().ID() {
				t.Errorf("both workers hold %s", one.Event().ID())
			}
		}},
		{"a message that is not settled returns", func(t *testing.T, q Queue) {
			publish(t, q, newEvent(t, "1", "a.x"))
			s := subscribe(t, q, "exact")
			m := next(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
			if err := m.Ack(testContext(t)); err == nil {
				t.Error("Ack() after Close() = nil, want an error")
			}
			if err := m.Retry(testContext(t), 0, 1); err == nil {
				t.Error("Retry() after Close() = nil, want an error")
			}
			again := subscribe(t, q, "exact")
			if m := next(t, again); m.Event().ID() != "1" || m.Attempts() != 0 {
				t.Errorf("Next() = %s, %d attempts, want 1, 0", m.Event().ID(), m.Attempts())
			} else {
				ack(t, m)
			}
			empty(t, q, again, "a.x")
		}},
		{"a retry comes no sooner than asked, with its attempts", func(t *testing.T, q Queue) {
			publish(t, q, newEvent(t, "1", "a.x"))
			s := subscribe(t, q, "exact")
			m := next(t, s)
			for i, delay := range []time.Duration{0, 700 * time.Millisecond, 0} {
				from := time.Now()
				if err := m.Retry(testContext(t), delay, i+1); err != nil {
					t.Fatalf("Retry() = %v", err)
				}
				if m = next(t, s); time.Since(from) < delay || m.Attempts() != i+1 {
					t.Errorf("Next() after %v with %d attempts, want no sooner than %v with %d", time.Since(from), m.Attempts(), delay,
						i+1)
				}
			}
		}},
		{"a waiting message does not hold up others", func(t *testing.T, q Queue) {
			publish(t, q, newEvent(t, "1", "a.x"))
			s := subscribe(t, q, "exact")
			if err := next(t, s).Retry(testContext(t), MaxDelay, 1); err != nil {
				t.Fatalf("Retry() = %v", err)
			}
			empty(t, q, s, "a.x")
		}},
		{"dead letters are kept, and replayed as new", func(t *testing.T, q Queue) {
			publish(t, q, newEvent(t, "1", "a.x"), newEvent(t, "2", "a.x"))
			s := subscribe(t, q, "exact")
			if err := next(t, s).Retry(testContext(t), 0, 3); err != nil {
				t.Fatalf("Retry() = %v", err)
			}
			for range 2 {
				if err := next(t, s).Bury(testContext(t), "because"); err != nil {
					t.Fatalf("Bury() = %v", err)
				}
			}
			empty(t, q, s, "a.x")
			for _, want := range []int{2, 0} {
				if n, err := replay(t, q, "exact"); n != want || err != nil {
					t.Errorf("Replay() = %d, %v, want %d, nil", n, err, want)
				}
			}
			for range 2 {
				m := next(t, s)
				if m.Attempts() != 0 {
					t.Errorf("Attempts() of %s after Replay() = %d, want 0", m.Event().ID(), m.Attempts())
				}
				ack(t, m)
			}
			empty(t, q, s, "a.x")
		}},
		{"Next wakes for what comes later, and for its context", func(t *testing.T, q Queue) {
			s := subscribe(t, q, "exact")
			got := make(chan error, 1)
			go func() {
				m, err := s.Next(testContext(t))
				if err == nil {
					err = m.Ack(testContext(t))
				}
				got <- err
			}()
			publish(t, q, newEvent(t, "1", "a.x"))
			if err := <-got; err != nil {
				t.Errorf("Next() = %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				_, err := s.Next(ctx)
				got <- err
			}()
			cancel()
			if err := <-got; !errors.Is(err, context.Canceled) {
				t.Errorf("Next() = %v, want %v", err, context.Canceled)
			}
		}},
		{"an unknown trigger is an error", func(t *testing.T, q Queue) {
			if _, err := q.Subscribe(testContext(t), "none"); err == nil {
				t.Error(`Subscribe("none") = nil, want an error`)
			}
			if _, err := replay(t, q, "none"); err == nil {
				t.Error(`Replay("none") = nil, want an error`)
			}
		}},
	}
	for _, queue := range queues {
		for _, tt := range tests {
			t.Run(queue.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				tt.test(t, queue.open(t, Triggers{
					{Name: "exact", Subscriber: "http://exact", Filter: Filter{Attributes: map[string]string{"type": "a.x"}}},
					{Name: "prefix", Subscriber: "http://prefix", Filter: Filter{Prefix: map[string]string{"type": "a."}}},
					{Name: "suffix", Subscriber: "http://suffix", Filter: Filter{Suffix: map[string]string{"type": ".x"}}},
				}))
			})
		}
	}
}

// TestDeadCommandWithoutReader has the output's reader go: the dead letter is dealt with before that is noticed.
func TestDeadCommandWithoutReader(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	r.Close()
	err := DeadCommand([]string{"list"}, w, func(_ string, fate func(DeadLetter) (Fate, error)) error {
		if f, err := fate(DeadLetter{ID: "1"}); f != Keep || err != nil {
			t.Errorf("fate = %v, %v, want %v, nil", f, err, Keep)
		}
		return nil
	})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("DeadCommand() = %v, want %v", err, io.ErrClosedPipe)
	}
}
