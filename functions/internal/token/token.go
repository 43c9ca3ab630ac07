// Package token is the JSON Web Token that a login gives and every other function asks for.
package token

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
)

// Claims are what a token says. The subject is the user's id, which no other user gets, ever.
type Claims struct {
	Username string `json:"username"` // the user's e-mail address
	// Admin is for the old gateway, which turns others away: login may say so of everyone. Nothing of ours looks at it.
	Admin bool `json:"admin"`
	// Group is admin, default, or another of the operator's; empty means default.
	Group string `json:"group,omitempty"`
	// Keeper is what the user's files are kept by, where that is not the subject: see [Claims.Owner].
	Keeper string `json:"owner,omitempty"`
	// Scope is what the token is good for, as words with spaces between (RFC 9068, section 2.2.3); empty for everything.
	Scope string `json:"scope,omitempty"`
	// AuthTime is when the user showed a password; it stays the same in the tokens that follow from this one.
	AuthTime *jwt.NumericDate `json:"auth_time,omitempty"`
	jwt.RegisteredClaims
}

// Owner is what the user's files are kept by. No other user gets it, ever.
func (c Claims) Owner() string { return cmp.Or(c.Keeper, c.Subject) }

// IsAdmin reports whether the bearer may do everything. No API key may.
func (c Claims) IsAdmin() bool { return c.Group == "admin" && c.Scope == "" }

// May reports whether the bearer may see what belongs to owner.
func (c Claims) May(owner string) bool { return c.IsAdmin() || c.Owner() != "" && c.Owner() == owner }

// The scopes of API keys.
const (
	Upload = "upload" // send videos
	Read   = "read"   // see jobs, and fetch MP3s
)

// Scopes are all that there are.
var Scopes = []string{Upload, Read}

// KeyPrefix is what an API key begins with, which is a bearer like a token.
const KeyPrefix = "ss_"

// What is said of a token that does not count.
var (
	// ErrUnavailable says that a token could not be checked, since login cannot be asked at the moment.
	ErrUnavailable = errors.New("what tokens are checked with cannot be fetched from login")
	// ErrEnded says that the tokens of the user were ended after this one was given.
	ErrEnded = errors.New("the user's tokens were ended")
)

// Verifier checks a token. Its error is for the log: the token is not to be trusted, or, with [ErrUnavailable], could
// not be checked yet.
type Verifier interface {
	Verify(ctx context.Context, raw string) (Claims, error)
}

type claimsKey struct{}

// FromContext gives the claims of the request's bearer; it must run under [Required].
func FromContext(ctx context.Context) Claims {
	c, _ := ctx.Value(claimsKey{}).(Claims)
	return c
}

// Required lets only requests with a valid Bearer token through: 401 without one, 403 with a bad one (RFC 6750), or
// with an API key that has not the scope. Without a scope no key will do.
func Required(v Verifier, scope string, next http.Handler) http.Handler {
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		c, err := FromRequest(r, v)
		if err != nil {
			return err
		}
		if c.Scope != "" && (scope == "" || !slices.Contains(strings.Fields(c.Scope), scope)) {
			return Insufficient(scope)
		}
		ctx := context.WithValue(r.Context(), claimsKey{}, c)
		next.ServeHTTP(w, r.WithContext(eventing.WithAttrs(ctx, slog.String("subject_id", c.Subject))))
		return nil
	})
}

// Insufficient answers an API key that is not good for what is asked.
func Insufficient(scope string) error {
	detail := "an API key may not do this: log in"
	if scope != "" {
		detail = "the API key has not the scope " + scope
	}
	return problem.New(problem.Forbidden, "%s", detail).
		With("WWW-Authenticate", `Bearer realm="soundstrip", error="insufficient_scope"`)
}

// Bearer gives the token or API key of a request, or nothing.
func Bearer(r *http.Request) string {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(raw)
}

// FromRequest checks the Bearer token of a request. Its errors are of package problem.
func FromRequest(r *http.Request, v Verifier) (Claims, error) {
	raw := Bearer(r)
	if raw == "" {
		return Claims{}, problem.New(problem.Unauthenticated,
			"no token: log in at POST /login and send the header Authorization: Bearer TOKEN").
			With("WWW-Authenticate", `Bearer realm="soundstrip"`)
	}
	c, err := v.Verify(r.Context(), raw)
	if errors.Is(err, ErrUnavailable) {
		return Claims{}, problem.Wrap(err, problem.Unavailable,
			"tokens cannot be checked at the moment: try again").RetryAfter(time.Second)
	}
	if err != nil {
		return Claims{}, Refused(err)
	}
	return c, nil
}

// Tell answers with the claims of a request's Bearer token, as JSON.
func Tell(v Verifier) problem.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := FromRequest(r, v)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		return json.NewEncoder(w).Encode(c)
	}
}

// Refused answers a request whose token does not count.
func Refused(err error) error {
	detail := "the token is not valid: log in again"
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		detail = "the token has expired: log in again"
	case errors.Is(err, ErrEnded):
		detail = "the token was ended: log in again"
	case errors.Is(err, ErrKey):
		detail = "the API key is not known, or has ended"
	}
	return problem.Wrap(err, problem.Forbidden, "%s", detail).
		With("WWW-Authenticate", `Bearer realm="soundstrip", error="invalid_token"`)
}
