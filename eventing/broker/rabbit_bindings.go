package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Names of queues that belong to no trigger: a trigger's name has no dot.
const (
	recordSuffix = ".broker.bindings"
	lockSuffix   = ".broker.lock"
)

const lockTimeout = 20 * time.Second // longer than RabbitMQ takes to miss a dead broker's heartbeats

// binding is a trigger's queue and what it gets of the exchange.
type binding struct {
	Trigger string `json:"trigger"`
	Queue   string `json:"queue"`
	Key     string `json:"key,omitempty"` // empty for a legacy trigger: its queue is not bound
}

// same reports whether RabbitMQ would call both the same binding.
func (b binding) same(c binding) bool { return b.Queue == c.Queue && b.Key == c.Key }

func has(bs []binding, b binding) bool { return slices.ContainsFunc(bs, b.same) }

func hasQueue(bs []binding, queue string) bool {
	return slices.ContainsFunc(bs, func(b binding) bool { return b.Queue == queue })
}

// record is what brokers on one exchange leave for each other: AMQP 0-9-1 cannot list bindings, so they write down what
// they bind, before they bind it. It is the one message in a queue of its own.
type record struct {
	Started int64     `json:"started"` // when the broker that wrote Current did, in ms since 1970
	Current []binding `json:"current"` // of the triggers of the broker that started last
	Former  []binding `json:"former"`  // of triggers that were in the file before
}

// replace gives the record of a broker that starts with the bindings, and those that it has to remove.
//
// A former binding is kept as long as its queue is there, which may have messages; where a trigger still has the queue,
// it is kept until the next start, in case that the broker ends before it has removed the binding.
func (r record) replace(current []binding, started int64, there func(queue string) bool) (
	next record, remove []binding,
) {
	next = record{Started: started, Current: current}
	for i, b := range slices.Concat(r.Current, r.Former) {
		used := hasQueue(current, b.Queue)
		if has(current, b) || has(remove, b) || !used && !there(b.Queue) {
			continue
		}
		remove = append(remove, b)
		if !used || i < len(r.Current) {
			next.Former = append(next.Former, b)
		}
	}
	return next, remove
}

// merge joins two records, of which a broker that ended in the middle left the older one.
func (r record) merge(s record) record {
	if s.Started < r.Started {
		r, s = s, r
	}
	for _, b := range slices.Concat(r.Current, r.Former) {
		if !has(s.Current, b) && !has(s.Former, b) {
			s.Former = append(s.Former, b)
		}
	}
	return s
}

func (r *Rabbit) bindings() (bs []binding) {
	for _, t := range r.triggers {
		bs = append(bs, r.binding(t))
	}
	return bs
}

func (r *Rabbit) binding(t Trigger) binding {
	b := binding{Trigger: t.Name, Queue: t.queue(r.config.Exchange)}
	if !t.Legacy {
		b.Key = t.Filter.Attributes["type"]
		if b.Key == "" {
			b.Key = "#"
		}
	}
	return b
}

// bind binds the triggers' queues and removes the bindings of triggers that have left the file.
//
// Of the brokers on an exchange the one that started last decides: in a rolling update it is one with the new file. An
// older one that connects again binds nothing that the new file does not have, and removes nothing.
func (r *Rabbit) bind(ctx context.Context, conn *amqp.Connection) error {
	return r.locked(ctx, conn, func() error {
		return onChannel(conn, func(ch *amqp.Channel) error {
			have, tag, err := r.readRecord(ctx, ch)
			if err != nil {
				return fmt.Errorf("read what other brokers have bound: %w", err)
			}
			if r.started != 0 && have.Started > r.started {
				return r.bindOlder(ctx, conn, ch, have, tag)
			}
			return r.bindNewest(ctx, conn, ch, have, tag)
		})
	})
}

func (r *Rabbit) bindNewest(
	ctx context.Context, conn *amqp.Connection, ch *amqp.Channel, have record, tag uint64,
) error {
	if have.Started == 0 { // before there were records, a filter by a type's prefix may have bound the queue to all types
		for _, b := range r.bindings() {
			have.Former = append(have.Former, binding{Trigger: b.Trigger, Queue: b.Queue, Key: "#"})
		}
	}
	left := map[string]messages{}
	for _, b := range slices.Concat(have.Current, have.Former) {
		m, there, err := r.messages(conn, b.Queue)
		if err != nil {
			return err
		}
		if there {
			left[b.Queue] = m
		}
	}
	current, started := r.bindings(), r.started
	if started == 0 { // a clock that is behind must not make this broker an older one
		started = max(time.Now().UnixMilli(), have.Started+1)
	}
	next, remove := have.replace(current, started, func(queue string) bool { _, there := left[queue]; return there })
	if err := r.writeRecord(ctx, ch, next, tag); err != nil {
		return err
	}
	for _, b := range current {
		if err := r.queueBind(conn, b); err != nil {
			return err
		}
	}
	for _, b := range remove {
		if err := r.queueUnbind(ctx, conn, b); err != nil {
			return err
		}
	}
	if r.started == 0 {
		warnOfFormer(ctx, next, left)
	}
	r.started = started
	r.setUnbound(nil)
	return nil
}

