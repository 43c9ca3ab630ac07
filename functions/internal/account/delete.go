package account

import (
	"context"
	"database/sql"
	"fmt"
)

// Deletion is an account that is gone, and whose files are to go.
type Deletion struct {
	ID    string `json:"id"`    // of the user
	Owner string `json:"owner"` // what the files are kept by
}

// Delete forgets a user with the keys, and ends the tokens. That there was such a user stays, so that nobody gets the
// files: see [Store.Deletions].
func (s *Store) Delete(ctx context.Context, email string) error {
	u, _, err := s.find(ctx, email)
	if err != nil {
		return err
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		for _, q := range []struct {
			query string
			args  []any
		}{
			{"DELETE FROM api_key WHERE uid = ?", []any{u.ID}},
			{"DELETE FROM identity WHERE uid = ?", []any{u.ID}},
			{"DELETE FROM `user` WHERE id = ?", []any{u.row}},
			{s.sql("REPLACE INTO deleted_user (uid, owner, since, swept) VALUES (?, ?, NOW(), FALSE)"), []any{u.ID, u.Owner}},
		} {
			if _, err := tx.ExecContext(ctx, q.query, q.args...); err != nil {
				return err
			}
		}
		return s.end(ctx, tx, u.ID)
	})
	if err != nil {
		return fmt.Errorf("delete user %s: %w", u.ID, err)
	}
	return nil
}

// Deletions gives the users that were deleted and whose files may still be there.
func (s *Store) Deletions(ctx context.Context) ([]Deletion, error) {
	db, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT uid, owner FROM deleted_user WHERE swept = FALSE ORDER BY since")
	if err != nil {
		return nil, fmt.Errorf("list deleted users: %w", err)
	}
	defer rows.Close()
	all := []Deletion{}
	for rows.Next() {
		var d Deletion
		if err := rows.Scan(&d.ID, &d.Owner); err != nil {
			return nil, fmt.Errorf("list deleted users: %w", err)
		}
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list deleted users: %w", err)
	}
	return all, nil
}

// Swept records that there are no files of a deleted user any more. Within a day of the deletion it does nothing: an
// upload that had begun may end until then.
func (s *Store) Swept(ctx context.Context, id string) error {
	db, err := s.table(ctx)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, s.sql("UPDATE deleted_user SET swept = TRUE WHERE uid = ? AND since < NOW() - ?"),
		id, keep)
	if err != nil {
		return fmt.Errorf("record that the files of user %s are gone: %w", id, err)
	}
	return nil
}
