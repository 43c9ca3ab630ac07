package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// logged is what the package wrote to the log; the tests of this package do not run in parallel with another that reads
// it.
var logged = &strings.Builder{}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(logged, nil)))
	os.Exit(m.Run())
}

func answer(accept string, err error) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/download?fid=1", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Length", "7")
	problem.Handler(func(http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(w, r)
	return w
}

func TestNegotiation(t *testing.T) { //nolint:paralleltest // the log is everyone's
	for _, tt := range []struct {
		accept string
		json   bool
	}{
		{"", false}, {"*/*", false}, {"text/plain", false}, {"audio/mpeg", false},
		{"text/html,application/xhtml+xml,*/*;q=0.8", false},
		{"application/json", true}, {"application/problem+json", true}, {"Application/JSON", true},
		{"text/html, application/json;q=0.5", true},
	} {
		w := answer(tt.accept, problem.New(problem.NotFound, "no <b>such</b> MP3"))
		want := "no <b>such</b> MP3\n"
		contentType := "text/plain; charset=utf-8"
		if tt.json {
			contentType = "application/problem+json"
		}
		if ct := w.Header().Get("Content-Type"); w.Code != 404 || ct != contentType {
			t.Errorf("Accept %q: %d %q, want 404 %q", tt.accept, w.Code, ct, contentType)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" ||
			w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
			t.Errorf("Accept %q: header %v", tt.accept, w.Header())
		}
		if !tt.json {
			if w.Body.String() != want {
				t.Errorf("Accept %q: body %q, want %q", tt.accept, w.Body, want)
			}
			continue
		}
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("Accept %q: %v", tt.accept, err)
		}
		if diff := cmp.Diff(map[string]any{"type": "about:blank", "title": "Not Found", "status": 404.0,
			"detail": "no <b>such</b> MP3", "code": "not_found"}, got); diff != "" {
			t.Errorf("Accept %q (-want +got):\n%s", tt.accept, diff)
		}
	}
}

func TestWhatTheClientReads(t *testing.T) { //nolint:paralleltest // the log is everyone's
	secret := errors.New("dial mysql:hunter2@db")
	for _, tt := range []struct {
		name   string
		err    error
		status int
		header http.Header // at least
		level  string
	}{
		{name: "any error", err: secret, status: 500, level: "ERROR"},
		{name: "with a cause",
			err:    problem.Wrap(secret, problem.Unavailable, "no database").RetryAfter(1200 * time.Millisecond),
			status: 503, header: http.Header{"Retry-After": {"2"}}, level: "ERROR"},
		{name: "wrapped", err: fmt.Errorf("more: %w", problem.Wrap(secret, problem.Conflict, "busy").RetryAfter(0)),
			status: 409, header: http.Header{"Retry-After": {"1"}}, level: "INFO"},
		{name: "with a header", err: problem.New(problem.Unauthenticated, "who are you").With("WWW-Authenticate", "Basic"),
			status: 401, header: http.Header{"Www-Authenticate": {"Basic"}}, level: "INFO"},
		{name: "the client left", err: fmt.Errorf("read %w, %w", context.Canceled, secret), status: 500, level: "INFO"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logged.Reset()
			w := answer("application/json", tt.err)
			if w.Code != tt.status {
				t.Errorf("status = %d, want %d", w.Code, tt.status)
			}
			for k, want := range tt.header {
				if diff := cmp.Diff(want, w.Header()[k]); diff != "" {
					t.Errorf("header %s (-want +got):\n%s", k, diff)
				}
			}
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("the client reads %q", w.Body)
			}
			if !strings.Contains(logged.String(), "level="+tt.level) ||
				errors.Is(tt.err, secret) != strings.Contains(logged.String(), "hunter2") {
				t.Errorf("log = %q, want level %s and the cause", logged, tt.level)
			}
		})
	}
}

func TestStatuses(t *testing.T) { //nolint:paralleltest // the log is everyone's
	for code, want := range map[problem.Code]int{
		problem.Invalid: 400, problem.Unauthenticated: 401, problem.Forbidden: 403, problem.NotFound: 404,
		problem.Method: 405, problem.Conflict: 409, problem.Gone: 410, problem.TooLarge: 413, problem.Unsupported: 415,
		problem.Unprocessable: 422, problem.TooMany: 429, problem.Internal: 500,
		problem.Unavailable: 503, problem.Timeout: 504, problem.OverQuota: 507,
	} {
		if got := problem.New(code, "x").Status(); got != want {
			t.Errorf("status of %s = %d, want %d", code, got, want)
		}
	}
}

func TestNoSuchRoute(t *testing.T) { //nolint:paralleltest // the log is everyone's
	w := httptest.NewRecorder()
	problem.NoSuchRoute(w, httptest.NewRequest("GET", "/nowhere", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "/nowhere") {
		t.Errorf("answer = %d %q, want a 404 that names the path", w.Code, w.Body)
	}
}

func TestLongPath(t *testing.T) { //nolint:paralleltest // the log is everyone's
	r := httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("ü", 5000), nil)
	w := httptest.NewRecorder()
	logged.Reset()
	problem.NoSuchRoute(w, r)
	for what, said := range map[string]string{"answer": w.Body.String(), "log": logged.String()} {
		if len(said) > 2000 || !utf8.ValidString(said) {
			t.Errorf("the %s to a path of 10,000 bytes has %d, want it cut", what, len(said))
		}
	}
}

// TestSecretPath keeps the address of a feed, which is all that one needs to read it, out of the log.
func TestSecretPath(t *testing.T) { //nolint:paralleltest // the log is everyone's
	logged.Reset()
	const secret = "GEZDGNBVGY3TQOJQ"
	for _, h := range []http.Handler{
		problem.Handler(func(http.ResponseWriter, *http.Request) error { return problem.New(problem.NotFound, "no feed") }),
		problem.NotAllowed(http.MethodGet), http.HandlerFunc(problem.NoSuchRoute),
	} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/feeds/"+secret+".xml", nil))
	}
	if text := logged.String(); strings.Contains(text, secret) || strings.Count(text, "path=/feeds/…") != 3 {
		t.Errorf("the log has %s, want three lines without the secret", text)
	}
}
