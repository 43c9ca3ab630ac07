package broker

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// SQLite is a queue in a database file that one process has open. It is as durable as the database is set to be. Which
// messages are held is known in memory only, so that after a crash they are available again.
type SQLite struct {
	db       *sql.DB
	triggers Triggers

	mu      sync.Mutex
	held    map[int64]bool
	changed chan struct{} // closed, and made anew, when a message may have become available
}

// NewSQLite makes the queue in db, with its table if it is not there. Legacy triggers make no sense here and are an
// error.
func NewSQLite(ctx context.Context, db *sql.DB, triggers Triggers) (*SQLite, error) {
	if err := triggers.Validate(); err != nil {
		return nil, err
	}
	for _, t := range triggers {
		if t.Legacy {
			return nil, fmt.Errorf("trigger %s: legacy: old programs read RabbitMQ, not this queue", t.Name)
		}
	}
	_, err := db.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS queue (
			id         INTEGER PRIMARY KEY,
			trigger_of TEXT NOT NULL,
			event      BLOB NOT NULL,             -- CloudEvents JSON format
			attempts   INTEGER NOT NULL DEFAULT 0,
			due        INTEGER NOT NULL,          -- ms since 1970
			dead       TEXT,                      -- the reason; null while it lives
			published  TEXT NOT NULL DEFAULT '',  -- traceparents: see Trail
			tried      TEXT NOT NULL DEFAULT '',
			kept       INTEGER NOT NULL DEFAULT 0 -- since when, in ms since 1970; 0 of what an older version kept
		) STRICT;
		CREATE INDEX IF NOT EXISTS queue_due ON queue (trigger_of, due) WHERE dead IS NULL`)
	if err != nil {
		return nil, fmt.Errorf("make table queue: %w", err)
	}
	for name, definition := range map[string]string{ // which versions until November 2026 had not
		"published": "TEXT NOT NULL DEFAULT ''", "tried": "TEXT NOT NULL DEFAULT ''", "kept": "INTEGER NOT NULL DEFAULT 0",
	} {
		var there bool
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM pragma_table_info('queue') WHERE name = ?`, name).Scan(&there)
		if err == nil && !there {
			_, err = db.ExecContext(ctx, `ALTER TABLE queue ADD COLUMN `+name+` `+definition)
		}
		if err != nil {
			return nil, fmt.Errorf("bring table queue up to date: %w", err)
		}
	}
	q := &SQLite{db: db, triggers: triggers, held: map[int64]bool{}, changed: make(chan struct{})}
	return q, q.warnOfFormer(ctx)
}

// warnOfFormer tells of messages whose trigger is gone. They are never deleted.
func (q *SQLite) warnOfFormer(ctx context.Context) error {
	rows, err := q.db.QueryContext(ctx,
		`SELECT trigger_of, count(*) - count(dead), count(dead) FROM queue GROUP BY trigger_of`)
	if err != nil {
		return fmt.Errorf("count messages: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var m messages
		if err := rows.Scan(&name, &m.live, &m.dead); err != nil {
			return fmt.Errorf("count messages: %w", err)
		}
		if _, err := q.triggers.find(name); err != nil {
			slog.WarnContext(ctx, "there are messages of a trigger that is gone: put the trigger back to have them delivered, "+
				"or delete the rows of table queue that have its name as trigger_of",
				"trigger", name, "messages", m.live, "dead", m.dead)
		}
	}
	return rows.Err()
}

// Publish keeps the event for every trigger that wants it, for all or none.
func (q *SQLite) Publish(ctx context.Context, e event.Event) (err error) {
	ctx, span := publishing(ctx, sqliteSystem, e)
	defer func() { telemetry.End(span, err) }()
	e.DataBase64 = true // which keeps every byte, be it JSON or not
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.ID(), err)
	}
	var rows []string
	var args []any
	now := time.Now().UnixMilli()
	for _, t := range q.triggers {
		if t.Matches(e) {
			rows = append(rows, "(?, ?, ?, ?, ?)")
			args = append(args, t.Name, raw, now, now, here(ctx))
		}
	}
	if rows == nil {
		return nil
	}
	values := strings.Join(rows, ", ")
	insert := `INSERT INTO queue (trigger_of, event, due, kept, published) VALUES ` + values //nolint:gosec // placeholders
	if _, err := q.db.ExecContext(ctx, insert, args...); err != nil {
		return fmt.Errorf("keep event %s: %w", e.ID(), err)
	}
	q.wake()
	return nil
}

// Subscribe makes the caller a worker of the trigger.
func (q *SQLite) Subscribe(_ context.Context, trigger string) (Subscription, error) {
	if _, err := q.triggers.find(trigger); err != nil {
		return nil, err
	}
	return &sqliteSubscription{queue: q, trigger: trigger}, nil
}

// Dead asks for the fate of each of the trigger's dead letters. Another process may serve from the database meanwhile,
// and takes what returns when it looks the next time. What somebody else returned is no dead letter any more.
func (q *SQLite) Dead(ctx context.Context, trigger string, fate func(DeadLetter) (Fate, error)) error {
	if _, err := q.triggers.find(trigger); err != nil {
		return err
	}
	dead, err := q.dead(ctx, trigger)
	if err != nil {
		return fmt.Errorf("dead letters of %s: %w", trigger, err)
	}
	defer q.wake()
	for _, m := range dead {
		unread := m.decode()
		f, err := fate(newDeadLetter(trigger, m.reason, m.raw, m.event, unread))
		if err != nil {
			return err
		}
		switch f {
		case Keep:
		case Return:
			_, err = q.db.ExecContext(ctx,
				`UPDATE queue SET dead = NULL, attempts = 0, due = ? WHERE id = ? AND dead IS NOT NULL`,
				time.Now().UnixMilli(), m.id)
		case Drop:
			_, err = q.db.ExecContext(ctx, `DELETE FROM queue WHERE id = ? AND dead IS NOT NULL`, m.id)
		}
		if err != nil {
			return fmt.Errorf("dead letter of %s: %w", trigger, err)
		}
	}
	return nil
}

