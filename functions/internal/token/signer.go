package token

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// The least lengths of keys (RFC 7518, sections 3.2 and 3.3).
const (
	minSecret = 32   // bytes
	minRSA    = 2048 // bits
)

// MaxTTL bounds how long a token is valid. What is known of tokens that were ended is kept for as long.
const MaxTTL = 24 * time.Hour

// SignerConfig says how tokens are made. Exactly one of Secret and PrivateKey is given; it decides the algorithm: HS256
// for a secret, EdDSA for an Ed25519 key, RS256 for an RSA key.
type SignerConfig struct {
	Secret     string `env:"JWT_SECRET"`      // at least 32 bytes
	PrivateKey string `env:"JWT_PRIVATE_KEY"` // PEM: PKCS #8, or PKCS #1 for RSA
	// PreviousKeys are keys in PEM, public or private, whose tokens are still valid after a rotation.
	PreviousKeys string        `env:"JWT_PREVIOUS_KEYS"`
	Issuer       string        `env:"JWT_ISSUER, default=soundstrip"`   // the claim iss
	Audience     string        `env:"JWT_AUDIENCE, default=soundstrip"` // the claim aud
	TTL          time.Duration `env:"JWT_TTL, default=1h"`              // how long a token is valid; at most [MaxTTL]
	Legacy       bool          `env:"LEGACY"`                           // parts of the old system are there
}

// Validate reports a key that is missing, too many, or too weak.
func (c *SignerConfig) Validate() error {
	_, err := NewSigner(*c)
	return err
}

// Signer makes tokens. It is safe for concurrent use.
type Signer struct {
	method   jwt.SigningMethod
	key      any
	kid      string
	jwks     *jwkset.MemoryJWKSet
	issuer   string
	audience string
	ttl      time.Duration
	legacy   *legacy
}

// NewSigner makes a signer. Its error reports every fault by the variable's name.
func NewSigner(c SignerConfig) (*Signer, error) {
	s := &Signer{jwks: jwkset.NewMemoryStorage(), issuer: c.Issuer, audience: c.Audience, ttl: c.TTL,
		legacy: &legacy{on: c.Legacy}}
	var errs []error
	if c.TTL < time.Second || c.TTL > MaxTTL {
		errs = append(errs, fmt.Errorf("JWT_TTL is %v: want from 1s to %v", c.TTL, MaxTTL))
	}
	errs = append(errs, checkNames(c.Issuer, c.Audience))
	switch {
	case c.Secret != "" && c.PrivateKey != "":
		errs = append(errs, errors.New("JWT_SECRET and JWT_PRIVATE_KEY are both set: tokens are signed with one of them"))
	case c.PrivateKey != "":
		errs = append(errs, s.usePrivateKey(c.PrivateKey), s.serve("JWT_PREVIOUS_KEYS", c.PreviousKeys))
	default:
		s.method, s.key = jwt.SigningMethodHS256, []byte(c.Secret)
		errs = append(errs, s.legacy.checkSecret(c.Secret))
		if c.PreviousKeys != "" {
			errs = append(errs, errors.New("JWT_PREVIOUS_KEYS goes with JWT_PRIVATE_KEY, not with JWT_SECRET"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Signer) usePrivateKey(text string) error {
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("JWT_PRIVATE_KEY is not one PEM block: make a key by: openssl genpkey -algorithm ed25519")
	}
	key, err := jwkset.LoadX509KeyInfer(block)
	if err != nil {
		return fmt.Errorf("JWT_PRIVATE_KEY cannot be read: %w", err)
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("JWT_PRIVATE_KEY holds a %s that cannot sign", block.Type)
	}
	if s.method, s.kid, err = identify(private.Public()); err != nil {
		return fmt.Errorf("JWT_PRIVATE_KEY: %w", err)
	}
	s.key = key
	return s.serve("JWT_PRIVATE_KEY", text)
}

// serve adds the public halves of the PEM keys to the JWKS.
func (s *Signer) serve(variable, text string) error {
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return fmt.Errorf("%s is not PEM from start to end", variable)
		}
		key, err := jwkset.LoadX509KeyInfer(block)
		if err != nil {
			return fmt.Errorf("%s cannot be read: %w", variable, err)
		}
		if private, ok := key.(crypto.Signer); ok {
			key = private.Public()
		}
		method, kid, err := identify(key)
		if err != nil {
			return fmt.Errorf("%s: %w", variable, err)
		}
		jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
			Metadata: jwkset.JWKMetadataOptions{ALG: jwkset.ALG(method.Alg()), KID: kid, USE: jwkset.UseSig},
		})
		if err != nil {
			return fmt.Errorf("%s: %w", variable, err)
		}
		if err := s.jwks.KeyWrite(context.Background(), jwk); err != nil { // in memory: no context is needed
			return fmt.Errorf("%s: %w", variable, err)
		}
	}
	return nil
}

