package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "0123456789abcdef0123456789abcdef"

// keyPair is a private key in PEM, and its public half.
type keyPair struct {
	private crypto.Signer
	pem     string
}

func newKeyPair(t testing.TB, private crypto.Signer) keyPair {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{private, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
}

func (k keyPair) publicPEM(t testing.TB) string {
	t.Helper()
	return publicPEM(t, k.private.Public())
}

func publicPEM(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func newEd25519(t testing.TB) keyPair {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newKeyPair(t, private)
}

func newRSA(t testing.TB, bits int) keyPair {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return newKeyPair(t, private)
}

func config(c SignerConfig) SignerConfig {
	c.Issuer, c.Audience, c.TTL = "soundstrip", "soundstrip", time.Hour
	return c
}

func newTestSigner(t testing.TB, c SignerConfig) *Signer {
	t.Helper()
	s, err := NewSigner(config(c))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *Signer) string {
	t.Helper()
	raw, err := s.Sign(claimsOf("u_7"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func claimsOf(subject string) Claims {
	return Claims{Username: "georgio@email.com", Admin: true, RegisteredClaims: jwt.RegisteredClaims{Subject: subject}}
}

func newTestVerifier(t testing.TB, c VerifierConfig) Verifier {
	t.Helper()
	c.Issuer, c.Audience = "soundstrip", "soundstrip"
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// keyServer serves what its signer publishes, and counts how often.
type keyServer struct {
	*httptest.Server
	signer  atomic.Pointer[Signer]
	fetches atomic.Int32
}

func newKeyServer(t testing.TB, s *Signer) *keyServer {
	t.Helper()
	k := &keyServer{}
	k.signer.Store(s)
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.fetches.Add(1)
		s := k.signer.Load()
		if s == nil {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		set, err := s.JWKS(r.Context())
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(set)
	}))
	t.Cleanup(func() { k.Close(); http.DefaultClient.CloseIdleConnections() })
	return k
}

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	ed, rs := newEd25519(t), newRSA(t, 2048)
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY",
		Bytes: x509.MarshalPKCS1PrivateKey(rs.private.(*rsa.PrivateKey))}))
	for _, tt := range []struct {
		name string
		cfg  SignerConfig
		alg  string
	}{
		{"secret", SignerConfig{Secret: secret}, "HS256"},
		{"Ed25519", SignerConfig{PrivateKey: ed.pem}, "EdDSA"},
		{"RSA", SignerConfig{PrivateKey: rs.pem}, "RS256"},
		{"RSA in PKCS #1", SignerConfig{PrivateKey: pkcs1}, "RS256"},
		{"rotated from RSA", SignerConfig{PrivateKey: ed.pem, PreviousKeys: rs.publicPEM(t)}, "EdDSA"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTestSigner(t, tt.cfg)
			verifiers := map[string]Verifier{"own": s.Verifier()}
			if tt.cfg.Secret != "" {
				verifiers["secret"] = newTestVerifier(t, VerifierConfig{Secret: tt.cfg.Secret})
			} else {
				verifiers["JWKS"] = newTestVerifier(t, VerifierConfig{JWKSURL: newKeyServer(t, s).URL})
			}
			raw := sign(t, s)
			if got := header(t, raw)["alg"]; got != tt.alg {
				t.Errorf("alg = %v, want %v", got, tt.alg)
			}
			for name, v := range verifiers {
				c, err := v.Verify(t.Context(), raw)
				if err != nil {
					t.Errorf("%s: Verify() = %v", name, err)
					continue
				}
				if c.Username != "georgio@email.com" || !c.Admin || c.Subject != "u_7" || c.ID == "" || c.NotBefore == nil ||
					c.ExpiresAt.Sub(c.IssuedAt.Time) != time.Hour || cmp.Diff(jwt.ClaimStrings{"soundstrip"}, c.Audience) != "" {
					t.Errorf("%s: Verify() = %+v", name, c)
				}
			}
		})
	}
}

