package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"
)

// parallel is how many events are on their way at a time, in and out.
const parallel = 50

// line is a way for events: send returns when one is taken, and arrived has those that came out at its other end.
type line struct {
	send func(ctx context.Context, id string) error

	mu      sync.Mutex
	arrived map[string]time.Time
}

func (l *line) note(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, again := l.arrived[id]; !again {
		l.arrived[id] = time.Now()
	}
}

func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.arrived)
}

// post sends n events, no more than so many at a time, each not before its time, and waits until all have arrived. It
// gives when the last one was taken and when the last one arrived, and how long after its time each arrived.
func (l *line) post(t *testing.T, name string, n, atOnce int, every time.Duration) (in, through time.Duration,
	took []time.Duration) {
	t.Helper()
	before, begin := l.count(), time.Now()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range n {
		<-time.After(time.Until(begin.Add(time.Duration(i) * every)))
		g.Go(func() error { return l.send(t.Context(), fmt.Sprintf("%s-%d", name, i)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	in = time.Since(begin)
	eventually(t, "every event to arrive", func() bool { return l.count() == before+n })
	for i := range n {
		at := l.arrived[fmt.Sprintf("%s-%d", name, i)].Sub(begin)
		through = max(through, at)
		took = append(took, at-time.Duration(i)*every)
	}
	return in, through, took
}

// events sends events of 1 KB through the broker, and the same bytes through RabbitMQ alone.
func (l *load) events(t *testing.T) {
	const flood, rate, paced = 10_000, 500, 2500
	url := vhost(t, "e2e_"+strings.ToLower(bson.NewObjectID().Hex()))
	data := []byte(`"` + strings.Repeat("x", 1022) + `"`)
	broker, ours := brokerLine(t, url, data)
	var in, through, half, most [2]float64 // of the broker, and of RabbitMQ alone
	var used time.Duration
	for i, w := range []*line{ours, rabbitLine(t, url, data)} {
		w.post(t, "warm", 500, parallel, 0)
		before := cpu(t, broker)
		taken, arrived, _ := w.post(t, "flood", flood, parallel, 0)
		in[i], through[i] = flood/taken.Seconds(), flood/arrived.Seconds()
		if i == 0 {
			used = (cpu(t, broker) - before) * 1000 / flood
		}
		_, _, took := w.post(t, "paced", paced, paced, time.Second/rate)
		half[i], most[i] = quantile(took, 0.5), quantile(took, 0.99)
	}
	alone := "RabbitMQ alone "
	l.row("events of 1 KB taken, a second", fmt.Sprintf(alone+"%.0f", in[1]), "%.0f, %.2f of it", in[0], in[0]/in[1])
	l.row("events through, a second", fmt.Sprintf(alone+"%.0f", through[1]), "%.0f, %.2f of it", through[0],
		through[0]/through[1])
	l.row("from post to subscriber at 500/s: p50, p99, ms", fmt.Sprintf(alone+"%.1f, %.1f", half[1], most[1]),
		"%.1f, %.1f", half[0], most[0])
	l.row("the broker's CPU for 1,000 events, ms", "", "%d", used.Milliseconds())
	l.row("events lost", "", "none of %d", ours.count()) // else it would wait for them
	l.row("largest resident memory of the broker, MB", "", "%.0f", highest(broker))
}

// brokerLine is the broker's binary between posts and a subscriber. Its queue is a quorum queue.
func brokerLine(t *testing.T, amqpURL string, data []byte) (*process, *line) {
	t.Helper()
	l := &line{arrived: map[string]time.Time{}}
	subscriber := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		l.note(r.Header.Get("Ce-Id"))
	}))
	t.Cleanup(subscriber.Close)
	triggers := fmt.Sprintf("triggers: [{name: x, filter: {attributes: {type: test.x}}, subscriber: %q, parallelism: %d}]",
		subscriber.URL, parallel)
	broker := start(t, "broker", map[string]string{"AMQP_URL": amqpURL, "EVENT_SECRET": secret,
		"BROKER_TRIGGERS": write(t, "triggers.yaml", []byte(triggers))})
	eventually(t, "the broker to be ready", func() bool {
		status, _ := curl(t, broker.url+"/readyz")
		return status == http.StatusOK
	})
	transport := &http.Transport{MaxIdleConnsPerHost: 4 * parallel}
	t.Cleanup(transport.CloseIdleConnections)
	l.send = (&poster{broker: broker.url, secret: []byte(secret), client: &http.Client{Transport: transport},
		data: data}).post
	return broker, l
}

// rabbitLine is a quorum queue of RabbitMQ's between the client's publishes, each confirmed, and its deliveries, each
// acknowledged.
func rabbitLine(t *testing.T, amqpURL string, data []byte) *line {
	t.Helper()
	const queue = "alone"
	l := &line{arrived: map[string]time.Time{}}
	dial := func() *amqp.Channel {
		conn, err := amqp.Dial(amqpURL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	in, out := dial(), dial()
	_, err := out.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	if err == nil {
		err = errors.Join(out.Qos(parallel, 0, false), in.Confirm(false))
	}
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := out.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { // until the connection is closed
		for d := range deliveries {
			if bytes.Equal(d.Body, data) && d.Ack(false) == nil {
				l.note(d.MessageId)
			}
		}
	}()
	l.send = func(ctx context.Context, id string) error {
		confirm, err := in.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: id, Body: data})
		if err != nil {
			return err
		}
		if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
			return fmt.Errorf("message %s is not confirmed: %w", id, err)
		}
		return nil
	}
	return l
}
