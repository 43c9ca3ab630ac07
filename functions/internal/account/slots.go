package account

import (
	"context"
	"slices"
	"sync"
	"time"
)

// slots bounds how many passwords are hashed at once. While others wait, nobody gets a second slot for a network that
// has one already.
type slots struct {
	wait time.Duration // for a slot

	mu      sync.Mutex // guards what follows
	free    int
	held    map[string]int // slots by network
	waiting []*waiter      // in the order in which they came
}

type waiter struct {
	network string
	ready   chan struct{} // closed when it has a slot
}

func newSlots(n int) *slots { return &slots{wait: 3 * time.Second, free: n, held: map[string]int{}} }

// acquire waits for a slot; ErrBusy when that takes too long.
func (s *slots) acquire(ctx context.Context, network string) error {
	w := &waiter{network, make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.share()
	s.mu.Unlock()
	timer := time.NewTimer(s.wait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ErrBusy
	}
	return nil // it came at the last moment
}

func (s *slots) release(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.held[network]--; s.held[network] == 0 {
		delete(s.held, network)
	}
	s.share()
}

// share gives free slots to those who wait: first to those whose network has none.
func (s *slots) share() {
	for s.free > 0 && len(s.waiting) > 0 {
		i := max(0, slices.IndexFunc(s.waiting, func(w *waiter) bool { return s.held[w.network] == 0 }))
		w := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.free--
		s.held[w.network]++
		close(w.ready)
	}
}
