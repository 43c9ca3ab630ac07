package broker

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
)

// publishTimeout is how long a poster waits for an event to be queued before it is told to come again.
const publishTimeout = 2 * time.Second

// Ingress takes a POST of one event, in binary or structured mode, and answers 202 when the queue has it: from then on
// the broker sees to its delivery. 503 with Retry-After says that the queue may not have it: the poster sends it again.
func Ingress(q Queue) http.Handler {
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return problem.New(problem.Method, "%s is not for events: POST a CloudEvent", r.Method).
				With("Allow", http.MethodPost)
		}
		e, _, err := eventing.Receive(r)
		if err != nil {
			return err
		}
		ctx := eventing.WithEvent(r.Context(), e)
		eventing.SetTrace(ctx, &e)
		publishing, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		err = q.Publish(publishing, e)
		if status, _ := eventing.Outcome(err); err != nil && status == http.StatusBadRequest {
			return problem.Wrap(err, problem.Invalid, "%v", err)
		}
		if err != nil {
			return problem.Wrap(err, problem.Unavailable, "the event was not queued: send it again later").
				RetryAfter(time.Second)
		}
		slog.InfoContext(ctx, "event queued")
		w.WriteHeader(http.StatusAccepted)
		return nil
	})
}
