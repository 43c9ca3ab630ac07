package eventing

import (
	"errors"
	"net/http"
	"time"
)

// outcome is an error that says what is to become of the event.
type outcome struct {
	err    error
	status int
	after  time.Duration
}

func (o *outcome) Error() string { return o.err.Error() }
func (o *outcome) Unwrap() error { return o.err }

// Reject marks err as permanent: the event itself is wrong. It is answered 400, and the event goes to the dead letters.
//
// A failure of the work that the event asks for is no rejection but a reply event.
func Reject(err error) error { return &outcome{err: err, status: http.StatusBadRequest} }

// RetryAfter marks err as passing: it is answered 503 with Retry-After, and the broker tries again no sooner than in d.
func RetryAfter(d time.Duration, err error) error {
	return &outcome{err: err, status: http.StatusServiceUnavailable, after: d}
}

// Busy says that another worker holds the job: it is answered 409 with Retry-After.
func Busy(d time.Duration, err error) error {
	return &outcome{err: err, status: http.StatusConflict, after: d}
}

// Outcome gives the HTTP status that err is answered with, and the delay that the sender is asked for (0 for none). An
// error that says nothing is passing: 500.
func Outcome(err error) (status int, after time.Duration) {
	var o *outcome
	if errors.As(err, &o) {
		return o.status, o.after
	}
	return http.StatusInternalServerError, 0
}
