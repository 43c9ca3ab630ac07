// Package sqlite opens the file that keeps users, jobs and events where there are no servers.
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver

	"github.com/soundstrip/soundstrip/eventing/telemetry/sqltrace"
)

// Open opens the database file, which is made when it is not there. What is committed survives a crash of the machine.
// A transaction that is not read-only takes the write lock when it begins: it waits for its turn, up to 10 seconds,
// instead of failing halfway.
func Open(path string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
	}.Encode()}
	db, err := sqltrace.Open("sqlite", "sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// Readers run beside the one writer; more connections would only make writers poll for the lock.
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	if err := db.PingContext(context.Background()); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}
