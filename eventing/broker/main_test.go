package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewJSONHandler(io.MultiWriter(os.Stderr, &logs), nil)))
	goleak.VerifyTestMain(m)
}

// logs is what all tests have logged: what a test looks for there has a name of its own.
var logs logBook

type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

// find gives the first line that has the part, or nothing.
func (b *logBook) find(part string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// count says how many lines have the part.
func (b *logBook) count(part string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func amqpURL(t *testing.T) string {
	t.Helper()
	u := os.Getenv("TEST_AMQP_URL")
	if u == "" && os.Getenv("CI") != "" {
		t.Fatal("TEST_AMQP_URL is not set")
	}
	if u == "" {
		t.Skip(`start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	return u
}

// rabbit is a queue on a real RabbitMQ under names of its own, which go with the test.
type rabbit struct {
	*Rabbit
	prefix string
	admin  *amqp.Channel
}

func newRabbit(t *testing.T, triggers Triggers, through ...string) rabbit {
	t.Helper()
	u := amqpURL(t)
	conn, err := amqp.Dial(u)
	if err != nil {
		t.Fatalf("Dial(TEST_AMQP_URL) = %v", err)
	}
	admin, err := conn.Channel()
	if err != nil {
		t.Fatalf("Channel() = %v", err)
	}
	if err := admin.Confirm(false); err != nil {
		t.Fatalf("Confirm() = %v", err)
	}
	prefix := "test-" + rand.Text()
	t.Cleanup(func() {
		defer conn.Close()
		ch, err := conn.Channel() // the test may have had the other one closed
		if err != nil {
			t.Errorf("Channel() = %v", err)
			return
		}
		deleteQueues(ch, prefix, triggers)
		for _, d := range retryDelays {
			name := prefix + ".retry." + short(d)
			_, _ = ch.QueueDelete(name, false, false, false)
			_ = ch.ExchangeDelete(name, false, false)
		}
		_, _ = ch.QueueDelete(prefix+recordSuffix, false, false, false)
	})
	config := RabbitConfig{URL: cmp.Or(append(through, u)...), Prefix: prefix}
	r := rabbit{openRabbit(t, config, triggers), prefix, admin}
	if _, err := r.connected(testContext(t)); err != nil {
		t.Fatalf("connected() = %v", err)
	}
	return r
}

func deleteQueues(ch *amqp.Channel, prefix string, triggers Triggers) {
	for _, tr := range triggers {
		_, _ = ch.QueueDelete(tr.queue(prefix), false, false, false)
		_, _ = ch.QueueDelete(tr.queue(prefix)+deadSuffix, false, false, false)
	}
}

func openRabbit(t *testing.T, config RabbitConfig, triggers Triggers) *Rabbit {
	t.Helper()
	r, err := NewRabbit(config, triggers)
	if err != nil {
		t.Fatalf("NewRabbit() = %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return r
}

func openDB(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite",
		"file:"+file+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatalf("Open(%q) = %v", file, err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newSQLite(t *testing.T, triggers Triggers) *SQLite {
	t.Helper()
	q, err := NewSQLite(t.Context(), openDB(t, filepath.Join(t.TempDir(), "queue.db")), triggers)
	if err != nil {
		t.Fatalf("NewSQLite() = %v", err)
	}
	return q
}

// proxy is a way to RabbitMQ that can be cut or stalled.
type proxy struct {
	url    string
	target string

	mu      sync.Mutex
	down    bool
	conns   []net.Conn
	wg      sync.WaitGroup
	stalled sync.RWMutex // held for writing while nothing gets through
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	uri, err := amqp.ParseURI(amqpURL(t))
	if err != nil {
		t.Fatalf("ParseURI(TEST_AMQP_URL) = %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen() = %v", err)
	}
	p := &proxy{target: net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))}
	uri.Host, uri.Port = "127.0.0.1", l.Addr().(*net.TCPAddr).Port
	p.url = uri.String()
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accept(c)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		_ = c.Close()
		return
	}
	to, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = c.Close()
		return
	}
	p.conns = append(p.conns, c, to)
	for from, to := range map[net.Conn]net.Conn{c: to, to: c} {
		p.wg.Go(func() {
			defer to.Close()
			defer from.Close()
			b := make([]byte, 32<<10)
			for {
				n, err := from.Read(b)
				if err != nil {
					return
				}
				p.stalled.RLock()
				_, err = to.Write(b[:n])
				p.stalled.RUnlock()
				if err != nil {
					return
				}
			}
		})
	}
}

// cut ends every connection and refuses new ones until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

func newEvent(t *testing.T, id, typ string) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetType(typ)
	e.SetSource("/test")
	e.SetSubject("subject of " + id)
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	data := map[string]string{"video_fid": id, "username": "ada@example.org"}
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		t.Fatalf("SetData() = %v", err)
	}
	return e
}

func publish(t *testing.T, q Queue, events ...event.Event) {
	t.Helper()
	for _, e := range events {
		if err := q.Publish(testContext(t), e); err != nil {
			t.Fatalf("Publish(%s) = %v, want nil", e.ID(), err)
		}
	}
}

// replay returns all dead letters of a trigger to its queue, and says how many.
func replay(t *testing.T, q interface {
	Dead(ctx context.Context, trigger string, fate func(DeadLetter) (Fate, error)) error
}, trigger string) (n int, err error) {
	t.Helper()
	err = q.Dead(testContext(t), trigger, func(DeadLetter) (Fate, error) { n++; return Return, nil })
	return n, err
}

func subscribe(t *testing.T, q Queue, trigger string) Subscription {
	t.Helper()
	s, err := q.Subscribe(testContext(t), trigger)
	if err != nil {
		t.Fatalf("Subscribe(%q) = %v", trigger, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func next(t *testing.T, s Subscription) Message {
	t.Helper()
	m, err := s.Next(testContext(t))
	if err != nil {
		t.Fatalf("Next() = %v", err)
	}
	return m
}

func ack(t *testing.T, m Message) {
	t.Helper()
	if err := m.Ack(testContext(t)); err != nil {
		t.Fatalf("Ack() of %s = %v", m.Event().ID(), err)
	}
}

// empty checks that there is nothing for the subscription: what is published last comes next.
func empty(t *testing.T, q Queue, s Subscription, typ string) {
	t.Helper()
	last := newEvent(t, "last-"+rand.Text(), typ)
	publish(t, q, last)
	for {
		m := next(t, s)
		id := m.Event().ID()
		ack(t, m)
		if id == last.ID() {
			return
		}
		if !strings.HasPrefix(id, "last-") { // another trigger's
			t.Errorf("Next() = %s, want nothing before %s", id, last.ID())
		}
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", patience, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func must[In, Out any](t *testing.T, f func(In) (Out, error), in In) Out {
	t.Helper()
	out, err := f(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
