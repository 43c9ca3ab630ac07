package account

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"
)

// quick is a store with a clock, and one user.
func quick(t *testing.T, b backend) (*Store, *time.Time) {
	t.Helper()
	s, clock := newTestStore(t, b), time.Now()
	s.now = func() time.Time { return clock }
	create(t, s, email, password, false)
	return s, &clock
}

// tries logs in so many times, and counts what comes of it.
func tries(t *testing.T, s *Store, n int, email, password string, network func(n int) string) (in, wrong, refused int) {
	t.Helper()
	for i := range n {
		_, err := s.Authenticate(t.Context(), email, password, network(i))
		switch {
		case err == nil:
			in++
		case errors.Is(err, ErrCredentials):
			wrong++
		case errors.As(err, new(*WaitError)):
			refused++
		default:
			t.Fatal(err)
		}
	}
	return in, wrong, refused
}

func from(network string) func(int) string { return func(int) string { return network } }

func another(n int) string { return "203.0.113." + strconv.Itoa(n) }

func TestThrottle(t *testing.T) {
	t.Parallel()
	type attack struct {
		name string
		do   func(t *testing.T, s *Store, clock *time.Time)
	}
	for _, a := range []attack{
		{"guesses at an account from one network", func(t *testing.T, s *Store, clock *time.Time) {
			if _, wrong, refused := tries(t, s, 30, email, "wrong", from("a")); wrong != triesOfPair || refused != 20 {
				t.Errorf("%d of 30 guesses are checked, %d refused, want %d checked", wrong, refused, triesOfPair)
			}
			*clock = clock.Add(everyOfPair)
			if _, wrong, _ := tries(t, s, 3, email, "wrong", from("a")); wrong != 1 {
				t.Errorf("%d of 3 guesses are checked after %v, want 1", wrong, everyOfPair)
			}
		}},
		{"cannot lock out the owner elsewhere", func(t *testing.T, s *Store, _ *time.Time) {
			tries(t, s, 30, email, "wrong", from("a"))
			if in, _, _ := tries(t, s, 30, email, password, from("owner's")); in != 30 {
				t.Errorf("%d of 30 right logins are let in, want all", in)
			}
		}},
		{"a table of accounts from one network", func(t *testing.T, s *Store, _ *time.Time) {
			wrong := 0
			for n := range triesOfNetwork + 10 {
				_, w, _ := tries(t, s, 1, fmt.Sprintf("user%d@email.com", n), "wrong", from("a"))
				wrong += w
			}
			if wrong != triesOfNetwork {
				t.Errorf("%d guesses are checked, want %d", wrong, triesOfNetwork)
			}
		}},
		{"restarts and other replicas", func(t *testing.T, s *Store, _ *time.Time) {
			tries(t, s, 30, email, "wrong", from("a"))
			other := newStore(s.db, s.dialect)
			other.hasher, other.now = s.hasher, s.now
			if _, wrong, _ := tries(t, other, 5, email, "wrong", from("a")); wrong != 0 {
				t.Errorf("%d of 5 more guesses are checked by another process, want none", wrong)
			}
		}},
		{"guesses at once", func(t *testing.T, s *Store, _ *time.Time) {
			wrong := 0
			for _, err := range atOnce(25, func() error {
				_, err := s.Authenticate(t.Context(), email, "wrong", "a")
				return err
			}) {
				if errors.Is(err, ErrCredentials) {
					wrong++
				}
			}
			if wrong != triesOfPair {
				t.Errorf("%d of 25 guesses at once are checked, want %d", wrong, triesOfPair)
			}
		}},
		{"right logins at once", func(t *testing.T, s *Store, _ *time.Time) {
			for _, err := range atOnce(25, func() error {
				_, err := s.Authenticate(t.Context(), email, password, "a")
				return err
			}) {
				if err != nil {
					t.Errorf("Authenticate() = %v: who knows the password is not slowed down", err)
				}
			}
		}},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, b backend) {
				s, clock := quick(t, b)
				a.do(t, s, clock)
			})
		})
	}
}

