package eventing

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// HTTPSender posts events to a sink (K_SINK), in binary mode.
type HTTPSender struct {
	URL    string
	Client *http.Client
	Secret []byte // signs the posts, see [Authorize]; they go unsigned when empty
	Tries  int    // how often a passing failure is tried in all; 0 means 6, which takes about 10 s
}

// maxWait is the longest that Send waits for a sink that asks for it: who sends has a request of its own to answer.
const maxWait = 10 * time.Second

// Send posts e and returns when the sink has taken it. After a passing failure (connection, 408, 409, 425, 429, 5xx) it
// tries again, as long as the context lets it, after a jittered delay or the Retry-After of the answer. It returns at
// once what is not passing, or has a Retry-After of more than 10 s.
func (s *HTTPSender) Send(ctx context.Context, e event.Event) error {
	SetTrace(ctx, &e)
	tries := s.Tries
	if tries == 0 {
		tries = 6
	}
	delay := 100 * time.Millisecond
	for n := 1; ; n++ {
		again, after, err := s.post(ctx, e)
		if err == nil || !again || n == tries || after > maxWait {
			return err
		}
		wait := max(after, delay/2+rand.N(delay)) //nolint:gosec // no secret: it spreads retries
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
		delay = min(4*delay, 4*time.Second)
	}
}

func (s *HTTPSender) post(ctx context.Context, e event.Event) (again bool, after time.Duration, err error) {
	r, err := NewRequest(ctx, s.URL, e)
	if err != nil {
		return false, 0, err
	}
	if err := Authorize(r, s.Secret, "broker"); err != nil {
		return false, 0, err
	}
	resp, err := s.Client.Do(r)
	if err != nil {
		return ctx.Err() == nil, 0, fmt.Errorf("send event %s: %w", e.ID(), err)
	}
	defer resp.Body.Close()
	line, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode/100 == 2 {
		return false, 0, nil
	}
	err = fmt.Errorf("send event %s to %s: %s: %s", e.ID(), s.URL, resp.Status, line)
	return Passing(resp.StatusCode), RetryAfterOf(resp.Header, time.Now()), err
}

// Passing reports whether a request answered with the status may succeed when it is tried again.
func Passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}
