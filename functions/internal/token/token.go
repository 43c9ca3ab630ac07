// Package token is the JSON Web Token that a login gives and every other function asks for.
package token

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
)

// Claims are what a token says.
type Claims struct {
	Username string `json:"username"`
	Admin    bool   `json:"admin"`
	jwt.RegisteredClaims
}

// May reports whether the bearer may see what belongs to owner.
func (c Claims) May(owner string) bool { return c.Admin || c.Username != "" && c.Username == owner }

// ErrUnavailable says that a token could not be checked, since its keys cannot be fetched at the moment.
var ErrUnavailable = errors.New("the keys that tokens are checked with cannot be fetched")

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

// Required lets only requests with a valid Bearer token through: 401 without one, 403 with a bad one (RFC 6750).
func Required(v Verifier, next http.Handler) http.Handler {
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		c, err := FromRequest(r, v)
		if err != nil {
			return err
		}
		ctx := context.WithValue(r.Context(), claimsKey{}, c)
		next.ServeHTTP(w, r.WithContext(eventing.WithAttrs(ctx, slog.String("subject_id", c.Subject))))
		return nil
	})
}

// FromRequest checks the Bearer token of a request. Its errors are of package problem.
func FromRequest(r *http.Request, v Verifier) (Claims, error) {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return Claims{}, problem.New(problem.Unauthenticated,
			"no token: log in at POST /login and send the header Authorization: Bearer TOKEN").
			With("WWW-Authenticate", `Bearer realm="soundstrip"`)
	}
	c, err := v.Verify(r.Context(), strings.TrimSpace(raw))
	if errors.Is(err, ErrUnavailable) {
		return Claims{}, problem.Wrap(err, problem.Unavailable,
			"tokens cannot be checked at the moment: try again").RetryAfter(time.Second)
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Claims{}, problem.Wrap(err, problem.Forbidden, "the token has expired: log in again").
			With("WWW-Authenticate", `Bearer realm="soundstrip", error="invalid_token"`)
	}
	if err != nil {
		return Claims{}, problem.Wrap(err, problem.Forbidden, "the token is not valid: log in again").
			With("WWW-Authenticate", `Bearer realm="soundstrip", error="invalid_token"`)
	}
	return c, nil
}
