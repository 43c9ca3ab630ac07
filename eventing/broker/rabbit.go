package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

// RabbitConfig says where RabbitMQ is.
type RabbitConfig struct {
	URL    string `env:"AMQP_URL, required"`              // amqp:// or amqps://
	Prefix string `env:"AMQP_PREFIX, default=soundstrip"` // with which the names of queues and exchanges begin
	Stores serve.StoresConfig
}

// Validate reports a URL that is none, or of another machine without TLS.
func (c RabbitConfig) Validate() error {
	switch u, err := amqp.ParseURI(c.URL); {
	case err != nil: // which would tell the password
		return errors.New("AMQP_URL: want amqp://user:password@host:port/vhost, percent-encoded where needed")
	case u.Scheme == "amqp" && c.Stores.WantsTLS(u.Host):
		return fmt.Errorf("AMQP_URL: %s is another machine: use amqps://, or set STORES_PLAIN=true", u.Host)
	}
	return nil
}

const (
	defaultPrefix = "soundstrip"
	deadSuffix    = ".dead"
)

// retryDelays are how long a message can wait before it is tried again: each has a queue. Any other delay is rounded up
// to one.
var retryDelays = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, MaxDelay}

const (
	heartbeat        = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	writeTimeout     = 5 * time.Second // of one write to the connection, which is lost when it takes longer
	maxReconnect     = 10 * time.Second
)

// Rabbit is a queue in RabbitMQ 3.10 or later. It connects in the background, and again when the connection is lost.
// Without a connection its methods wait as long as their context lets them.
type Rabbit struct {
	config   RabbitConfig
	triggers Triggers
	declares bool // whether it makes what it needs in RabbitMQ
	stop     context.CancelFunc
	done     chan struct{}

	ages ages

	declaring sync.Mutex
	started   bool // whether it has declared once

	mu      sync.Mutex
	session *session      // nil while there is no connection
	away    error         // why there is none
	changed chan struct{} // closed, and made anew, when session changes
}

// NewRabbit begins to connect; Close ends it. It makes the queues of the triggers. All brokers with one prefix are to
// be given the same triggers: each sends an event to the queues of its own.
func NewRabbit(config RabbitConfig, triggers Triggers) (*Rabbit, error) {
	return connectRabbit(config, triggers, true)
}

func connectRabbit(config RabbitConfig, triggers Triggers, declares bool) (*Rabbit, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if err := triggers.Validate(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Rabbit{config: config, triggers: triggers, declares: declares, stop: stop, done: make(chan struct{}),
		away: errors.New("not connected yet"), changed: make(chan struct{})}
	go r.run(ctx)
	return r, nil
}

// Close ends the connection; what workers hold returns to the queues.
func (r *Rabbit) Close(ctx context.Context) error {
	r.stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close connection to RabbitMQ: %w", ctx.Err())
	}
}

// Ping says whether there is a connection that takes events.
func (r *Rabbit) Ping(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil {
		return r.away
	}
	return r.session.usable()
}

func (r *Rabbit) run(ctx context.Context) {
	defer close(r.done)
	for wait := 100 * time.Millisecond; ctx.Err() == nil; {
		s, err := r.connect(ctx)
		if err != nil {
			r.set(nil, err)
			slog.WarnContext(ctx, "RabbitMQ cannot be reached", "error", err)
			sleep(ctx, jitter(wait))
			wait = min(2*wait, maxReconnect)
			continue
		}
		wait = 100 * time.Millisecond
		r.set(s, nil)
		slog.InfoContext(ctx, "connected to RabbitMQ")
		err = s.watch(ctx)
		r.set(nil, err)
		if ctx.Err() == nil {
			slog.WarnContext(ctx, "connection to RabbitMQ lost", "error", err)
			sleep(ctx, jitter(wait))
		}
	}
}

func (r *Rabbit) set(s *session, away error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.away = s, away
	close(r.changed)
	r.changed = make(chan struct{})
}

// connected waits for a connection.
func (r *Rabbit) connected(ctx context.Context) (*session, error) {
	for {
		r.mu.Lock()
		s, away, changed := r.session, r.away, r.changed
		r.mu.Unlock()
		if s != nil && !s.conn.IsClosed() {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no connection to RabbitMQ: %w", errors.Join(ctx.Err(), away))
		case <-r.done:
			return nil, errors.New("the queue is closed")
		}
	}
}

