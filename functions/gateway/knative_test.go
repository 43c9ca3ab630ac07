package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/gateway"
)

// recorder takes the first status for that of the answer, as Knative's does (pkg/http/response_recorder.go).
type recorder struct {
	http.ResponseWriter
	wrote bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.wrote = true
		r.ResponseWriter.WriteHeader(status)
	}
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// behindKnative serves h as a function whose Service has the name, behind what Knative puts in front: an activator and
// a queue-proxy, which takes the first status for that of the answer.
func behindKnative(t *testing.T, h http.Handler) *url.URL {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, serve.Config{Host: "127.0.0.1", Drain: time.Minute, Service: "test"},
			serve.Process{Name: "test", Handler: h, Ready: func(a net.Addr) { ready <- a }})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	proxy := func(to string, wrap func(http.Handler) http.Handler) string {
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		p := httputil.NewSingleHostReverseProxy(u)
		p.FlushInterval = -1
		p.Transport = http.DefaultTransport.(*http.Transport).Clone()
		wrapped := wrap(p)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wrapped.ServeHTTP(w, r)
			// Go gives a client that is refused half a second to stop, which a busy machine takes longer for. What is shown here
			// is that we give it time.
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		t.Cleanup(func() {
			server.Close()
			p.Transport.(*http.Transport).CloseIdleConnections()
		})
		return server.URL
	}
	queue := proxy("http://"+(<-ready).String(), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&recorder{ResponseWriter: w}, r)
		})
	})
	activator := proxy(queue, func(next http.Handler) http.Handler { return next })
	u, err := url.Parse(activator)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestRefusedBehindKnative has curl, which expects a 100 before it sends more than a megabyte, upload what a function
// refuses when it has seen the beginning. curl gets the status, and is told why.
func TestRefusedBehindKnative(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("curl is not installed: apt-get install curl")
	}
	upload := behindKnative(t, problem.Handler(func(_ http.ResponseWriter, r *http.Request) error {
		if _, err := r.Body.Read(make([]byte, 1000)); err != nil {
			return err
		}
		return problem.New(problem.Unsupported, "this is no video")
	}))
	origin := behindKnative(t, gateway.Proxy("upload", upload, time.Minute))
	junk := filepath.Join(t.TempDir(), "junk.mp4")
	if err := os.WriteFile(junk, make([]byte, 12<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-F", "file=@" + junk}, {"-T", junk}} {
		for range 3 {
			curl := exec.CommandContext(t.Context(), "curl", append(args, "-sS", "-w", "%{http_code}", origin.String())...)
			var said strings.Builder
			curl.Stderr = &said
			out, err := curl.Output()
			if err != nil || !strings.Contains(string(out), "this is no video") || !strings.HasSuffix(string(out), "415") {
				t.Errorf("curl %s = %q, %v %s, want 415 and why", args[0], out, err, &said)
			}
		}
	}
}
