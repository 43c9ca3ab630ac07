package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// fakeLogin knows whose tokens were ended.
type fakeLogin struct {
	mu    sync.Mutex
	ended Ended
	err   error
	asked []int64 // since when

	keys  map[string]Claims
	tries int // of keys
}

func (f *fakeLogin) Key(_ context.Context, key string) (Claims, error) {
	f.tries++
	c, ok := f.keys[key]
	if !ok {
		return c, ErrKey
	}
	return c, f.err
}

func (f *fakeLogin) TokensAfter(_ context.Context, since int64) (Ended, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, since)
	return f.ended, f.err
}

// anyone takes a token for the subject of its claims, given at a fixed time.
type anyone struct{ given time.Time }

func (a anyone) Verify(_ context.Context, raw string) (Claims, error) {
	c := claimsOf(raw)
	c.IssuedAt = jwt.NewNumericDate(a.given)
	return c, nil
}

func TestEndedTokens(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0)
	clock := start
	login := &fakeLogin{ended: Ended{Now: start.Unix(), TokensAfter: map[string]int64{"u_out": start.Unix() + 1,
		"u_again": start.Unix()}}}
	g := WithLogin(anyone{start}, login, pollEvery).(*guard)
	g.now = func() time.Time { return clock }
	check := func(subject string, want error) {
		t.Helper()
		if _, err := g.Verify(t.Context(), subject); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("after %v: Verify(%s) = %v, want %v", clock.Sub(start), subject, err, want)
		}
	}
	check("u_out", ErrEnded)
	check("u_again", nil) // given in the second from which on tokens count
	check("u_other", nil)
	if len(login.asked) != 1 || login.asked[0] != 0 {
		t.Errorf("asked since %v, want once, for all", login.asked)
	}

	login.ended = Ended{Now: start.Unix() + 20, TokensAfter: map[string]int64{"u_other": start.Unix() + 9}}
	clock = start.Add(pollEvery - 1)
	check("u_other", nil)
	clock = start.Add(pollEvery)
	check("u_other", ErrEnded)
	check("u_out", ErrEnded) // is not told again
	if want := start.Add(-overlap).Unix(); len(login.asked) != 2 || login.asked[1] != want {
		t.Errorf("asked since %v, want %d the second time", login.asked, want)
	}

	login.err = errors.New("away")
	clock = start.Add(time.Hour)
	check("u_out", ErrEnded)
	check("u_again", nil) // while login is away, what was known counts
	if len(login.asked) != 3 {
		t.Errorf("asked %d times, want one more: not for each token while login is away", len(login.asked))
	}
	login.err = nil
	login.ended = Ended{Now: start.Add(MaxTTL + time.Hour).Unix()}
	clock = start.Add(MaxTTL + time.Hour)
	check("u_again", nil)
	if len(g.after) != 0 {
		t.Errorf("%v is kept, longer than any token is valid", g.after)
	}
}

// TestEndedTokensWait has all tokens wait for login when what is known is too old, so that none counts for longer than
// 30 s after it was ended.
func TestEndedTokensWait(t *testing.T) {
	t.Parallel()
	if oldest := pollEvery + mustKnow + staleTimeout; oldest > 30*time.Second {
		t.Errorf("a token may count for %v after it was ended, want 30 s at most", oldest)
	}
	start := time.Unix(1_800_000_000, 0)
	clock := start
	g := WithLogin(anyone{start}, &fakeLogin{ended: Ended{Now: start.Unix()}}, pollEvery).(*guard)
	g.now = func() time.Time { return clock }
	if _, err := g.Verify(t.Context(), "u_1"); err != nil {
		t.Fatal(err)
	}
	g.fetching.Lock() // as if one were fetching
	clock = start.Add(pollEvery + mustKnow - 1)
	if _, err := g.Verify(t.Context(), "u_1"); err != nil {
		t.Errorf("Verify() = %v while another fetches", err)
	}
	clock = start.Add(pollEvery + mustKnow)
	done := make(chan error)
	go func() {
		_, err := g.Verify(t.Context(), "u_1")
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("Verify() = %v before what is new is known", err)
	case <-time.After(10 * time.Millisecond):
	}
	g.fetching.Unlock()
	if err := <-done; err != nil {
		t.Errorf("Verify() = %v", err)
	}
}

func TestNothingCountsBeforeLoginWasAsked(t *testing.T) {
	t.Parallel()
	g := WithLogin(anyone{time.Now()}, &fakeLogin{err: errors.New("away")}, pollEvery)
	for range 2 {
		if _, err := g.Verify(t.Context(), "u_1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Verify() = %v, want %v", err, ErrUnavailable)
		}
	}
}

