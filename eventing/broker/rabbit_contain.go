package broker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing"
)

const (
	// maxEnds is how often a message may end the old programs that read its queue.
	maxEnds = 3
	// look is how often the queues of old programs are looked at.
	look = 500 * time.Millisecond
	// watchSuffix names the queue whose owner is the one broker that looks. A trigger's name has no dot.
	watchSuffix = ".broker.watch"
)

// Contain watches the queues that old programs read, until ctx ends. Such a program may end at a message, is started
// again, and gets the same one first: nobody else's is read any more. A message that has ended all readers of its queue
// goes to the end of it, so that others are read meanwhile, and after three times to the dead letters. The owner of a
// video hears of it by conversion.failed.
//
// That the first message of a queue without readers was delivered before says that it ended one: these programs settle
// messages in order. RabbitMQ counts deliveries for quorum queues only, and there for every message that a program had
// been sent, since they ask for all at once.
func (r *Rabbit) Contain(ctx context.Context) error {
	var old []Trigger
	for _, t := range r.triggers {
		if t.Subscriber == "" {
			old = append(old, t)
		}
	}
	for ctx.Err() == nil && len(old) > 0 {
		err := r.watchOld(ctx, old)
		if ctx.Err() == nil && !isCode(err, amqp.ResourceLocked) { // another broker looks
			slog.WarnContext(ctx, "old programs are not watched", "error", err)
		}
		sleep(ctx, jitter(maxReconnect))
	}
	<-ctx.Done()
	return nil
}

func (r *Rabbit) watchOld(ctx context.Context, old []Trigger) error {
	s, err := r.connected(ctx)
	if err != nil {
		return err
	}
	return onChannel(s.conn, func(ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare(r.config.Prefix+watchSuffix, false, true, true, false, nil); err != nil {
			return err
		}
		read := map[string]bool{} // queues that had a reader since they were looked into
		for {
			for _, t := range old {
				q, err := ch.QueueDeclarePassive(t.queue(r.config.Prefix), true, false, false, false, nil)
				switch {
				case err != nil:
					return err
				case q.Consumers > 0 && !read[q.Name]:
					read[q.Name] = true
					slog.InfoContext(ctx, "an old program reads its queue", "trigger", t.Name, "queue", q.Name)
				case q.Consumers == 0 && read[q.Name] && q.Messages > 0:
					read[q.Name] = false
					if err := r.lookInto(ctx, ch, t); err != nil {
						return fmt.Errorf("look into queue %s: %w", q.Name, err)
					}
				}
			}
			sleep(ctx, look)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	})
}

// lookInto deals with the first message of a queue whose readers have ended.
func (r *Rabbit) lookInto(ctx context.Context, ch *amqp.Channel, t Trigger) error {
	d, ok, err := ch.Get(t.queue(r.config.Prefix), false)
	if err != nil || !ok {
		return err
	}
	if !d.Redelivered {
		return d.Reject(true)
	}
	sub := &rabbitSubscription{rabbit: r, trigger: t, ch: ch}
	e, _, err := decode(d, t.wrapType())
	m := &rabbitMessage{sub, d, e}
	ends := m.Attempts() + 1
	log := slog.With("trigger", t.Name, "ends", ends, "subject", e.Subject())
	if ends < maxEnds {
		log.WarnContext(ctx, "the old program ended at a message: others come first now")
		return m.Retry(ctx, 0, ends)
	}
	if err == nil && e.Type() == eventing.TypeVideoUploaded {
		if err := r.failVideo(ctx, e); err != nil {
			return err
		}
	}
	log.ErrorContext(ctx, "the old program ended at a message again and again: dead letter")
	return m.Bury(ctx, fmt.Sprintf("the program that reads the queue ended at it %d times", ends))
}

// failVideo tells that a video gets no MP3.
func (r *Rabbit) failVideo(ctx context.Context, e event.Event) error {
	p, err := eventing.Decode[eventing.VideoUploaded](e)
	if err != nil {
		return nil //nolint:nilerr // it is a dead letter all the same
	}
	p.MP3FID = nil
	failed, err := eventing.New(eventing.LegacySource, p.VideoFID, 1, eventing.ConversionFailed{Reference: p.Reference,
		Filename: p.Filename, Options: p.Options, Error: eventing.Failure{Code: "exhausted", Message: fmt.Sprintf(
			"the converter ended at this video %d times: it may have no sound, or be damaged", maxEnds)}})
	if err != nil {
		return err
	}
	return r.Publish(ctx, failed)
}