func (r *Rabbit) bindOlder(
	ctx context.Context, conn *amqp.Connection, ch *amqp.Channel, have record, tag uint64,
) error {
	// Written anew, and not put back: RabbitMQ 4 drops a message that was put back 20 times.
	if err := r.writeRecord(ctx, ch, have, tag); err != nil {
		return err
	}
	var unbound []binding
	for _, b := range r.bindings() {
		if !has(have.Current, b) {
			unbound = append(unbound, b)
			slog.WarnContext(ctx, "a broker that started later has no such trigger: no events are queued for it",
				"trigger", b.Trigger, "queue", b.Queue)
		} else if err := r.queueBind(conn, b); err != nil {
			return err
		}
	}
	r.setUnbound(unbound)
	return nil
}

// warnOfFormer tells what lies in queues that no trigger empties. They are never deleted: an old system may read them.
func warnOfFormer(ctx context.Context, r record, left map[string]messages) {
	logged := map[string]bool{}
	for _, b := range r.Former {
		if logged[b.Queue] || hasQueue(r.Current, b.Queue) {
			continue
		}
		logged[b.Queue] = true
		slog.WarnContext(ctx, "a trigger is no longer in the file, and its queue is still there: put the trigger back to "+
			"have its messages delivered and its dead letters replayed, or delete the queue and the one with .dead",
			"trigger", b.Trigger, "queue", b.Queue, "messages", left[b.Queue].live, "dead", left[b.Queue].dead)
	}
}

// setUnbound keeps the bindings of this broker's triggers that a later broker has removed.
func (r *Rabbit) setUnbound(bs []binding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unbound = bs
}

// queues reports whether events are queued for the trigger.
func (r *Rabbit) queues(t Trigger) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !has(r.unbound, r.binding(t))
}

func (r *Rabbit) queueBind(conn *amqp.Connection, b binding) error {
	if b.Key == "" {
		return nil
	}
	err := onChannel(conn, func(ch *amqp.Channel) error {
		return ch.QueueBind(b.Queue, b.Key, r.config.Exchange, false, nil)
	})
	if err != nil {
		return fmt.Errorf("bind queue %s to key %s: %w", b.Queue, b.Key, err)
	}
	return nil
}

// queueUnbind removes a binding, which may be gone already.
func (r *Rabbit) queueUnbind(ctx context.Context, conn *amqp.Connection, b binding) error {
	if b.Key == "" {
		return nil
	}
	err := onChannel(conn, func(ch *amqp.Channel) error { return ch.QueueUnbind(b.Queue, b.Key, r.config.Exchange, nil) })
	if err != nil && !isCode(err, amqp.NotFound) {
		return fmt.Errorf("remove binding of queue %s to key %s: %w", b.Queue, b.Key, err)
	}
	slog.InfoContext(ctx, "no trigger has this binding: it is removed if it is there",
		"trigger", b.Trigger, "queue", b.Queue, "key", b.Key)
	return nil
}

// messages are how many there are for a trigger.
type messages struct{ live, dead int }

func (r *Rabbit) messages(conn *amqp.Connection, queue string) (m messages, there bool, err error) {
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

// locked calls f while no other broker on the exchange does. The lock is a queue that belongs to the connection, so
// that it goes with a broker that dies.
func (r *Rabbit) locked(ctx context.Context, conn *amqp.Connection, f func() error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	name := r.config.Exchange + lockSuffix
	for {
		err := onChannel(conn, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(name, false, false, true, false, nil)
			return err
		})
		if err == nil {
			break
		}
		if !isCode(err, amqp.ResourceLocked) || ctx.Err() != nil {
			return fmt.Errorf("declare queue %s: %w", name, err)
		}
		sleep(ctx, jitter(20*time.Millisecond))
	}
	defer func() {
		err = errors.Join(err, onChannel(conn, func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(name, false, false, false)
			return err
		}))
	}()
	return f()
}

// readRecord takes the record from its queue, up to the delivery tag; until it is acknowledged it returns when the
// channel closes.
func (r *Rabbit) readRecord(ctx context.Context, ch *amqp.Channel) (have record, tag uint64, err error) {
	name := r.config.Exchange + recordSuffix
	args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
		return have, 0, err
	}
	for {
		d, ok, err := ch.Get(name, false)
		if err != nil || !ok {
			return have, tag, err
		}
		tag = d.DeliveryTag
		var one record
		if err := json.Unmarshal(d.Body, &one); err != nil {
			slog.ErrorContext(ctx, "the record of bindings cannot be read: bindings of former triggers may stay",
				"queue", name, "error", err)
			continue
		}
		have = have.merge(one)
	}
}

// writeRecord puts the record into its queue, and then forgets those up to the delivery tag.
func (r *Rabbit) writeRecord(ctx context.Context, ch *amqp.Channel, next record, tag uint64) error {
	body, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	c, err := ch.PublishWithDeferredConfirm("", r.config.Exchange+recordSuffix, false, false,
		amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: body})
	if err != nil {
		return fmt.Errorf("write down the bindings: %w", err)
	}
	if acked, err := c.WaitContext(ctx); err != nil || !acked {
		return fmt.Errorf("write down the bindings: RabbitMQ does not confirm: %w", errors.Join(err, ctx.Err()))
	}
	if tag == 0 {
		return nil
	}
	return ch.Ack(tag, true)
}

func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == code
}
