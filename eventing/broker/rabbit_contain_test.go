package broker

import (
	"context"
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing"
)

// TestRabbitContain has an old program that ends at one message, and is started again each time, as a cluster does it.
// It asks for all messages at once. The others are read meanwhile, and the owner of the one hears of it.
func TestRabbitContain(t *testing.T) {
	t.Parallel()
	old := trigger("contained", eventing.TypeVideoUploaded)
	old.Subscriber, old.Legacy, old.QueueType = "", true, amqp.QueueTypeClassic
	triggers := Triggers{old, trigger("failed", eventing.TypeConversionFailed)}
	r := newRabbit(t, triggers)
	second := openRabbit(t, r.config, triggers) // only one of both looks
	ctx, stop := context.WithCancel(testContext(t))
	done := make(chan struct{}, 2)
	for _, q := range []*Rabbit{r.Rabbit, second} {
		go func() { _ = q.Contain(ctx); done <- struct{}{} }()
	}
	defer func() { stop(); <-done; <-done }()

	queue := old.queue(r.prefix)
	body := func(id string) []byte {
		return fmt.Appendf(nil, `{"video_fid":%q,"mp3_fid":null,"username":"ada@example.org"}`, id)
	}
	bad := string(body("bad"))
	r.put(t, queue, amqp.Publishing{Body: body("a"), DeliveryMode: amqp.Persistent})
	r.put(t, queue, amqp.Publishing{Body: []byte(bad), DeliveryMode: amqp.Persistent})
	for _, id := range []string{"b", "c", "d"} {
		r.put(t, queue, amqp.Publishing{Body: body(id), DeliveryMode: amqp.Persistent})
	}
	conn := must(t, amqp.Dial, amqpURL(t))
	defer conn.Close()
	read := map[string]int{}
	for end := 1; end <= maxEnds; end++ {
		ch := must(t, func(c *amqp.Connection) (*amqp.Channel, error) { return c.Channel() }, conn)
		ds, err := ch.Consume(queue, "", false, false, false, false, nil)
		if err != nil {
			t.Fatalf("Consume() = %v", err)
		}
		for d := range ds {
			if read[string(d.Body)]++; string(d.Body) == bad {
				break
			}
			if err := d.Ack(false); err != nil {
				t.Fatalf("Ack() = %v", err)
			}
		}
		// It lives for long enough to be seen, and is away until it was looked into.
		eventually(t, "the reader to be seen", func() bool {
			return logs.count(`"an old program reads its queue","trigger":"contained"`) == end
		})
		if err := ch.Close(); err != nil {
			t.Fatalf("Close() = %v", err)
		}
		eventually(t, "the message to be moved", func() bool {
			return logs.count(fmt.Sprintf(`"trigger":"contained","ends":%d`, end)) == 1
		})
	}
	m := next(t, subscribe(t, r, "failed"))
	p, err := eventing.Decode[eventing.ConversionFailed](m.Event())
	if err != nil || p.VideoFID != "bad" || p.Username != "ada@example.org" || p.Error.Code != "exhausted" ||
		m.Event().Source() != eventing.LegacySource {
		t.Errorf("the event of the video = %+v, %v, want that its conversion failed", p, err)
	}
	if d := r.get(t, queue+deadSuffix); string(d.Body) != bad || d.Headers[triggerHeader] != "contained" {
		t.Errorf("dead letter = %s %v, want the message", d.Body, d.Headers)
	}
	if len(read) != 5 || read[bad] != maxEnds || read[string(body("a"))] != 1 || read[string(body("d"))] != 1 {
		t.Errorf("the program read %v, want one %d times and the others once", read, maxEnds)
	}
}
