package convert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// lease is kept by a goroutine from [function.hold] until its end.
type lease struct {
	jobs     Jobs
	job      job.Job
	ttl      time.Duration
	percents chan int
	work     context.Context //nolint:containedctx // its cause is why the work was broken off
	stop     context.CancelFunc
	done     chan struct{}
}

// hold keeps the lease of a job. The context that it returns ends with job.ErrLost when the job is lost. It also ends
// when the lease may run out because the jobs cannot be reached: another worker could begin. When ctx ends, the lease
// is kept on, since an MP3 that is there may still be stored.
func (f *function) hold(ctx context.Context, j job.Job) (context.Context, *lease) {
	work, lose := context.WithCancelCause(ctx)
	beats, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &lease{jobs: f.jobs, job: j, ttl: f.cfg.Lease, percents: make(chan int, 1), work: work, stop: stop,
		done: make(chan struct{})}
	go func() {
		defer close(l.done)
		lose(l.keep(beats))
	}()
	return work, l
}

// progress has the next heartbeat record the percent.
func (l *lease) progress(percent int) {
	select {
	case l.percents <- percent:
	default: // the last one is on its way, the next will come
	}
}

// end ends the heartbeats. Work that failed because the job was lost is job.ErrLost.
func (l *lease) end(err error) error {
	if lost := context.Cause(l.work); err != nil && errors.Is(lost, job.ErrLost) {
		err = errors.Join(lost, err)
	}
	l.stop()
	<-l.done
	return err
}

// keep sends a heartbeat with each progress, and at a third of the lease, until the context ends (nil) or the lease
// does. A heartbeat that fails is sent again as long as the lease surely holds.
func (l *lease) keep(ctx context.Context) error {
	interval := l.ttl / 3
	tick := time.NewTicker(interval)
	defer tick.Stop()
	held := time.Now()
	percent := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case percent = <-l.percents:
		case <-tick.C:
		}
		now := time.Now()
		call, cancel := context.WithTimeout(ctx, interval)
		err := l.jobs.Heartbeat(call, l.job.ID, l.job.Lease.Epoch, l.ttl, percent)
		cancel()
		switch {
		case err == nil:
			held = now
		case errors.Is(err, job.ErrLost):
			return err
		case ctx.Err() == nil && time.Since(held) >= 2*interval:
			return engine.StorageFailure(fmt.Errorf("no heartbeat for %v: %w", time.Since(held), err))
		}
	}
}
