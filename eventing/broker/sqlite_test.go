package broker

import (
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSQLiteRestart opens the file anew while a message is held, one waits and one is dead, as after a crash.
func TestSQLiteRestart(t *testing.T) {
	t.Parallel()
	triggers := Triggers{trigger("convert", "a.x")}
	file := filepath.Join(t.TempDir(), "queue.db")
	before, err := NewSQLite(t.Context(), openDB(t, file), triggers)
	if err != nil {
		t.Fatalf("NewSQLite() = %v", err)
	}
	publish(t, before, newEvent(t, "dead", "a.x"), newEvent(t, "waits", "a.x"), newEvent(t, "held", "a.x"))
	s := subscribe(t, before, "convert")
	if err := next(t, s).Bury(testContext(t), "because"); err != nil {
		t.Fatalf("Bury() = %v", err)
	}
	from := time.Now()
	const delay = 500 * time.Millisecond
	if err := next(t, s).Retry(testContext(t), delay, 1); err != nil {
		t.Fatalf("Retry() = %v", err)
	}
	next(t, s)

	after, err := NewSQLite(t.Context(), openDB(t, file), triggers)
	if err != nil {
		t.Fatalf("NewSQLite() = %v", err)
	}
	s = subscribe(t, after, "convert")
	m := next(t, s)
	if m.Event().ID() != "held" {
		t.Errorf("Next() = %s, want held", m.Event().ID())
	}
	ack(t, m)
	if m = next(t, s); m.Event().ID() != "waits" || m.Attempts() != 1 || time.Since(from) < delay {
		t.Errorf("Next() = %s, %d attempts, after %v, want waits, 1, no sooner than %v", m.Event().ID(), m.Attempts(),
			time.Since(from), delay)
	}
	ack(t, m)
	if n, err := replay(t, after, "convert"); n != 1 || err != nil {
		t.Errorf("Replay() = %d, %v, want 1, nil", n, err)
	}
	if m = next(t, s); m.Event().ID() != "dead" {
		t.Errorf("Next() = %s, want dead", m.Event().ID())
	}
}

// TestSQLiteUnreadable has rows that hold no event before one that does, as an older version or a hand may have left
// them.
func TestSQLiteUnreadable(t *testing.T) {
	t.Parallel()
	rows := []string{"", "no JSON", "null", "{}", `{"specversion":"0.1","id":"1"}`}
	q := newSQLite(t, Triggers{trigger("convert", "a.x"), trigger("other", "a.x")})
	for _, row := range rows {
		if _, err := q.db.ExecContext(t.Context(), `INSERT INTO queue (trigger_of, event, due) VALUES ('convert', ?, 0)`,
			[]byte(row)); err != nil {
			t.Fatalf("insert %q: %v", row, err)
		}
	}
	publish(t, q, newEvent(t, "behind", "a.x"))
	s := subscribe(t, q, "convert")
	m := next(t, s)
	if m.Event().ID() != "behind" {
		t.Errorf("Next() = %s, want behind", m.Event().ID())
	}
	ack(t, m)
	dead := func() (n int) {
		query := `SELECT count(*) FROM queue WHERE trigger_of = 'convert' AND dead LIKE '%cannot be read%'`
		if err := q.db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := dead(); got != len(rows) {
		t.Errorf("dead letters with the reason = %d, want %d", got, len(rows))
	}
	// A replay brings them back once; each is buried again, and the messages behind them go on.
	if n, err := replay(t, q, "convert"); n != len(rows) || err != nil {
		t.Errorf("Replay() = %d, %v, want %d", n, err, len(rows))
	}
	empty(t, q, s, "a.x")
	if got := dead(); got != len(rows) {
		t.Errorf("dead letters after Replay() = %d, want %d", got, len(rows))
	}
}

// TestSQLiteDeadAtOnce has one operator drop a dead letter that another returns meanwhile: it is delivered.
func TestSQLiteDeadAtOnce(t *testing.T) {
	t.Parallel()
	for _, fate := range []Fate{Return, Drop} {
		q := newSQLite(t, Triggers{trigger("convert", "a.x")})
		publish(t, q, newEvent(t, "1", "a.x"))
		s := subscribe(t, q, "convert")
		if err := next(t, s).Bury(testContext(t), "because"); err != nil {
			t.Fatalf("Bury() = %v", err)
		}
		if err := q.Dead(testContext(t), "convert", func(DeadLetter) (Fate, error) {
			if n, err := replay(t, q, "convert"); n != 1 || err != nil {
				t.Errorf("Replay() = %d, %v, want 1", n, err)
			}
			if err := next(t, s).Retry(testContext(t), 0, 1); err != nil {
				t.Errorf("Retry() = %v", err)
			}
			return fate, nil
		}); err != nil {
			t.Errorf("Dead() = %v", err)
		}
		if d, err := q.Depth(testContext(t), "convert"); d.Live != 1 || err != nil {
			t.Fatalf("Depth() = %+v, %v, want 1 that lives", d, err)
		}
		if m := next(t, s); m.Event().ID() != "1" || m.Attempts() != 1 {
			t.Errorf("Next() = %s, %d attempts, want 1 that was tried once", m.Event().ID(), m.Attempts())
		}
	}
}

// TestSQLiteTriggerLeaves opens the queue without a trigger that had messages: they are told of and kept.
func TestSQLiteTriggerLeaves(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "queue.db")
	convert, gone := trigger("convert", "a.x"), trigger("gone-"+strings.ToLower(rand.Text()), "a.y")
	open := func(triggers ...Trigger) *SQLite {
		q, err := NewSQLite(t.Context(), openDB(t, file), triggers)
		if err != nil {
			t.Fatalf("NewSQLite() = %v", err)
		}
		return q
	}
	q := open(convert, gone)
	publish(t, q, newEvent(t, "1", "a.y"), newEvent(t, "2", "a.y"), newEvent(t, "3", "a.y"), newEvent(t, "4", "a.x"))
	if err := next(t, subscribe(t, q, gone.Name)).Bury(testContext(t), "because"); err != nil {
		t.Fatalf("Bury() = %v", err)
	}
	if line := logs.find(`"trigger":"` + gone.Name + `","messages"`); line != "" {
		t.Errorf("log = %s, want nothing of a trigger that is there", line)
	}
	q = open(convert)
	publish(t, q, newEvent(t, "5", "a.y"))
	if line := logs.find(`"trigger":"` + gone.Name + `","messages"`); !strings.Contains(line, `"messages":2,"dead":1`) {
		t.Errorf("log = %s, want 2 messages and 1 dead letter of %s", line, gone.Name)
	}
	q = open(convert, gone)
	s := subscribe(t, q, gone.Name)
	for _, id := range []string{"2", "3"} {
		m := next(t, s)
		if m.Event().ID() != id {
			t.Errorf("Next() = %s, want %s", m.Event().ID(), id)
		}
		ack(t, m)
	}
	empty(t, q, s, "a.y")
}

// TestSQLiteWakes looks at what wakes workers that sleep.
func TestSQLiteWakes(t *testing.T) {
	t.Parallel()
	q := newSQLite(t, Triggers{trigger("convert", "a.x")})
	s := subscribe(t, q, "convert")
	steps := []struct {
		name string
		do   func() error
	}{
		{"Publish()", func() error { return q.Publish(testContext(t), newEvent(t, "1", "a.x")) }},
		{"Close()", func() error { next(t, s); return s.Close() }},
		{"Retry()", func() error { return next(t, s).Retry(testContext(t), time.Millisecond, 1) }},
		{"Replay()", func() error { _, err := replay(t, q, "convert"); return err }},
	}
	for _, step := range steps {
		changed := q.changed
		if err := step.do(); err != nil {
			t.Errorf("%s = %v", step.name, err)
		}
		select {
		case <-changed:
		default:
			t.Errorf("%s wakes nobody", step.name)
		}
	}
}

func TestSQLiteLegacy(t *testing.T) {
	t.Parallel()
	tr := trigger("convert", "a.x")
	tr.Legacy = true
	if _, err := NewSQLite(t.Context(), openDB(t, filepath.Join(t.TempDir(), "queue.db")), Triggers{tr}); err == nil {
		t.Error("NewSQLite() with a legacy trigger = nil, want an error")
	}
}
