package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
)

// fakeQueue keeps a diary of what is asked of it and its messages.
type fakeQueue struct {
	Queue
	publish   func(event.Event) error
	subscribe func() (Subscription, error)
	diary     []string
}

func (q *fakeQueue) Subscribe(context.Context, string) (Subscription, error) { return q.subscribe() }

func (q *fakeQueue) Publish(_ context.Context, e event.Event) error {
	if q.publish != nil {
		if err := q.publish(e); err != nil {
			return err
		}
	}
	q.diary = append(q.diary, "publish "+e.ID())
	return nil
}

type fakeMessage struct {
	queue    *fakeQueue
	event    event.Event
	attempts int
	after    time.Duration
}

func (m *fakeMessage) Event() event.Event { return m.event }
func (m *fakeMessage) Attempts() int      { return m.attempts }

func (*fakeMessage) Trail() Trail { return Trail{} }

func (m *fakeMessage) Ack(context.Context) error {
	m.queue.diary = append(m.queue.diary, "ack")
	return nil
}

func (m *fakeMessage) Retry(_ context.Context, after time.Duration, attempts int) error {
	m.after = after
	m.queue.diary = append(m.queue.diary, "retry "+strconv.Itoa(attempts))
	return nil
}

func (m *fakeMessage) Bury(_ context.Context, reason string) error {
	m.queue.diary = append(m.queue.diary, "bury "+reason)
	return nil
}

func answer(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

// slow answers later than a gateway that finds nobody to ask.
func slow(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(prompt):
		case <-r.Context().Done():
		}
		h(w, r)
	}
}

func replying(ids ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		eventing.Func(func(context.Context, event.Event) (*event.Event, error) {
			e := event.New()
			e.SetID(ids[0])
			e.SetType("a.y")
			e.SetSource("/convert")
			return &e, nil
		}).ServeHTTP(w, r)
	}
}

