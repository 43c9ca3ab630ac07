package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

const (
	// stall is how long a client may send nothing of its body, or take nothing of the answer, before it is given up.
	stall = time.Minute
	// linger is how long a client that is answered in the middle of its body has to read that and to stop: on a busy
	// machine each of the proxies on the way needs its time. nginx gives as much (lingering_timeout).
	linger = 5 * time.Second
	// slack is how much longer than a request may take we wait for a part of it: who still sends is answered then, and
	// whose line is dead has an error.
	slack = 500 * time.Millisecond
	// prompt is how soon a refusal reaches every proxy on the way before one of them sends the body unasked, which Go's
	// do after a second without a 100 (Continue).
	prompt = 250 * time.Millisecond
	// unasked is how long a body may take to come that nobody has asked for.
	unasked = 3 * time.Second
)

// withStallTimeout gives up a client that sends nothing of its body, or takes nothing of the answer, for d. Other than
// with a timeout of http.Server, which is for all of a body or answer, a large file on a slow line takes as long as it
// needs.
//
// A client that is answered before it has sent everything may still write when the connection is closed, and then loses
// the answer (RFC 9112, section 9.6). http.Server waits for a moment before it closes, but not after an Expect:
// 100-continue.
//
// A client or a proxy that expects a 100 sends its body unasked in the end. A refusal that meets that body is lost: its
// connection is closed by then. So one that is not prompt waits until the body has begun.
//
// A body that is not complete after the time for the request is not read any further. An answer that is under way after
// the time for that is broken off: what arrived of it is right, and the client sees that it is not all. 0 means any
// time. Server-sent events have any time too.
func withStallTimeout(d, request, answer time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		a := &stallWriter{ResponseWriter: w, set: c.SetWriteDeadline, limit: newLimit(d, answer)}
		defer a.within(2 * d) // bounds what the server writes when the handler has ended: it reads first
		if r.Body == http.NoBody {
			next.ServeHTTP(a, r)
			return
		}
		b := &stallBody{
			ReadCloser: r.Body, set: c.SetReadDeadline, limit: newLimit(d, request), some: make(chan struct{}),
		}
		b.returned = sync.OnceFunc(func() { close(b.some) })
		// Without it, an HTTP/1 server takes the rest of the body for itself when the answer begins: a proxy that passes on
		// both loses the body, and with it the answer (https://go.dev/issue/40747).
		b.first = sync.OnceFunc(func() { _ = c.EnableFullDuplex() })
		defer b.end(d)                 // bounds how long the server reads what the handler left
		r = r.WithContext(r.Context()) // a copy: the server looks at the Body of its own request
		r.Body = b
		if r.ProtoMajor == 1 {
			a.body = b
		}
		if r.ProtoMajor == 1 && r.Header.Get("Expect") != "" {
			a.prompt = time.Now().Add(prompt)
		}
		next.ServeHTTP(a, r)
		if r.ProtoMajor == 1 && b.begun.Load() && !b.complete.Load() {
			a.begin()
			b.end(linger)
			a.within(linger + d)
			_ = c.Flush()
			_, _ = io.Copy(io.Discard, b.ReadCloser)
		}
	})
}

// smallFor is how long a body may take that is small by nature.
const smallFor = 10 * time.Second

// Small is for handlers whose bodies are small by nature: who takes more than ten seconds for one holds a connection,
// and sends nothing. It works behind [Run] only.
func Small(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, ok := r.Body.(*stallBody); ok && (b.total == 0 || b.total > smallFor) {
			b.limit = newLimit(b.d, smallFor)
		}
		next.ServeHTTP(w, r)
	})
}

// limit bounds a read or a write.
type limit struct {
	d, total time.Duration
	end      time.Time // of the request; zero when it may take as long as it likes
}

func newLimit(d, total time.Duration) limit {
	l := limit{d: d, total: total}
	if total > 0 {
		l.end = time.Now().Add(total)
	}
	return l
}

// next is when what begins now is given up.
func (l limit) next() time.Time {
	t := time.Now().Add(l.d)
	if !l.end.IsZero() && l.end.Before(t) {
		return l.end
	}
	return t
}

