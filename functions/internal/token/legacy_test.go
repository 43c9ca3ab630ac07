package token

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// oldSecret is that of the old system's manifests.
const oldSecret = "sarcasm"

// TestLegacy checks tokens as the old system's auth service makes them, and those of others.
func TestLegacy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old := jwt.MapClaims{
		"username": "georgio@email.com", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "admin": true,
	}
	with := func(name string, value any) jwt.MapClaims {
		c := jwt.MapClaims{name: value}
		for k, v := range old {
			if k != name {
				c[k] = v
			}
		}
		return c
	}
	v, err := NewVerifier(VerifierConfig{Secret: oldSecret, Legacy: true, Issuer: "soundstrip", Audience: "soundstrip"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		claims jwt.MapClaims
		owner  string // empty when it is refused
	}{
		{"as it is", old, "georgio@email.com"},
		{"of our issuer", with("iss", "soundstrip"), "georgio@email.com"},
		{"of another issuer", with("iss", "other"), ""},
		{"for another audience", with("aud", "other"), ""},
		{"of nobody", with("username", ""), ""},
		{"expired", with("exp", now.Add(-time.Hour).Unix()), ""},
		{"with a group of its own", with("group", "admin"), "georgio@email.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, tt.claims).SignedString([]byte(oldSecret))
			if err != nil {
				t.Fatal(err)
			}
			c, err := v.Verify(t.Context(), raw)
			if c.Owner() != tt.owner || (err != nil) != (tt.owner == "") || c.IsAdmin() {
				t.Errorf("Verify = owner %q, admin %v, %v, want owner %q and no admin", c.Owner(), c.IsAdmin(), err, tt.owner)
			}
			strict := newVerifier(&legacy{}, secretKey([]byte(oldSecret)), "soundstrip", "soundstrip", jwt.SigningMethodHS256)
			if _, err := strict.Verify(t.Context(), raw); err == nil {
				t.Error("Verify without LEGACY accepts it")
			}
		})
	}
}

// TestLegacySigner has the old system's library read a token: without an audience, which it was not told to expect.
func TestLegacySigner(t *testing.T) {
	t.Parallel()
	c := SignerConfig{Secret: oldSecret, Issuer: "soundstrip", Audience: "soundstrip", TTL: time.Hour}
	if _, err := NewSigner(c); err == nil {
		t.Error("NewSigner takes a secret of 7 bytes without LEGACY")
	}
	c.Legacy = true
	s, err := NewSigner(c)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Sign(claimsOf("u_7"))
	if err != nil {
		t.Fatal(err)
	}
	var got jwt.MapClaims
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &got); err != nil {
		t.Fatal(err)
	}
	if _, has := got["aud"]; has || got["admin"] != true {
		t.Errorf("Sign = %v, want no audience, and admin for the old gateway", got)
	}
	if c, err := s.Verifier().Verify(t.Context(), raw); err != nil || c.IsAdmin() || c.May("another") {
		t.Errorf("Verify of our own token = %+v, %v, want one that is an admin's for the old gateway only", c, err)
	}
}
