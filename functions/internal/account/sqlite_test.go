package account

import (
	"path/filepath"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

// TestOldSQLite brings a table as it was until November 2026 up to date.
func TestOldSQLite(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "soundstrip.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	execute(t, db, "CREATE TABLE `user` (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE COLLATE NOCASE, "+
		"password TEXT NOT NULL, admin BOOLEAN NOT NULL DEFAULT FALSE, disabled BOOLEAN NOT NULL DEFAULT FALSE, "+
		"created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)")
	execute(t, db, "INSERT INTO `user` (email, password, admin) VALUES (?, ?, TRUE), ('b@email.com', ?, FALSE)",
		email, decoyOf(cheap), decoyOf(cheap))
	var first []User
	for range 2 {
		s := newTestStore(t, backend{db, NewSQLite})
		all, err := s.List(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatalf("List() = %+v, %v", all, err)
		}
		u := all[0]
		if u.Email != email || !u.Admin || u.Owner != email || u.ID == "" || u.ID == all[1].ID || u.Created.IsZero() {
			t.Errorf("List() = %+v, want an ID each, and the files of the address", all)
		}
		if first != nil && u != first[0] {
			t.Errorf("List() = %+v, and before %+v", u, first[0])
		}
		first = all
	}
}
