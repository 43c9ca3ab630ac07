package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Key is an API key: a secret by which a machine acts for a user. The store keeps a hash of the secret.
type Key struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Scope   string     `json:"scope"` // what it is good for: upload, read, or both with a space between
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
	Used    *time.Time `json:"last_used,omitempty"` // to the minute
}

// KeyPrefix is what an API key begins with.
const KeyPrefix = "ss_"

// The bounds of a user's keys.
const (
	maxKeys    = 50
	maxKeyName = 100 // bytes
	// usedEvery is how often, in seconds, the last use of a key is stored.
	usedEvery = 60
)

// hashOfKey is what is kept of a key. It is too long to be guessed, so that a fast hash will do.
func hashOfKey(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// CreateKey makes a key of a user, and gives its secret as well. A [RuleError] when the name or the time will not do.
func (s *Store) CreateKey(ctx context.Context, userID string, k Key) (_ Key, secret string, err error) {
	k.Name = strings.TrimSpace(k.Name)
	if k.Name == "" || len(k.Name) > maxKeyName || !utf8.ValidString(k.Name) {
		return Key{}, "", RuleError(fmt.Sprintf("the key needs a name of 1 to %d bytes, to know it by later", maxKeyName))
	}
	if _, err := s.table(ctx); err != nil {
		return Key{}, "", err
	}
	secret = KeyPrefix + rand.Text()
	k.ID, k.Used = strings.ToLower(rand.Text()), nil
	var expires int64
	if k.Expires != nil {
		expires = k.Expires.Unix()
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		var n int
		var now int64
		// The user's row is locked, so that two keys at once are counted one after the other.
		if _, err := tx.ExecContext(ctx, "UPDATE `user` SET uid = uid WHERE uid = ?", userID); err != nil {
			return err
		}
		row := tx.QueryRowContext(ctx, s.sql("SELECT COUNT(*), NOW() FROM api_key WHERE uid = ?"), userID)
		if err := row.Scan(&n, &now); err != nil {
			return err
		}
		if n >= maxKeys {
			return RuleError(fmt.Sprintf("you have %d keys, which is the most: end one before", maxKeys))
		}
		if expires != 0 && expires <= now {
			return RuleError("the key would have expired already")
		}
		k.Created = time.Unix(now, 0).UTC()
		_, err := tx.ExecContext(ctx, "INSERT INTO api_key (id, uid, name, hash, scope, created, expires, used) "+
			"VALUES (?, ?, ?, ?, ?, ?, ?, 0)", k.ID, userID, k.Name, hashOfKey(secret), k.Scope, now, expires)
		return err
	})
	if err != nil {
		return Key{}, "", fmt.Errorf("create key: %w", err)
	}
	return k, secret, nil
}

// keyColumns are those of a key, for scanKey.
const keyColumns = "id, name, scope, created, expires, used"

func scanKey(row interface{ Scan(into ...any) error }, more ...any) (k Key, err error) {
	var created, expires, used int64
	err = row.Scan(append([]any{&k.ID, &k.Name, &k.Scope, &created, &expires, &used}, more...)...)
	k.Created, k.Expires, k.Used = time.Unix(created, 0).UTC(), moment(expires), moment(used)
	return k, err
}

// moment gives the time that is stored as Unix seconds; 0 is none.
func moment(unix int64) *time.Time {
	if unix == 0 {
		return nil
	}
	t := time.Unix(unix, 0).UTC()
	return &t
}

// Keys gives a user's keys, the newest first; those that have expired, too.
func (s *Store) Keys(ctx context.Context, userID string) ([]Key, error) {
	db, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT "+keyColumns+" FROM api_key WHERE uid = ? ORDER BY created DESC, id", userID)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	defer rows.Close()
	all := []Key{}
	for rows.Next() {
		k, err := scanKey(rows)
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		all = append(all, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return all, nil
}

// EndKey ends a key of a user. ErrNotFound when there is none with the id.
func (s *Store) EndKey(ctx context.Context, userID, id string) error {
	db, err := s.table(ctx)
	if err != nil {
		return err
	}
	res, err := db.ExecContext(ctx, "DELETE FROM api_key WHERE uid = ? AND id = ?", userID, id)
	if err != nil {
		return fmt.Errorf("end key: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrNotFound)
	}
	return nil
}

// ByKey gives the user and the key that a secret belongs to, and stores that it was used. One that is not known or has
// expired, and that of a disabled user, is ErrCredentials.
func (s *Store) ByKey(ctx context.Context, secret string) (User, Key, error) {
	db, err := s.table(ctx)
	if err != nil {
		return User{}, Key{}, err
	}
	var userID string
	var now int64
	k, err := scanKey(db.QueryRowContext(ctx, s.sql("SELECT "+keyColumns+", uid, NOW() FROM api_key WHERE hash = ?"),
		hashOfKey(secret)), &userID, &now)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return User{}, Key{}, refusal("no such key")
	case err != nil:
		return User{}, Key{}, fmt.Errorf("find key: %w", err)
	case k.Expires != nil && k.Expires.Unix() <= now:
		return User{}, Key{}, refusal("key " + k.ID + " has expired")
	}
	u, err := s.ByID(ctx, userID)
	switch {
	case errors.Is(err, ErrNotFound):
		return User{}, Key{}, refusal("the user of key " + k.ID + " is gone")
	case err != nil:
		return User{}, Key{}, err
	case u.Disabled:
		return User{}, Key{}, refusal("user " + u.ID + " is disabled")
	}
	_, err = db.ExecContext(ctx, "UPDATE api_key SET used = ? WHERE id = ? AND used < ?", now, k.ID, now-usedEvery)
	if err != nil {
		return User{}, Key{}, fmt.Errorf("store the use of key %s: %w", k.ID, err)
	}
	return u, k, nil
}