func header(t testing.TB, raw string) (h map[string]any) {
	t.Helper()
	segment, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(segment, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// claims are valid ones, for a test to spoil.
func claims(change func(jwt.MapClaims)) jwt.MapClaims {
	now := time.Now().Unix()
	c := jwt.MapClaims{"username": "georgio@email.com", "admin": true, "sub": "u_7", "iss": "soundstrip",
		"aud": "soundstrip", "iat": now, "nbf": now, "exp": now + 3600}
	if change != nil {
		change(c)
	}
	return c
}

func forge(t testing.TB, m jwt.SigningMethod, key any, c jwt.Claims, headers map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(m, c)
	for k, v := range headers {
		tok.Header[k] = v
	}
	raw, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestClaims spoils the claims of tokens whose signature is valid.
func TestClaims(t *testing.T) {
	t.Parallel()
	v := newTestVerifier(t, VerifierConfig{Secret: secret})
	at := func(name string, d time.Duration) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) { c[name] = time.Now().Add(d).Unix() }
	}
	set := func(name string, value any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = value } }
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }
	for _, tt := range []struct {
		name   string
		change func(jwt.MapClaims)
		want   error // nil means valid
		refuse bool  // for any reason
	}{
		{name: "as they should be"},
		{name: "several audiences", change: set("aud", []string{"other", "soundstrip"})},
		{name: "clocks a bit apart", change: func(c jwt.MapClaims) {
			at("iat", 20*time.Second)(c)
			at("nbf", 20*time.Second)(c)
		}},
		{name: "expired", change: at("exp", -time.Minute), want: jwt.ErrTokenExpired},
		{name: "without exp", change: without("exp"), want: jwt.ErrTokenRequiredClaimMissing},
		{name: "exp is text", change: set("exp", "tomorrow"), refuse: true},
		{name: "not yet valid", change: at("nbf", time.Minute), want: jwt.ErrTokenNotValidYet},
		{name: "issued in the future", change: at("iat", time.Minute), want: jwt.ErrTokenUsedBeforeIssued},
		{name: "another issuer", change: set("iss", "soundstrip-events"), want: jwt.ErrTokenInvalidIssuer},
		{name: "without iss", change: without("iss"), want: jwt.ErrTokenRequiredClaimMissing},
		{name: "another audience", change: set("aud", "convert"), want: jwt.ErrTokenInvalidAudience},
		{name: "without aud", change: without("aud"), want: jwt.ErrTokenRequiredClaimMissing},
		{name: "without username", change: without("username"), refuse: true},
		{name: "username is a number", change: set("username", 1), refuse: true},
		{name: "without sub", change: without("sub"), refuse: true},
		{name: "sub is a row's number, which another user may get", change: set("sub", "7"), refuse: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Verify(t.Context(), forge(t, jwt.SigningMethodHS256, []byte(secret), claims(tt.change), nil))
			if refused := tt.refuse || tt.want != nil; refused != (err != nil) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Verify() = %v, want %v", err, tt.want)
			}
		})
	}
}

