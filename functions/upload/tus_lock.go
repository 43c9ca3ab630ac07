package upload

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

const (
	leaseFor  = 10 * time.Second       // after which an upload whose process died can be gone on with
	holdEvery = time.Second            // the lease is prolonged, and seen whether somebody waits for it
	tryEvery  = 200 * time.Millisecond // while another request has it
)

// tusLock is the lease of one upload, for one request.
type tusLock struct {
	t     *tus
	id    string
	epoch int
	x     *exchange
	end   context.CancelFunc
	held  sync.WaitGroup
}

// NewLock is of tusd's Locker.
func (t *tus) NewLock(id string) (handler.Lock, error) { return t.newLock(id), nil }

func (t *tus) newLock(id string) *tusLock { return &tusLock{t: t, id: id} }

// Lock is of tusd's Lock. It waits until the request that has the upload lets go of it. The function with which tusd
// ends a request races with that request, as of tusd 2.9.1, and is not called.
func (l *tusLock) Lock(ctx context.Context, _ func()) error {
	l.x = exchangeOf(ctx)
	u, err := l.take(ctx)
	if err != nil {
		return l.x.fail(err)
	}
	l.epoch = u.Lease.Epoch
	if l.x.upload == nil {
		l.x.upload = &u
	}
	*l.x.upload = u // which is tusd's already, when this request began it
	holding, end := context.WithCancel(context.WithoutCancel(ctx))
	l.end = end
	l.held.Go(func() { l.hold(holding) })
	return nil
}

func (l *tusLock) take(ctx context.Context) (job.Upload, error) {
	if _, err := l.t.own(ctx, l.id); err != nil {
		return job.Upload{}, err
	}
	for {
		u, err := l.t.uploads.Lock(ctx, l.id, leaseFor)
		if err == nil {
			return u, nil
		}
		if busy := (*job.BusyError)(nil); !errors.As(err, &busy) {
			return u, noUpload(err)
		}
		select {
		case <-time.After(tryEvery):
		case <-ctx.Done():
			return u, problem.Wrap(err, problem.Locked,
				"another request goes on with this upload: try again").RetryAfter(leaseFor)
		}
	}
}

// hold prolongs the lease until ctx ends. When another request, or the end of the process, wants this one to end, the
// reading of its body does.
func (l *tusLock) hold(ctx context.Context) {
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	ending := serve.Ending(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ending:
			ending = nil
			l.x.stop()
		case <-tick.C:
			wanted, err := l.t.uploads.Hold(ctx, l.id, l.epoch, leaseFor)
			if wanted || errors.Is(err, job.ErrLost) || errors.Is(err, job.ErrNotFound) {
				l.x.stop()
			}
		}
	}
}

// Unlock is of tusd's Lock.
func (l *tusLock) Unlock() error {
	l.end()
	l.held.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.x.request.Context()), finishFor)
	defer cancel()
	err := l.t.uploads.Unlock(ctx, l.id, l.epoch)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		slog.WarnContext(ctx, "upload not unlocked, until its lease ends", "upload", l.id, "error", err)
	}
	return err
}