func TestHandle(t *testing.T) {
	t.Parallel()
	unreachable := must(t, func(a string) (net.Listener, error) { return net.Listen("tcp", a) }, "127.0.0.1:0")
	_ = unreachable.Close()
	tests := []struct {
		name     string
		handler  http.HandlerFunc // nil means that nobody listens
		attempts int
		publish  func(event.Event) error
		want     []string
		after    time.Duration // at least
		paused   bool
		err      bool
	}{
		{name: "2xx", handler: answer(204), want: []string{"ack"}},
		{name: "200 with a body that is no event",
			handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("thanks")) }, want: []string{"ack"}},
		{name: "reply is published before the ack", handler: replying("r"), want: []string{"publish r", "ack"}},
		{name: "reply that the queue does not take", handler: replying("r"),
			publish: func(event.Event) error { return errors.New("away") }, err: true},
		{name: "reply that cannot be published", handler: replying("r"),
			publish: func(event.Event) error { return eventing.Reject(errors.New("too long")) },
			want:    []string{"bury the reply cannot be published: too long"}},
		{name: "reply that cannot be read", handler: answer(200, "Ce-Specversion", "1.0"), want: []string{"retry 1"},
			after: time.Second},
		{name: "400", handler: answer(400), want: []string{"bury 400 Bad Request"}},
		{name: "413", handler: answer(413), want: []string{"bury 413 Request Entity Too Large"}},
		{name: "415", handler: answer(415), want: []string{"bury 415 Unsupported Media Type"}},
		{name: "422", handler: answer(422), want: []string{"bury 422 Unprocessable Entity"}},
		{name: "401", handler: answer(401), want: []string{"retry 1"}, after: time.Second},
		{name: "403", handler: answer(403), want: []string{"retry 1"}, after: time.Second},
		{name: "404", handler: answer(404), want: []string{"retry 1"}, after: time.Second},
		{name: "408", handler: answer(408), want: []string{"retry 1"}, after: time.Second},
		{name: "500", handler: answer(500), attempts: 1, want: []string{"retry 2"}, after: 3 * time.Second},
		{name: "500 that asks for a delay", handler: answer(500, "Retry-After", "90"), want: []string{"retry 1"},
			after: 90 * time.Second},
		{name: "500 at the last attempt", handler: answer(500), attempts: 2,
			want: []string{"bury 500 Internal Server Error"}},
		{name: "redirect is not followed", handler: answer(307, "Location", "/"), want: []string{"retry 1"}},
		{name: "panic", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			want: []string{"retry 1"}},
		{name: "409", handler: answer(409, "Retry-After", "40"), attempts: 2, want: []string{"retry 2"},
			after: 40 * time.Second},
		{name: "429", handler: answer(429, "Retry-After", "40"), attempts: 2, want: []string{"retry 2"},
			after: 39 * time.Second, paused: true},
		{name: "503", handler: answer(503), attempts: 2, want: []string{"retry 2"}, paused: true},
		{name: "502", handler: answer(502), attempts: 2, want: []string{"retry 2"}, paused: true},
		{name: "504", handler: answer(504), attempts: 2, want: []string{"retry 2"}, paused: true},
		{name: "502 after some work", handler: slow(answer(502)), want: []string{"retry 1"}},
		{name: "504 after some work", handler: slow(answer(504)), want: []string{"retry 1"}},
		{name: "nobody listens", attempts: 2, want: []string{"retry 2"}, paused: true},
		{name: "no answer in time", handler: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before, the server does not see that the client is gone
			<-r.Context().Done()
		}, want: []string{"retry 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := trigger("convert", "a.x")
			tr.Delivery = Delivery{Retry: new(2), Timeout: Duration(10 * time.Second)}
			tr.Subscriber = "http://" + unreachable.Addr().String()
			if tt.handler != nil {
				server := httptest.NewServer(tt.handler)
				defer server.Close()
				tr.Subscriber = server.URL
			}
			if strings.HasPrefix(tt.name, "no answer") {
				tr.Delivery.Timeout = Duration(100 * time.Millisecond)
			}
			q := &fakeQueue{publish: tt.publish}
			d := NewDispatcher(q, Triggers{tr}, nil, nil)
			defer d.client.CloseIdleConnections()
			m := &fakeMessage{queue: q, event: newEvent(t, "1", "a.x"), attempts: tt.attempts}
			g := new(gate)
			if err := d.handle(testContext(t), tr, g, m); err != nil != tt.err {
				t.Fatalf("handle() = %v, want an error %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, q.diary); diff != "" {
				t.Errorf("settled (-want +got):\n%s", diff)
			}
			if m.after < tt.after {
				t.Errorf("again after %v, want no sooner than %v", m.after, tt.after)
			}
			if paused := time.Until(g.until) > 0; paused != tt.paused {
				t.Errorf("paused = %v, want %v", paused, tt.paused)
			}
		})
	}
}

