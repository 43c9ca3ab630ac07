package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// leeway is how far the clocks of who signs and who verifies may be apart.
	leeway = 30 * time.Second
	// maxToken is the length, in bytes, above which nothing is parsed.
	maxToken = 8 << 10
)

// VerifierConfig says which tokens are accepted. One of Secret, JWKSURL and LoginURL is needed, and at most one of the
// first two.
type VerifierConfig struct {
	Secret  string `env:"JWT_SECRET"`   // the signer's
	JWKSURL string `env:"JWT_JWKS_URL"` // where the signer's public keys are served; login's unless there is a Secret
	// LoginURL is the address of the login function, which tells whose tokens were ended, and what an API key may do.
	// Without it tokens count until they expire, and API keys do not.
	LoginURL string `env:"LOGIN_URL"`
	Issuer   string `env:"JWT_ISSUER, default=soundstrip"`   // the claim iss must be this
	Audience string `env:"JWT_AUDIENCE, default=soundstrip"` // the claim aud must contain this
	Legacy   bool   `env:"LEGACY"`                           // parts of the old system are there: see package token
}

// Validate reports a key that is missing, too many, or too weak.
func (c *VerifierConfig) Validate() error {
	return errors.Join(c.checkKey(), checkNames(c.Issuer, c.Audience))
}

func (c *VerifierConfig) checkKey() error {
	var errs []error
	check := func(variable, value string) {
		u, err := url.Parse(value)
		if value != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			errs = append(errs, fmt.Errorf("%s is %q: want an http or https URL", variable, value))
		}
	}
	check("JWT_JWKS_URL", c.JWKSURL)
	check("LOGIN_URL", c.LoginURL)
	switch {
	case c.Secret != "" && c.JWKSURL != "":
		errs = append(errs, errors.New("JWT_SECRET and JWT_JWKS_URL are both set: tokens are checked with one of them"))
	case c.Secret != "" || c.JWKSURL == "" && c.LoginURL == "":
		errs = append(errs, (&legacy{on: c.Legacy}).checkSecret(c.Secret))
	}
	return errors.Join(errs...)
}

// NewVerifier makes a verifier. Public keys, and what login knows of tokens that were ended, are fetched when the first
// token comes, and again when a token names a key that is not known or what was fetched has grown old; until they can
// be had, Verify returns [ErrUnavailable].
func NewVerifier(c VerifierConfig) (Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	login := strings.TrimRight(c.LoginURL, "/")
	old := &legacy{on: c.Legacy}
	old.warn()
	var v *verifier
	if c.Secret != "" {
		v = newVerifier(old, secretKey([]byte(c.Secret)), c.Issuer, c.Audience, jwt.SigningMethodHS256)
	} else {
		keys := setKey(newRemote(cmp.Or(c.JWKSURL, login+"/.well-known/jwks.json")))
		v = newVerifier(old, keys, c.Issuer, c.Audience, jwt.SigningMethodEdDSA, jwt.SigningMethodRS256)
	}
	if login == "" {
		slog.Warn( //nolint:sloglint // it is about no request
			"LOGIN_URL is not set: tokens count until they expire, also when they were ended before")
		return v, nil
	}
	return WithLogin(v, remoteLogin{login, newClient(), v}, pollEvery), nil
}

// keys gives the function that finds the key of a token.
type keys func(ctx context.Context) jwt.Keyfunc

type verifier struct {
	parser           *jwt.Parser
	keys             keys
	legacy           *legacy
	issuer, audience string
}

func newVerifier(old *legacy, k keys, issuer, audience string, methods ...jwt.SigningMethod) *verifier {
	var algs []string
	for _, m := range methods {
		algs = append(algs, m.Alg())
	}
	parser := jwt.NewParser(append(old.options(issuer, audience), jwt.WithValidMethods(algs), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding())...)
	return &verifier{keys: k, parser: parser, legacy: old, issuer: issuer, audience: audience}
}

// Verify checks form, algorithm, signature and claims of a token.
func (v *verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	if len(raw) > maxToken {
		return Claims{}, fmt.Errorf("verify token: it has %d bytes, at most %d are read", len(raw), maxToken)
	}
	var c Claims
	if _, err := v.parser.ParseWithClaims(raw, &c, v.key(ctx)); err != nil {
		return Claims{}, fmt.Errorf("verify token: %w", err)
	}
	if err := v.legacy.complete(&c, v.issuer, v.audience); err != nil {
		return Claims{}, fmt.Errorf("verify token: %w", err)
	}
	if c.Username == "" || c.Subject == "" {
		return Claims{}, errors.New("verify token: it names no user")
	}
	if _, err := strconv.Atoi(c.Subject); err == nil {
		return Claims{}, errors.New("verify token: its subject is a row's number, as it was until November 2026")
	}
	return c, nil
}

// key refuses headers by which a token would choose its own key, and extensions, of which none is known here (RFC 7515,
// sections 4.1.2 to 4.1.6 and 4.1.11; RFC 8725, section 3.10).
func (v *verifier) key(ctx context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		for _, h := range []string{"jku", "jwk", "x5u", "x5c", "crit"} {
			if _, ok := t.Header[h]; ok {
				return nil, fmt.Errorf("the header %s is not accepted", h)
			}
		}
		return v.keys(ctx)(t)
	}
}

func secretKey(secret []byte) keys {
	return func(context.Context) jwt.Keyfunc {
		return func(*jwt.Token) (any, error) { return secret, nil }
	}
}

// setKey finds a key by its id. A key is used with the one algorithm that it names.
func setKey(set jwkset.Storage) keys {
	kf, err := keyfunc.New(keyfunc.Options{Storage: set})
	return func(ctx context.Context) jwt.Keyfunc {
		return func(t *jwt.Token) (any, error) {
			if err != nil {
				return nil, err
			}
			if _, ok := t.Header["kid"].(string); !ok {
				return nil, errors.New("the header kid is missing")
			}
			return kf.KeyfuncCtx(ctx)(t)
		}
	}
}