func (r *Rabbit) connect(ctx context.Context) (*session, error) {
	conn, err := amqp.DialConfig(r.config.URL, amqp.Config{
		Heartbeat:  heartbeat,
		Properties: amqp.Table{"connection_name": "soundstrip-broker"},
		Dial: func(network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{Timeout: handshakeTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return boundedConn{c}, c.SetDeadline(time.Now().Add(handshakeTimeout)) // the library clears it
		},
	})
	if err != nil {
		return nil, err
	}
	s := &session{
		conn:       conn,
		closed:     conn.NotifyClose(make(chan *amqp.Error, 1)),
		flow:       conn.NotifyBlocked(make(chan amqp.Blocking, 8)),
		publishers: make(chan *publisher, publishers),
	}
	err = r.declare(ctx, conn)
	if err == nil {
		s.outlet, err = newOutlet(conn, publishers*len(r.triggers))
	}
	for range publishers {
		s.publishers <- new(publisher)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// declare makes all that messages go to, before any is published: RabbitMQ waits long before it moves a message again
// that found no target.
func (r *Rabbit) declare(ctx context.Context, conn *amqp.Connection) error {
	if !r.declares {
		return nil
	}
	r.declaring.Lock()
	defer r.declaring.Unlock()
	for _, t := range r.triggers {
		existing, err := r.declareQueues(conn, t)
		if err != nil {
			return fmt.Errorf("declare queues of trigger %s: %w", t.Name, err)
		}
		if existing {
			slog.WarnContext(ctx, "the queue is there already with other properties, maybe an old system's: it is used as it is",
				"queue", t.queue(r.config.Prefix))
		}
	}
	err := onChannel(conn, func(ch *amqp.Channel) error {
		for _, d := range retryDelays {
			name := r.retryQueue(d)
			args := quorum("")
			args["x-message-ttl"] = d.Milliseconds()
			if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
				return fmt.Errorf("declare queue %s: %w", name, err)
			}
			// An exchange of its own leaves the routing key free to say where the message is to return to.
			if err := ch.ExchangeDeclare(name, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
				return fmt.Errorf("declare exchange %s: %w", name, err)
			}
			if err := ch.QueueBind(name, "", name, false, nil); err != nil {
				return fmt.Errorf("bind queue %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil || r.started {
		return err
	}
	if err := r.unbind(conn); err != nil {
		return err
	}
	if err := r.tellFormer(ctx, conn); err != nil {
		return err
	}
	r.started = true
	return nil
}

// unbind deletes the exchange to which brokers of earlier versions bound the queues, and their record of it. One that
// still runs makes it anew, for what it takes itself.
func (r *Rabbit) unbind(conn *amqp.Connection) error {
	return onChannel(conn, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDelete(r.config.Prefix, false, false); err != nil {
			return fmt.Errorf("delete exchange %s: %w", r.config.Prefix, err)
		}
		_, err := ch.QueueDelete(r.config.Prefix+".broker.bindings", false, false, false)
		return err
	})
}

// declareQueues makes a trigger's queue and its dead-letter queue. It says whether the queue existed with other
// properties.
func (r *Rabbit) declareQueues(conn *amqp.Connection, t Trigger) (existing bool, err error) {
	queue := t.queue(r.config.Prefix)
	err = onChannel(conn, func(ch *amqp.Channel) error {
		// We bury messages ourselves. But RabbitMQ 4 gives up on a message that has returned to its queue 20 times, and drops
		// it unless the queue has a place for dead letters.
		args := quorum(queue + deadSuffix)
		if t.QueueType == amqp.QueueTypeClassic {
			args = nil // as queue_declare(queue, durable=True) has it
		}
		_, err := ch.QueueDeclare(queue, true, false, false, false, args)
		return err
	})
	if isCode(err, amqp.PreconditionFailed) {
		existing = true
		err = onChannel(conn, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
			return err
		})
	}
	if err != nil {
		return existing, err
	}
	return existing, onChannel(conn, func(ch *amqp.Channel) error {
		args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
		_, err := ch.QueueDeclare(queue+deadSuffix, true, false, false, false, args)
		return err
	})
}

// quorum makes the arguments of a replicated queue. Its dead letters go to the queue of the given name or, when the
// name is empty, to the queue that their routing key names. They stay where they are until they have arrived there.
func quorum(dead string) amqp.Table {
	args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-dead-letter-exchange": "",
		"x-dead-letter-strategy": "at-least-once", amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish}
	if dead != "" {
		args["x-dead-letter-routing-key"] = dead
	}
	return args
}

func (r *Rabbit) retryQueue(d time.Duration) string { return r.config.Prefix + ".retry." + short(d) }

// short writes whole seconds or minutes without the zeroes: 5m, not 5m0s.
func short(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == code
}

func onChannel(conn *amqp.Connection, f func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	err = f(ch)
	if closing := ch.Close(); err == nil {
		err = closing
	}
	return err
}

// boundedConn fails a write that RabbitMQ does not read in time, as it does while it is short of memory or disk.
type boundedConn struct{ net.Conn }

func (c boundedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// publishers is how many sends may wait for their confirms at a time.
const publishers = 64

// session is one connection, and what ends with it. A delivery of one session is never settled on another.
type session struct {
	conn       *amqp.Connection
	closed     chan *amqp.Error
	flow       chan amqp.Blocking
	blocked    atomic.Bool
	outlet     *outlet
	publishers chan *publisher // those not in use
}

// watch returns when the connection is lost, with the reason, or when ctx ends, after closing it.
func (s *session) watch(ctx context.Context) error {
	for {
		select {
		case b, ok := <-s.flow:
			if !ok {
				s.flow = nil
				break
			}
			s.blocked.Store(b.Active)
			slog.WarnContext(ctx, "RabbitMQ's flow control", "blocked", b.Active, "reason", b.Reason)
		case err, ok := <-s.closed:
			if !ok {
				return errors.New("connection closed")
			}
			return err
		case <-ctx.Done():
			s.close()
			return ctx.Err()
		}
	}
}

func (s *session) close() {
	_ = s.conn.CloseDeadline(time.Now().Add(handshakeTimeout)) // whatever it says, it is closed
}

func (s *session) usable() error {
	if s.conn.IsClosed() {
		return errors.New("connection closed")
	}
	if s.blocked.Load() {
		return errors.New("RabbitMQ takes no events: it is short of memory or disk")
	}
	return nil
}

// jitter gives a duration between d/2 and 3d/2.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) } //nolint:gosec // no secret: it spreads retries

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
