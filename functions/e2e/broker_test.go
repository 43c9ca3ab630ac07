package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/soundstrip/soundstrip/eventing"
)

// poster posts events to a broker, one after the other.
type poster struct {
	name   string
	broker string
	secret []byte
	client *http.Client
	data   []byte // of each event, JSON; there is none without

	mu    sync.Mutex
	taken []string // ids of the events that were answered 202
	err   error    // the first post that was not
}

func (p *poster) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d", p.name, n)
		err := p.post(ctx, id)
		p.mu.Lock()
		switch {
		case err == nil:
			p.taken = append(p.taken, id)
		case p.err == nil && ctx.Err() == nil:
			p.err = fmt.Errorf("event %s: %w", id, err)
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *poster) post(ctx context.Context, id string) error {
	e := event.New()
	e.SetID(id)
	e.SetSource("/test")
	e.SetType("test.x")
	if p.data != nil {
		if err := e.SetData(event.ApplicationJSON, p.data); err != nil {
			return err
		}
	}
	r, err := eventing.NewRequest(context.WithoutCancel(ctx), p.broker, e)
	if err != nil {
		return err
	}
	if err := eventing.Authorize(r, p.secret, "broker"); err != nil {
		return err
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("answered %s, want 202", resp.Status)
	}
	return nil
}

func (p *poster) state() (taken int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken), p.err
}

// TestBrokerDrain ends a broker as Kubernetes does, while clients that still have its address post without pause: each
// gets its 202, and each event that got one was delivered or lies in the queue.
func TestBrokerDrain(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("event-", 8)
	var mu sync.Mutex
	delivered := map[string]bool{}
	subscriber := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		delivered[r.Header.Get("Ce-Id")] = true
	}))
	t.Cleanup(subscriber.Close)
	url := vhost(t, "e2e_"+strings.ToLower(bson.NewObjectID().Hex()))
	triggers := fmt.Sprintf("triggers: [{name: x, filter: {attributes: {type: test.x}}, subscriber: %q}]", subscriber.URL)
	broker := start(t, "broker", map[string]string{"AMQP_URL": url, "EVENT_SECRET": secret, "SHUTDOWN_DELAY": "10s",
		"BROKER_TRIGGERS": write(t, "triggers.yaml", []byte(triggers))})
	readyz := func() int { status, _ := curl(t, broker.url+"/readyz"); return status }
	eventually(t, "the broker to be ready", func() bool { return readyz() == 200 })

	posting, stop := context.WithCancel(ctx(t))
	defer stop()
	var wg sync.WaitGroup
	posters := []*poster{{name: "new", client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}},
		{name: "kept", client: &http.Client{Transport: &http.Transport{}}}}
	for _, p := range posters {
		p.broker, p.secret = broker.url, []byte(secret)
		defer p.client.CloseIdleConnections()
		wg.Go(func() { p.run(posting) })
	}
	more := func(when string, n int) {
		t.Helper()
		for _, p := range posters {
			before, _ := p.state()
			eventually(t, fmt.Sprintf("%d events to be taken %s on %s connections", n, when, p.name), func() bool {
				taken, err := p.state()
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				return taken >= before+n
			})
		}
	}
	more("before SIGTERM", 20)
	if err := broker.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broker to say that it ends", func() bool { return readyz() == 503 })
	more("after SIGTERM", 50)
	stop()
	wg.Wait()
	<-broker.done
	if code := broker.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the broker ended with %d, want 0", code)
	}

	var taken []string
	for _, p := range posters {
		if p.err != nil {
			t.Error(p.err)
		}
		taken = append(taken, p.taken...)
	}
	queued := idsIn(t, url, "soundstrip.x")
	mu.Lock()
	defer mu.Unlock()
	if lost := slices.DeleteFunc(taken, func(id string) bool { return queued[id] || delivered[id] }); len(lost) > 0 {
		t.Errorf("events %q were answered 202 and are lost", lost)
	}
	if len(queued) == 0 {
		t.Error("the queue is empty: the broker delivered to its end, want it to leave the rest to others")
	}
}

// idsIn takes all messages from a queue and gives the ids of their events.
func idsIn(t *testing.T, url, queue string) map[string]bool {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return ids
		}
		id, _ := d.Headers["cloudEvents_id"].(string)
		ids[id] = true
	}
}
