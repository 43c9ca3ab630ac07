package broker

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// Local is a transport to subscribers in the same process. The key of a handler is the host in its trigger's subscriber
// URL; other hosts are an error.
type Local map[string]http.Handler

// RoundTrip calls the handler and returns when it does. A panic in it is a 500.
func (l Local) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	h, ok := l[r.URL.Host]
	if !ok {
		return nil, fmt.Errorf("there is no subscriber %q in this process", r.URL.Host)
	}
	w := &localWriter{header: http.Header{}}
	w.serve(h, r)
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode: w.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        w.sent,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

type localWriter struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (w *localWriter) serve(h http.Handler, r *http.Request) {
	defer func() {
		if cause := recover(); cause != nil {
			slog.ErrorContext(r.Context(), "panic", "cause", cause, "stack", string(debug.Stack()))
			*w = localWriter{header: http.Header{}}
			w.WriteHeader(http.StatusInternalServerError)
		}
	}()
	h.ServeHTTP(w, r)
}

func (w *localWriter) Header() http.Header { return w.header }

func (w *localWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *localWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