// identify gives the one algorithm that a public key is used with, and its id: the thumbprint of RFC 7638.
func identify(public crypto.PublicKey) (jwt.SigningMethod, string, error) {
	jwk, err := jwkset.NewJWKFromKey(public, jwkset.JWKOptions{})
	if err != nil {
		return nil, "", err
	}
	m := jwk.Marshal()
	var method jwt.SigningMethod
	var canonical string
	switch key := public.(type) {
	case ed25519.PublicKey:
		method, canonical = jwt.SigningMethodEdDSA, fmt.Sprintf(`{"crv":%q,"kty":%q,"x":%q}`, m.CRV, m.KTY, m.X)
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return nil, "", fmt.Errorf("the RSA key has %d bits: %d are needed", key.N.BitLen(), minRSA)
		}
		method, canonical = jwt.SigningMethodRS256, fmt.Sprintf(`{"e":%q,"kty":%q,"n":%q}`, m.E, m.KTY, m.N)
	default:
		return nil, "", fmt.Errorf("a key of type %T is not used here: Ed25519 and RSA are", public)
	}
	sum := sha256.Sum256([]byte(canonical))
	return method, base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// checkNames refuses empty names, which would switch their checks off.
func checkNames(issuer, audience string) error {
	var errs []error
	if issuer == "" {
		errs = append(errs, errors.New("JWT_ISSUER is not set"))
	}
	if audience == "" {
		errs = append(errs, errors.New("JWT_AUDIENCE is not set"))
	}
	return errors.Join(errs...)
}

// Sign makes a token of the claims, and sets those that are the same for all. An IssuedAt in the future is kept, and an
// ExpiresAt that is earlier than a token's.
func (s *Signer) Sign(c Claims) (string, error) {
	now := time.Now()
	if c.IssuedAt != nil && c.IssuedAt.After(now) {
		now = c.IssuedAt.Time
	}
	ends := now.Add(s.ttl)
	if c.ExpiresAt != nil && c.ExpiresAt.Before(ends) {
		ends = c.ExpiresAt.Time
	}
	c.ID, c.Issuer = uuid.NewString(), s.issuer
	if s.legacy.on {
		s.legacy.warn()
		c.Admin = true // or the old gateway turns the user away
	} else {
		c.Audience = jwt.ClaimStrings{s.audience}
	}
	c.IssuedAt, c.NotBefore, c.ExpiresAt = jwt.NewNumericDate(now), jwt.NewNumericDate(now), jwt.NewNumericDate(ends)
	t := jwt.NewWithClaims(s.method, c)
	if s.kid != "" {
		t.Header["kid"] = s.kid
	}
	raw, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign token of user %s: %w", c.Subject, err)
	}
	return raw, nil
}

// TTL is how long a token is valid, from when it was signed.
func (s *Signer) TTL() time.Duration { return s.ttl }

// JWKS is the public keys as a JSON Web Key Set (RFC 7517); with a secret, the set is empty.
func (s *Signer) JWKS(ctx context.Context) ([]byte, error) {
	set, err := s.jwks.Marshal(ctx)
	if err != nil {
		return nil, fmt.Errorf("list public keys: %w", err)
	}
	if set.Keys == nil {
		set.Keys = []jwkset.JWKMarshal{} // the set's keys are an array (RFC 7517, section 5), and not null
	}
	return json.Marshal(set)
}

// Verifier checks the signer's own tokens, and those of its previous keys, without asking anyone.
func (s *Signer) Verifier() Verifier {
	if secret, ok := s.key.([]byte); ok {
		return newVerifier(s.legacy, secretKey(secret), s.issuer, s.audience, s.method)
	}
	return newVerifier(s.legacy, setKey(s.jwks), s.issuer, s.audience, jwt.SigningMethodEdDSA, jwt.SigningMethodRS256)
}
