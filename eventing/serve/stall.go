package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// stall is how long nothing of a request's body may arrive before the client is given up.
const stall = time.Minute

// patient lets a client take as long as it likes to send a body, so long as it sends something within d each time; a timeout
// for the whole body, as http.Server has one, would cut off large uploads on slow lines.
func patient(d time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		b := &patientBody{ReadCloser: r.Body, deadline: http.NewResponseController(w).SetReadDeadline, d: d}
		defer func() {
			b.closed.Store(true)
			_ = b.deadline(time.Now().Add(d)) // bounds the server's own reading of what the handler left
		}()
		r = r.WithContext(r.Context()) // a copy, since the server looks at the Body of its own
		r.Body = b
		next.ServeHTTP(w, r)
	})
}

type patientBody struct {
	io.ReadCloser
	deadline func(time.Time) error // an error means that the server has none to set
	d        time.Duration
	closed   atomic.Bool
}

// Read has a deadline only while it waits: what the handler does between reads takes its time.
func (b *patientBody) Read(p []byte) (int, error) {
	if b.closed.Load() { // a proxy's transport may read on when the connection serves the next request
		return 0, http.ErrBodyReadAfterClose
	}
	_ = b.deadline(time.Now().Add(b.d))
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, problem.Wrap(err, problem.Invalid, "nothing of the request's body arrived for %v: send it again", b.d)
	}
	_ = b.deadline(time.Time{})
	return n, err
}

// Close ends the reading.
func (b *patientBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}