// TestAttacks are tokens with claims that would do, against each kind of verifier.
func TestAttacks(t *testing.T) {
	t.Parallel()
	ed, rs, attacker := newEd25519(t), newRSA(t, 2048), newEd25519(t)
	edSigner, rsSigner := newTestSigner(t, SignerConfig{PrivateKey: ed.pem}),
		newTestSigner(t, SignerConfig{PrivateKey: rs.pem})
	attackerSigner := newTestSigner(t, SignerConfig{PrivateKey: attacker.pem})
	attackerKeys := newKeyServer(t, attackerSigner)
	attackerJWK := attackerSigner.publicKey(t)
	verifiers := map[string]Verifier{
		"secret":       newTestVerifier(t, VerifierConfig{Secret: secret}),
		"Ed25519":      edSigner.Verifier(),
		"RSA":          rsSigner.Verifier(),
		"Ed25519 JWKS": newTestVerifier(t, VerifierConfig{JWKSURL: newKeyServer(t, edSigner).URL}),
		"RSA JWKS":     newTestVerifier(t, VerifierConfig{JWKSURL: newKeyServer(t, rsSigner).URL}),
	}
	valid := map[string]string{"secret": sign(t, newTestSigner(t, SignerConfig{Secret: secret})),
		"Ed25519": sign(t, edSigner), "RSA": sign(t, rsSigner)}
	edPublic, rsPublic := []byte(ed.private.Public().(ed25519.PublicKey)), []byte(rs.publicPEM(t))
	edKID, rsKID := map[string]any{"kid": edSigner.kid}, map[string]any{"kid": rsSigner.kid}
	with := func(kid string, name string, value any) map[string]any {
		return map[string]any{"kid": kid, name: value}
	}
	good := claims(nil)
	attacks := map[string]string{
		"alg none":                    forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good, nil),
		"alg none with a kid":         forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good, edKID),
		"alg None":                    recoded(t, valid["Ed25519"], func(h map[string]any) { h["alg"] = "None" }),
		"alg is missing":              recoded(t, valid["Ed25519"], func(h map[string]any) { delete(h, "alg") }),
		"Ed25519 key as a secret":     forge(t, jwt.SigningMethodHS256, edPublic, good, edKID),
		"RSA key as a secret":         forge(t, jwt.SigningMethodHS256, rsPublic, good, rsKID),
		"empty secret":                forge(t, jwt.SigningMethodHS256, []byte{}, good, nil),
		"HS512 with the right secret": forge(t, jwt.SigningMethodHS512, []byte(secret), good, nil),
		"PS256 with the right key":    forge(t, jwt.SigningMethodPS256, rs.private, good, rsKID),
		"RS512 with the right key":    forge(t, jwt.SigningMethodRS512, rs.private, good, rsKID),
		"right key without a kid":     forge(t, jwt.SigningMethodEdDSA, ed.private, good, nil),
		"right key by another's kid":  forge(t, jwt.SigningMethodEdDSA, ed.private, good, rsKID),
		"kid is a number":             forge(t, jwt.SigningMethodEdDSA, ed.private, good, map[string]any{"kid": 1}),
		"another's key":               sign(t, attackerSigner),
		"another's key by our kid":    forge(t, jwt.SigningMethodEdDSA, attacker.private, good, edKID),
		"embedded jwk": forge(t, jwt.SigningMethodEdDSA, attacker.private, good,
			with(attackerSigner.kid, "jwk", attackerJWK)),
		"embedded jwk by our kid": forge(t, jwt.SigningMethodEdDSA, attacker.private, good,
			with(edSigner.kid, "jwk", attackerJWK)),
		"jku": forge(t, jwt.SigningMethodEdDSA, attacker.private, good,
			with(attackerSigner.kid, "jku", attackerKeys.URL)),
		"x5u": forge(t, jwt.SigningMethodEdDSA, attacker.private, good,
			with(attackerSigner.kid, "x5u", attackerKeys.URL)),
		"right key and a jku": forge(t, jwt.SigningMethodEdDSA, ed.private, good,
			with(edSigner.kid, "jku", attackerKeys.URL)),
		"right key and an embedded jwk": forge(t, jwt.SigningMethodEdDSA, ed.private, good,
			with(edSigner.kid, "jwk", attackerJWK)),
		"right key and a certificate": forge(t, jwt.SigningMethodEdDSA, ed.private, good,
			with(edSigner.kid, "x5c", []string{"AAAA"})),
		"right key and a crit": forge(t, jwt.SigningMethodEdDSA, ed.private, good,
			with(edSigner.kid, "crit", []string{"b64"})),
		"right secret and a crit": forge(t, jwt.SigningMethodHS256, []byte(secret), good,
			map[string]any{"crit": []string{"exp"}}),
		"right secret and a jku": forge(t, jwt.SigningMethodHS256, []byte(secret), good,
			map[string]any{"jku": attackerKeys.URL}),
		"oversized": forge(t, jwt.SigningMethodHS256, []byte(secret),
			claims(func(c jwt.MapClaims) { c["pad"] = strings.Repeat("x", maxToken) }), nil),
		"empty":      "",
		"two parts":  "e30.e30",
		"four parts": valid["Ed25519"] + ".e30",
		"not base64": "%%%.%%%.%%%",
		"JSON null":  "bnVsbA.bnVsbA.",
	}
	for name, raw := range valid {
		parts := strings.Split(raw, ".")
		attacks[name+" with other claims"] = parts[0] + "." +
			base64.RawURLEncoding.EncodeToString([]byte(`{"username":"admin@email.com","admin":true}`)) + "." + parts[2]
		attacks[name+" without a signature"] = parts[0] + "." + parts[1] + "."
		attacks[name+" with padding"] = raw + "="
		// The last character has bits that are not used.
		attacks[name+" with another form of the same signature"] = raw[:len(raw)-1] + string(raw[len(raw)-1]+1)
		attacks[name+" with a bit of the signature flipped"] = parts[0] + "." + parts[1] + "." + flip(parts[2])
	}
	for name, raw := range attacks {
		for kind, v := range verifiers {
			if _, err := v.Verify(t.Context(), raw); err == nil || errors.Is(err, ErrUnavailable) {
				t.Errorf("%s against %s: Verify() = %v, want a refusal", name, kind, err)
			}
		}
	}
	if n := attackerKeys.fetches.Load(); n != 0 {
		t.Errorf("the attacker's keys were fetched %d times", n)
	}
	for kind, v := range verifiers {
		if _, err := v.Verify(t.Context(), valid[strings.TrimSuffix(kind, " JWKS")]); err != nil {
			t.Errorf("%s: Verify() = %v after the attacks", kind, err)
		}
	}
}

