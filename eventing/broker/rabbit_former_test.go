package broker

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// another starts another broker on r's exchange, as a new file of triggers has it.
func (r rabbit) another(t *testing.T, triggers ...Trigger) *Rabbit {
	t.Helper()
	q := openRabbit(t, RabbitConfig{URL: amqpURL(t), Prefix: r.prefix}, triggers)
	t.Cleanup(func() { deleteQueues(r.admin, r.prefix, triggers) })
	if _, err := q.connected(testContext(t)); err != nil {
		t.Fatalf("connected() = %v", err)
	}
	return q
}

// count gives how many messages are ready in a queue.
func (r rabbit) count(t *testing.T, queue string) int {
	t.Helper()
	q, err := r.admin.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatalf("QueueDeclarePassive(%q) = %v", queue, err)
	}
	return q.Messages
}

// gets checks that of events of the types, published by q, just those that are wanted arrive in the queue.
func (r rabbit) gets(t *testing.T, q *Rabbit, queue string, types, want []string) {
	t.Helper()
	before := r.count(t, queue)
	for _, typ := range types {
		publish(t, q, newEvent(t, "1", typ))
	}
	if got := r.count(t, queue) - before; got != len(want) {
		t.Errorf("of %q, %d events came to %s, want %q", types, got, queue, want)
	}
}

func TestRabbitTriggerLeaves(t *testing.T) {
	t.Parallel()
	legacy := trigger("old", "a.z")
	legacy.Legacy = true
	convert, gone := trigger("convert", "a.x"), trigger("gone", "a.y")
	r := newRabbit(t, Triggers{convert, gone, legacy})
	publish(t, r, newEvent(t, "1", "a.y"), newEvent(t, "2", "a.y"), newEvent(t, "3", "a.z"))
	r.put(t, r.prefix+".gone.dead", amqp.Publishing{DeliveryMode: amqp.Persistent})

	q := r.another(t, convert)
	r.gets(t, q, r.prefix+".gone", []string{"a.y"}, nil)
	r.gets(t, q, r.prefix+".old", []string{"a.z"}, nil)
	r.gets(t, q, r.prefix+".convert", []string{"a.x"}, []string{"a.x"})
	for queue, want := range map[string]int{".gone": 2, ".gone.dead": 1, ".old": 1} {
		if got := r.count(t, r.prefix+queue); got != want {
			t.Errorf("messages left in %s = %d, want %d", queue, got, want)
		}
	}
	for queue, want := range map[string]string{".gone": `"messages":2,"dead":1`, ".old": `"messages":1,"dead":0`} {
		if line := logs.find(`"queue":"` + r.prefix + queue + `","messages"`); !strings.Contains(line, want) {
			t.Errorf("log of %s = %s, want %s", queue, line, want)
		}
	}

	// It comes back, and finds what was left.
	back := r.another(t, convert, gone)
	s := subscribe(t, back, "gone")
	for _, id := range []string{"1", "2"} {
		m := next(t, s)
		if m.Event().ID() != id {
			t.Errorf("Next() = %s, want %s", m.Event().ID(), id)
		}
		ack(t, m)
	}
	empty(t, back, s, "a.y")
}

func TestRabbitFilterChanges(t *testing.T) {
	t.Parallel()
	all := trigger("convert", "")
	all.Filter = Filter{Prefix: map[string]string{"type": "a."}}
	all.Queue = "test-video-" + rand.Text()
	x, y := trigger("convert", "a.x"), trigger("renamed", "a.y")
	x.Queue, y.Queue = all.Queue, all.Queue
	types := []string{"a.x", "a.y", "a.z"}

	r := newRabbit(t, Triggers{all})
	r.gets(t, r.Rabbit, all.Queue, types, types)
	r.gets(t, r.another(t, x), all.Queue, types, []string{"a.x"})
	r.gets(t, r.another(t, y), all.Queue, types, []string{"a.y"})
	if got := r.count(t, all.Queue); got != 5 {
		t.Errorf("messages = %d, want all 5 that came", got)
	}
	r.gets(t, r.another(t, all), all.Queue, types, types)
}

// TestRabbitOldQueueStays has a trigger leave whose queue an old system writes and reads.
func TestRabbitOldQueueStays(t *testing.T) {
	t.Parallel()
	video := trigger("convert", "a.x")
	video.Queue = "test-video-" + rand.Text()
	r := newRabbit(t, Triggers{video, trigger("notify", "a.y")})
	r.another(t, trigger("notify", "a.y"))
	r.put(t, video.Queue, amqp.Publishing{Body: []byte("old")})
	if d := r.get(t, video.Queue); string(d.Body) != "old" {
		t.Errorf("message = %q, want the old system's", d.Body)
	}
}