// TestLoginURL has a verifier ask a login by HTTP, for its keys as well.
func TestLoginURL(t *testing.T) {
	t.Parallel()
	signer := newTestSigner(t, SignerConfig{PrivateKey: newEd25519(t).pem})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/jwks.json":
			set, err := signer.JWKS(r.Context())
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(set)
		case "/.well-known/tokens-after":
			if since, err := strconv.Atoi(r.URL.Query().Get("since")); since != 0 || err != nil {
				t.Errorf("since = %q, want 0", r.URL.Query().Get("since"))
			}
			now := time.Now().Unix()
			_ = json.NewEncoder(w).Encode(Ended{Now: now, TokensAfter: map[string]int64{"u_7": now + 1}})
		default:
			t.Errorf("asked for %s", r.URL)
		}
	}))
	t.Cleanup(func() { server.Close(); http.DefaultClient.CloseIdleConnections() })
	v := newTestVerifier(t, VerifierConfig{LoginURL: server.URL + "/"})
	if _, err := v.Verify(t.Context(), sign(t, signer)); !errors.Is(err, ErrEnded) {
		t.Errorf("Verify() = %v, want %v", err, ErrEnded)
	}
	other, err := signer.Sign(claimsOf("u_8"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), other); err != nil {
		t.Errorf("Verify() of another user's = %v", err)
	}
}

// TestSignKeepsTimes has tokens that are given in the next second, and that end early.
func TestSignKeepsTimes(t *testing.T) {
	t.Parallel()
	s := newTestSigner(t, SignerConfig{Secret: secret})
	c := claimsOf("u_7")
	next := time.Now().Add(2 * time.Second).Truncate(time.Second)
	c.IssuedAt, c.ExpiresAt = jwt.NewNumericDate(next), jwt.NewNumericDate(next.Add(time.Minute))
	raw, err := s.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Verifier().Verify(t.Context(), raw)
	if err != nil || !got.IssuedAt.Equal(next) || !got.ExpiresAt.Equal(next.Add(time.Minute)) {
		t.Errorf("Verify() = %+v, %v, want from %v on for a minute", got, err, next)
	}
}

// TestKeyHolds has login asked for an API key again after a while, so that a key ends within 30 s.
func TestKeyHolds(t *testing.T) {
	t.Parallel()
	if oldest := keyHolds + keyWithin; oldest > 30*time.Second {
		t.Errorf("a key may count for %v after it was ended, want 30 s at most", oldest)
	}
	start := time.Unix(1_800_000_000, 0)
	clock := start
	scoped := claimsOf("u_7")
	scoped.Scope = "read"
	login := &fakeLogin{keys: map[string]Claims{"ss_good": scoped, "ss_everything": claimsOf("u_8")}}
	g := WithLogin(anyone{start}, login, pollEvery).(*guard)
	g.now = func() time.Time { return clock }
	check := func(key string, want error, tries int) {
		t.Helper()
		c, err := g.Verify(t.Context(), key)
		if !errors.Is(err, want) || (err == nil) != (want == nil) || err == nil && c.Subject != "u_7" ||
			login.tries != tries {
			t.Errorf("after %v: Verify(%.20s) = %+v, %v with %d tries, want %v with %d", clock.Sub(start), key, c, err,
				login.tries, want, tries)
		}
	}
	check("ss_good", nil, 1)
	check("ss_bad", ErrKey, 2)
	check("ss_bad", ErrKey, 2)
	check("ss_everything", ErrKey, 3)
	check("ss_"+strings.Repeat("x", maxKey), ErrKey, 3)
	clock = start.Add(keyHolds - 1)
	check("ss_good", nil, 3)
	delete(login.keys, "ss_good")
	clock = start.Add(keyHolds)
	check("ss_good", ErrKey, 4)
	login.keys["ss_late"], login.err = scoped, errors.New("away")
	check("ss_late", ErrUnavailable, 5)
}

// TestKeyByHTTP has login exchange a key for a token.
func TestKeyByHTTP(t *testing.T) {
	t.Parallel()
	signer := newTestSigner(t, SignerConfig{Secret: secret})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch Bearer(r) {
		case "ss_good":
			c := claimsOf("u_7")
			c.Scope = "read"
			raw, err := signer.Sign(c)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write([]byte(raw))
		case "ss_bad":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(func() { server.Close(); http.DefaultClient.CloseIdleConnections() })
	v := newTestVerifier(t, VerifierConfig{Secret: secret, LoginURL: server.URL})
	if c, err := v.Verify(t.Context(), "ss_good"); err != nil || c.Subject != "u_7" || c.Scope != "read" {
		t.Errorf("Verify() = %+v, %v", c, err)
	}
	for key, want := range map[string]error{"ss_bad": ErrKey, "ss_away": ErrUnavailable} {
		if _, err := v.Verify(t.Context(), key); !errors.Is(err, want) {
			t.Errorf("Verify(%s) = %v, want %v", key, err, want)
		}
	}
	if _, err := newTestVerifier(t, VerifierConfig{Secret: secret}).Verify(t.Context(), "ss_good"); err == nil {
		t.Error("a key counts where there is no login to ask")
	}
}