// TestPostKeptConnection has the client find that a connection it kept is closed, and then nobody at the address.
func TestPostKeptConnection(t *testing.T) {
	t.Parallel()
	tr := trigger("convert", "a.x")
	d := NewDispatcher(&fakeQueue{}, Triggers{tr}, nil, roundTripper(func(r *http.Request) (*http.Response, error) {
		trace := httptrace.ContextClientTrace(r.Context())
		trace.GetConn("convert:80")
		trace.GotConn(httptrace.GotConnInfo{Reused: true})
		trace.GetConn("convert:80")
		return nil, errors.New("connection refused")
	}))
	if v := d.post(testContext(t), tr, newEvent(t, "1", "a.x")); v.kind != down {
		t.Errorf("post() = %v, want down", v)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHandlePost(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("s", eventing.MinSecret))
	var got event.Event
	handler := eventing.Authenticated(secret, "converter",
		eventing.Func(func(_ context.Context, e event.Event) (*event.Event, error) {
			got = e
			return nil, nil
		}))
	tr := trigger("convert", "a.x")
	tr.Audience = "converter"
	q := &fakeQueue{}
	e := newEvent(t, "ä 1", "a.x")
	d := NewDispatcher(q, Triggers{tr}, secret, Local{"convert": handler})
	if err := d.handle(testContext(t), tr, new(gate), &fakeMessage{queue: q, event: e}); err != nil {
		t.Fatalf("handle() = %v", err)
	}
	if diff := cmp.Diff([]string{"ack"}, q.diary); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(e.String(), got.String()); diff != "" {
		t.Errorf("event changed on its way (-want +got):\n%s", diff)
	}
}

func TestDeadLetterSink(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		sink http.HandlerFunc
		want []string
	}{
		{"taken", answer(202), []string{"ack"}},
		{"refused", answer(500), []string{"bury 400 Bad Request; dead letter sink: 500 Internal Server Error"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := trigger("convert", "a.x")
			tr.Delivery.DeadLetterSink = "http://sink"
			var header http.Header
			q := &fakeQueue{}
			d := NewDispatcher(q, Triggers{tr}, nil,
				Local{"convert": answer(400), "sink": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					header = r.Header
					tt.sink(w, r)
				})})
			m := &fakeMessage{queue: q, event: newEvent(t, "1", "a.x")}
			if err := d.handle(testContext(t), tr, new(gate), m); err != nil {
				t.Fatalf("handle() = %v", err)
			}
			if diff := cmp.Diff(tt.want, q.diary); diff != "" {
				t.Errorf("settled (-want +got):\n%s", diff)
			}
			got := []string{header.Get("Ce-Id"), header.Get("Ce-Knativeerrordest"), header.Get("Ce-Knativeerrorcode"),
				header.Get("Ce-Knativeerrordata")}
			reason := base64.StdEncoding.EncodeToString([]byte("400 Bad Request"))
			if diff := cmp.Diff([]string{"1", "http://convert", "400", reason}, got); diff != "" {
				t.Errorf("dead letter (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDispatcher runs the whole of it on both queues.
func TestDispatcher(t *testing.T) {
	t.Parallel()
	for _, queue := range queues {
		t.Run(queue.name+"/reply", func(t *testing.T) {
			t.Parallel()
			triggers := Triggers{trigger("first", "a.x"), trigger("second", "a.y")}
			q := queue.open(t, triggers)
			got := make(chan string, 1)
			run(t, NewDispatcher(q, triggers, nil,
				Local{"first": replying("reply"), "second": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					got <- r.Header.Get("Ce-Id")
				})}))
			publish(t, q, newEvent(t, "1", "a.x"))
			select {
			case id := <-got:
				if id != "reply" {
					t.Errorf("second got %s, want reply", id)
				}
			case <-testContext(t).Done():
				t.Error("second got nothing, want reply")
			}
		})

		t.Run(queue.name+"/retries, then dead letter, then replay", func(t *testing.T) {
			t.Parallel()
			tr := trigger("convert", "a.x")
			tr.Delivery = Delivery{Retry: new(2), BackoffPolicy: "linear", BackoffDelay: Duration(10 * time.Millisecond)}
			q := queue.open(t, Triggers{tr})
			posts := make(chan string, 10)
			run(t, NewDispatcher(q, Triggers{tr}, nil,
				Local{"convert": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					posts <- r.Header.Get("Ce-Id")
					w.WriteHeader(http.StatusInternalServerError)
				})}))
			publish(t, q, newEvent(t, "1", "a.x"))
			for range 2 {
				for range 3 {
					select {
					case <-posts:
					case <-testContext(t).Done():
						t.Fatal("fewer than 3 posts")
					}
				}
				eventually(t, "the dead letter to be moved back", func() bool {
					n, err := replay(t, q, "convert")
					if err != nil {
						t.Fatalf("Replay() = %v", err)
					}
					return n == 1
				})
			}
		})

		t.Run(queue.name+"/a subscriber that is down spends no attempts", func(t *testing.T) {
			t.Parallel()
			tr := trigger("convert", "a.x")
			tr.Delivery.Retry = new(0)
			q := queue.open(t, Triggers{tr})
			posts := make(chan int, 10)
			n := 0
			run(t, NewDispatcher(q, Triggers{tr}, nil,
				Local{"convert": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					n++
					if n < 3 {
						w.Header().Set("Retry-After", "1")
						w.WriteHeader(http.StatusServiceUnavailable)
					}
					posts <- n
				})}))
			publish(t, q, newEvent(t, "1", "a.x"))
			for range 3 {
				select {
				case <-posts:
				case <-testContext(t).Done():
					t.Fatalf("%d posts, want 3", n)
				}
			}
			if n, err := replay(t, q, "convert"); n != 0 || err != nil {
				t.Errorf("Replay() = %d, %v, want no dead letters", n, err)
			}
		})

		t.Run(queue.name+"/drain", func(t *testing.T) {
			t.Parallel()
			tr := trigger("convert", "a.x")
			q := queue.open(t, Triggers{tr})
			posted, release := make(chan string, 10), make(chan struct{})
			d := NewDispatcher(q, Triggers{tr}, nil,
				Local{"convert": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					posted <- r.Header.Get("Ce-Id")
					<-release
					if r.Context().Err() != nil {
						w.WriteHeader(http.StatusInternalServerError)
					}
				})})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- d.Run(ctx) }()
			publish(t, q, newEvent(t, "1", "a.x"), newEvent(t, "2", "a.x"))
			if id := <-posted; id != "1" {
				t.Errorf("posted %s, want 1", id)
			}
			stop()
			select {
			case <-ended:
				t.Error("Run() returned while a post was in flight")
			default:
			}
			close(release)
			if err := <-ended; err != nil {
				t.Errorf("Run() = %v", err)
			}
			if len(posted) > 0 {
				t.Errorf("posted %s after the end", <-posted)
			}
			s := subscribe(t, q, "convert")
			if m := next(t, s); m.Event().ID() != "2" || m.Attempts() != 0 {
				t.Errorf("Next() after the drain = %s, %d attempts, want 2, 0", m.Event().ID(), m.Attempts())
			} else {
				ack(t, m)
			}
			empty(t, q, s, "a.x")
		})
	}
}

