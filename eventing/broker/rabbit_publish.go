package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// outgoing is one message to send.
type outgoing struct {
	exchange, key string
	message       amqp.Publishing
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
		o := outgoing{key: t.queue(r.config.Prefix), message: message}
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
		if p.ch.IsClosed() { // someone has deleted an exchange: a new connection begins with declaring everything
			s.close()
			return errors.New("RabbitMQ has closed the channel")
		}
		return p.send(ctx, out)
	case <-ctx.Done():
		return fmt.Errorf("RabbitMQ does not confirm: %w", ctx.Err())
	}
}

// publisher is a channel in confirm mode that one sender uses at a time, so that the returns on it can be told.
type publisher struct {
	ch       *amqp.Channel
	returns  chan amqp.Return
	awaiting []*amqp.DeferredConfirmation
}

// newPublisher opens a channel for sends of up to so many messages.
func newPublisher(conn *amqp.Connection, batch int) (*publisher, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	// The library waits for us to take a return, so all of a send must fit.
	return &publisher{ch: ch, returns: ch.NotifyReturn(make(chan amqp.Return, batch))}, nil
}

func (p *publisher) send(ctx context.Context, out []outgoing) error {
	// The sender before may not have waited for its confirms.
	if _, err := p.wait(ctx); err != nil {
		return err
	}
	p.returned()
	for _, o := range out {
		c, err := p.ch.PublishWithDeferredConfirm(o.exchange, o.key, true, false, o.message)
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
	for _, r := range p.returned() { // RabbitMQ returns a message before it confirms it
		for _, o := range out {
			if o.exchange == r.Exchange && o.key == r.RoutingKey {
				err = errors.Join(err, fmt.Errorf("exchange %q, key %q: %w", o.exchange, o.key, errNoQueue))
			}
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

func (p *publisher) returned() (rs []amqp.Return) {
	for {
		select {
		case r, ok := <-p.returns:
			if !ok {
				return rs
			}
			rs = append(rs, r)
		default:
			return rs
		}
	}
}
