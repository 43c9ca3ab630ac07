package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// dialect is where the databases differ.
type dialect struct {
	// prepare brings the table to the form that the store needs.
	prepare func(context.Context, *sql.DB) error
	// rehash sets the password of an id if the stored one still is, byte by byte, what it was.
	rehash string
	// isDuplicate reports whether an error says that the e-mail address is taken.
	isDuplicate func(error) bool
}

// Store keeps users. It finds an e-mail address in upper or lower case. A user that is not there is ErrNotFound.
type Store struct {
	db        *sql.DB
	dialect   dialect
	hasher    hasher
	prepared  atomic.Bool
	preparing *semaphore.Weighted
}

func newStore(db *sql.DB, d dialect) *Store {
	return &Store{db: db, dialect: d, hasher: newHasher(), preparing: semaphore.NewWeighted(1)}
}

// table gives the database, and prepares the table before unless that is done.
func (s *Store) table(ctx context.Context) (*sql.DB, error) {
	if s.prepared.Load() {
		return s.db, nil
	}
	if err := s.preparing.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.preparing.Release(1)
	if s.prepared.Load() {
		return s.db, nil
	}
	if err := s.dialect.prepare(ctx, s.db); err != nil {
		return nil, fmt.Errorf("prepare table user: %w", err)
	}
	s.prepared.Store(true)
	return s.db, nil
}

// Ping reports whether the store can be used.
func (s *Store) Ping(ctx context.Context) error {
	db, err := s.table(ctx)
	if err != nil {
		return err
	}
	return db.PingContext(ctx)
}

// Authenticate gives the user whose e-mail address and password these are. A wrong pair is ErrCredentials, as is the
// pair of a disabled user. It takes the same time for each; the text of the error says more and is for the log. ErrBusy
// when too many passwords are being hashed.
func (s *Store) Authenticate(ctx context.Context, email, password string) (User, error) {
	u, stored, err := s.find(ctx, email)
	if errors.Is(err, ErrNotFound) {
		stored = decoy
	} else if err != nil {
		return User{}, err
	}
	ok, stale, hashErr := s.hasher.matches(ctx, password, stored)
	switch {
	case hashErr != nil:
		return User{}, fmt.Errorf("authenticate user %d: %w", u.ID, hashErr)
	case err != nil:
		return User{}, refusal("no such user")
	case !ok:
		return User{}, refusal(fmt.Sprintf("wrong password of user %d", u.ID))
	}
	if stale {
		if err := s.rehash(ctx, u.ID, password, stored); err != nil {
			slog.WarnContext(ctx, "password not stored anew", "user", u.ID, "error", err)
		}
	}
	if u.Disabled {
		return User{}, refusal(fmt.Sprintf("user %d is disabled", u.ID))
	}
	return u, nil
}

// rehash stores a password anew, unless it was changed since it was read.
func (s *Store) rehash(ctx context.Context, id int64, password, stored string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, s.dialect.rehash, hash, id, stored)
	return err
}

const columns = "id, email, admin, disabled, created"

// ByEmail gives a user.
func (s *Store) ByEmail(ctx context.Context, email string) (User, error) {
	u, _, err := s.find(ctx, email)
	return u, err
}

// find gives a user and what is stored as the password.
func (s *Store) find(ctx context.Context, email string) (u User, password string, err error) {
	email = normalize(email)
	if len(email) > maxEmail {
		return User{}, "", ErrNotFound
	}
	db, err := s.table(ctx)
	if err != nil {
		return User{}, "", err
	}
	err = db.QueryRowContext(ctx, "SELECT "+columns+", password FROM `user` WHERE email = ?", email).
		Scan(&u.ID, &u.Email, &u.Admin, &u.Disabled, &u.Created, &password)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return User{}, "", fmt.Errorf("find user: %w", err)
	}
	// A collation may also find a user by an address with other accents. Attempts are counted by address, and would not be
	// counted together.
	if err != nil || normalize(u.Email) != email {
		return User{}, "", ErrNotFound
	}
	return u, password, nil
}

// Create makes a user. ErrExists when the address has an account; a [RuleError] when address or password will not do.
func (s *Store) Create(ctx context.Context, email, password string, admin bool) error {
	email = normalize(email)
	if err := errors.Join(checkEmail(email), checkPassword(email, password)); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	db, err := s.table(ctx)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO `user` (email, password, admin) VALUES (?, ?, ?)", email, hash, admin)
	if s.dialect.isDuplicate(err) {
		return ErrExists
	}
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	return nil
}

// SetPassword changes a user's password; a [RuleError] when it will not do. Tokens that were given before stay valid.
func (s *Store) SetPassword(ctx context.Context, email, password string) error {
	if err := checkPassword(normalize(email), password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	return s.update(ctx, "UPDATE `user` SET password = ? WHERE id = ?", hash, email)
}

// SetDisabled says whether a user may not log in. Tokens that were given before stay valid.
func (s *Store) SetDisabled(ctx context.Context, email string, disabled bool) error {
	return s.update(ctx, "UPDATE `user` SET disabled = ? WHERE id = ?", disabled, email)
}

// SetAdmin says whether the tokens that a user gets from now on are those of an admin.
func (s *Store) SetAdmin(ctx context.Context, email string, admin bool) error {
	return s.update(ctx, "UPDATE `user` SET admin = ? WHERE id = ?", admin, email)
}

func (s *Store) update(ctx context.Context, query string, value any, email string) error {
	u, _, err := s.find(ctx, email)
	if err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, query, value, u.ID); err != nil {
		return fmt.Errorf("update user %d: %w", u.ID, err)
	}
	return nil
}

// List gives all users in the order in which they were made.
func (s *Store) List(ctx context.Context) ([]User, error) {
	db, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT "+columns+" FROM `user` ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	defer rows.Close()
	var all []User
	for rows.Next() {
		var u User
		if err := rows.Scan(&u.ID, &u.Email, &u.Admin, &u.Disabled, &u.Created); err != nil {
			return nil, fmt.Errorf("list users: %w", err)
		}
		all = append(all, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return all, nil
}

// Count says how many users there are.
func (s *Store) Count(ctx context.Context) (n int, err error) {
	db, err := s.table(ctx)
	if err != nil {
		return 0, err
	}
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM `user`").Scan(&n); err != nil {
		return 0, fmt.Errorf("count users: %w", err)
	}
	return n, nil
}
