package eventing

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// MinSecret is the least length, in bytes, of the secret that signs posts of events (RFC 7518, section 3.2).
const MinSecret = 32

const (
	// signedFor is how long a signature on a post holds: long enough for the way, not for the work.
	signedFor = 2 * time.Minute
	// apart is how far the clocks of who signs and who verifies may be apart. Were it less, a machine whose clock is off
	// would take no events, and they would become dead letters. Who repeats a post can repeat that event only, which is
	// done once.
	apart = 6 * time.Minute
)

const issuer = "soundstrip-events"

// signature is what a signed post says: the id of the signature is in the log of who made it and of who took it.
type signature struct {
	Body string `json:"body_sha256,omitempty"` // in hex, of the body
	jwt.RegisteredClaims
}

// Authorize signs a post of an event: a Bearer JWT by HS256 whose audience is the function it goes to. It holds for
// this body only. Without a secret it does nothing.
func Authorize(r *http.Request, secret []byte, audience string) error {
	if len(secret) == 0 {
		return nil
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = readAll(r.Body, r.ContentLength); err != nil {
			return fmt.Errorf("sign event for %s: %w", audience, err)
		}
		_ = r.Body.Close() // it was only read
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	now := time.Now()
	t, err := jwt.NewWithClaims(jwt.SigningMethodHS256, signature{hashOf(body), jwt.RegisteredClaims{
		ID:        rand.Text(),
		Issuer:    issuer,
		Audience:  jwt.ClaimStrings{audience},
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(signedFor)),
	}}).SignedString(secret)
	if err != nil {
		return fmt.Errorf("sign event for %s: %w", audience, err)
	}
	r.Header.Set("Authorization", "Bearer "+t)
	return nil
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Authenticated lets only posts through that [Authorize] signed for the audience with the same secret: 401 without a
// signature, 403 with a wrong one, or with that of another body. A secret shorter than [MinSecret] lets nothing
// through.
func Authenticated(secret []byte, audience string, next http.Handler) http.Handler {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Name}), jwt.WithIssuer(issuer),
		jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(apart))
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return problem.New(problem.Unauthenticated, "events are taken from the broker only: the post is not signed").
				With("WWW-Authenticate", "Bearer")
		}
		var said signature
		if _, err := parser.ParseWithClaims(raw, &said, func(*jwt.Token) (any, error) {
			if len(secret) < MinSecret {
				// Anyone can sign with an empty one.
				return nil, fmt.Errorf("the secret has %d bytes, want %d", len(secret), MinSecret)
			}
			return secret, nil
		}); err != nil {
			return problem.Wrap(err, problem.Forbidden,
				"events are taken from the broker only: the signature of the post does not hold")
		}
		// What versions until November 2026 signed has no hash. They are gone when all is deployed, and so are their
		// signatures, 2 minutes later.
		if said.Body != "" {
			body, err := readAll(http.MaxBytesReader(w, r.Body, MaxEvent), r.ContentLength)
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				return problem.New(problem.TooLarge, "the event is larger than %d bytes", MaxEvent)
			}
			if err != nil {
				return problem.Wrap(err, problem.Invalid, "the event broke off")
			}
			if said.Body != hashOf(body) {
				return problem.Wrap(fmt.Errorf("signature %s is of another body", said.ID), problem.Forbidden,
					"events are taken from the broker only: the signature of the post is of another body")
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, r)
		return nil
	})
}
