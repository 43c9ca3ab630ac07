package broker

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing"
)

func trigger(name, typ string) Trigger {
	return Trigger{Name: name, Subscriber: "http://" + name, Filter: Filter{Attributes: map[string]string{"type": typ}}}
}

// get takes the next raw message from a queue.
func (r rabbit) get(t *testing.T, queue string) amqp.Delivery {
	t.Helper()
	var d amqp.Delivery
	eventually(t, "a message in "+queue, func() bool {
		var ok bool
		var err error
		if d, ok, err = r.admin.Get(queue, true); err != nil {
			t.Fatalf("Get(%q) = %v", queue, err)
		}
		return ok
	})
	return d
}

func (r rabbit) put(t *testing.T, queue string, p amqp.Publishing) {
	t.Helper()
	c, err := r.admin.PublishWithDeferredConfirm("", queue, true, false, p)
	if err != nil || !c.Wait() {
		t.Fatalf("publish to %q: %v", queue, err)
	}
}

func TestRabbitDeadLetter(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	publish(t, r, newEvent(t, "1", "a.x"))
	if err := next(t, subscribe(t, r, "convert")).Bury(testContext(t), "no sound"); err != nil {
		t.Fatalf("Bury() = %v", err)
	}
	d := r.get(t, r.prefix+".convert.dead")
	got := []any{d.Headers[reasonHeader], d.Headers[triggerHeader], d.Headers["cloudEvents_id"], d.DeliveryMode}
	if diff := cmp.Diff([]any{"no sound", "convert", "1", amqp.Persistent}, got); diff != "" {
		t.Errorf("dead letter (-want +got):\n%s", diff)
	}
}

func TestRabbitUnreadable(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	r.put(t, r.prefix+".convert", amqp.Publishing{Body: []byte("neither")})
	empty(t, r, subscribe(t, r, "convert"), "a.x")
	d := r.get(t, r.prefix+".convert.dead")
	if d.Headers[reasonHeader] == "" || string(d.Body) != "neither" {
		t.Errorf("dead letter = %q, %v, want the message with a reason", d.Body, d.Headers)
	}
}

// TestRabbitReplayUnreadable moves a message back that cannot be read, under a worker that buries it again: it moves
// once.
func TestRabbitReplayUnreadable(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	s := subscribe(t, r, "convert")
	r.put(t, r.prefix+".convert.dead", amqp.Publishing{Body: []byte("neither")})
	if n, err := replay(t, r, "convert"); n != 1 || err != nil {
		t.Errorf("Replay() = %d, %v, want 1, nil", n, err)
	}
	empty(t, r, s, "a.x")
	if d := r.get(t, r.prefix+".convert.dead"); d.Headers[reasonHeader] == "" || string(d.Body) != "neither" {
		t.Errorf("dead letter = %q, %v, want the message with a reason", d.Body, d.Headers)
	}
}

// TestRabbitLargeHeaders has a message whose headers fill a frame. What the broker adds to them no longer fits, and
// RabbitMQ ends the connection of whoever sends a frame that is too large.
func TestRabbitLargeHeaders(t *testing.T) {
	t.Parallel()
	// With "fill" the table takes 131,000 bytes. A frame of 128 KiB has room for 131,046.
	filled := func(headers amqp.Table, size int) amqp.Table {
		const name = "fill"
		headers[name] = strings.Repeat("x", 131_000-size-(1+len(name)+1+4))
		return headers
	}
	many, size := amqp.Table{}, 0
	for i := range 6_000 { // more than 8192 the library does not read
		name := "number-" + strconv.Itoa(i)
		many[name] = int64(i)
		size += 1 + len(name) + 1 + 8
	}
	large := strings.Repeat("x", 65_000)
	nested := amqp.Table{"nested": amqp.Table{"list": []any{large, []byte(large)}}}
	tests := []struct {
		name    string
		headers amqp.Table
	}{
		{"one string", filled(amqp.Table{}, 0)},
		{"nested", filled(nested, (1+6+1+4)+(1+4+1+4)+2*(1+4+len(large)))},
		{"many", filled(many, size)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRabbit(t, Triggers{trigger("convert", "a.x")})
			body := `{"video_fid": "v1", "mp3_fid": null, "username": "ada@example.org"}`
			r.put(t, r.prefix+".convert", amqp.Publishing{Headers: tt.headers, Body: []byte(body)})
			empty(t, r, subscribe(t, r, "convert"), "a.x")
			d := r.get(t, r.prefix+".convert.dead")
			reason, _ := d.Headers[reasonHeader].(string)
			if !strings.Contains(reason, "headers") || d.Headers[triggerHeader] != "convert" || string(d.Body) != body {
				t.Errorf("dead letter = %q, %q, want the message's body and a reason that tells of its headers", d.Body, reason)
			}
		})
	}
}

