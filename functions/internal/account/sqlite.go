package account

import (
	"context"
	"database/sql"
	"errors"
)

// NewSQLite makes a store in SQLite, and its table.
func NewSQLite(ctx context.Context, db *sql.DB) (*Store, error) {
	s := newStore(db, dialect{
		prepare:     prepareSQLite,
		rehash:      "UPDATE `user` SET password = ? WHERE id = ? AND password = ?",
		isDuplicate: isSQLiteDuplicate,
	})
	if _, err := s.table(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func prepareSQLite(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS `user` ("+
		"id INTEGER PRIMARY KEY, "+
		"email TEXT NOT NULL UNIQUE COLLATE NOCASE, "+
		"password TEXT NOT NULL, "+
		"admin BOOLEAN NOT NULL DEFAULT FALSE, "+
		"disabled BOOLEAN NOT NULL DEFAULT FALSE, "+
		"created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)")
	return err
}

// isSQLiteDuplicate knows SQLITE_CONSTRAINT_UNIQUE by its number: the driver is not linked into the functions.
func isSQLiteDuplicate(err error) bool {
	var e interface{ Code() int }
	return errors.As(err, &e) && e.Code() == 2067
}
