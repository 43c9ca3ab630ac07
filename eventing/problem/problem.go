// Package problem answers HTTP requests that fail: with application/problem+json (RFC 9457) when the client accepts
// JSON, else with one plain line. The client reads what failed, why and what to do. What only the log may say stays in
// the wrapped error.
package problem

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Code is a kind of failure; it decides the HTTP status.
type Code string

// The kinds of failure.
const (
	Invalid         Code = "invalid"
	Unauthenticated Code = "unauthenticated"
	Forbidden       Code = "forbidden"
	NotFound        Code = "not_found"
	Method          Code = "method_not_allowed"
	Conflict        Code = "conflict"
	Gone            Code = "gone"
	TooLarge        Code = "too_large"
	Unsupported     Code = "unsupported_media_type"
	Unprocessable   Code = "unprocessable"
	TooMany         Code = "too_many_requests"
	Internal        Code = "internal"
	Unavailable     Code = "unavailable"
	Timeout         Code = "timeout"
	OverQuota       Code = "over_quota"
	RequestTimeout  Code = "request_timeout"
	Precondition    Code = "precondition_failed"
	Locked          Code = "locked"
	Checksum        Code = "checksum_mismatch"
)

var statuses = map[Code]int{
	Invalid:         http.StatusBadRequest,
	Unauthenticated: http.StatusUnauthorized,
	Forbidden:       http.StatusForbidden,
	NotFound:        http.StatusNotFound,
	Method:          http.StatusMethodNotAllowed,
	Conflict:        http.StatusConflict,
	Gone:            http.StatusGone,
	TooLarge:        http.StatusRequestEntityTooLarge,
	Unsupported:     http.StatusUnsupportedMediaType,
	Unprocessable:   http.StatusUnprocessableEntity,
	TooMany:         http.StatusTooManyRequests,
	Internal:        http.StatusInternalServerError,
	Unavailable:     http.StatusServiceUnavailable,
	Timeout:         http.StatusGatewayTimeout,
	OverQuota:       http.StatusInsufficientStorage,
	RequestTimeout:  http.StatusRequestTimeout,
	Precondition:    http.StatusPreconditionFailed,
	Locked:          http.StatusLocked,
	Checksum:        460, // of tus, section Checksum
}

// ForStatus gives the kind of failure that has the HTTP status; Internal when none has it.
func ForStatus(status int) Code {
	for c, s := range statuses {
		if s == status {
			return c
		}
	}
	return Internal
}

// Error is a failure with what its client may read.
type Error struct {
	Code   Code
	Detail string
	Header http.Header // sent along: Retry-After, WWW-Authenticate, Allow
	Err    error       // the cause, for the log; may be nil
}

// New makes a failure that the client caused; the detail is for the client.
func New(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...), Header: http.Header{}}
}

// Wrap makes a failure with a cause that only the log may tell.
func Wrap(err error, c Code, format string, args ...any) *Error {
	e := New(c, format, args...)
	e.Err = err
	return e
}

// With adds a header to the answer.
func (e *Error) With(key, value string) *Error {
	e.Header.Set(key, value)
	return e
}

// RetryAfter asks the client to come again no sooner than in d (RFC 9110, section 10.2.3).
func (e *Error) RetryAfter(d time.Duration) *Error {
	return e.With("Retry-After", strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))))
}

// Status is the HTTP status of the failure.
func (e *Error) Status() int { return statuses[e.Code] }

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// Handler is a function that serves a request or returns why it cannot. Once it has written it returns nil.
type Handler func(w http.ResponseWriter, r *http.Request) error

// ServeHTTP serves the request and answers an error with [Write].
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		Write(w, r, err)
	}
}

// TraceHeader is the header of an answer, and of a mail, that has the id of its trace: who asks us about it can tell,
// and logs and traces are found by it.
const TraceHeader = "Trace-Id"

// Write answers r with err. An error that is no [Error] is a 500 whose text goes to the log only. This is the one place
// where a failed request is logged.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = Wrap(err, Internal, "something went wrong on our side; try again, and tell us if it stays")
	}
	level := slog.LevelInfo
	if e.Status() >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		level = slog.LevelError
	}
	slog.Log(r.Context(), level, "request failed",
		"method", r.Method, "path", Path(r), "status", e.Status(), "error", err)
	for k, v := range e.Header {
		w.Header()[k] = v
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	id := ""
	if c := trace.SpanContextFromContext(r.Context()); c.HasTraceID() {
		id = c.TraceID().String()
		w.Header().Set(TraceHeader, id)
	}
	kind, body := e.body(r, id)
	w.Header().Set("Content-Type", kind)
	// The client knows the end of it even while the server still takes what comes of a body.
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status())
	_, _ = w.Write(body)
}

// body is what the answer says, and its media type. The trace's id is empty when there is none.
func (e *Error) body(r *http.Request, traceID string) (kind string, body []byte) {
	if !AcceptsJSON(r) {
		return "text/plain; charset=utf-8", []byte(e.Detail + "\n")
	}
	members := map[string]any{
		"type":   "about:blank",
		"title":  cmp.Or(http.StatusText(e.Status()), string(e.Code)),
		"status": e.Status(),
		"detail": e.Detail,
		"code":   e.Code,
	}
	if traceID != "" {
		members["trace_id"] = traceID
	}
	body, err := json.Marshal(members)
	if err != nil {
		panic(err) // strings and a number always can be
	}
	return "application/problem+json", append(body, '\n')
}

// Path is the path of a request as a log and an answer may have it: that of a feed is a secret, and a long one is cut.
func Path(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, "/feeds/") {
		return "/feeds/…"
	}
	return Cut(r.URL.Path)
}

// Cut cuts what a client sent, where an answer or a log repeats it, to 256 bytes.
func Cut(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…" // a rune may have been cut
}

// AcceptsJSON reports whether the client asks for JSON by name: */* (curl's default) is no wish for it.
func AcceptsJSON(r *http.Request) bool {
	a := strings.ToLower(r.Header.Get("Accept"))
	return strings.Contains(a, "application/json") || strings.Contains(a, "application/problem+json")
}

// NoSuchRoute answers any request with a 404 that names the path.
func NoSuchRoute(w http.ResponseWriter, r *http.Request) {
	Write(w, r, New(NotFound, "there is no %s here; GET /curl lists what there is", Path(r)))
}

// NotAllowed answers any request with a 405 that names the methods there are (RFC 9110, section 15.5.6).
func NotAllowed(methods ...string) http.Handler {
	allow := strings.Join(methods, ", ")
	return Handler(func(_ http.ResponseWriter, r *http.Request) error {
		return New(Method, "%s is not for %s: use %s", r.Method, Path(r), allow).With("Allow", allow)
	})
}