func (s *Signer) publicKey(t testing.TB) map[string]any {
	t.Helper()
	raw, err := s.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	return set.Keys[0]
}

func recoded(t testing.TB, raw string, change func(map[string]any)) string {
	t.Helper()
	h := header(t, raw)
	change(h)
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(raw, ".")
	return base64.RawURLEncoding.EncodeToString(b) + "." + rest
}

func flip(signature string) string {
	c := byte('A')
	if signature[0] == c {
		c = 'B'
	}
	return string(c) + signature[1:]
}

func TestRotation(t *testing.T) {
	t.Parallel()
	old, next := newEd25519(t), newEd25519(t)
	before := newTestSigner(t, SignerConfig{PrivateKey: old.pem})
	after := newTestSigner(t, SignerConfig{PrivateKey: next.pem, PreviousKeys: old.publicPEM(t)})
	later := newTestSigner(t, SignerConfig{PrivateKey: next.pem})
	clock := time.Now()
	server := newKeyServer(t, before)
	r := newRemote(server.URL)
	r.now = func() time.Time { return clock }
	v := newVerifier(&legacy{}, setKey(r), "soundstrip", "soundstrip", jwt.SigningMethodEdDSA)
	verify := func(s *Signer, want bool, when string) {
		t.Helper()
		if _, err := v.Verify(t.Context(), sign(t, s)); (err == nil) != want {
			t.Errorf("%s: Verify() = %v, want valid %v", when, err, want)
		}
	}
	if n := server.fetches.Load(); n != 0 {
		t.Errorf("%d fetches before the first token, want 0", n)
	}
	verify(before, true, "before the rotation")
	verify(before, true, "before the rotation")
	if n := server.fetches.Load(); n != 1 {
		t.Errorf("%d fetches for two tokens, want 1", n)
	}
	server.signer.Store(after)
	clock = clock.Add(fetchGap)
	verify(after, true, "after the rotation")
	verify(before, true, "after the rotation")
	for range 10 {
		verify(newTestSigner(t, SignerConfig{PrivateKey: newEd25519(t).pem}), false, "unknown key")
	}
	if n := server.fetches.Load(); n != 2 {
		t.Errorf("%d fetches after a rotation and 10 unknown keys, want 2", n)
	}
	server.signer.Store(later)
	clock = clock.Add(maxAge)
	verify(after, true, "when the old key is taken back")
	verify(before, false, "when the old key is taken back")
	server.signer.Store(nil)
	clock = clock.Add(2 * maxAge)
	verify(after, true, "while the keys cannot be fetched anew")
}

