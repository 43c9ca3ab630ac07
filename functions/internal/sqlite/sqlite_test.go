package sqlite_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a folder?", "50% #1.db")
	if db, err := sqlite.Open(path); err == nil {
		_ = db.Close()
		t.Fatalf("Open(%q) in a folder that is not there succeeded", path)
	}
	path = filepath.Join(t.TempDir(), "50% ?#1.db")
	db, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*1.db"))
	if err != nil || len(found) != 1 || found[0] != path {
		t.Errorf("Open(%q) made %q, %v", path, found, err)
	}
	// Every connection of the pool is set up, not only the first.
	conns := make([]interface{ Close() error }, 0, 3)
	for range cap(conns) {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "busy_timeout": "10000", "foreign_keys": "1",
		} {
			var got string
			if err := conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("PRAGMA %s = %q, %v, want %q", pragma, got, err, want)
			}
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// Transactions that read and then write wait for one another; with deferred ones, all but one would fail as busy.
func TestTransactionsTakeTurns(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)"); err != nil {
		t.Fatal(err)
	}
	increment := func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT n FROM t").Scan(&n); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE t SET n = ?", n+1); err != nil {
			return err
		}
		return tx.Commit()
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if err := increment(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT n FROM t").Scan(&n); err != nil || n != 40 {
		t.Errorf("n = %d, %v, want 40", n, err)
	}
}