// over reports whether the request has taken all of its time.
func (l limit) over() bool { return !l.end.IsZero() && !time.Now().Before(l.end) }

// stallWriter has a deadline only while it writes: what the handler does between writes takes its time.
type stallWriter struct {
	http.ResponseWriter
	limit

	set    func(time.Time) error // an error means that the server has no deadline to set
	body   *stallBody            // of HTTP/1; nil when there is none
	prompt time.Time             // until when a refusal need not wait for the body; zero when it never needs to
	late   bool                  // the answer begins when the request is over: it is short, and may be written
	some   bool                  // of the answer is written
}

// begin is called before anything of the answer is written. What the handler has not read of the body by then may
// never come, so that there is no next request on the connection.
func (w *stallWriter) begin() {
	if w.some {
		return
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		w.end = time.Time{} // it may end behind any whole event, and does so itself
	}
	w.some, w.late = true, w.over()
	if w.body != nil && w.body.begun.Load() && !w.body.complete.Load() {
		w.Header().Set("Connection", "close")
	}
}

func (w *stallWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest && !w.some && !w.prompt.IsZero() && time.Now().After(w.prompt) {
		w.body.await(unasked)
	}
	if status >= http.StatusOK {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *stallWriter) within(d time.Duration) { _ = w.set(time.Now().Add(d)) }

// bounded sets the deadline of a write.
func (w *stallWriter) bounded() {
	w.begin()
	if w.late {
		w.within(w.d)
		return
	}
	_ = w.set(w.next())
}

func (w *stallWriter) unbounded() { _ = w.set(time.Time{}) }

func (w *stallWriter) Write(p []byte) (int, error) {
	w.bounded()
	defer w.unbounded()
	return w.ResponseWriter.Write(p)
}

func (w *stallWriter) Flush() {
	w.bounded()
	defer w.unbounded()
	_ = http.NewResponseController(w.ResponseWriter).Flush() // what cannot flush need not
}

// Unwrap is for http.ResponseController.
func (w *stallWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type stallBody struct {
	io.ReadCloser
	limit

	first           func() // is called by the first Read
	begun, complete atomic.Bool
	some            chan struct{} // is closed when the first Read has returned
	returned        func()        // closes it, once

	mu    sync.Mutex
	set   func(time.Time) error // an error means that the server has no deadline to set
	ended bool
}

// Read has a deadline only while it waits: what the handler does between reads takes its time.
func (b *stallBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	b.first()
	if b.over() {
		return 0, b.tooSlow(os.ErrDeadlineExceeded)
	}
	b.deadline(b.next().Add(slack)) // so that a client that sends is refused above: its connection has no error then
	n, err := b.ReadCloser.Read(p)
	b.returned()
	b.deadline(time.Time{})
	switch {
	case err == io.EOF: //nolint:errorlint // io.Reader returns it bare
		b.complete.Store(true)
	case errors.Is(err, os.ErrDeadlineExceeded) && b.over():
		err = b.tooSlow(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = problem.Wrap(err, problem.Invalid, "nothing of the request's body arrived for %v: send it again", b.d)
	}
	return n, err
}

// await waits until something of the body has come, for d at most. When nobody reads it, a byte of it is dropped.
func (b *stallBody) await(d time.Duration) {
	if b.begun.Load() {
		select {
		case <-b.some:
		case <-time.After(d):
		}
		return
	}
	b.begun.Store(true)
	b.first()
	b.deadline(time.Now().Add(d))
	_, _ = b.ReadCloser.Read(make([]byte, 1))
	b.deadline(time.Time{})
}

func (b *stallBody) tooSlow(err error) error {
	return problem.Wrap(err, problem.RequestTimeout, "the request was not complete after %v, which is all the time that "+
		"it has here: send a smaller file, or send it over a faster line", b.total)
}

// deadline sets one unless the request has ended: a proxy's transport may read on for a moment, and the connection may
// serve the next request by then.
func (b *stallBody) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = b.set(t)
	}
}

// end sets the last deadline; when called again it does nothing.
func (b *stallBody) end(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		_ = b.set(time.Now().Add(d))
	}
}
