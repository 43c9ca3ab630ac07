package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"
)

// outgoing is one message to send; one that is optional may find no queue.
type outgoing struct {
	exchange, key string
	message       amqp.Publishing
	optional      bool
}

// Publish sends the event to the exchange, and the JSON of it to the queues of legacy triggers that want it, and returns when
// RabbitMQ has confirmed all.
func (r *Rabbit) Publish(ctx context.Context, e event.Event) error {
	message, err := encode(e)
	if err != nil {
		return err
	}
	out := []outgoing{{exchange: r.config.Exchange, key: e.Type(), message: message, optional: true}}
	for _, t := range r.triggers {
		switch {
		case !t.Matches(e):
		case t.Legacy:
			legacy, err := encodeLegacy(e)
			if err != nil {
				return err
			}
			out = append(out, outgoing{key: t.queue(r.config.Exchange), message: legacy})
		default:
			out[0].optional = false
		}
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
	return s.send(ctx, out)
}

func (s *session) send(ctx context.Context, out []outgoing) error {
	if err := s.usable(); err != nil {
		return err
	}
	var p *publisher
	select {
	case p = <-s.slots:
		defer func() { s.slots <- p }()
	case <-ctx.Done():
		return fmt.Errorf("RabbitMQ does not confirm: %w", ctx.Err())
	}
	if err := p.open(ctx, s.conn); err != nil {
		return err
	}
	return p.send(ctx, out)
}

// publisher is a channel in confirm mode that one sender uses at a time, so that the returns on it can be told.
type publisher struct {
	batch    int // the most messages of one send
	ch       *amqp.Channel
	returns  chan amqp.Return
	awaiting []*amqp.DeferredConfirmation
}

// open makes the channel usable: it is opened if it is not, and the confirms that the sender before did not wait for are.
func (p *publisher) open(ctx context.Context, conn *amqp.Connection) error {
	if p.ch != nil && !p.ch.IsClosed() {
		if err := p.wait(ctx); err == nil || ctx.Err() != nil {
			p.returned()
			return err
		}
	}
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	// It holds all that one send may return, so that the library, which delivers them, never has to wait for us; RabbitMQ
	// returns a message before it confirms it.
	p.ch, p.returns, p.awaiting = ch, ch.NotifyReturn(make(chan amqp.Return, p.batch)), nil
	return nil
}

func (p *publisher) send(ctx context.Context, out []outgoing) error {
	for _, o := range out {
		c, err := p.ch.PublishWithDeferredConfirm(o.exchange, o.key, true, false, o.message)
		if err != nil {
			return err
		}
		p.awaiting = append(p.awaiting, c)
	}
	err := p.wait(ctx)
	if err != nil {
		return err
	}
	for _, r := range p.returned() {
		for _, o := range out {
			if o.exchange == r.Exchange && o.key == r.RoutingKey && !o.optional {
				err = errors.Join(err, fmt.Errorf("exchange %q has no queue for %q: %s", o.exchange, o.key, r.ReplyText))
			}
		}
	}
	return err
}

// wait returns when all that was published is confirmed.
func (p *publisher) wait(ctx context.Context) error {
	refused := false
	for len(p.awaiting) > 0 {
		ok, err := p.awaiting[0].WaitContext(ctx)
		if err != nil {
			return fmt.Errorf("RabbitMQ does not confirm: %w", err)
		}
		refused = refused || !ok
		p.awaiting = p.awaiting[1:]
	}
	if refused {
		return errors.New("RabbitMQ did not take the message, or the connection was lost before it could say so")
	}
	return nil
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
