package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

const (
	// stall is how long nothing of a request's body may arrive before the client is given up.
	stall = time.Minute
	// linger is how long a client that is answered in the middle of its body has to read that and to stop.
	linger = 500 * time.Millisecond
)

// patient lets a client take as long as it likes to send a body, so long as it sends something within d each time; a timeout
// for the whole body, as http.Server has one, would cut off large uploads on slow lines.
//
// A client that is answered before it has sent everything may still write when the connection is closed, and then loses the
// answer (RFC 9112, section 9.6). http.Server waits for a moment before it closes, but not after an Expect: 100-continue.
func patient(d time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		c := http.NewResponseController(w)
		b := &patientBody{ReadCloser: r.Body, set: c.SetReadDeadline, d: d}
		defer b.end(d)                 // bounds the server's own reading of what the handler left
		r = r.WithContext(r.Context()) // a copy, since the server looks at the Body of its own
		r.Body = b
		next.ServeHTTP(w, r)
		if r.ProtoMajor == 1 && b.begun.Load() && !b.whole.Load() {
			b.end(linger)
			_ = c.Flush()
			_, _ = io.Copy(io.Discard, b.ReadCloser)
		}
	})
}

type patientBody struct {
	io.ReadCloser
	d            time.Duration
	begun, whole atomic.Bool

	mu    sync.Mutex
	set   func(time.Time) error // an error means that the server has no deadline to set
	ended bool
}

// Read has a deadline only while it waits: what the handler does between reads takes its time.
func (b *patientBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	b.deadline(time.Now().Add(b.d))
	n, err := b.ReadCloser.Read(p)
	b.deadline(time.Time{})
	switch {
	case err == io.EOF: //nolint:errorlint // io.Reader returns it bare
		b.whole.Store(true)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = problem.Wrap(err, problem.Invalid, "nothing of the request's body arrived for %v: send it again", b.d)
	}
	return n, err
}

// deadline sets one unless the request has ended: a proxy's transport may read on for a moment, and the connection may serve
// the next request by then.
func (b *patientBody) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = b.set(t)
	}
}

// end sets the last deadline; when called again it does nothing.
func (b *patientBody) end(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		_ = b.set(time.Now().Add(d))
	}
}