func TestRabbitLegacyIn(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", eventing.TypeVideoUploaded)})
	body := `{"video_fid": "v1", "mp3_fid": null, "username": "ada@example.org"}`
	r.put(t, r.prefix+".convert", amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent})
	s := subscribe(t, r, "convert")
	for attempt := range 2 {
		m := next(t, s)
		e := m.Event()
		got := []any{e.ID(), e.Type(), e.Source(), e.Subject(), m.Attempts()}
		id := "v1/dev.soundstrip.video.uploaded.v1/1"
		want := []any{id, eventing.TypeVideoUploaded, "/soundstrip/legacy", "v1", attempt}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event of a legacy message (-want +got):\n%s", diff)
		}
		p, err := eventing.Decode[eventing.VideoUploaded](e)
		if want := (eventing.Reference{VideoFID: "v1", Username: "ada@example.org"}); err != nil || p.Reference != want {
			t.Errorf("Decode() = %v, %v, want %v", p, err, want)
		}
		if err := m.Retry(testContext(t), 0, attempt+1); err != nil {
			t.Fatalf("Retry() = %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if d := r.get(t, r.prefix+".convert"); string(d.Body) != body {
		t.Errorf("message after a retry = %s, want %s as an old program can read it", d.Body, body)
	}
}

func TestRabbitLegacyOut(t *testing.T) {
	t.Parallel()
	old := trigger("old", eventing.TypeVideoUploaded)
	old.Subscriber, old.Legacy = "", true
	r := newRabbit(t, Triggers{old})
	e, err := eventing.New("/test", "v1", 1, eventing.VideoUploaded{
		Reference: eventing.Reference{VideoFID: "v1", Username: "ada@example.org"}, Filename: "a.mp4"})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	publish(t, r, e)
	d := r.get(t, r.prefix+".old")
	if want := `{"video_fid":"v1","mp3_fid":null,"username":"ada@example.org"}`; string(d.Body) != want ||
		d.DeliveryMode != amqp.Persistent {
		t.Errorf("legacy message = %s, mode %d, want %s, persistent", d.Body, d.DeliveryMode, want)
	}
	bad := newEvent(t, "1", eventing.TypeVideoUploaded)
	bad.DataEncoded = []byte(`{}`)
	if status, _ := eventing.Outcome(r.Publish(testContext(t), bad)); status != http.StatusBadRequest {
		t.Errorf("Publish() of an event without a reference to a legacy trigger: outcome %d, want a rejection", status)
	}
}

func TestRabbitOldQueue(t *testing.T) {
	t.Parallel()
	conn := must(t, amqp.Dial, amqpURL(t))
	defer conn.Close()
	ch := must(t, func(c *amqp.Connection) (*amqp.Channel, error) { return c.Channel() }, conn)
	tr := trigger("convert", "a.x")
	tr.Queue = "test-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if _, err := ch.QueueDeclare(tr.Queue, true, false, false, false, nil); err != nil {
		t.Fatalf("QueueDeclare() = %v", err)
	}
	r := newRabbit(t, Triggers{tr})
	publish(t, r, newEvent(t, "1", "a.x"))
	s := subscribe(t, r, "convert")
	if err := next(t, s).Retry(testContext(t), time.Second, 1); err != nil {
		t.Fatalf("Retry() = %v", err)
	}
	if m := next(t, s); m.Event().ID() != "1" || m.Attempts() != 1 {
		t.Errorf("Next() = %s, %d attempts, want 1, 1", m.Event().ID(), m.Attempts())
	}
}

// TestRabbitDeleted has someone delete a queue: no event is taken as queued that is not, and the
// next one finds everything made anew.
func TestRabbitDeleted(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	if _, err := r.admin.QueueDelete(r.prefix+".convert", false, false, false); err != nil {
		t.Fatalf("QueueDelete() = %v", err)
	}
	if err := r.Publish(testContext(t), newEvent(t, "1", "a.x")); err == nil {
		t.Error("Publish() without the queue = nil, want an error")
	}
	eventually(t, "event 2 to be published",
		func() bool { return r.Publish(testContext(t), newEvent(t, "2", "a.x")) == nil })
	if m := next(t, subscribe(t, r, "convert")); m.Event().ID() != "2" {
		t.Errorf("Next() = %s, want 2", m.Event().ID())
	}
}

