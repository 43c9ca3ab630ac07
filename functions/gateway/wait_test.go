package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// pipes is a network without sockets: a test that waits on it waits on its own clock.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error { close(p); return nil }

func (pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours, nil
}

// routesTo gives a gateway all of whose functions are this one.
func routesTo(t *testing.T, function http.HandlerFunc) http.Handler {
	t.Helper()
	u := url.URL{Scheme: "http", Host: "function"}
	routes := Config{LoginURL: u, ValidateURL: u, UploadURL: u, JobsURL: u}.Routes()
	p := make(pipes)
	server := &http.Server{Handler: function, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(p) }()
	t.Cleanup(func() { _ = server.Close() })
	for _, h := range []http.Handler{routes.Login, routes.Validate, routes.Upload, routes.Jobs} {
		transport := h.(*httputil.ReverseProxy).Transport.(telemetry.Traced).Base.(*http.Transport)
		transport.DialContext = p.dial
		t.Cleanup(transport.CloseIdleConnections)
	}
	return New(routes, "")
}

// TestNoAnswer has a function take a request and never answer.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, target string
		within               time.Duration
	}{
		{"login", http.MethodPost, "/login", answerWithin},
		{"validate", http.MethodPost, "/validate", answerWithin},
		{"jobs", http.MethodGet, "/download?fid=1", answerWithin},
		{"upload", http.MethodPut, "/upload/a.mp4", storeWithin},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var left error
				h := routesTo(t, func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					left = r.Context().Err()
				})
				w := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, strings.NewReader("video")))
				want := "the " + tt.name + " function has not answered"
				if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s %s = %d %q, want 504 and %q", tt.method, tt.target, w.Code, w.Body, want)
				}
				if waited := time.Since(began); waited != tt.within {
					t.Errorf("the gateway waited for %v, want %v", waited, tt.within)
				}
				synctest.Wait()
				if !errors.Is(left, context.Canceled) {
					t.Errorf("the function's request ended with %v, want that it is told", left)
				}
			})
		})
	}
}

// TestNoConnection has the function's address not answer at all: that the function took the request cannot be.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	u := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	h := Proxy("login", &u, answerWithin).(*httputil.ReverseProxy)
	h.Transport.(telemetry.Traced).Base.(*http.Transport).DialContext = (&net.Dialer{Timeout: time.Nanosecond}).DialContext
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("POST = %d %v %s, want 503 with Retry-After", w.Code, w.Header(), w.Body)
	}
}

// TestLongUpload has a client take hours to send a video, and the function its time to store it.
func TestLongUpload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := routesTo(t, func(w http.ResponseWriter, r *http.Request) {
			if b, err := io.ReadAll(r.Body); string(b) != "videovideovideo" || err != nil {
				t.Errorf("the function got %q, %v, want all of the video", b, err)
			}
			<-time.After(storeWithin - time.Second)
			w.WriteHeader(http.StatusAccepted)
		})
		body, feed := io.Pipe()
		go func() {
			for range 3 {
				<-time.After(time.Hour)
				_, _ = io.WriteString(feed, "video")
			}
			_ = feed.Close()
		}()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/upload/a.mp4", body))
		if w.Code != http.StatusAccepted {
			t.Errorf("PUT = %d %s, want 202", w.Code, w.Body)
		}
	})
}

// TestLongAnswer has a function begin its answer in time, and take hours for the rest: a download on a slow line, or
// events.
func TestLongAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := routesTo(t, func(w http.ResponseWriter, _ *http.Request) {
			<-time.After(answerWithin - time.Second)
			for range 3 {
				_, _ = io.WriteString(w, "sound")
				_ = http.NewResponseController(w).Flush()
				<-time.After(time.Hour)
			}
		})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/jobs/1/mp3", nil))
		if w.Code != http.StatusOK || w.Body.String() != "soundsoundsound" {
			t.Errorf("GET = %d %s, want 200 and all of the sound", w.Code, w.Body)
		}
	})
}
