package account

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alexedwards/argon2id"
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
	// now is the Unix time by the database's clock: see sql.
	now string
	// insertAttempt makes the row of a limit unless it is there, and locks it.
	insertAttempt string
	// isConflict reports whether an error says that a transaction is worth another try.
	isConflict func(error) bool
}

// Store keeps users. It finds an e-mail address in upper or lower case. A user that is not there is ErrNotFound.
type Store struct {
	db        *sql.DB
	dialect   dialect
	hasher    hasher
	prepared  atomic.Bool
	preparing *semaphore.Weighted
	now       func() time.Time // for attempts only
	forgotten atomic.Int64     // when attempts were forgotten, as Unix milliseconds

	// LeavePlain leaves passwords as the old system wrote them, so that its auth service can still read them.
	LeavePlain bool
}

func newStore(db *sql.DB, d dialect) *Store {
	return &Store{db: db, dialect: d, hasher: newHasher(params), preparing: semaphore.NewWeighted(1), now: time.Now}
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
// pair of a disabled user. It takes the same time for each; the text of the error says more and is for the log.
// *WaitError after too many failures from the network, or of the account from it; ErrBusy when too many passwords are
// being hashed. With such an error comes the ID of the account, for the log, where there is one.
func (s *Store) Authenticate(ctx context.Context, email, password, network string) (User, error) {
	u, stored, err := s.find(ctx, email)
	if errors.Is(err, ErrNotFound) {
		stored = s.hasher.decoy
	} else if err != nil {
		return User{}, err
	}
	refused := User{ID: u.ID}
	try, tryErr := s.attempt(ctx, email, network)
	if tryErr != nil {
		return refused, tryErr
	}
	all := append([]Limit{try.success}, try.failures...)
	if err := s.full(ctx, all...); err != nil {
		return refused, err // without waiting for a slot
	}
	if err := s.hasher.slots.acquire(ctx, network); err != nil {
		return refused, fmt.Errorf("authenticate user %s: %w", u.ID, err)
	}
	defer s.hasher.slots.release(network)
	// It is counted before the hash, so that many at once are not all let through. Those that wait for a slot do not
	// count.
	if err := s.Take(ctx, all...); err != nil {
		return refused, err
	}
	ok, stale, hashErr := s.hasher.matches(password, stored)
	switch {
	case hashErr != nil:
		err = fmt.Errorf("authenticate user %s: %w", u.ID, hashErr)
	case err != nil:
		err = refusal("no such user")
	case !ok:
		err = refusal("wrong password of user " + u.ID)
	case u.Disabled:
		err = refusal("user " + u.ID + " is disabled")
	}
	// What is counted stays counted when the client has left.
	last := context.WithoutCancel(ctx)
	if err != nil {
		return refused, errors.Join(err, s.Give(last, try.success))
	}
	if err := s.succeeded(last, try); err != nil {
		return refused, err
	}
	if stale && !s.LeavePlain {
		if err := s.store(ctx, u.row, password, stored); err != nil {
			slog.WarnContext(ctx, "password not stored anew", "user", u.ID, "error", err)
		}
	}
	return u, nil
}

// rehash stores a password anew, unless it was changed since it was read.
func (s *Store) rehash(ctx context.Context, id int64, password, stored string) error {
	if err := s.hasher.slots.acquire(ctx, ""); err != nil {
		return err
	}
	defer s.hasher.slots.release("")
	return s.store(ctx, id, password, stored)
}

// store is rehash for whoever has a slot.
func (s *Store) store(ctx context.Context, id int64, password, stored string) error {
	hash, err := argon2id.CreateHash(password, &s.hasher.params)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, s.dialect.rehash, hash, id, stored)
	return err
}

// columns are those of a user, for scan. A row that the old service made has no uid yet.
const columns = "u.id, COALESCE(u.uid, ''), COALESCE(u.owner, ''), u.email, u.admin, u.user_group, u.disabled, " +
	"u.created, COALESCE(e.since, 0), u.password FROM `user` u LEFT JOIN tokens_after e ON e.uid = u.uid"

// scan reads a user, and what is stored as the password.
func scan(row interface{ Scan(into ...any) error }) (u User, password string, err error) {
	err = row.Scan(&u.row, &u.ID, &u.Owner, &u.Email, &u.Admin, &u.Group, &u.Disabled, &u.Created,
		&u.TokensAfter, &password)
	u.Group, u.Elsewhere = cmp.Or(u.Group, "default"), password == ""
	if u.Admin {
		u.Group = "admin"
	}
	return u, password, err
}

