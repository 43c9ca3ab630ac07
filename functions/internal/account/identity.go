package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Handshake is what has to be remembered of a sign-on elsewhere until its user comes back: see RFC 7636 and OpenID
// Connect Core 1.0, section 3.1.2.1.
type Handshake struct{ Nonce, Verifier string }

// BeginHandshake remembers a handshake for ttl, and gives the state by which it is found.
func (s *Store) BeginHandshake(ctx context.Context, h Handshake, ttl time.Duration) (state string, err error) {
	db, err := s.table(ctx)
	if err != nil {
		return "", err
	}
	state = rand.Text()
	for _, q := range []struct {
		query string
		args  []any
	}{
		{s.sql("DELETE FROM handshake WHERE ends < NOW()"), nil},
		{s.sql("INSERT INTO handshake (id, nonce, verifier, ends) VALUES (?, ?, ?, NOW() + ?)"),
			[]any{hashOfKey(state), h.Nonce, h.Verifier, int64(ttl.Seconds())}},
	} {
		if _, err := db.ExecContext(ctx, q.query, q.args...); err != nil {
			return "", fmt.Errorf("begin handshake: %w", err)
		}
	}
	return state, nil
}

// EndHandshake gives the handshake of a state, once. ErrNotFound when there is none, or it has ended.
func (s *Store) EndHandshake(ctx context.Context, state string) (h Handshake, err error) {
	if _, err := s.table(ctx); err != nil {
		return h, err
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, s.sql("SELECT nonce, verifier FROM handshake WHERE id = ? AND ends >= NOW()"),
			hashOfKey(state)).Scan(&h.Nonce, &h.Verifier)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM handshake WHERE id = ?", hashOfKey(state))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 { // another was quicker
			return errors.Join(err, ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return Handshake{}, fmt.Errorf("end handshake: %w", err)
	}
	return h, nil
}

// Identity is a user of an OpenID provider. The subject is the provider's, and never another's there.
type Identity struct {
	Issuer, Subject string
	Email           string
	Verified        bool // by the provider: the address is the user's
}

// ByIdentity gives the user who signs on elsewhere. At the first time the address decides: its account is the user's
// when the provider has verified it and nobody else of the provider has the account; without an account one is made,
// which has no password. ErrCredentials when that is not so, or the user is disabled.
func (s *Store) ByIdentity(ctx context.Context, i Identity) (User, error) {
	db, err := s.table(ctx)
	if err != nil {
		return User{}, err
	}
	sum := sha256.Sum256([]byte(i.Issuer + "\x00" + i.Subject))
	key := hex.EncodeToString(sum[:])
	var id string
	var u User
	if err = db.QueryRowContext(ctx, "SELECT uid FROM identity WHERE id = ?", key).Scan(&id); err == nil {
		u, err = s.ByID(ctx, id)
	}
	if errors.Is(err, ErrNotFound) { // the user was deleted just as the identity was made
		if _, err = db.ExecContext(ctx, "DELETE FROM identity WHERE id = ? AND uid = ?", key, id); err == nil {
			err = sql.ErrNoRows
		}
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		u, err = s.link(ctx, key, i)
	case err != nil:
		err = fmt.Errorf("find identity: %w", err)
	}
	if err == nil && u.Disabled {
		return User{}, refusal("user " + u.ID + " is disabled")
	}
	return u, err
}

// link makes an identity that of a user, and gives the user.
func (s *Store) link(ctx context.Context, key string, i Identity) (User, error) {
	email := normalize(i.Email)
	if !i.Verified {
		return User{}, refusal("the provider has not verified the address of " + i.Subject)
	}
	if err := checkEmail(email); err != nil {
		return User{}, refusal("the provider gives no address for " + i.Subject)
	}
	u, _, err := s.find(ctx, email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	made := err != nil
	if made {
		u.ID = newID()
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		if made {
			_, err := tx.ExecContext(ctx, "INSERT INTO `user` (uid, owner, email, password) VALUES (?, ?, ?, '')",
				u.ID, u.ID, email)
			if err != nil {
				return err
			}
		}
		// One of a provider's users is one of ours: the index says so.
		_, err := tx.ExecContext(ctx, "INSERT INTO identity (id, uid, issuer) VALUES (?, ?, ?)", key, u.ID, i.Issuer)
		return err
	})
	if s.dialect.isDuplicate(err) {
		return User{}, refusal("the account of that address is another's of the provider")
	}
	if err != nil {
		return User{}, fmt.Errorf("link identity: %w", err)
	}
	u, err = s.ByID(ctx, u.ID)
	u.Made = made
	return u, err
}
