package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// outgoing is one message to send.
type outgoing struct {
	target
	message amqp.Publishing
}

// Publish sends the event to the queues of the triggers that want it, as the old system's JSON where the trigger is a
// legacy one, and returns when RabbitMQ has confirmed all.
func (r *Rabbit) Publish(ctx context.Context, e event.Event) (err error) {
	ctx, span := publishing(ctx, rabbitSystem, e)
	defer func() { telemetry.End(span, err) }()
	message, err := encode(e)
	if err != nil {
		return err
	}
	message.Timestamp = time.Now()
	if at := here(ctx); at != "" {
		message.Headers[publishedHeader] = at
	}
	var out []outgoing
	for _, t := range r.triggers {
		if !t.Matches(e) {
			continue
		}
		o := outgoing{target{key: t.queue(r.config.Prefix)}, message}
		if t.Legacy {
			if o.message, err = encodeLegacy(e); err != nil {
				return err
			}
		}
		out = append(out, o)
	}
	if err := r.send(ctx, out...); err != nil {
		return fmt.Errorf("publish event %s: %w", e.ID(), err)
	}
	return nil
}

func (r *Rabbit) send(ctx context.Context, out ...outgoing) error {
	s, err := r.connected(ctx)
	if err != nil {
		return err
	}
	err = s.send(ctx, out)
	if errors.Is(err, errNoQueue) { // someone has deleted it
		err = errors.Join(err, r.declare(ctx, s.conn))
	}
	return err
}

var errNoQueue = errors.New("there is no queue for the message")

func (s *session) send(ctx context.Context, out []outgoing) error {
	if err := s.usable(); err != nil {
		return err
	}
	select {
	case p := <-s.publishers:
		defer func() { s.publishers <- p }()
		if s.outlet.ch.IsClosed() { // someone has deleted an exchange: a new connection begins with declaring everything
			s.close()
			return errors.New("RabbitMQ has closed the channel")
		}
		return p.send(ctx, s.outlet, out)
	case <-ctx.Done():
		return fmt.Errorf("RabbitMQ does not confirm: %w", ctx.Err())
	}
}

// outlet is the channel, in confirm mode, on which all of a session is published: RabbitMQ takes less than on several,
// and confirms several messages at a time.
type outlet struct {
	ch *amqp.Channel

	mu       sync.Mutex
	returns  chan amqp.Return
	returned map[target]int // how many messages have come back from where they should have gone
}

// target is an exchange and a routing key.
type target struct{ exchange, key string }

// newOutlet opens a channel for so many messages whose confirms are waited for.
func newOutlet(conn *amqp.Connection, most int) (*outlet, error) {
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	// The library waits for us to take a return, so those of all must fit.
	return &outlet{ch: ch, returns: ch.NotifyReturn(make(chan amqp.Return, most)), returned: map[target]int{}}, nil
}

// returnedOf gives how many messages for each of the targets have come back. RabbitMQ returns a message before it
// confirms it.
func (o *outlet) returnedOf(out []outgoing) []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.returns) > 0 {
		r := <-o.returns
		o.returned[target{r.Exchange, r.RoutingKey}]++
	}
	n := make([]int, len(out))
	for i, m := range out {
		n[i] = o.returned[m.target]
	}
	return n
}

// publisher is a place among those who wait for confirms: one sender has it at a time.
type publisher struct{ awaiting []*amqp.DeferredConfirmation }

// send publishes and waits for the confirms. When a message has come back meanwhile from where one of out was to go, it
// fails, though it may have been another sender's.
func (p *publisher) send(ctx context.Context, o *outlet, out []outgoing) error {
	// The sender before may not have waited for its confirms.
	if _, err := p.wait(ctx); err != nil {
		return err
	}
	before := o.returnedOf(out)
	for _, m := range out {
		c, err := o.ch.PublishWithDeferredConfirm(m.exchange, m.key, true, false, m.message)
		if err != nil {
			return err
		}
		p.awaiting = append(p.awaiting, c)
	}
	acked, err := p.wait(ctx)
	if err != nil {
		return err
	}
	if !acked {
		return errors.New("RabbitMQ did not take the message, or the connection was lost before it could say so")
	}
	for i, n := range o.returnedOf(out) {
		if n > before[i] {
			err = errors.Join(err, fmt.Errorf("exchange %q, key %q: %w", out[i].exchange, out[i].key, errNoQueue))
		}
	}
	return err
}

// wait returns when all that was published is confirmed or refused.
func (p *publisher) wait(ctx context.Context) (acked bool, err error) {
	acked = true
	for len(p.awaiting) > 0 {
		ok, err := p.awaiting[0].WaitContext(ctx)
		if err != nil {
			return false, fmt.Errorf("RabbitMQ does not confirm: %w", err)
		}
		acked = acked && ok
		p.awaiting = p.awaiting[1:]
	}
	return acked, nil
}