// ByEmail gives a user.
func (s *Store) ByEmail(ctx context.Context, email string) (User, error) {
	u, _, err := s.find(ctx, email)
	return u, err
}

// ByID gives a user.
func (s *Store) ByID(ctx context.Context, id string) (User, error) {
	u, _, err := s.one(ctx, "u.uid = ?", id)
	return u, err
}

// find gives a user and what is stored as the password.
func (s *Store) find(ctx context.Context, email string) (u User, password string, err error) {
	email = normalize(email)
	if len(email) > maxEmail {
		return User{}, "", ErrNotFound
	}
	u, password, err = s.one(ctx, "u.email = ?", email)
	// A collation may also find a user by an address with other accents. Attempts are counted by address, and would not be
	// counted together.
	if err == nil && normalize(u.Email) != email {
		return User{}, "", ErrNotFound
	}
	return u, password, err
}

func (s *Store) one(ctx context.Context, where, value string) (User, string, error) {
	db, err := s.table(ctx)
	if err != nil {
		return User{}, "", err
	}
	u, password, err := scan(db.QueryRowContext(ctx, "SELECT "+columns+" WHERE "+where, value))
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, "", ErrNotFound
	}
	if err == nil && u.ID == "" {
		err = s.identify(ctx, &u)
	}
	if err != nil {
		return User{}, "", fmt.Errorf("find user: %w", err)
	}
	return u, password, nil
}

func newID() string { return "u_" + strings.ToLower(rand.Text()) }

// identify gives an ID to a user of the old table. The files of the address are this user's, unless they were another's
// who was deleted.
func (s *Store) identify(ctx context.Context, u *User) error {
	id := newID()
	_, err := s.db.ExecContext(ctx, "UPDATE `user` SET uid = ?, owner = CASE WHEN EXISTS "+
		"(SELECT 1 FROM deleted_user d WHERE d.owner = ?) THEN ? ELSE ? END WHERE id = ? AND uid IS NULL",
		id, u.Email, id, u.Email, u.row)
	if err != nil {
		return err
	}
	*u, _, err = scan(s.db.QueryRowContext(ctx, "SELECT "+columns+" WHERE u.id = ?", u.row))
	return err
}

// Create makes a user, and gives the ID. ErrExists when the address has an account; a [RuleError] when address or
// password will not do.
func (s *Store) Create(ctx context.Context, email, password string, admin bool) (id string, err error) {
	email = normalize(email)
	if err := errors.Join(checkEmail(email), checkPassword(email, password)); err != nil {
		return "", err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return "", fmt.Errorf("create user: %w", err)
	}
	db, err := s.table(ctx)
	if err != nil {
		return "", err
	}
	id = newID()
	_, err = db.ExecContext(ctx, "INSERT INTO `user` (uid, owner, email, password, admin) VALUES (?, ?, ?, ?, ?)",
		id, id, email, hash, admin)
	if s.dialect.isDuplicate(err) {
		return "", ErrExists
	}
	if err != nil {
		return "", fmt.Errorf("create user: %w", err)
	}
	return id, nil
}

