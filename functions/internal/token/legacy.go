package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// legacy is what is let pass while parts of the old system are there (LEGACY): its secret, which is short, and its
// tokens, which name nothing but an e-mail address. Those that are made have no audience, for which the old system's
// library refuses a token.
type legacy struct {
	on     bool
	warned atomic.Int64 // Unix seconds
}

// warn says once a day what is on.
func (l *legacy) warn() {
	const day = 24 * 60 * 60
	now, before := time.Now().Unix(), l.warned.Load()
	if l.on && now-before >= day && l.warned.CompareAndSwap(before, now) {
		slog.WarnContext(context.Background(), "LEGACY is on: short secrets, and tokens without issuer and audience, "+
			"are accepted. Unset it when the last part of the old system is gone")
	}
}

// options are those of a parser. Issuer and audience have to be there, and right; with LEGACY they may be missing.
func (l *legacy) options(issuer, audience string) []jwt.ParserOption {
	if l.on {
		return nil
	}
	return []jwt.ParserOption{jwt.WithIssuer(issuer), jwt.WithAudience(audience)}
}

// complete checks what the parser was not told to, and adds to a token of the old system what ours would say: the
// files of users of the old table are kept by their address.
func (l *legacy) complete(c *Claims, issuer, audience string) error {
	if !l.on {
		return nil
	}
	l.warn()
	if c.Issuer != "" && c.Issuer != issuer {
		return fmt.Errorf("%w: %q", jwt.ErrTokenInvalidIssuer, c.Issuer)
	}
	for _, a := range c.Audience {
		if a != audience {
			return fmt.Errorf("%w: %q", jwt.ErrTokenInvalidAudience, a)
		}
	}
	if c.Subject == "" {
		c.Subject, c.Keeper, c.Group, c.Scope = c.Username, c.Username, "", ""
	}
	return nil
}

func (l *legacy) checkSecret(s string) error {
	switch {
	case s == "":
		return errors.New("JWT_SECRET is not set, nor a key instead of it: make a secret by: openssl rand -hex 32")
	case len(s) < minSecret && !l.on:
		return fmt.Errorf("JWT_SECRET has %d bytes, HS256 needs %d: make one by: openssl rand -hex 32", len(s), minSecret)
	}
	return nil
}
