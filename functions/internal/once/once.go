// Package once does what is to succeed once a process.
package once

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
)

// Once does something until it has succeeded. Its zero value is ready.
type Once struct {
	attempts singleflight.Group
	done     atomic.Bool
}

// Do calls f, unless that has succeeded before. Those who come meanwhile wait for the same attempt: while a server is
// away, one after the other would wait for all before it. An attempt goes on when who began it has left. The error is
// f's, or the context's.
func (o *Once) Do(ctx context.Context, f func(context.Context) error) error {
	if o.done.Load() {
		return nil
	}
	attempt := o.attempts.DoChan("", func() (any, error) {
		err := f(context.WithoutCancel(ctx))
		o.done.Store(err == nil)
		return nil, err
	})
	select {
	case ended := <-attempt:
		return ended.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}