// SetPassword changes a user's password; a [RuleError] when it will not do. The tokens that were given before end.
func (s *Store) SetPassword(ctx context.Context, email, password string) error {
	if err := checkPassword(normalize(email), password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	return s.update(ctx, email, true, "password = ?", hash)
}

// SetDisabled says whether a user may not log in; it ends the tokens that were given before.
func (s *Store) SetDisabled(ctx context.Context, email string, disabled bool) error {
	return s.update(ctx, email, disabled, "disabled = ?", disabled)
}

// SetGroup moves a user to a group. The tokens that were given before end, unless the new group is admin.
func (s *Store) SetGroup(ctx context.Context, email, group string) error {
	if !isGroup(group) {
		return RuleError("a group's name has 1 to 32 letters, digits and hyphens, all lower case, and begins with a letter")
	}
	admin := group == "admin"
	if admin || group == "default" {
		group = ""
	}
	return s.update(ctx, email, !admin, "admin = ?, user_group = ?", admin, group)
}

// isGroup is no regular expression: that would be compiled at each start.
func isGroup(name string) bool {
	return name != "" && len(name) <= 32 && name[0] >= 'a' && name[0] <= 'z' &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Rehash makes hashes of all passwords that are stored as plain text, and says of how many. It costs each what a login
// costs.
func (s *Store) Rehash(ctx context.Context) (n int, err error) {
	db, err := s.table(ctx)
	if err != nil {
		return 0, err
	}
	rows, err := db.QueryContext(ctx, "SELECT id, password FROM `user` WHERE password <> '' AND password NOT LIKE ?",
		hashPrefix+"%")
	if err != nil {
		return 0, fmt.Errorf("find plain passwords: %w", err)
	}
	defer rows.Close()
	plain := map[int64]string{}
	for rows.Next() {
		var id int64
		var password string
		if err := rows.Scan(&id, &password); err != nil {
			return 0, fmt.Errorf("find plain passwords: %w", err)
		}
		plain[id] = password
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, fmt.Errorf("find plain passwords: %w", err)
	}
	for id, password := range plain {
		if err := s.rehash(ctx, id, password, password); err != nil {
			return n, fmt.Errorf("hash the password in row %d: %w", id, err)
		}
		n++
	}
	return n, nil
}

// EndTokens ends the tokens that a user was given before.
func (s *Store) EndTokens(ctx context.Context, email string) error {
	return s.update(ctx, email, true, "uid = uid")
}

// update sets a column of a user, and ends the user's tokens with it.
func (s *Store) update(ctx context.Context, email string, end bool, set string, value ...any) error {
	u, _, err := s.find(ctx, email)
	if err != nil {
		return err
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		query := "UPDATE `user` SET " + set + " WHERE id = ?" //nolint:gosec // set is one of ours
		if _, err := tx.ExecContext(ctx, query, append(value, u.row)...); err != nil || !end {
			return err
		}
		return s.end(ctx, tx, u.ID)
	})
	if err != nil {
		return fmt.Errorf("update user %s: %w", u.ID, err)
	}
	return nil
}

// sql writes a query for the database: NOW() is the Unix time by its clock, in seconds.
func (s *Store) sql(query string) string { return strings.ReplaceAll(query, "NOW()", s.dialect.now) }

func (s *Store) inTx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// keep is for how long, in seconds, it is kept that tokens were ended: longer than any of them is valid.
const keep = 25 * 60 * 60

// end ends the tokens of a user that were given until now. Times of tokens are whole seconds, so that those of the next
// second are the first that count. Where the tokens were ended in this second before, some may have that time already.
func (s *Store) end(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, s.sql("DELETE FROM tokens_after WHERE since < NOW() - ?"), keep); err != nil {
		return err
	}
	var last int64
	err := tx.QueryRowContext(ctx, s.sql("SELECT COALESCE(MAX(since), NOW()) FROM tokens_after "+
		"WHERE uid = ? AND since > NOW()"), id).Scan(&last)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "REPLACE INTO tokens_after (uid, since) VALUES (?, ?)", id, last+1)
	return err
}

// TokensAfter gives, by ID, the Unix times from which on the tokens of users count, and the time by the database's
// clock: of those whose tokens were ended at the given time or later.
func (s *Store) TokensAfter(ctx context.Context, since int64) (after map[string]int64, now int64, err error) {
	db, err := s.table(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := db.QueryRowContext(ctx, s.sql("SELECT NOW()")).Scan(&now); err != nil {
		return nil, 0, fmt.Errorf("list ended tokens: %w", err)
	}
	rows, err := db.QueryContext(ctx, "SELECT uid, since FROM tokens_after WHERE since >= ?", since)
	if err != nil {
		return nil, 0, fmt.Errorf("list ended tokens: %w", err)
	}
	defer rows.Close()
	after = map[string]int64{}
	for rows.Next() {
		var id string
		var from int64
		if err := rows.Scan(&id, &from); err != nil {
			return nil, 0, fmt.Errorf("list ended tokens: %w", err)
		}
		after[id] = from
	}
	if err := rows.Err(); err != nil {
		return nil, 0, fmt.Errorf("list ended tokens: %w", err)
	}
	return after, now, nil
}

// List gives all users in the order in which they were made.
func (s *Store) List(ctx context.Context) ([]User, error) {
	db, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT "+columns+" ORDER BY u.id")
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	defer rows.Close()
	var all []User
	for rows.Next() {
		u, _, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list users: %w", err)
		}
		all = append(all, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	_ = rows.Close() // the connection is needed
	for i := range all {
		if all[i].ID == "" {
			if err := s.identify(ctx, &all[i]); err != nil {
				return nil, fmt.Errorf("list users: %w", err)
			}
		}
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
