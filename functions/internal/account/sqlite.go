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
		now:         "unixepoch()",

		insertAttempt: "INSERT INTO attempt (id, until) VALUES (?, 0) ON CONFLICT DO NOTHING",
		isConflict:    func(error) bool { return false }, // one transaction at a time
	})
	if _, err := s.table(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// prepareSQLite makes the tables, or brings those of an older version up to date.
func prepareSQLite(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS `user` ("+
		"id INTEGER PRIMARY KEY, "+
		"email TEXT NOT NULL UNIQUE COLLATE NOCASE, "+
		"password TEXT NOT NULL, "+
		"created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)")
	if err != nil {
		return err
	}
	for _, c := range added {
		var there bool
		err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM pragma_table_info('user') WHERE name = ?", c.name).Scan(&there)
		if err == nil && !there {
			_, err = db.ExecContext(ctx, "ALTER TABLE `user` ADD COLUMN "+c.name+" "+c.definition)
		}
		if err != nil {
			return err
		}
	}
	if _, err := db.ExecContext(ctx, "CREATE UNIQUE INDEX IF NOT EXISTS unique_uid ON `user` (uid)"); err != nil {
		return err
	}
	for _, t := range tables {
		if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+t.name+" ("+t.columns+")"); err != nil {
			return err
		}
	}
	return nil
}

// isSQLiteDuplicate knows SQLITE_CONSTRAINT_UNIQUE by its number: the driver is not linked into the functions.
func isSQLiteDuplicate(err error) bool {
	var e interface{ Code() int }
	return errors.As(err, &e) && e.Code() == 2067
}
