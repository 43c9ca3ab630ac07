package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// AnswerTimeout bounds what a subscriber's answer brings about: a reply that is published, a dead letter, the
// acknowledgement.
const AnswerTimeout = 30 * time.Second

// Dispatcher posts the events of a queue to the subscribers of its triggers.
type Dispatcher struct {
	queue    Queue
	triggers Triggers
	secret   []byte
	client   *http.Client
	measures measures
}

// NewDispatcher makes a dispatcher that signs its posts with the secret (see [eventing.Authorize]) and sends them by
// the transport, for which nil means HTTP; [Local] is one for subscribers in the same process.
func NewDispatcher(queue Queue, triggers Triggers, secret []byte, transport http.RoundTripper) *Dispatcher {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = maxParallelism
		transport = t
	}
	return &Dispatcher{
		queue: queue, triggers: triggers, secret: secret, measures: newMeasures(queue, triggers),
		client: &http.Client{
			Transport:     telemetry.Transport(transport),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Run works until ctx ends. Then it takes no more events, finishes the posts in flight and returns, no later than after
// the longest timeout of a delivery and [AnswerTimeout].
func (d *Dispatcher) Run(ctx context.Context) error {
	defer d.client.CloseIdleConnections()
	var workers sync.WaitGroup
	for _, t := range d.triggers {
		if t.Subscriber == "" {
			continue
		}
		g := new(gate)
		for range t.parallelism() {
			workers.Go(func() { d.work(ctx, t, g) })
		}
	}
	workers.Wait()
	return nil
}

// work subscribes, and again when the subscription is over.
func (d *Dispatcher) work(ctx context.Context, t Trigger, g *gate) {
	for {
		err := d.serve(ctx, t, g)
		if ctx.Err() != nil {
			return
		}
		slog.WarnContext(ctx, "subscription lost", "trigger", t.Name, "error", err)
		sleep(ctx, jitter(time.Second))
	}
}

// serve handles messages until one cannot be settled; closing the subscription returns that one to the queue.
func (d *Dispatcher) serve(ctx context.Context, t Trigger, g *gate) (err error) {
	sub, err := d.queue.Subscribe(ctx, t.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sub.Close()) }()
	for {
		m, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if err := g.wait(ctx); err != nil {
			return err
		}
		if err := d.handle(ctx, t, g, m); err != nil {
			return err
		}
	}
}

// handle posts a message's event and settles the message as the answer says. It is not cut short when ctx ends.
func (d *Dispatcher) handle(ctx context.Context, t Trigger, g *gate, m Message) error {
	e := m.Event()
	ctx, span := processing(context.WithoutCancel(ctx), t, m)
	defer span.End()
	ctx = eventing.WithAttrs(eventing.WithEvent(ctx, e),
		slog.String("trigger", t.Name), slog.Int("attempt", m.Attempts()+1))
	ended := d.measures.begin(ctx, t, m.Trail().System)
	v := d.post(ctx, t, e)
	ended(v)
	ctx, cancel := context.WithTimeout(ctx, AnswerTimeout)
	defer cancel()
	if v.kind != down {
		g.open()
	}
	if v.kind == done && v.reply != nil {
		eventing.SetTrace(ctx, v.reply)
		err := d.queue.Publish(ctx, *v.reply)
		if status, _ := eventing.Outcome(err); err != nil && status == http.StatusBadRequest {
			v.kind, v.reason = rejected, "the reply cannot be published: "+err.Error()
		} else if err != nil {
			return fmt.Errorf("publish reply to event %s: %w", e.ID(), err)
		}
	}
	v.tell(span)
	return d.settle(ctx, t, g, m, v)
}

func (d *Dispatcher) settle(ctx context.Context, t Trigger, g *gate, m Message, v verdict) error {
	ctx = eventing.WithAttrs(ctx, slog.Int("status", v.status))
	spent := m.Attempts() + 1
	switch {
	case v.kind == done:
		slog.InfoContext(ctx, "event delivered", "reply", v.reply != nil)
		return m.Ack(ctx)
	case v.kind == rejected, v.kind == failed && spent > t.Delivery.retry():
		slog.ErrorContext(ctx, "event not delivered: dead letter", "reason", v.reason)
		d.measures.dead.Add(ctx, 1, attribute.String("trigger", t.Name))
		return d.bury(ctx, t, m, v)
	case v.kind == failed:
		wait := max(v.after, t.Delivery.backoff(spent))
		slog.WarnContext(ctx, "event not delivered: again later", "reason", v.reason, "wait", wait)
		return m.Retry(ctx, wait, spent)
	case v.kind == busy:
		wait := max(v.after, t.Delivery.backoff(1))
		slog.InfoContext(ctx, "event not delivered: another worker has the job", "reason", v.reason, "wait", wait)
		return m.Retry(ctx, wait, m.Attempts())
	default:
		wait := g.shut(v.after)
		slog.WarnContext(ctx, "event not delivered: the subscriber is down", "reason", v.reason, "wait", wait)
		return m.Retry(ctx, wait, m.Attempts())
	}
}

// bury sends the event to the trigger's dead-letter sink. Without a sink, or when the sink does not take it, the event
// goes to the queue's dead letters.
func (d *Dispatcher) bury(ctx context.Context, t Trigger, m Message, v verdict) error {
	reason := v.reason
	if sink := t.Delivery.DeadLetterSink; sink != "" {
		err := d.sendDead(ctx, sink, t, m.Event(), v)
		if err == nil {
			return m.Ack(ctx)
		}
		slog.ErrorContext(ctx, "dead letter sink does not take the event", "error", err)
		reason += "; dead letter sink: " + err.Error()
	}
	return m.Bury(ctx, reason)
}

// sendDead posts the event with the extensions that Knative gives a dead letter.
func (d *Dispatcher) sendDead(ctx context.Context, sink string, t Trigger, e event.Event, v verdict) error {
	e = e.Clone()
	e.SetExtension("knativeerrordest", t.Subscriber)
	e.SetExtension("knativeerrordata", base64.StdEncoding.EncodeToString([]byte(v.reason)))
	if v.status != 0 {
		e.SetExtension("knativeerrorcode", strconv.Itoa(v.status))
	}
	r, err := d.request(ctx, sink, "deadletter", e)
	if err != nil {
		return err
	}
	resp, err := d.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return errors.New(resp.Status)
	}
	return nil
}