func TestManyMeetANewKey(t *testing.T) {
	t.Parallel()
	s := newTestSigner(t, SignerConfig{PrivateKey: newEd25519(t).pem})
	server := newKeyServer(t, s)
	v := newTestVerifier(t, VerifierConfig{JWKSURL: server.URL})
	raw := sign(t, s)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Errorf("Verify() = %v", err)
			}
		})
	}
	wg.Wait()
	if n := server.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestSlowFetchIsShared is about requests that wait for a fetch which takes long and fails: they must not try one after
// the other.
func TestSlowFetchIsShared(t *testing.T) {
	t.Parallel()
	var clock, fetches atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		clock.Add(int64(2 * fetchGap))
		http.Error(w, "not yet", http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	r := newRemote(server.URL)
	r.now = func() time.Time { return time.Unix(1, clock.Load()) }
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := r.KeyRead(t.Context(), "kid"); !errors.Is(err, ErrUnavailable) {
				t.Errorf("KeyRead() = %v, want %v", err, ErrUnavailable)
			}
		})
	}
	wg.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestKeysUnavailable(t *testing.T) {
	t.Parallel()
	s := newTestSigner(t, SignerConfig{PrivateKey: newEd25519(t).pem})
	answer := atomic.Pointer[http.HandlerFunc]{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) }))
	t.Cleanup(server.Close)
	clock := time.Now()
	r := newRemote(server.URL)
	r.now = func() time.Time { return clock }
	v := newVerifier(&legacy{}, setKey(r), "soundstrip", "soundstrip", jwt.SigningMethodEdDSA)
	body := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"an error", http.NotFound},
		{"no JSON", body("<html>")},
		{"no keys", body(`{"keys":[]}`)},
		{"no keys that are used here", body(`{"keys":[{"kty":"oct","kid":"` + s.kid +
			`","k":"AAAA"},{"kty":"what"},{"kty":"OKP","crv":"Ed25519","x":"!","kid":"a"}]}`)},
		{"a key for encryption", func(w http.ResponseWriter, r *http.Request) {
			set, _ := s.JWKS(r.Context())
			_, _ = w.Write([]byte(strings.Replace(string(set), `"use":"sig"`, `"use":"enc"`, 1)))
		}},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for _, err := w.Write([]byte(`{"keys":[`)); err == nil; {
				_, err = w.Write([]byte(strings.Repeat(" ", 1<<16)))
			}
		}},
	} {
		answer.Store(&tt.answer)
		for _, when := range []string{"at first", "and at once again"} {
			if _, err := v.Verify(t.Context(), sign(t, s)); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s, %s: Verify() = %v, want %v", tt.name, when, err, ErrUnavailable)
			}
		}
		clock = clock.Add(fetchGap)
	}
	right := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set, _ := s.JWKS(r.Context())
		_, _ = w.Write(set)
	})
	answer.Store(&right)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel() // the fetch serves others as well
	if _, err := v.Verify(cancelled, sign(t, s)); err != nil {
		t.Errorf("Verify() = %v when the keys can be had", err)
	}
}