// TestThrottleManyNetworks guesses from a new network each time. The owner is let in where the owner has been before,
// and nobody else is.
func TestThrottleManyNetworks(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s, clock := quick(t, b)
		if in, _, _ := tries(t, s, 1, email, password, from("owner's")); in != 1 {
			t.Fatal("the owner is not let in")
		}
		// All but a few of the tries that the account has, as if they had been made.
		spent := LimitOf("account", triesOfAccount, everyOfPair, email)
		until := clock.Add((triesOfAccount - 5) * everyOfPair).UnixMilli()
		execute(t, b.db, "REPLACE INTO attempt (id, until) VALUES (?, ?)", spent.Key, until)
		if _, wrong, refused := tries(t, s, 20, email, "wrong", another); wrong != 5 || refused != 15 {
			t.Errorf("%d of 20 guesses are checked, %d refused, want the 5 that are left", wrong, refused)
		}
		if _, _, refused := tries(t, s, 1, email, password, from("new")); refused != 1 {
			t.Error("a network that the owner has not come from is not refused")
		}
		if in, _, _ := tries(t, s, 30, email, password, from("owner's")); in != 30 {
			t.Errorf("the owner is let in %d times of 30", in)
		}
		*clock = clock.Add(knownFor + time.Hour)
		execute(t, b.db, "REPLACE INTO attempt (id, until) VALUES (?, ?)", spent.Key,
			clock.Add(2*triesOfAccount*everyOfPair).UnixMilli())
		if in, _, _ := tries(t, s, 1, email, password, from("owner's")); in != 0 {
			t.Errorf("the network is known for longer than %v", knownFor)
		}
	})
}

func TestSuccessesAreLimited(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s, clock := quick(t, b)
		spent := LimitOf("success", successes, everyOfNetwork, email, "a")
		execute(t, b.db, "REPLACE INTO attempt (id, until) VALUES (?, ?)", spent.Key,
			clock.Add((successes-3)*everyOfNetwork).UnixMilli())
		tries(t, s, 5, email, "wrong", from("a")) // which are not successes
		if in, _, refused := tries(t, s, 5, email, password, from("a")); in != 3 || refused != 2 {
			t.Errorf("%d of 5 logins are let in, %d refused, want the 3 that are left", in, refused)
		}
	})
}

// TestAttemptsAreForgotten has rows that count no more deleted.
func TestAttemptsAreForgotten(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s, clock := quick(t, b)
		tries(t, s, 3, email, "wrong", another)
		*clock = clock.Add(time.Hour)
		tries(t, s, 1, email, "wrong", from("a"))
		var n int
		if err := b.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM attempt").Scan(&n); err != nil || n > 4 {
			t.Errorf("%d rows are kept, %v, want those of the last attempt", n, err)
		}
	})
}

// TestSlots shares slots out: a network has one at most while another waits.
func TestSlots(t *testing.T) {
	t.Parallel()
	s := newSlots(2)
	s.wait = time.Minute
	for range 2 { // nobody else waits
		if err := s.acquire(t.Context(), "flood"); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan string)
	enter := func(network string, waiting int) {
		go func() {
			if err := s.acquire(t.Context(), network); err != nil {
				t.Error(err)
			}
			got <- network
		}()
		for { // it waits
			s.mu.Lock()
			n := len(s.waiting)
			s.mu.Unlock()
			if n == waiting {
				return
			}
		}
	}
	enter("flood", 1)
	enter("flood", 2)
	enter("owner's", 3)
	s.release("flood")
	if network := <-got; network != "owner's" {
		t.Errorf("the free slot goes to %s, want the network that has none", network)
	}
	s.release("flood")
	if network := <-got; network != "flood" {
		t.Errorf("the next goes to %s", network)
	}
	s.release("owner's")
	if network := <-got; network != "flood" {
		t.Errorf("the last goes to %s: nobody else waits", network)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.acquire(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("acquire() = %v when the client has left", err)
	}
	s.wait = time.Millisecond
	if err := s.acquire(t.Context(), "x"); !errors.Is(err, ErrBusy) {
		t.Errorf("acquire() = %v when it takes too long", err)
	}
	s.release("flood")
	s.release("flood")
	if s.free != 2 || len(s.held) > 0 || len(s.waiting) > 0 {
		t.Errorf("%d are free, %v held, %d wait, want all free", s.free, s.held, len(s.waiting))
	}
}