// TestReplayIsNoBroker replays with a file that has a trigger less than the broker's.
func TestReplayIsNoBroker(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x"), trigger("notify", "a.y")})
	r.put(t, r.prefix+".convert.dead", amqp.Publishing{})
	c := QueueConfig{Rabbit: r.config, File: writeTriggers(t, "triggers: [{name: convert, subscriber: http://convert}, "+
		"{name: none, subscriber: http://none}]")}
	if n, err := replay(t, c, "convert"); n != 1 || err != nil {
		t.Errorf("Replay() = %d, %v, want 1, nil", n, err)
	}
	if n, err := replay(t, c, "none"); n != 0 || err == nil {
		t.Errorf("Replay() of a trigger that no broker has = %d, %v, want an error", n, err)
	}
	r.gets(t, r.Rabbit, r.prefix+".notify", []string{"a.y"}, []string{"a.y"})
}

// TestRabbitRollingUpdate has a broker with the old file live on beside one with the new file.
func TestRabbitRollingUpdate(t *testing.T) {
	t.Parallel()
	convert, gone, fresh := trigger("convert", "a.x"), trigger("gone", "a.y"), trigger("fresh", "a.z")
	old := newRabbit(t, Triggers{convert, gone})
	young := old.another(t, convert, fresh)
	for _, q := range []*Rabbit{old.Rabbit, young} {
		old.gets(t, q, old.prefix+".convert", []string{"a.x"}, []string{"a.x"})
	}
	old.gets(t, young, old.prefix+".gone", []string{"a.y"}, nil)
	old.gets(t, young, old.prefix+".fresh", []string{"a.z"}, []string{"a.z"})

	// It still works off what its trigger has.
	publish(t, old, newEvent(t, "left", "a.y"))
	s := subscribe(t, old, "gone")
	m := next(t, s)
	if m.Event().ID() != "left" {
		t.Errorf("Next() = %s, want left", m.Event().ID())
	}
	ack(t, m)
}

// TestRabbitRecordLost has someone overwrite what a broker has left for the next: it starts nevertheless.
func TestRabbitRecordLost(t *testing.T) {
	t.Parallel()
	convert, gone := trigger("convert", "a.x"), trigger("gone", "a.y")
	r := newRabbit(t, Triggers{convert, gone})
	r.put(t, r.prefix+recordSuffix, amqp.Publishing{Body: []byte("no record")})
	r.gets(t, r.another(t, convert), r.prefix+".gone", []string{"a.y"}, nil)
	if line := logs.find(`"queue":"` + r.prefix + recordSuffix); !strings.Contains(line, "cannot be read") {
		t.Errorf("log of the record = %q", line)
	}
}

// TestRabbitBindings starts where a broker of an earlier version has bound a queue to an exchange.
func TestRabbitBindings(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	if err := r.admin.ExchangeDeclare(r.prefix, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.admin.QueueBind(r.prefix+".convert", "#", r.prefix, false, nil); err != nil {
		t.Fatal(err)
	}
	r.gets(t, r.another(t, trigger("convert", "a.x")), r.prefix+".convert", []string{"a.x", "a.y"}, []string{"a.x"})
	err := r.admin.ExchangeDeclarePassive(r.prefix, amqp.ExchangeTopic, true, false, false, false, nil)
	if !isCode(err, amqp.NotFound) {
		t.Errorf("ExchangeDeclarePassive() = %v, want that it is gone", err)
	}
}

// TestRabbitClassic has an old program declare the queue of a trigger after us.
func TestRabbitClassic(t *testing.T) {
	t.Parallel()
	video := trigger("convert", "a.x")
	video.QueueType = amqp.QueueTypeClassic
	r := newRabbit(t, Triggers{video})
	if _, err := r.admin.QueueDeclare(r.prefix+".convert", true, false, false, false, nil); err != nil {
		t.Fatalf("queue_declare(queue, durable=True) = %v", err)
	}
	publish(t, r, newEvent(t, "1", "a.x"))
	s := subscribe(t, r, "convert")
	m := next(t, s)
	if err := m.Retry(testContext(t), time.Second, 1); err != nil {
		t.Fatalf("Retry() = %v", err)
	}
	if m := next(t, s); m.Event().ID() != "1" || m.Attempts() != 1 {
		t.Errorf("Next() = %s, %d attempts, want 1, 1", m.Event().ID(), m.Attempts())
	}
}
