package broker

import (
	"context"
	"sync"
	"time"
)

const (
	firstPause = time.Second
	longPause  = time.Minute     // of our own accord
	maxPause   = 5 * time.Minute // when a subscriber asks for it
)

// gate is shut while a subscriber is down; the trigger's workers share it.
type gate struct {
	mu       sync.Mutex
	until    time.Time
	failures int
}

// wait returns when the gate opens, or after maxPause: a message that a worker holds must not wait for ever.
func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	d := time.Until(g.until)
	g.mu.Unlock()
	if d > 0 {
		sleep(ctx, d)
	}
	return ctx.Err()
}

// shut closes the gate and returns for how long: for a jittered time that doubles with every failure, or for as long as
// the subscriber asks. Workers that fail while it is shut count as one failure.
func (g *gate) shut(after time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !now.Before(g.until) {
		g.until = now.Add(jitter(min(firstPause<<min(g.failures, 10), longPause)))
		g.failures++
	}
	if asked := now.Add(min(after, maxPause)); g.until.Before(asked) {
		g.until = asked
	}
	return g.until.Sub(now)
}

// open is called when the subscriber has answered.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until, g.failures = time.Time{}, 0
}