// TestRabbitDeletedUnderSenders is TestRabbitDeleted with many who publish at the same time.
func TestRabbitDeletedUnderSenders(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	if _, err := r.admin.QueueDelete(r.prefix+".convert", false, false, false); err != nil {
		t.Fatalf("QueueDelete() = %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]bool{}
	for i := range 2 * publishers {
		wg.Go(func() {
			id := strconv.Itoa(i)
			if r.Publish(testContext(t), newEvent(t, id, "a.x")) == nil {
				mu.Lock()
				defer mu.Unlock()
				taken[id] = true
			}
		})
	}
	wg.Wait()
	if len(taken) == 2*publishers {
		t.Error("every Publish() without the queue = nil, want errors")
	}
	publish(t, r, newEvent(t, "last", "a.x"))
	for s := subscribe(t, r, "convert"); len(taken) > 0; {
		m := next(t, s)
		ack(t, m)
		delete(taken, m.Event().ID())
	}
}

func TestRabbitQueueDeletedUnderWorker(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	s := subscribe(t, r, "convert")
	if _, err := r.admin.QueueDelete(r.prefix+".convert", false, false, false); err != nil {
		t.Fatalf("QueueDelete() = %v", err)
	}
	if _, err := s.Next(testContext(t)); !errors.Is(err, errOver) {
		t.Errorf("Next() = %v, want %v", err, errOver)
	}
	if _, err := r.Subscribe(testContext(t), "convert"); err == nil {
		t.Error("Subscribe() to a queue that is gone = nil, want an error, and the queue made anew")
	}
	empty(t, r, subscribe(t, r, "convert"), "a.x")
}

// TestRabbitCancelled: RabbitMQ ends a consumer and leaves its channel open. What the worker holds is not its own any
// more, and none of it may be settled.
func TestRabbitCancelled(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	s := subscribe(t, r, "convert")
	if err := r.Publish(testContext(t), newEvent(t, "1", "a.x")); err != nil {
		t.Fatalf("Publish() = %v", err)
	}
	m := next(t, s)
	if _, err := r.admin.QueueDelete(r.prefix+".convert", false, false, false); err != nil {
		t.Fatalf("QueueDelete() = %v", err)
	}
	if _, err := s.Next(testContext(t)); !errors.Is(err, errOver) { // which waits for the cancel
		t.Fatalf("Next() = %v, want %v", err, errOver)
	}
	for range 2 {
		if err := m.Ack(testContext(t)); !errors.Is(err, errOver) {
			t.Errorf("Ack() = %v, want %v", err, errOver)
		}
	}
	if err := m.Retry(testContext(t), time.Minute, 1); !errors.Is(err, errOver) {
		t.Errorf("Retry() = %v, want %v", err, errOver)
	}
}

// TestRabbitAway begins without RabbitMQ.
func TestRabbitAway(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.cut()
	triggers := Triggers{trigger("convert", "a.x")}
	prefix := newRabbit(t, triggers).prefix
	r := openRabbit(t, RabbitConfig{URL: p.url, Prefix: prefix}, triggers)
	ingress := Ingress(r)
	post := func() *httptest.ResponseRecorder {
		q, err := eventing.NewRequest(testContext(t), "http://broker/", newEvent(t, "1", "a.x"))
		if err != nil {
			t.Fatalf("NewRequest() = %v", err)
		}
		w := httptest.NewRecorder()
		ingress.ServeHTTP(w, q)
		return w
	}
	if w := post(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("POST without RabbitMQ = %d, %v, want 503 with Retry-After", w.Code, w.Header())
	}
	if err := r.Ping(t.Context()); err == nil {
		t.Error("Ping() without RabbitMQ = nil, want an error")
	}
	p.mend()
	eventually(t, "POST to be 202", func() bool { return post().Code == http.StatusAccepted })
	if err := r.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v", err)
	}
	if m := next(t, subscribe(t, r, "convert")); m.Event().ID() != "1" {
		t.Errorf("Next() = %s, want 1", m.Event().ID())
	}
}

// TestRabbitStalled has a RabbitMQ that answers nothing: nobody waits longer than asked, and what is late does not
// confuse.
func TestRabbitStalled(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	r := newRabbit(t, Triggers{trigger("convert", "a.x")}, p.url)
	p.stalled.Lock()
	for range 4 {
		var wg sync.WaitGroup
		for range publishers {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if err := r.Publish(ctx, newEvent(t, "late", "a.x")); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Publish() = %v, want %v", err, context.DeadlineExceeded)
				}
			})
		}
		wg.Wait()
	}
	p.stalled.Unlock()
	for i := range 2 * publishers {
		publish(t, r, newEvent(t, strconv.Itoa(i), "a.x"))
	}
}

