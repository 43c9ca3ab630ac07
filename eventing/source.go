package eventing

import (
	"errors"
	"fmt"
	"net/http"
)

// SourceConfig says from whom a function takes events: from the broker that has the same secret.
type SourceConfig struct {
	Secret   string `env:"EVENT_SECRET"`   // that posts are signed with
	Unsigned bool   `env:"EVENT_UNSIGNED"` // takes unsigned posts from all that the network lets in: Knative does not sign
}

// Validate reports a secret that is missing or too short, unless none is needed.
func (c SourceConfig) Validate() error {
	switch {
	case c.Unsigned:
		return nil
	case c.Secret == "":
		return errors.New("EVENT_SECRET: is not set")
	case len(c.Secret) < MinSecret:
		return fmt.Errorf("EVENT_SECRET: want at least %d bytes", MinSecret)
	}
	return nil
}

// Authenticated is [Authenticated] with the secret, or next itself when posts are not signed.
func (c SourceConfig) Authenticated(audience string, next http.Handler) http.Handler {
	if c.Unsigned {
		return next
	}
	return Authenticated([]byte(c.Secret), audience, next)
}
