package eventing

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// MinSecret is the least length, in bytes, of the secret that signs posts of events (RFC 7518, section 3.2).
const MinSecret = 32

// signedFor is how long a signature on a post holds: long enough for the way and for clocks that differ, not for the
// work.
const signedFor = 2 * time.Minute

const issuer = "soundstrip-events"

// Authorize signs a post of an event: a Bearer JWT by HS256 whose audience is the function it goes to. Without a secret
// it does nothing.
func Authorize(r *http.Request, secret []byte, audience string) error {
	if len(secret) == 0 {
		return nil
	}
	now := time.Now()
	t, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Issuer:    issuer,
		Audience:  jwt.ClaimStrings{audience},
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(signedFor)),
	}).SignedString(secret)
	if err != nil {
		return fmt.Errorf("sign event for %s: %w", audience, err)
	}
	r.Header.Set("Authorization", "Bearer "+t)
	return nil
}

// Authenticated lets only posts through that [Authorize] signed for the audience with the same secret: 401 without a
// signature, 403 with a wrong one. A secret shorter than [MinSecret] lets nothing through.
func Authenticated(secret []byte, audience string, next http.Handler) http.Handler {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Name}), jwt.WithIssuer(issuer),
		jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(30*time.Second))
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return problem.New(problem.Unauthenticated, "events are taken from the broker only: the post is not signed").
				With("WWW-Authenticate", "Bearer")
		}
		if _, err := parser.Parse(raw, func(*jwt.Token) (any, error) {
			if len(secret) < MinSecret {
				// Anyone can sign with an empty one.
				return nil, fmt.Errorf("the secret has %d bytes, want %d", len(secret), MinSecret)
			}
			return secret, nil
		}); err != nil {
			return problem.Wrap(err, problem.Forbidden,
				"events are taken from the broker only: the signature of the post does not hold")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}
