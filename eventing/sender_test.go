package eventing_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
)

func testEvent(t *testing.T) event.Event {
	t.Helper()
	e, err := eventing.New("/soundstrip/upload", "65f0", 1,
		eventing.VideoUploaded{Reference: eventing.Reference{VideoFID: "65f0", Username: "a@b.de"}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		script []int // the sink's answers; 0 breaks the connection, -1 asks for a long wait
		tries  int
		posts  int
		err    string // in the error; none when empty
	}{
		{name: "taken", script: []int{202}, posts: 1},
		{name: "taken with a reply", script: []int{200}, posts: 1},
		{name: "away for a moment", script: []int{503, 202}, posts: 2},
		{name: "connection breaks", script: []int{0, 202}, posts: 2},
		{name: "one try only", script: []int{503, 202}, tries: 1, posts: 1, err: "503"},
		{name: "away for long", script: []int{503, 503, 503, 202}, tries: 3, posts: 3, err: "503"},
		{name: "asks for a long wait", script: []int{-1, 202}, posts: 1, err: "503"},
		{name: "refused", script: []int{400, 202}, posts: 1, err: "why not"},
		{name: "not allowed", script: []int{403, 202}, posts: 1, err: "403"},
		{name: "not found", script: []int{404, 202}, posts: 1, err: "404"},
		{name: "too large", script: []int{413, 202}, posts: 1, err: "413"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := tt.script[posts.Add(1)-1]
				if r.Header.Get("Ce-Id") != "65f0/dev.soundstrip.video.uploaded.v1/1" {
					t.Errorf("ce-id = %q", r.Header.Get("Ce-Id"))
				}
				if body := text(t, r.Body); body != `{"video_fid":"65f0","mp3_fid":null,"username":"a@b.de"}` {
					t.Errorf("body = %q", body)
				}
				switch answer {
				case 0:
					panic(http.ErrAbortHandler)
				case -1:
					w.Header().Set("Retry-After", "3600")
					answer = http.StatusServiceUnavailable
				}
				http.Error(w, "why not", answer)
			}))
			defer s.Close()
			sender := eventing.HTTPSender{URL: s.URL, Client: s.Client(), Tries: tt.tries}
			err := sender.Send(t.Context(), testEvent(t))
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Send = %v, want %q", err, tt.err)
			}
			if int(posts.Load()) != tt.posts {
				t.Errorf("%d posts, want %d", posts.Load(), tt.posts)
			}
		})
	}
}

func TestPassing(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{
		400: false, 401: false, 403: false, 404: false, 408: true, 409: true, 410: false, 413: false, 415: false, 422: false,
		425: true, 429: true, 500: true, 502: true, 503: true, 504: true, 507: true,
	} {
		if got := eventing.Passing(status); got != want {
			t.Errorf("Passing(%d) = %v, want %v", status, got, want)
		}
	}
}

func TestSendEndsWithContext(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		posts.Add(1)
		w.Header().Set("Retry-After", "9")
		w.WriteHeader(http.StatusServiceUnavailable)
		time.AfterFunc(10*time.Millisecond, cancel)
	}))
	defer s.Close()
	sender := eventing.HTTPSender{URL: s.URL, Client: s.Client()}
	if err := sender.Send(ctx, testEvent(t)); err == nil || posts.Load() != 1 {
		t.Errorf("Send = %v after %d posts, want the error of the first", err, posts.Load())
	}
	deadline, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := sender.Send(deadline, testEvent(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send = %v, want the sink's answer at once, since the wait it asks for is beyond the deadline", err)
	}
}

// TestSendCarries the trace of the context, and the signature that Authenticated asks for.
func TestSendCarries(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("s", eventing.MinSecret))
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	s := httptest.NewServer(eventing.Authenticated(secret, "broker",
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Ce-Traceparent") != parent || r.Header.Get("Ce-Tracestate") != "a=b" {
				t.Errorf("ce-traceparent = %q, ce-tracestate = %q", r.Header.Get("Ce-Traceparent"), r.Header.Get("Ce-Tracestate"))
			}
			w.WriteHeader(http.StatusAccepted)
		})))
	defer s.Close()
	sender := eventing.HTTPSender{URL: s.URL, Client: s.Client(), Secret: secret}
	ctx := eventing.WithTraceOfHeader(t.Context(), http.Header{"Traceparent": {parent}, "Tracestate": {"a=b"}})
	if err := sender.Send(ctx, testEvent(t)); err != nil {
		t.Errorf("Send = %v", err)
	}
}