// TestRabbitStaleMessage settles a message after the connection that brought it is gone: the one that brings it again
// must not feel it.
func TestRabbitStaleMessage(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	r := newRabbit(t, Triggers{trigger("convert", "a.x")}, p.url)
	publish(t, r, newEvent(t, "1", "a.x"))
	s := subscribe(t, r, "convert")
	stale := next(t, s)
	p.cut()
	if _, err := s.Next(testContext(t)); !errors.Is(err, errOver) {
		t.Errorf("Next() after the connection is lost = %v, want %v", err, errOver)
	}
	p.mend()
	s = subscribe(t, r, "convert")
	fresh := next(t, s)
	for name, err := range map[string]error{
		"Ack":   stale.Ack(testContext(t)),
		"Retry": stale.Retry(testContext(t), 0, 1),
		"Bury":  stale.Bury(testContext(t), "x"),
	} {
		if err == nil {
			t.Errorf("%s() of the stale message = nil, want an error", name)
		}
	}
	if fresh.Event().ID() != "1" {
		t.Errorf("Next() = %s, want 1", fresh.Event().ID())
	}
	ack(t, fresh)
	empty(t, r, s, "a.x")
}

// TestRabbitConnectionLost cuts the connection again and again under a broker at work: whatever was taken is delivered,
// and the queues are empty in the end.
func TestRabbitConnectionLost(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	first, second := trigger("first", "a.x"), trigger("second", "a.y")
	first.Parallelism, second.Parallelism = 3, 3
	triggers := Triggers{first, second}
	r := newRabbit(t, triggers, p.url)

	var mu sync.Mutex
	seen := map[string]bool{}
	d := NewDispatcher(r, triggers, nil, Local{
		"first": http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			reply := newEvent(t, q.Header.Get("Ce-Id"), "a.y")
			w.Header().Set("Content-Type", "application/cloudevents+json")
			b, err := reply.MarshalJSON()
			if err != nil {
				t.Errorf("MarshalJSON() = %v", err)
			}
			_, _ = w.Write(b)
		}),
		"second": http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen[q.Header.Get("Ce-Id")] = true
		}),
	})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Run(ctx) })
	defer wg.Wait()
	defer stop()

	var taken []string
	publishing := testContext(t)
	for i, cuts := 0, 0; len(taken) < 200; i++ {
		if len(taken) >= 25+50*cuts {
			cuts++
			p.cut()
			p.mend()
		}
		id := strconv.Itoa(i)
		if r.Publish(publishing, newEvent(t, id, "a.x")) == nil {
			taken = append(taken, id)
		} else if publishing.Err() != nil {
			t.Fatalf("%d events taken within %v, want 200", len(taken), patience)
		}
	}
	eventually(t, "all that was taken to be delivered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return !slices.ContainsFunc(taken, func(id string) bool { return !seen[id] })
	})
	stop()
	wg.Wait()
	eventually(t, "the queues to be empty", func() bool {
		left := 0
		for _, q := range []string{"first", "second", "first.dead", "second.dead"} {
			state, err := r.admin.QueueDeclarePassive(r.prefix+"."+q, true, false, false, false, nil)
			if err != nil {
				t.Fatalf("QueueDeclarePassive(%q) = %v", q, err)
			}
			left += state.Messages
		}
		return left == 0
	})
}

func TestRabbitConfig(t *testing.T) {
	t.Parallel()
	_, err := NewRabbit(RabbitConfig{URL: "amqp://user:secret word@host", Prefix: "x"}, Triggers{trigger("a", "b")})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("NewRabbit() with a bad URL = %v, want an error without the password", err)
	}
	if _, err := NewRabbit(RabbitConfig{URL: "amqp://localhost", Prefix: "x"}, nil); err == nil {
		t.Error("NewRabbit() without triggers = nil, want an error")
	}
}
