package account

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// CreateLink makes a secret by which whoever reads the mails to an address may choose the password of its account,
// once, and which has to be told by mail. The time is when it ends.
func (s *Store) CreateLink(
	ctx context.Context, email string, ttl time.Duration,
) (secret string, ends time.Time, err error) {
	email = normalize(email)
	if err := checkEmail(email); err != nil {
		return "", time.Time{}, err
	}
	db, err := s.table(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	if _, err := db.ExecContext(ctx, s.sql("DELETE FROM password_link WHERE ends < NOW()")); err != nil {
		return "", time.Time{}, fmt.Errorf("create link: %w", err)
	}
	secret = rand.Text()
	var now int64
	if err := db.QueryRowContext(ctx, s.sql("SELECT NOW()")).Scan(&now); err != nil {
		return "", time.Time{}, fmt.Errorf("create link: %w", err)
	}
	ends = time.Unix(now, 0).Add(ttl).UTC()
	_, err = db.ExecContext(ctx, "INSERT INTO password_link (id, email, ends) VALUES (?, ?, ?)", hashOfKey(secret), email,
		ends.Unix())
	if err != nil {
		return "", time.Time{}, fmt.Errorf("create link: %w", err)
	}
	return secret, ends, nil
}

// ErrLink says that a link is not known, was used, or has ended.
var ErrLink = errors.New("the link was used already, or has ended")

// UseLink sets the password of the account that the secret is of, or makes the account. The tokens that were given
// before end, and so do all other links of the address. ErrLink, a [RuleError] when the password will not do, and
// ErrCredentials when the user is disabled.
func (s *Store) UseLink(ctx context.Context, secret, password string) (User, error) {
	db, err := s.table(ctx)
	if err != nil {
		return User{}, err
	}
	var email string
	err = db.QueryRowContext(ctx, s.sql("SELECT email FROM password_link WHERE id = ? AND ends >= NOW()"),
		hashOfKey(secret)).Scan(&email)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return User{}, ErrLink
	case err != nil:
		return User{}, fmt.Errorf("use link: %w", err)
	}
	if err := CheckChoice(email, password); err != nil {
		return User{}, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return User{}, fmt.Errorf("use link: %w", err)
	}
	u, _, findErr := s.find(ctx, email)
	switch {
	case findErr != nil && !errors.Is(findErr, ErrNotFound):
		return User{}, findErr
	case u.Disabled:
		return User{}, refusal("user " + u.ID + " is disabled")
	}
	if findErr != nil {
		u.ID, u.Made = newID(), true
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM password_link WHERE id = ?", hashOfKey(secret))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 { // another was quicker
			return errors.Join(err, ErrLink)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM password_link WHERE email = ?", email); err != nil {
			return err
		}
		if !u.Made {
			if _, err := tx.ExecContext(ctx, "UPDATE `user` SET password = ? WHERE id = ?", hash, u.row); err != nil {
				return err
			}
			return s.end(ctx, tx, u.ID)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO `user` (uid, owner, email, password) VALUES (?, ?, ?, ?)",
			u.ID, u.ID, email, hash)
		return err
	})
	if s.dialect.isDuplicate(err) {
		return User{}, ErrLink
	}
	if err != nil {
		return User{}, fmt.Errorf("use link: %w", err)
	}
	return u, nil
}
