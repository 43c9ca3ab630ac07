package job

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// SQLite keeps the jobs in a table of an SQLite database, each as one JSON document with the tags of BSON, beside the
// columns that are searched. Its clock is the machine's.
type SQLite struct {
	steps
	db *sql.DB
}

// NewSQLite makes the table unless it is there. The database's transactions must begin as writers (BEGIN IMMEDIATE).
func NewSQLite(ctx context.Context, db *sql.DB) (*SQLite, error) {
	_, err := db.ExecContext(ctx, `
CREATE TABLE IF NOT EXISTS jobs (
	id      TEXT PRIMARY KEY,
	owner   TEXT NOT NULL,
	state   TEXT NOT NULL,
	mp3     TEXT,
	owes    INTEGER NOT NULL,
	since   INTEGER NOT NULL, -- times are milliseconds since 1970
	leased  INTEGER NOT NULL,
	expires INTEGER, -- when something of the job is to be deleted
	doc     TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_owner ON jobs (owner, id);
CREATE INDEX IF NOT EXISTS jobs_mp3 ON jobs (mp3) WHERE mp3 IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_owes ON jobs (since) WHERE owes;
CREATE INDEX IF NOT EXISTS jobs_expires ON jobs (expires) WHERE expires IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("make the table of jobs: %w", err)
	}
	if err := addColumns(ctx, db); err != nil {
		return nil, fmt.Errorf("bring the table of jobs up to date: %w", err)
	}
	s := &SQLite{db: db}
	s.steps.change, s.steps.turns = s.change, s
	return s, nil
}

// addColumns adds columns to the table as it was made until November 2026. Jobs that do not change any more stay at 0.
func addColumns(ctx context.Context, db *sql.DB) error {
	for _, column := range []string{
		"updated INTEGER NOT NULL DEFAULT 0", "waits INTEGER NOT NULL DEFAULT 0", "length INTEGER NOT NULL DEFAULT 0",
		"turn TEXT",
		"kept INTEGER NOT NULL DEFAULT 0",
	} {
		if err := addColumn(ctx, db, "jobs", column); err != nil {
			return err
		}
	}
	_, err := db.ExecContext(ctx, `CREATE INDEX IF NOT EXISTS jobs_updated ON jobs (updated);
CREATE INDEX IF NOT EXISTS jobs_owner_updated ON jobs (owner, updated);
CREATE INDEX IF NOT EXISTS jobs_waits ON jobs (owner, length, id) WHERE waits;
CREATE INDEX IF NOT EXISTS jobs_turn ON jobs (turn) WHERE turn IS NOT NULL;
CREATE TABLE IF NOT EXISTS turns (
	owner TEXT PRIMARY KEY,
	at    INTEGER NOT NULL -- when the owner had the last
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_usage ON jobs (owner, state, kept);
CREATE TABLE IF NOT EXISTS made (
	owner   TEXT PRIMARY KEY,
	day     INTEGER NOT NULL, -- since 1970
	seconds REAL NOT NULL     -- of sound, on that day
) STRICT`)
	return err
}

// addColumn adds a column to a table unless it is there.
func addColumn(ctx context.Context, db *sql.DB, table, column string) error {
	name, _, _ := strings.Cut(column, " ")
	var there bool
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM pragma_table_info(?) WHERE name = ?", table, name).Scan(&there)
	if err == nil && !there {
		_, err = db.ExecContext(ctx, "ALTER TABLE "+table+" ADD COLUMN "+column)
	}
	return err
}

func (s *SQLite) taken(ctx context.Context, turn string) (string, error) {
	return s.id(ctx, "SELECT id FROM jobs WHERE turn = ? AND state IN (?, ?, ?) LIMIT 1", turn, Stored, Queued, Converting)
}

func (s *SQLite) answered(ctx context.Context, turn string) (string, error) {
	return s.id(ctx, "SELECT id FROM jobs WHERE turn = ? AND state IN (?, ?) AND owes LIMIT 1", turn, Converted, Failed)
}

func (s *SQLite) next(ctx context.Context) (string, error) {
	return s.id(ctx, `SELECT id FROM jobs WHERE waits AND owner = (
	SELECT owner FROM (SELECT owner, min(id) AS first FROM jobs WHERE waits GROUP BY owner) LEFT JOIN turns USING (owner)
	ORDER BY coalesce(at, 0), first LIMIT 1
) ORDER BY length, id LIMIT 1`)
}

func (s *SQLite) made(ctx context.Context, owner string, seconds float64) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO made (owner, day, seconds) VALUES (?, ?, ?) ON CONFLICT (owner) DO UPDATE
	SET seconds = excluded.seconds + iif(day = excluded.day, seconds, 0), day = excluded.day`,
		owner, dayOf(time.Now()), seconds)
	return err
}

// Usage is of [Store].
func (s *SQLite) Usage(ctx context.Context, owner string) (u Usage, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT coalesce(sum(kept), 0), coalesce(sum(state IN (?, ?, ?)), 0),
	coalesce((SELECT seconds FROM made WHERE owner = ? AND day = ?), 0) / 60 FROM jobs WHERE owner = ?`,
		Stored, Queued, Converting, owner, dayOf(time.Now()), owner).Scan(&u.Bytes, &u.Jobs, &u.Minutes)
	if err != nil {
		return u, fmt.Errorf("usage of an owner: %w", err)
	}
	return u, nil
}

// id gives the id that a query finds; empty when there is none.
func (s *SQLite) id(ctx context.Context, query string, args ...any) (id string, err error) {
	err = s.db.QueryRowContext(ctx, query, args...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for a job: %w", err)
	}
	return id, nil
}

func (s *SQLite) had(ctx context.Context, owner string) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO turns (owner, at) VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET at = ?",
		owner, time.Now().UnixNano(), time.Now().UnixNano())
	if err != nil {
		return fmt.Errorf("record a turn: %w", err)
	}
	return nil
}

// Create is of [Store].
func (s *SQLite) Create(ctx context.Context, j Job) (Job, error) {
	j.State, j.Round = Stored, 1
	j, taken, err := s.insert(ctx, j)
	if err == nil && taken {
		return Job{}, fmt.Errorf("create job %s: %w", j.ID, ErrExists)
	}
	return j, err
}

// Adopt is of [Store].
func (s *SQLite) Adopt(ctx context.Context, j Job) (Job, error) {
	j, taken, err := s.insert(ctx, j)
	if err == nil && taken {
		return s.Get(ctx, j.ID)
	}
	return j, err
}

func (s *SQLite) insert(ctx context.Context, j Job) (_ Job, taken bool, err error) {
	r := begin(j)
	r.Created, r.Updated, r.Since = clock(), clock(), clock()
	row, err := r.row()
	if err != nil {
		return Job{}, false, err
	}
	res, err := s.db.ExecContext(ctx, `INSERT INTO jobs (owner, state, mp3, owes, since, leased, expires, updated,
		waits, length, turn, kept, doc, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, row...)
	if err != nil {
		return Job{}, false, fmt.Errorf("keep job %s: %w", j.ID, err)
	}
	n, err := res.RowsAffected()
	return r.Job, n == 0, err
}

// clock is the time as BSON can hold it.
func clock() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// row gives the columns, the id last.
func (r *record) row() ([]any, error) {
	doc, err := bson.MarshalExtJSON(r, false, false)
	if err != nil {
		return nil, fmt.Errorf("encode job %s: %w", r.ID, err)
	}
	var mp3 *string
	if r.MP3 != nil {
		mp3 = &r.MP3.FID
	}
	var turn *string
	if r.Turn != "" {
		turn = &r.Turn
	}
	var due *int64
	if r.Due != nil {
		ms := r.Due.UnixMilli()
		due = &ms
	}
	return []any{r.Owner, r.State, mp3, r.Owes, r.Since.UnixMilli(), r.Lease.Until.UnixMilli(), due,
		r.Updated.UnixMilli(), r.Waits, r.Video.Length, turn, r.Kept, string(doc), r.ID}, nil
}

// querier is a database or a transaction of it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// query gives the documents of a table.
func query[R any](ctx context.Context, q querier, table, where string, args ...any) (_ []R, err error) {
	rows, err := q.QueryContext(ctx, "SELECT doc FROM "+table+" WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var found []R
	for rows.Next() {
		var doc string
		if err := rows.Scan(&doc); err != nil {
			return nil, fmt.Errorf("read %s: %w", table, err)
		}
		var r R
		if err := bson.UnmarshalExtJSON([]byte(doc), false, &r); err != nil {
			return nil, fmt.Errorf("decode one of %s: %w", table, err)
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

func one[R any](ctx context.Context, q querier, table, column, value string) (R, error) {
	found, err := query[R](ctx, q, table, column+" = ? LIMIT 1", value)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s with %s %q: %w", table, column, value, ErrNotFound)
	}
	if err != nil {
		return *new(R), err
	}
	return found[0], nil
}

// changeRow makes one change within a transaction. update is the statement that writes what row gives, the id last.
func changeRow[R any](
	ctx context.Context, db *sql.DB, table, id string, f func(*R, time.Time) error,
	update string, row func(*R) ([]any, error),
) (R, error) {
	none := *new(R)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return none, fmt.Errorf("change %s of %s: %w", id, table, err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	r, err := one[R](ctx, tx, table, "id", id)
	if err != nil {
		return none, err
	}
	if err := f(&r, clock()); errors.Is(err, errSame) {
		return r, nil
	} else if err != nil {
		return r, err
	}
	args, err := row(&r)
	if err != nil {
		return none, err
	}
	if _, err = tx.ExecContext(ctx, update, args...); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return none, fmt.Errorf("change %s of %s: %w", id, table, err)
	}
	return r, nil
}

func (s *SQLite) change(ctx context.Context, id string, f change) (Job, error) {
	r, err := changeRow(ctx, s.db, "jobs", id,
		func(r *record, now time.Time) error { return r.apply(f, now) },
		`UPDATE jobs SET owner = ?, state = ?, mp3 = ?, owes = ?, since = ?, leased = ?, expires = ?, updated = ?,
		waits = ?, length = ?, turn = ?, kept = ?, doc = ?
		WHERE id = ?`, (*record).row)
	return r.Job, err
}

// Get is of [Store].
func (s *SQLite) Get(ctx context.Context, id string) (Job, error) {
	r, err := one[record](ctx, s.db, "jobs", "id", id)
	return r.Job, err
}

// FindMP3 is of [Store].
func (s *SQLite) FindMP3(ctx context.Context, fid string) (Job, error) {
	r, err := one[record](ctx, s.db, "jobs", "mp3", fid)
	return r.Job, err
}

// Keeps is of [Store].
func (s *SQLite) Keeps(ctx context.Context, ids []string) (map[string]bool, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	const in = "IN (SELECT value FROM json_each(?))"
	found, err := s.find(ctx, "(id "+in+" OR mp3 "+in+") AND state <> ?", string(list), string(list), Expired)
	return filesOf(found), err
}

// List is of [Store].
func (s *SQLite) List(ctx context.Context, q Query) ([]Job, error) {
	where, args := "true", []any{}
	if q.Owner != "" {
		where, args = where+" AND owner = ?", append(args, q.Owner)
	}
	if q.State != "" {
		where, args = where+" AND state = ?", append(args, q.State)
	}
	if q.Before != "" {
		where, args = where+" AND id < ?", append(args, q.Before)
	}
	return s.find(ctx, where+" ORDER BY id DESC LIMIT ?", append(args, max(q.Limit, 0))...)
}

// Changed is of [Store].
func (s *SQLite) Changed(ctx context.Context, owner string, since time.Time, limit int) ([]Job, error) {
	where, args := "updated >= ?", []any{since.UnixMilli()}
	if owner != "" {
		where, args = where+" AND owner = ?", append(args, owner)
	}
	return s.find(ctx, where+" ORDER BY updated LIMIT ?", append(args, max(limit, 0))...)
}

func (s *SQLite) find(ctx context.Context, where string, args ...any) ([]Job, error) {
	records, err := query[record](ctx, s.db, "jobs", where, args...)
	var found []Job
	for _, r := range records {
		found = append(found, r.Job)
	}
	return found, err
}

// Delete is of [Store].
func (s *SQLite) Delete(ctx context.Context, id string) error {
	if _, err := s.db.ExecContext(ctx, "DELETE FROM jobs WHERE id = ?", id); err != nil {
		return fmt.Errorf("delete job %s: %w", id, err)
	}
	return nil
}

// Stuck is of [Store].
func (s *SQLite) Stuck(ctx context.Context, unsent, silent time.Duration, limit int) ([]Job, error) {
	now := clock()
	return s.find(ctx, "owes AND since <= iif(state = ?, ?, ?) AND leased <= ? ORDER BY since LIMIT ?",
		Stored, now.Add(-unsent).UnixMilli(), now.Add(-silent).UnixMilli(), now.UnixMilli(), max(limit, 0))
}

// Expire is of [Store].
func (s *SQLite) Expire(ctx context.Context, limit int) ([]Job, error) {
	due, err := s.find(ctx, "expires <= ? ORDER BY expires LIMIT ?", clock().UnixMilli(), max(limit, 0))
	if err != nil {
		return nil, err
	}
	return s.expire(ctx, due)
}

// Ping is of [Store].
func (s *SQLite) Ping(ctx context.Context) error { return s.db.PingContext(ctx) }
