// Package account keeps the users: in MySQL or MariaDB, or in SQLite.
//
// The table user(id, email, password) is that of the Python auth service, which may read and write it at the same time.
// Its passwords were plain text: each becomes a hash when its owner logs in.
package account

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"
)

// User is a person who may log in.
type User struct {
	// ID is random, and never used again.
	ID string
	// Owner is what the user's files are kept by: the ID, or the e-mail address of a user of the old table, by which the
	// old system kept them. No other user gets it, either.
	Owner    string
	Email    string // as it is stored; no two differ in case only
	Group    string // admin, default, or another that an operator has thought of
	Admin    bool   // the group is admin
	Disabled bool
	// Elsewhere says that the user has no password here, and signs on elsewhere.
	Elsewhere bool
	// Made says that the call that gave the user made it.
	Made    bool
	Created time.Time // for a user of the old table, when the column was added
	// TokensAfter is the Unix time before which a token must not have been given; 0 when that is long ago.
	TokensAfter int64

	row int64
}

// What a store answers.
var (
	ErrNotFound    = errors.New("no such user")
	ErrExists      = errors.New("the e-mail address has an account already")
	ErrCredentials = errors.New("the e-mail address or the password is wrong")
	// ErrBusy says that too many passwords are being hashed to begin with another.
	ErrBusy = errors.New("too many logins at once")
)

// refusal is an ErrCredentials whose text is for the log only.
type refusal string

func (r refusal) Error() string { return string(r) }

func (refusal) Is(target error) bool { return target == ErrCredentials }

// RuleError tells a person which rule the chosen e-mail address or password breaks.
type RuleError string

func (e RuleError) Error() string { return string(e) }

// The bounds of what a person may choose.
const (
	maxEmail    = 254 // bytes (RFC 5321, section 4.5.3.1.3, without the angle brackets)
	minPassword = 8   // characters
	maxPassword = 256 // bytes
)

// normalize gives the form in which an e-mail address is stored and looked for. What is no UTF-8 becomes U+FFFD.
func normalize(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func checkEmail(email string) error {
	if len(email) > maxEmail {
		return RuleError(fmt.Sprintf("the e-mail address is longer than %d bytes", maxEmail))
	}
	a, err := mail.ParseAddress(email)
	if err != nil || a.Address != email || strings.ContainsRune(email, utf8.RuneError) {
		return RuleError("the e-mail address is not one: want something like name@example.com")
	}
	return nil
}

func checkPassword(email, password string) error {
	switch {
	case !utf8.ValidString(password):
		return RuleError("the password is not UTF-8 text")
	case utf8.RuneCountInString(password) < minPassword:
		return RuleError(fmt.Sprintf("the password is too short: want %d characters or more", minPassword))
	case len(password) > maxPassword:
		return RuleError(fmt.Sprintf("the password is longer than %d bytes", maxPassword))
	case strings.EqualFold(password, email):
		return RuleError("the password is the e-mail address: choose another")
	}
	return nil
}
