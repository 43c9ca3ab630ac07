package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	amqp "github.com/rabbitmq/amqp091-go"
)

// recordSuffix names the queue in which a broker that starts leaves its triggers' queues for the next one. It belongs
// to no trigger: a trigger's name has no dot.
const recordSuffix = ".broker.triggers"

// tellFormer logs, once, what is left in the queues of triggers that have gone from the file since another broker
// started, and leaves the queues of this one's for the next. They are never deleted: an old system may read them.
//
// The record is the one message of a queue that drops the older one. Nothing hangs on it but the log: of brokers that
// start at once one may miss what another has left.
func (r *Rabbit) tellFormer(ctx context.Context, conn *amqp.Connection) error {
	queues := map[string]string{} // triggers' names, by queue
	for _, t := range r.triggers {
		queues[t.queue(r.config.Prefix)] = t.Name
	}
	var body []byte
	name := r.config.Prefix + recordSuffix
	err := onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueMaxLenArg: 1})
		if err != nil {
			return err
		}
		d, _, err := ch.Get(name, true)
		if err != nil {
			return err
		}
		body = d.Body
		record, err := json.Marshal(queues)
		if err != nil {
			return err
		}
		return ch.PublishWithContext(ctx, "", name, false, false,
			amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: record})
	})
	if err != nil {
		return fmt.Errorf("record of triggers in queue %s: %w", name, err)
	}
	former := map[string]string{}
	if err := json.Unmarshal(body, &former); err != nil && len(body) > 0 {
		slog.WarnContext(ctx, "the record of triggers cannot be read: what has left the file is not told",
			"queue", name, "error", err)
	}
	for queue, trigger := range former {
		if queues[queue] != "" {
			continue
		}
		left, there, err := count(conn, queue)
		if err != nil {
			return err
		}
		if there {
			slog.WarnContext(ctx, "a trigger is no longer in the file: its queue gets nothing more, and stays. Put the trigger "+
				"back to have its messages delivered and its dead letters replayed, or delete the queue and the one with .dead",
				"trigger", trigger, "queue", queue, "messages", left.live, "dead", left.dead)
		}
	}
	return nil
}

// messages are how many there are for a trigger.
type messages struct{ live, dead int }

func count(conn *amqp.Connection, queue string) (m messages, there bool, err error) {
	for name, n := range map[string]*int{queue: &m.live, queue + deadSuffix: &m.dead} {
		err := onChannel(conn, func(ch *amqp.Channel) error {
			q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
			*n = q.Messages
			return err
		})
		if err != nil && !isCode(err, amqp.NotFound) {
			return m, false, fmt.Errorf("look into queue %s: %w", name, err)
		}
		there = there || err == nil
	}
	return m, there, nil
}
