package job

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// SQLiteUploads keeps the uploads in a table, as [SQLite] keeps the jobs.
type SQLiteUploads struct {
	uploadSteps
	db *sql.DB
}

// NewSQLiteUploads is as [NewSQLite].
func NewSQLiteUploads(ctx context.Context, db *sql.DB) (*SQLiteUploads, error) {
	_, err := db.ExecContext(ctx, `
CREATE TABLE IF NOT EXISTS uploads (
	id      TEXT PRIMARY KEY,
	expires INTEGER NOT NULL, -- milliseconds since 1970
	doc     TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS uploads_expires ON uploads (expires)`)
	if err != nil {
		return nil, fmt.Errorf("make the table of uploads: %w", err)
	}
	for _, column := range []string{"owner TEXT NOT NULL DEFAULT ''", "kept INTEGER NOT NULL DEFAULT 0"} {
		if err := addColumn(ctx, db, "uploads", column); err != nil {
			return nil, fmt.Errorf("bring the table of uploads up to date: %w", err)
		}
	}
	s := &SQLiteUploads{db: db}
	s.uploadSteps.change = s.change
	return s, nil
}

// row gives the columns, the id last.
func (r *uploadRecord) row() ([]any, error) {
	doc, err := bson.MarshalExtJSON(r, false, false)
	if err != nil {
		return nil, fmt.Errorf("encode upload %s: %w", r.ID, err)
	}
	return []any{r.Expires.UnixMilli(), r.Owner, r.kept(), string(doc), r.ID}, nil
}

func (s *SQLiteUploads) change(
	ctx context.Context, id string, f func(r *uploadRecord, now time.Time) error,
) (Upload, error) {
	r, err := changeRow(ctx, s.db, "uploads", id, f,
		"UPDATE uploads SET expires = ?, owner = ?, kept = ?, doc = ? WHERE id = ?", (*uploadRecord).row)
	return r.Upload, err
}

// Begin is of [Uploads].
func (s *SQLiteUploads) Begin(ctx context.Context, u Upload, ttl time.Duration) (Upload, error) {
	u.Expires = clock().Add(ttl)
	row, err := (&uploadRecord{Upload: u}).row()
	var res sql.Result
	if err == nil {
		res, err = s.db.ExecContext(ctx, `INSERT INTO uploads (expires, owner, kept, doc, id) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, row...)
	}
	if err == nil {
		if n, _ := res.RowsAffected(); n == 0 { // which SQLite always knows
			err = ErrExists
		}
	}
	if err != nil {
		return Upload{}, fmt.Errorf("keep upload %s: %w", u.ID, err)
	}
	return u, nil
}

// Get is of [Uploads].
func (s *SQLiteUploads) Get(ctx context.Context, id string) (Upload, error) {
	r, err := one[uploadRecord](ctx, s.db, "uploads", "id", id)
	return r.Upload, err
}

// Delete is of [Uploads].
func (s *SQLiteUploads) Delete(ctx context.Context, id string) error {
	if _, err := s.db.ExecContext(ctx, "DELETE FROM uploads WHERE id = ?", id); err != nil {
		return fmt.Errorf("delete upload %s: %w", id, err)
	}
	return nil
}

// Usage is of [Uploads].
func (s *SQLiteUploads) Usage(ctx context.Context, owner string) (u Usage, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(kept), 0) FROM uploads WHERE owner = ? AND kept >= 0",
		owner).Scan(&u.Uploads, &u.Bytes)
	if err != nil {
		return u, fmt.Errorf("usage of an owner: %w", err)
	}
	return u, nil
}

// Keeps is of [Uploads].
func (s *SQLiteUploads) Keeps(ctx context.Context, ids []string) (map[string]bool, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	found, err := query[Upload](ctx, s.db, "uploads", "id IN (SELECT value FROM json_each(?))", string(list))
	return idsOf(found), err
}

// Expired is of [Uploads].
func (s *SQLiteUploads) Expired(ctx context.Context, limit int) ([]Upload, error) {
	return query[Upload](ctx, s.db, "uploads", "expires <= ? ORDER BY expires LIMIT ?", clock().UnixMilli(), limit)
}
