package convert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// heartbeat keeps a lease, and records progress.
type heartbeat func(ctx context.Context, percent int) error

// hold runs work while it keeps the lease. When the job is lost, work's context ends, and the error is job.ErrLost. When
// the lease may run out because the jobs cannot be reached, the context ends too: another worker could begin.
func (f *function) hold(ctx context.Context, h heartbeat, work func(ctx context.Context, progress func(percent int)) error) error {
	ctx, lose := context.WithCancelCause(ctx)
	percents := make(chan int, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		lose(f.beat(ctx, h, percents))
	}()
	err := work(ctx, func(percent int) {
		select {
		case percents <- percent:
		default: // the last one is on its way, the next will come
		}
	})
	if lost := context.Cause(ctx); err != nil && errors.Is(lost, job.ErrLost) {
		err = errors.Join(lost, err)
	}
	lose(nil)
	<-done
	return err
}

// beat sends a heartbeat with each progress, and at a third of the lease, until the context ends (nil) or the lease does. A
// heartbeat that fails is tried again as long as the lease surely holds.
func (f *function) beat(ctx context.Context, h heartbeat, percents <-chan int) error {
	interval := f.cfg.Lease / 3
	tick := time.NewTicker(interval)
	defer tick.Stop()
	held := time.Now()
	percent := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case percent = <-percents:
		case <-tick.C:
		}
		now := time.Now()
		call, cancel := context.WithTimeout(ctx, interval)
		err := h(call, percent)
		cancel()
		switch {
		case err == nil:
			held = now
		case errors.Is(err, job.ErrLost):
			return err
		case ctx.Err() == nil && time.Since(held) >= 2*interval:
			return passing(fmt.Errorf("no heartbeat for %v: %w", time.Since(held), err), Storage, storageMessage)
		}
	}
}