// deadMessage is a dead letter, and why it is one.
type deadMessage struct {
	sqliteMessage
	reason string
}

func (q *SQLite) dead(ctx context.Context, trigger string) (dead []deadMessage, err error) {
	rows, err := q.db.QueryContext(ctx,
		`SELECT id, event, dead FROM queue WHERE trigger_of = ? AND dead IS NOT NULL ORDER BY id`, trigger)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m deadMessage
		if err := rows.Scan(&m.id, &m.raw, &m.reason); err != nil {
			return nil, err
		}
		dead = append(dead, m)
	}
	return dead, rows.Err()
}

func (q *SQLite) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.changed)
	q.changed = make(chan struct{})
}

type sqliteSubscription struct {
	queue   *SQLite
	trigger string
	held    *sqliteMessage
}

// lookAgain is after what time a message is seen that another process made available: a dead letter that returned.
const lookAgain = 10 * time.Second

// Next sleeps until a message is published, or the next one is due. A message that cannot be read is buried.
func (s *sqliteSubscription) Next(ctx context.Context) (Message, error) {
	for {
		m, changed, due, err := s.take(ctx)
		if err != nil {
			return nil, err
		}
		if m != nil {
			err := m.decode()
			if err == nil {
				return m, nil
			}
			slog.ErrorContext(ctx, "message cannot be read: dead letter", "trigger", s.trigger, "message", m.id, "error", err)
			if err := m.Bury(ctx, "message cannot be read: "+err.Error()); err != nil {
				return nil, err
			}
			continue
		}
		wait := lookAgain
		if !due.IsZero() {
			wait = min(wait, time.Until(due))
		}
		select {
		case <-changed:
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take holds the trigger's next message. When there is none it returns nil, and what to wait for: the channel, or the
// time at which the next is due, which is zero when there is none at all.
func (s *sqliteSubscription) take(ctx context.Context) (*sqliteMessage, <-chan struct{}, time.Time, error) {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	held, err := q.heldJSON()
	if err != nil {
		return nil, nil, time.Time{}, err
	}
	m := &sqliteMessage{from: s, trail: Trail{System: sqliteSystem}}
	var due int64
	err = q.db.QueryRowContext(ctx, `SELECT id, event, attempts, due, published, tried FROM queue
		WHERE trigger_of = ? AND dead IS NULL AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY due, id LIMIT 1`,
		s.trigger, held).Scan(&m.id, &m.raw, &m.attempts, &due, &m.trail.Published,
		&m.trail.Tried)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, q.changed, time.Time{}, nil
	}
	if err != nil {
		return nil, nil, time.Time{}, fmt.Errorf("next message of %s: %w", s.trigger, err)
	}
	if at := time.UnixMilli(due); time.Now().Before(at) {
		return nil, q.changed, at, nil
	}
	q.held[m.id] = true
	s.held = m
	return m, nil, time.Time{}, nil
}

// heldJSON lists the messages that are held, for who holds the lock.
func (q *SQLite) heldJSON() (string, error) {
	held, err := json.Marshal(slices.AppendSeq([]int64{}, maps.Keys(q.held))) // [], and not null, when there are none
	return string(held), err
}

// Close makes the message that is held available to others.
func (s *sqliteSubscription) Close() error {
	if s.held != nil {
		s.release()
	}
	return nil
}

func (s *sqliteSubscription) release() {
	s.queue.mu.Lock()
	delete(s.queue.held, s.held.id)
	s.queue.mu.Unlock()
	s.held = nil
	s.queue.wake()
}

type sqliteMessage struct {
	from     *sqliteSubscription
	id       int64
	raw      []byte
	event    event.Event // of raw, once it is decoded
	attempts int
	trail    Trail
}

func (m *sqliteMessage) decode() error {
	if err := json.Unmarshal(m.raw, &m.event); err != nil {
		return err
	}
	return validate(m.event)
}

func (m *sqliteMessage) Event() event.Event { return m.event }

func (m *sqliteMessage) Attempts() int { return m.attempts }

func (m *sqliteMessage) Trail() Trail { return m.trail }

const sqliteSystem = "sqlite"

func (m *sqliteMessage) Ack(ctx context.Context) error {
	return m.settle(ctx, `DELETE FROM queue WHERE id = ?`, m.id)
}

func (m *sqliteMessage) Retry(ctx context.Context, after time.Duration, attempts int) error {
	return m.settle(ctx, `UPDATE queue SET due = ?, attempts = ?, tried = ? WHERE id = ?`,
		time.Now().Add(min(after, MaxDelay)).UnixMilli(), attempts, here(ctx), m.id)
}

func (m *sqliteMessage) Bury(ctx context.Context, reason string) error {
	return m.settle(ctx, `UPDATE queue SET dead = ? WHERE id = ?`, reason, m.id)
}

func (m *sqliteMessage) settle(ctx context.Context, query string, args ...any) error {
	if m.from.held != m {
		return errOver
	}
	if _, err := m.from.queue.db.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("settle message %d: %w", m.id, err)
	}
	m.from.release()
	return nil
}
