package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.opentelemetry.io/otel/attribute"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// Depth is how much waits for a trigger.
type Depth struct {
	Live, Dead int
	Oldest     time.Duration // at most how long the oldest that lives has waited; those in retry queues are not seen
}

// measures has the metrics of a dispatcher.
type measures struct{ inFlight, attempts, dead, duration telemetry.Instrument }

func newMeasures(q Queue, ts Triggers) measures {
	if q, ok := q.(interface {
		Depth(ctx context.Context, trigger string) (Depth, error)
	}); ok {
		each := func(f func(d Depth, tell func(float64, ...attribute.KeyValue), trigger attribute.KeyValue)) func(
			context.Context, func(float64, ...attribute.KeyValue)) error {
			return func(ctx context.Context, tell func(float64, ...attribute.KeyValue)) error {
				for _, t := range ts {
					d, err := q.Depth(ctx, t.Name)
					if err != nil {
						return err
					}
					f(d, tell, attribute.String("trigger", t.Name))
				}
				return nil
			}
		}
		telemetry.Look("soundstrip.queue.messages", each(
			func(d Depth, tell func(float64, ...attribute.KeyValue), trigger attribute.KeyValue) {
				tell(float64(d.Live), trigger, attribute.String("state", "ready"))
				tell(float64(d.Dead), trigger, attribute.String("state", "dead"))
			}))
		telemetry.Look("soundstrip.queue.oldest.age", each(
			func(d Depth, tell func(float64, ...attribute.KeyValue), trigger attribute.KeyValue) {
				tell(d.Oldest.Seconds(), trigger)
			}))
	}
	return measures{telemetry.Count("soundstrip.dispatch.in_flight"), telemetry.Count("soundstrip.dispatch.attempts"),
		telemetry.Count("soundstrip.dispatch.dead_letters"), telemetry.Measure("messaging.process.duration")}
}

// begin counts a try; what it gives counts what that came to.
func (m measures) begin(ctx context.Context, t Trigger, system string) func(verdict) {
	trigger, began := attribute.String("trigger", t.Name), time.Now()
	m.inFlight.Add(ctx, 1, trigger)
	return func(v verdict) {
		m.inFlight.Add(ctx, -1, trigger)
		m.attempts.Add(ctx, 1, trigger, attribute.String("outcome", v.kind.String()))
		m.duration.Add(ctx, time.Since(began).Seconds(), attribute.String("messaging.system", system),
			attribute.String("messaging.operation.name", "process"), attribute.String("messaging.destination.name", t.Name))
	}
}

// ages tell how old the oldest message of a queue is at most. RabbitMQ does not say: but what waits was published after
// the last that was taken for the first time, and after the queue was last seen empty.
type ages struct {
	mu    sync.Mutex
	since map[string]time.Time // by trigger
}

func (a *ages) set(trigger string, t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since == nil {
		a.since = map[string]time.Time{}
	}
	if t.After(a.since[trigger]) {
		a.since[trigger] = t
	}
}

// of gives the age; 0 as long as nothing is known.
func (a *ages) of(trigger string, live int, now time.Time) time.Duration {
	if live == 0 {
		a.set(trigger, now)
		return 0
	}
	a.mu.Lock()
	since, known := a.since[trigger]
	a.mu.Unlock()
	if !known {
		a.set(trigger, now) // from when on it is known that something waits
		return 0
	}
	return now.Sub(since)
}

// Depth asks RabbitMQ.
func (r *Rabbit) Depth(ctx context.Context, trigger string) (d Depth, err error) {
	t, err := r.triggers.find(trigger)
	if err != nil {
		return d, err
	}
	s, err := r.connected(ctx)
	if err != nil {
		return d, err
	}
	queue := t.queue(r.config.Prefix)
	err = onChannel(s.conn, func(ch *amqp.Channel) error {
		live, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			return err
		}
		dead, err := ch.QueueDeclarePassive(queue+deadSuffix, true, false, false, false, nil)
		d.Live, d.Dead = live.Messages, dead.Messages
		return err
	})
	if err != nil {
		return d, fmt.Errorf("look at queue %s: %w", queue, err)
	}
	d.Oldest = r.ages.of(trigger, d.Live, time.Now())
	return d, nil
}

// Depth counts what nobody holds.
func (q *SQLite) Depth(ctx context.Context, trigger string) (d Depth, err error) {
	q.mu.Lock()
	held, err := q.heldJSON()
	q.mu.Unlock()
	if err != nil {
		return d, err
	}
	var oldest int64
	err = q.db.QueryRowContext(ctx, `SELECT count(*) - count(dead), count(dead),
		coalesce(min(CASE WHEN dead IS NULL THEN kept END), 0)
		FROM queue WHERE trigger_of = ? AND id NOT IN (SELECT value FROM json_each(?))`, trigger, held).
		Scan(&d.Live, &d.Dead, &oldest)
	if err != nil {
		return d, fmt.Errorf("count messages of %s: %w", trigger, err)
	}
	if oldest > 0 {
		d.Oldest = max(0, time.Since(time.UnixMilli(oldest)))
	}
	return d, nil
}