func TestSignerConfig(t *testing.T) {
	t.Parallel()
	ed := newEd25519(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	for _, tt := range []struct {
		name string
		cfg  SignerConfig
		want []string
	}{
		{"nothing", SignerConfig{}, []string{"JWT_SECRET", "openssl rand -hex 32"}},
		{"short secret", SignerConfig{Secret: "sarcasm"}, []string{"JWT_SECRET", "7 bytes", "openssl rand -hex 32"}},
		{"both", SignerConfig{Secret: secret, PrivateKey: ed.pem}, []string{"JWT_SECRET", "JWT_PRIVATE_KEY"}},
		{"not PEM", SignerConfig{PrivateKey: "key"}, []string{"JWT_PRIVATE_KEY", "openssl genpkey"}},
		{"two keys", SignerConfig{PrivateKey: ed.pem + ed.pem}, []string{"JWT_PRIVATE_KEY"}},
		{"public key", SignerConfig{PrivateKey: ed.publicPEM(t)}, []string{"JWT_PRIVATE_KEY", "cannot sign"}},
		{"short RSA key", SignerConfig{PrivateKey: ed.pem, PreviousKeys: publicPEM(t, short)},
			[]string{"JWT_PREVIOUS_KEYS", "1024 bits"}},
		{"elliptic curve", SignerConfig{PrivateKey: newKeyPair(t, curve).pem},
			[]string{"JWT_PRIVATE_KEY", "Ed25519 and RSA"}},
		{"junk of old keys", SignerConfig{PrivateKey: ed.pem, PreviousKeys: "old"}, []string{"JWT_PREVIOUS_KEYS"}},
		{"old keys for a secret", SignerConfig{Secret: secret, PreviousKeys: ed.pem}, []string{"JWT_PREVIOUS_KEYS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := config(tt.cfg)
			checkFaults(t, c.Validate(), tt.want)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		checkFaults(t, (&SignerConfig{Secret: "short"}).Validate(),
			[]string{"JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_TTL"})
	})
}

func TestVerifierConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  VerifierConfig
		want []string
	}{
		{"nothing", VerifierConfig{}, []string{"JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"}},
		{"short secret", VerifierConfig{Secret: "sarcasm", Issuer: "i", Audience: "a"}, []string{"JWT_SECRET"}},
		{"both", VerifierConfig{Secret: secret, JWKSURL: "http://login", Issuer: "i", Audience: "a"},
			[]string{"JWT_SECRET", "JWT_JWKS_URL"}},
		{"no URL", VerifierConfig{JWKSURL: "login/jwks.json", Issuer: "i", Audience: "a"}, []string{"JWT_JWKS_URL"}},
		{"a file", VerifierConfig{JWKSURL: "file:///etc/passwd", Issuer: "i", Audience: "a"}, []string{"JWT_JWKS_URL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewVerifier(tt.cfg)
			checkFaults(t, err, tt.want)
		})
	}
}

func checkFaults(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no fault, want %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("fault is %q, want %q in it", err, w)
		}
	}
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "sarcasm") {
		t.Errorf("fault tells the secret: %q", err)
	}
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	ed, rs := newEd25519(t), newRSA(t, 2048)
	for _, tt := range []struct {
		name string
		cfg  SignerConfig
		want []string // algorithms
	}{
		{"secret", SignerConfig{Secret: secret}, []string{}},
		{"key", SignerConfig{PrivateKey: rs.pem}, []string{"RS256"}},
		{"rotated", SignerConfig{PrivateKey: ed.pem, PreviousKeys: rs.pem + newEd25519(t).publicPEM(t)},
			[]string{"EdDSA", "RS256", "EdDSA"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			raw, err := newTestSigner(t, tt.cfg).JWKS(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var set struct{ Keys []map[string]any }
			if err := json.Unmarshal(raw, &set); err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, k := range set.Keys {
				got = append(got, k["alg"].(string))
				for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
					if _, ok := k[private]; ok {
						t.Errorf("the set tells the private parameter %s", private)
					}
				}
				if k["use"] != "sig" || k["kid"] == "" {
					t.Errorf("key = %v, want use sig and a kid", k)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("algorithms (-want +got):\n%s", diff)
			}
		})
	}
}

