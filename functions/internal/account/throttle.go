package account

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Limit allows what is counted by a key Burst times at once, and once more each Every.
type Limit struct {
	Key   string
	Burst int
	Every time.Duration
}

// LimitOf makes a limit of something, which is counted by what identifies it. The key does not tell that.
func LimitOf(what string, burst int, every time.Duration, by ...string) Limit {
	sum := sha256.Sum256([]byte(what + "\x00" + strings.Join(by, "\x00")))
	return Limit{hex.EncodeToString(sum[:]), burst, every}
}

// WaitError says that something was tried too often.
type WaitError struct{ For time.Duration } // until the next try

func (e *WaitError) Error() string { return fmt.Sprintf("too many attempts: wait %v", e.For) }

// take counts one more, from the Unix time in milliseconds until which the ones before are spread out. It says how long
// to wait where that is too many.
func (l Limit) take(until, now int64) (next int64, wait time.Duration) {
	every := l.Every.Milliseconds()
	next = max(until, now) + every
	return next, time.Duration(max(0, next-now-int64(l.Burst)*every)) * time.Millisecond
}

// Take counts one more of each limit, or of none: a *WaitError when one of them does not allow it. It holds over
// restarts, and for all processes that share the database.
func (s *Store) Take(ctx context.Context, limits ...Limit) error {
	if _, err := s.table(ctx); err != nil {
		return err
	}
	// In one order, so that two of them do not wait for one another.
	limits = slices.SortedFunc(slices.Values(limits), func(a, b Limit) int { return strings.Compare(a.Key, b.Key) })
	s.forgetAttempts(ctx)
	var err error
	for range 3 {
		if err = s.inTx(ctx, func(tx *sql.Tx) error { return s.takeAll(ctx, tx, limits) }); !s.dialect.isConflict(err) {
			break
		}
	}
	if errors.As(err, new(*WaitError)) || err == nil {
		return err
	}
	return fmt.Errorf("count an attempt: %w", err)
}

func (s *Store) takeAll(ctx context.Context, tx *sql.Tx, limits []Limit) error {
	now := s.now().UnixMilli()
	for _, l := range limits { // all are locked before one is read: MySQL reads all as of the first
		if _, err := tx.ExecContext(ctx, s.dialect.insertAttempt, l.Key); err != nil {
			return err
		}
	}
	for _, l := range limits {
		var until int64
		if err := tx.QueryRowContext(ctx, "SELECT until FROM attempt WHERE id = ?", l.Key).Scan(&until); err != nil {
			return err
		}
		next, wait := l.take(until, now)
		if wait > 0 {
			return &WaitError{wait}
		}
		if _, err := tx.ExecContext(ctx, "UPDATE attempt SET until = ? WHERE id = ?", next, l.Key); err != nil {
			return err
		}
	}
	return nil
}

// Give takes back what [Store.Take] counted.
func (s *Store) Give(ctx context.Context, limits ...Limit) error {
	for _, l := range limits {
		_, err := s.db.ExecContext(ctx, "UPDATE attempt SET until = until - ? WHERE id = ?", l.Every.Milliseconds(), l.Key)
		if err != nil {
			return fmt.Errorf("take back an attempt: %w", err)
		}
	}
	return nil
}

// full reports, without counting, that one of the limits allows nothing now.
func (s *Store) full(ctx context.Context, limits ...Limit) error {
	now := s.now().UnixMilli()
	for _, l := range limits {
		var until int64
		err := s.db.QueryRowContext(ctx, "SELECT until FROM attempt WHERE id = ?", l.Key).Scan(&until)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("count an attempt: %w", err)
		}
		if _, wait := l.take(until, now); wait > 0 {
			return &WaitError{wait}
		}
	}
	return nil
}

// forgetEvery is how often, at most, attempts are deleted that count no more.
const forgetEvery = time.Minute

func (s *Store) forgetAttempts(ctx context.Context) {
	now, last := s.now().UnixMilli(), s.forgotten.Load()
	if now-last < forgetEvery.Milliseconds() || !s.forgotten.CompareAndSwap(last, now) {
		return
	}
	for _, query := range []string{"DELETE FROM attempt WHERE until < ?", "DELETE FROM known_network WHERE until < ?"} {
		if _, err := s.db.ExecContext(ctx, query, now); err != nil {
			slog.WarnContext(ctx, "attempts not forgotten", "error", err)
		}
	}
}

// The limits of attempts to log in.
const (
	triesOfPair    = 10  // of an account from a network; another each everyOfPair
	triesOfNetwork = 50  // another each everyOfNetwork
	triesOfAccount = 300 // from networks that its owner has not come from; another each everyOfPair
	successes      = 600 // of an account from a network; another each everyOfNetwork

	everyOfPair    = 10 * time.Second
	everyOfNetwork = time.Second

	// knownFor is for how long it is known that an account's owner came from a network.
	knownFor = 30 * 24 * time.Hour
)

// attempt is a try to log in.
type attempt struct {
	failures []Limit // which count when it fails
	success  Limit   // which counts when it does not
	pair     string
	until    int64 // when the network is no longer known, as Unix milliseconds; 0 when it is not known
}

// attempt says what is counted of a try. An account-wide limit does not hold for networks that the owner has come from:
// others could lock out the owner by it.
func (s *Store) attempt(ctx context.Context, email, network string) (a attempt, err error) {
	email = normalize(email)
	pair := LimitOf("pair", triesOfPair, everyOfPair, email, network)
	a = attempt{failures: []Limit{pair, LimitOf("network", triesOfNetwork, everyOfNetwork, network)},
		success: LimitOf("success", successes, everyOfNetwork, email, network), pair: pair.Key}
	err = s.db.QueryRowContext(ctx, "SELECT until FROM known_network WHERE id = ?", a.pair).Scan(&a.until)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return a, fmt.Errorf("look for a known network: %w", err)
	}
	if a.until < s.now().UnixMilli() {
		a.failures = append(a.failures, LimitOf("account", triesOfAccount, everyOfPair, email))
	}
	return a, nil
}

// succeeded takes back what counts for failures only, and remembers the network.
func (s *Store) succeeded(ctx context.Context, a attempt) error {
	now := s.now()
	if err := s.Give(ctx, a.failures...); err != nil {
		return err
	}
	if now.Add(knownFor/2).UnixMilli() < a.until {
		return nil
	}
	_, err := s.db.ExecContext(ctx, "REPLACE INTO known_network (id, until) VALUES (?, ?)", a.pair,
		now.Add(knownFor).UnixMilli())
	return err
}
