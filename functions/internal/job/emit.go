package job

import (
	"context"
	"log/slog"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// emitFor bounds Emit: the client waits for its answer meanwhile.
const emitFor = 5 * time.Second

// Emit sends the event of a Stored job, as source would, and records that it is Queued; it returns the job as it is
// then. It goes on when ctx is cancelled, since the job is kept whether or not somebody still waits for the answer. A
// failure is logged and leaves the job Stored: sweep sends the event later.
func Emit(
	ctx context.Context, source string, j Job,
	jobs interface {
		Queued(ctx context.Context, id string) error
	},
	events interface {
		Send(ctx context.Context, e event.Event) error
	},
) Job {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), emitFor)
	defer cancel()
	e, err := j.Event(source)
	if err == nil {
		err = events.Send(ctx, e)
	}
	if err != nil {
		slog.WarnContext(ctx, "event not sent, left to sweep", "job", j.ID, "error", err)
		return j
	}
	j.State = Queued
	if err := jobs.Queued(ctx, j.ID); err != nil {
		slog.WarnContext(ctx, "job not recorded as queued, its event is sent again by sweep", "job", j.ID, "error", err)
	}
	return j
}