// fakeSubscription gives its message whatever the context says, as a select may.
type fakeSubscription struct {
	Message
	closed bool
}

func (s *fakeSubscription) Next(context.Context) (Message, error) { return s.Message, nil }

func (s *fakeSubscription) Close() error {
	s.closed = true
	return nil
}

func TestServeStops(t *testing.T) {
	t.Parallel()
	q := &fakeQueue{}
	s := &fakeSubscription{Message: &fakeMessage{queue: q, event: newEvent(t, "1", "a.x")}}
	q.subscribe = func() (Subscription, error) { return s, nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tr := trigger("convert", "a.x")
	d := NewDispatcher(q, Triggers{tr}, nil, Local{"convert": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("posted after the end")
	})})
	d.work(ctx, tr, new(gate))
	if len(q.diary) > 0 || !s.closed {
		t.Errorf("settled %v, closed %v, want the message returned by closing", q.diary, s.closed)
	}
}

// run runs the dispatcher until the test ends.
func run(t *testing.T, d *Dispatcher) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
}

func TestGate(t *testing.T) {
	t.Parallel()
	var g gate
	first := g.shut(0)
	if first <= 0 || first > 3*firstPause/2 {
		t.Errorf("shut() = %v, want up to %v", first, 3*firstPause/2)
	}
	if again := g.shut(0); again > first || g.failures != 1 {
		t.Errorf("shut() while shut = %v, %d failures, want no more than %v, 1", again, g.failures, first)
	}
	if got := g.shut(time.Hour); got > maxPause || got < maxPause-time.Minute {
		t.Errorf("shut(1h) = %v, want %v", got, maxPause)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait() = %v, want %v", err, context.Canceled)
	}
	g.open()
	if err := g.wait(t.Context()); err != nil {
		t.Errorf("wait() of an open gate = %v", err)
	}
	for range 50 {
		g.until = time.Time{}
		g.shut(0)
	}
	if got := g.shut(0); got > 3*longPause/2 {
		t.Errorf("shut() after 50 failures = %v, want up to %v", got, 3*longPause/2)
	}
}