// TestThumbprint is the example of RFC 7638, section 3.1, and that of RFC 8037, appendix A.3.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_" +
		"BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_" +
		"FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-" +
		"bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	modulus, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		t.Fatal(err)
	}
	point, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		key  crypto.PublicKey
		want string
	}{
		{"RSA", &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"Ed25519", ed25519.PublicKey(point), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		if _, got, err := identify(tt.key); got != tt.want || err != nil {
			t.Errorf("%s: identify() = %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

type verifierFunc func(ctx context.Context, raw string) (Claims, error)

func (f verifierFunc) Verify(ctx context.Context, raw string) (Claims, error) { return f(ctx, raw) }

func TestRequired(t *testing.T) {
	t.Parallel()
	v := verifierFunc(func(_ context.Context, raw string) (Claims, error) {
		switch raw {
		case "good":
			return Claims{Username: "georgio@email.com"}, nil
		case "reader":
			return Claims{Username: "georgio@email.com", Scope: "upload read"}, nil
		case "sender":
			return Claims{Username: "georgio@email.com", Scope: "upload"}, nil
		case "old":
			return Claims{}, jwt.ErrTokenExpired
		case "early":
			return Claims{}, ErrUnavailable
		}
		return Claims{}, jwt.ErrTokenSignatureInvalid
	})
	h := Required(v, Read, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(FromContext(r.Context()).Username))
	}))
	for _, tt := range []struct {
		name, authorization string
		status              int
		challenge, body     string
	}{
		{"good", "Bearer good", 200, "", "georgio@email.com"},
		{"scheme in lower case", "bearer good", 200, "", "georgio@email.com"},
		{"none", "", 401, `Bearer realm="soundstrip"`, "POST /login"},
		{"empty", "Bearer ", 401, `Bearer realm="soundstrip"`, "POST /login"},
		{"Basic", "Basic Z29vZA==", 401, `Bearer realm="soundstrip"`, "POST /login"},
		{"bad", "Bearer bad", 403, `Bearer realm="soundstrip", error="invalid_token"`, "not valid"},
		{"expired", "Bearer old", 403, `Bearer realm="soundstrip", error="invalid_token"`, "expired"},
		{"no keys yet", "Bearer early", 503, "", "try again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.Header.Set("Authorization", tt.authorization)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.challenge ||
				!strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("status %d, challenge %q, body %q, want %d, %q, %q", w.Code, w.Header().Get("WWW-Authenticate"), w.Body,
					tt.status, tt.challenge, tt.body)
			}
			if retry := w.Header().Get("Retry-After"); (retry != "") != (tt.status == 503) {
				t.Errorf("Retry-After = %q with status %d", retry, w.Code)
			}
		})
	}
}

func TestMay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		claims Claims
		owner  string
		want   bool
	}{
		{claimsOf("a"), "a", true},
		{claimsOf("a"), "b", false},
		{claimsOf("a"), "georgio@email.com", false}, // which may have been another's address
		{Claims{Group: "admin"}, "b", true},
		{Claims{Group: "admin", Scope: "read"}, "b", false},
		{Claims{Admin: true}, "b", false}, // which is said to the old gateway
		{Claims{Keeper: "a@email.com"}, "a@email.com", true},
		{Claims{}, "", false},
	} {
		if got := tt.claims.May(tt.owner); got != tt.want {
			t.Errorf("%+v.May(%q) = %v, want %v", tt.claims, tt.owner, got, tt.want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s := newTestSigner(f, SignerConfig{PrivateKey: newEd25519(f).pem})
	valid := sign(f, s)
	verifiers := []Verifier{newTestVerifier(f, VerifierConfig{Secret: secret}), s.Verifier()}
	f.Add(valid)
	f.Add("e30.e30.e30")
	f.Add(forge(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil), nil))
	f.Fuzz(func(t *testing.T, raw string) {
		for _, v := range verifiers {
			if c, err := v.Verify(t.Context(), raw); err == nil && raw != valid {
				t.Errorf("Verify(%q) = %+v", raw, c)
			}
		}
	})
}
