package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Subscribe opens a channel for the worker and consumes the trigger's queue with a prefetch of one: a channel that
// RabbitMQ closes takes no other worker's message along.
func (r *Rabbit) Subscribe(ctx context.Context, trigger string) (Subscription, error) {
	t, err := r.triggers.find(trigger)
	if err != nil {
		return nil, err
	}
	s, err := r.connected(ctx)
	if err != nil {
		return nil, err
	}
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	sub := &rabbitSubscription{rabbit: r, trigger: t, ch: ch, cancelled: ch.NotifyCancel(make(chan string, 1))}
	if err = ch.Qos(1, 0, false); err == nil {
		// From 4.3 on RabbitMQ takes it from a consumer; before, its own consumer_timeout is for all.
		args := amqp.Table{"x-consumer-timeout": t.held().Milliseconds()}
		sub.messages, err = ch.Consume(t.queue(r.config.Prefix), "", false, false, false, false, args)
	}
	if err == nil {
		return sub, nil
	}
	if isCode(err, amqp.NotFound) { // someone has deleted it
		err = errors.Join(err, r.declare(ctx, s.conn))
	}
	return nil, errors.Join(fmt.Errorf("consume queue of trigger %s: %w", trigger, err), sub.Close())
}

// Dead asks for the fate of as many dead letters as there are when it begins: what is buried meanwhile stays. One that
// is kept goes to the end, as a copy: RabbitMQ would count a message that is given back as delivered, and gives up on
// one that was too often.
func (r *Rabbit) Dead(ctx context.Context, trigger string, fate func(DeadLetter) (Fate, error)) error {
	t, err := r.triggers.find(trigger)
	if err != nil {
		return err
	}
	s, err := r.connected(ctx)
	if err != nil {
		return err
	}
	queue := t.queue(r.config.Prefix)
	err = onChannel(s.conn, func(ch *amqp.Channel) error {
		dead, err := ch.QueueDeclarePassive(queue+deadSuffix, true, false, false, false, nil)
		if err != nil {
			return err
		}
		for range dead.Messages {
			d, ok, err := ch.Get(queue+deadSuffix, false)
			if err != nil || !ok {
				return err
			}
			if err := s.dealWith(ctx, t, queue, d, fate); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("dead letters of %s: %w", trigger, err)
	}
	return nil
}

func (s *session) dealWith(
	ctx context.Context, t Trigger, queue string, d amqp.Delivery, fate func(DeadLetter) (Fate, error),
) error {
	e, _, unread := decode(d, t.wrapType())
	reason, _ := d.Headers[reasonHeader].(string)
	f, err := fate(newDeadLetter(t.Name, reason, d.Body, e, unread))
	if err != nil {
		return err
	}
	o := outgoing{target{key: queue}, again(d)}
	if f == Keep {
		o.key += deadSuffix
		for _, name := range []string{reasonHeader, triggerHeader} {
			if v, has := d.Headers[name]; has {
				o.message.Headers[name] = v
			}
		}
	}
	if f != Drop {
		if err := s.send(ctx, []outgoing{o}); err != nil {
			return err
		}
	}
	return d.Ack(false)
}

type rabbitSubscription struct {
	rabbit   *Rabbit
	trigger  Trigger
	ch       *amqp.Channel
	messages <-chan amqp.Delivery

	cancelled <-chan string // has something once RabbitMQ has ended the consumer
	ended     bool          // it had
}

// over reports whether the message that the worker holds has gone back to the queue. RabbitMQ may end a consumer,
// because its queue is gone or it took too long (from 4.3 on), and leave the channel open: an acknowledgement could
// then be for what somebody else has by now.
func (s *rabbitSubscription) over() bool {
	select {
	case <-s.cancelled:
		s.ended = true
	default:
	}
	return s.ended || s.ch.IsClosed()
}

// Next gives the next event that the trigger wants. The queue may have others, of an earlier filter: an event that the
// trigger does not want is acknowledged. A message that cannot be read is buried.
func (s *rabbitSubscription) Next(ctx context.Context) (Message, error) {
	for {
		var d amqp.Delivery
		var ok bool
		select {
		case d, ok = <-s.messages:
			if !ok {
				return nil, errOver
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		e, legacy, err := decode(d, s.trigger.wrapType())
		m := &rabbitMessage{s, d, e}
		if attempts(d) == 0 {
			s.rabbit.ages.set(s.trigger.Name, d.Timestamp)
		}
		switch {
		case err != nil:
			slog.ErrorContext(ctx, "message cannot be read: dead letter", "trigger", s.trigger.Name, "error", err)
			err = m.Bury(ctx, err.Error())
		case legacy || s.trigger.Matches(e):
			return m, nil
		default:
			err = m.Ack(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *rabbitSubscription) Close() error {
	if s.ch.IsClosed() {
		return nil
	}
	return s.ch.Close()
}

type rabbitMessage struct {
	from     *rabbitSubscription
	delivery amqp.Delivery
	event    event.Event
}

func (m *rabbitMessage) Event() event.Event { return m.event }

func (m *rabbitMessage) Attempts() int { return attempts(m.delivery) }

func (m *rabbitMessage) Trail() Trail { return trail(m.delivery) }

func (m *rabbitMessage) Ack(context.Context) error {
	if m.from.over() {
		return errOver
	}
	if err := m.delivery.Ack(false); err != nil {
		return fmt.Errorf("%w: %w", errOver, err)
	}
	return nil
}

// Retry puts the message into the retry queue with the shortest delay that is long enough. The message is as it came,
// so that an old program can still read it.
func (m *rabbitMessage) Retry(ctx context.Context, after time.Duration, attempts int) error {
	message := again(m.delivery)
	message.Headers[attemptsHeader] = int64(attempts)
	if published := m.Trail().Published; published != "" {
		message.Headers[publishedHeader] = published
	}
	if tried := here(ctx); tried != "" {
		message.Headers[triedHeader] = tried
	}
	o := outgoing{target{key: m.from.trigger.queue(m.from.rabbit.config.Prefix)}, message}
	if after > 0 {
		i, _ := slices.BinarySearch(retryDelays, min(after, MaxDelay))
		o.exchange = m.from.rabbit.retryQueue(retryDelays[i])
	}
	return m.move(ctx, o)
}

func (m *rabbitMessage) Bury(ctx context.Context, reason string) error {
	message := again(m.delivery)
	if headersSize(message.Headers) > maxFrame {
		message.Headers = amqp.Table{}
	}
	message.Headers[reasonHeader] = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	message.Headers[triggerHeader] = m.from.trigger.Name
	return m.move(ctx, outgoing{target{key: m.from.trigger.queue(m.from.rabbit.config.Prefix) + deadSuffix}, message})
}

// move acknowledges the message once RabbitMQ has confirmed its copy.
func (m *rabbitMessage) move(ctx context.Context, o outgoing) error {
	if m.from.over() {
		return errOver
	}
	if err := m.from.rabbit.send(ctx, o); err != nil {
		return err
	}
	return m.Ack(ctx)
}
