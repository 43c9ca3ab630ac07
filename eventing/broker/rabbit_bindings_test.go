package broker

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"
)

// another starts another broker on r's exchange, as a new file of triggers has it.
func (r rabbit) another(t *testing.T, triggers ...Trigger) *Rabbit {
	t.Helper()
	q := openRabbit(t, RabbitConfig{URL: amqpURL(t), Exchange: r.exchange}, triggers)
	t.Cleanup(func() { deleteQueues(r.admin, r.exchange, triggers) })
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
	r.put(t, r.exchange+".gone.dead", amqp.Publishing{DeliveryMode: amqp.Persistent})

	q := r.another(t, convert)
	r.gets(t, q, r.exchange+".gone", []string{"a.y"}, nil)
	r.gets(t, q, r.exchange+".old", []string{"a.z"}, nil)
	r.gets(t, q, r.exchange+".convert", []string{"a.x"}, []string{"a.x"})
	for queue, want := range map[string]int{".gone": 2, ".gone.dead": 1, ".old": 1} {
		if got := r.count(t, r.exchange+queue); got != want {
			t.Errorf("messages left in %s = %d, want %d", queue, got, want)
		}
	}
	for queue, want := range map[string]string{".gone": `"messages":2,"dead":1`, ".old": `"messages":1,"dead":0`} {
		if line := logs.find(`"queue":"` + r.exchange + queue + `","messages"`); !strings.Contains(line, want) {
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
	all.Queue = "test-video-" + strings.ToLower(t.Name())
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
	video.Queue = "test-video-" + strings.ToLower(t.Name())
	r := newRabbit(t, Triggers{video, trigger("notify", "a.y")})
	r.another(t, trigger("notify", "a.y"))
	r.put(t, video.Queue, amqp.Publishing{Body: []byte("old")})
	if d := r.get(t, video.Queue); string(d.Body) != "old" {
		t.Errorf("message = %q, want the old system's", d.Body)
	}
}

// TestRabbitRollingUpdate has a broker with the old file live on, and lose its connection, beside one with the new
// file.
func TestRabbitRollingUpdate(t *testing.T) {
	t.Parallel()
	convert, gone, fresh := trigger("convert", "a.x"), trigger("gone", "a.y"), trigger("fresh", "a.z")
	p := newProxy(t)
	old := newRabbit(t, Triggers{convert, gone}, p.url)
	young := old.another(t, convert, fresh)

	check := func(when string) {
		t.Helper()
		// An event that only the old file's trigger wants is not refused for ever.
		eventually(t, "the old broker to take a.y "+when, func() bool {
			return old.Publish(testContext(t), newEvent(t, "1", "a.y")) == nil
		})
		for _, q := range []*Rabbit{old.Rabbit, young} {
			eventually(t, "a.x to be taken "+when,
				func() bool { return q.Publish(testContext(t), newEvent(t, "1", "a.x")) == nil })
			old.gets(t, q, old.exchange+".gone", []string{"a.y"}, nil)
			old.gets(t, q, old.exchange+".convert", []string{"a.x"}, []string{"a.x"})
			old.gets(t, q, old.exchange+".fresh", []string{"a.z"}, []string{"a.z"})
		}
	}
	check("beside the new one")
	p.cut()
	p.mend()
	check("after a new connection")

	// It still works off what its trigger has, and what another replays.
	old.put(t, old.exchange+".gone", amqp.Publishing{Headers: must(t, encode, newEvent(t, "left", "a.y")).Headers})
	s := subscribe(t, old, "gone")
	if m := next(t, s); m.Event().ID() != "left" {
		t.Errorf("Next() = %s, want left", m.Event().ID())
	} else {
		ack(t, m)
	}
}

// TestRabbitStartTogether starts brokers at once, half of them with a file that has a trigger less.
func TestRabbitStartTogether(t *testing.T) {
	t.Parallel()
	convert, gone := trigger("convert", "a.x"), trigger("gone", "a.y")
	r := newRabbit(t, Triggers{convert, gone})
	var wg sync.WaitGroup
	for i := range 6 {
		q := openRabbit(t, RabbitConfig{URL: amqpURL(t), Exchange: r.exchange}, Triggers{convert, gone}[:1+i%2])
		wg.Go(func() {
			if _, err := q.connected(testContext(t)); err != nil {
				t.Errorf("connected() = %v", err)
			}
		})
	}
	wg.Wait()
	q := r.another(t, convert)
	r.gets(t, q, r.exchange+".gone", []string{"a.y"}, nil)
	if got := r.count(t, r.exchange+recordSuffix); got != 1 {
		t.Errorf("records = %d, want 1", got)
	}
	d := r.get(t, r.exchange+recordSuffix)
	var got record
	if err := json.Unmarshal(d.Body, &got); err != nil {
		t.Fatal(err)
	}
	want := []binding{{"convert", r.exchange + ".convert", "a.x"}}
	if diff := cmp.Diff(want, got.Current); diff != "" {
		t.Errorf("bindings in the record (-want +got):\n%s", diff)
	}
}

// TestRabbitRecordLost has someone delete, or overwrite, what the brokers have written down: they start nevertheless.
func TestRabbitRecordLost(t *testing.T) {
	t.Parallel()
	convert, gone := trigger("convert", "a.x"), trigger("gone", "a.y")
	r := newRabbit(t, Triggers{convert, gone})
	r.put(t, r.exchange+recordSuffix, amqp.Publishing{Body: []byte("no record")})
	r.gets(t, r.another(t, convert), r.exchange+".gone", []string{"a.y"}, nil)
	if _, err := r.admin.QueueDelete(r.exchange+recordSuffix, false, false, false); err != nil {
		t.Fatal(err)
	}
	r.gets(t, r.another(t, convert, gone), r.exchange+".gone", []string{"a.y"}, []string{"a.y"})
	r.gets(t, r.another(t, convert), r.exchange+".gone", []string{"a.y"}, nil)
}

// TestRabbitBeforeRecords starts where a broker of an earlier version, which wrote nothing down, bound a queue to all
// types.
func TestRabbitBeforeRecords(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	if err := r.admin.QueueBind(r.exchange+".convert", "#", r.exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin.QueueDelete(r.exchange+recordSuffix, false, false, false); err != nil {
		t.Fatal(err)
	}
	r.gets(t, r.another(t, trigger("convert", "a.x")), r.exchange+".convert", []string{"a.x", "a.y"}, []string{"a.x"})
}

// TestReplayIsNoBroker replays with a file that has a trigger less than the broker's.
func TestReplayIsNoBroker(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x"), trigger("notify", "a.y")})
	r.put(t, r.exchange+".convert.dead", amqp.Publishing{})
	c := QueueConfig{Rabbit: r.config, File: writeTriggers(t, "triggers: [{name: convert, subscriber: http://convert}, "+
		"{name: none, subscriber: http://none}]")}
	if n, err := c.Replay(testContext(t), "convert"); n != 1 || err != nil {
		t.Errorf("Replay() = %d, %v, want 1, nil", n, err)
	}
	if n, err := c.Replay(testContext(t), "none"); n != 0 || err == nil {
		t.Errorf("Replay() of a trigger that no broker has = %d, %v, want an error", n, err)
	}
	r.gets(t, r.Rabbit, r.exchange+".notify", []string{"a.y"}, []string{"a.y"})
}

func TestRecordReplace(t *testing.T) {
	t.Parallel()
	a, aAll, b, c := binding{"a", "qa", "a.x"}, binding{"a", "qa", "#"}, binding{"b", "qb", "b.x"}, binding{"c", "qc", ""}
	tests := []struct {
		name           string
		have           record
		current        []binding
		deleted        string // a queue
		former, remove []binding
	}{
		{name: "first start", current: []binding{a}},
		{name: "the same", have: record{Current: []binding{a, b}}, current: []binding{b, a}},
		{name: "one leaves", have: record{Current: []binding{a, b, c}}, current: []binding{a}, former: []binding{b, c},
			remove: []binding{b, c}},
		{name: "one that has left stays known", have: record{Current: []binding{a}, Former: []binding{b}},
			current: []binding{a}, former: []binding{b}, remove: []binding{b}},
		{name: "its queue is deleted", have: record{Current: []binding{a}, Former: []binding{b}}, current: []binding{a},
			deleted: "qb"},
		{name: "it comes back", have: record{Current: []binding{a}, Former: []binding{b}}, current: []binding{a, b}},
		{name: "another key", have: record{Current: []binding{aAll}}, current: []binding{a}, former: []binding{aAll},
			remove: []binding{aAll}},
		{name: "another key, at the next start", have: record{Current: []binding{a}, Former: []binding{aAll}},
			current: []binding{a}, remove: []binding{aAll}},
		{name: "another trigger has the queue", have: record{Current: []binding{a}}, current: []binding{{"b", "qa", "a.x"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, remove := tt.have.replace(tt.current, 7, func(queue string) bool { return queue != tt.deleted })
			want := record{Started: 7, Current: tt.current, Former: tt.former}
			if diff := cmp.Diff([]any{want, tt.remove}, []any{got, remove}); diff != "" {
				t.Errorf("replace() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecordMerge(t *testing.T) {
	t.Parallel()
	a, b, c := binding{"a", "qa", "a.x"}, binding{"b", "qb", "b.x"}, binding{"c", "qc", "c.x"}
	older, newer := record{1, []binding{a, b}, []binding{c}}, record{2, []binding{a}, nil}
	want := record{2, []binding{a}, []binding{b, c}}
	for _, pair := range [][2]record{{older, newer}, {newer, older}} {
		if diff := cmp.Diff(want, pair[0].merge(pair[1])); diff != "" {
			t.Errorf("merge() (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(older, record{}.merge(older)); diff != "" {
		t.Errorf("merge() with nothing (-want +got):\n%s", diff)
	}
}

// TestRabbitLock starts a broker while another one holds the lock: it waits until the lock is free.
func TestRabbitLock(t *testing.T) {
	t.Parallel()
	r := newRabbit(t, Triggers{trigger("convert", "a.x")})
	holder := must(t, amqp.Dial, amqpURL(t))
	defer holder.Close()
	var q *Rabbit
	err := r.locked(testContext(t), holder, func() error {
		other := must(t, amqp.Dial, amqpURL(t))
		defer other.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := r.locked(ctx, other, func() error {
			t.Error("locked() calls its function while the lock is held")
			return nil
		})
		if !isCode(err, amqp.ResourceLocked) {
			t.Errorf("locked() while the lock is held = %v, want RabbitMQ's refusal", err)
		}
		q = openRabbit(t, r.config, Triggers{trigger("convert", "a.x")})
		return q.Ping(t.Context())
	})
	if err == nil {
		t.Error("Ping() while the lock is held = nil, want an error")
	}
	if _, err := q.connected(testContext(t)); err != nil {
		t.Errorf("connected() after the lock is free = %v", err)
	}
}
