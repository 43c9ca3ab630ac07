package job_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

type queuedFunc func(ctx context.Context, id string) error

func (f queuedFunc) Queued(ctx context.Context, id string) error { return f(ctx, id) }

type sendFunc func(ctx context.Context, e event.Event) error

func (f sendFunc) Send(ctx context.Context, e event.Event) error { return f(ctx, e) }

func TestEmit(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	for _, tt := range []struct {
		name              string
		sendErr, queueErr error
		want              job.State
		queued            int
	}{
		{"sent", nil, nil, job.Queued, 1},
		{"sink down", down, nil, job.Stored, 0},
		{"store down", nil, down, job.Queued, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // the client is gone
			alive := func(ctx context.Context) {
				if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
					t.Errorf("called with a context that ended (%v) or has no deadline", ctx.Err())
				}
			}
			var sent []event.Event
			queued := 0
			got := job.Emit(ctx, "/soundstrip/upload", job.Job{ID: "1", Owner: "georgio", State: job.Stored, Round: 2},
				queuedFunc(func(ctx context.Context, _ string) error { alive(ctx); queued++; return tt.queueErr }),
				sendFunc(func(ctx context.Context, e event.Event) error { alive(ctx); sent = append(sent, e); return tt.sendErr }))
			if got.State != tt.want || queued != tt.queued {
				t.Errorf("Emit() = %s and %d calls of Queued, want %s and %d", got.State, queued, tt.want, tt.queued)
			}
			if len(sent) != 1 || sent[0].Source() != "/soundstrip/upload" || sent[0].Subject() != "1" {
				t.Errorf("Emit() sent %v, want the event of job 1", sent)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	for _, state := range job.States {
		want := job.Links{Self: "/jobs/1"}
		switch state {
		case job.Stored, job.Queued, job.Converting:
			want.MP3, want.Cancel = "/jobs/1/mp3", "/jobs/1/cancel"
		case job.Converted, job.Notified:
			want.MP3 = "/jobs/1/mp3"
		case job.Failed, job.Cancelled, job.HandedOver:
			want.Retry = "/jobs/1/retry"
		case job.Expired:
		}
		j := job.Job{ID: "1", State: state}
		if diff := cmp.Diff(want, j.Links()); diff != "" {
			t.Errorf("Links() of a job that is %s (-want +got):\n%s", state, diff)
		}
	}
}
