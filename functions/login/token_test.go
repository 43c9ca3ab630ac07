package login

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, subject string
		claims        func(*setup, *token.Claims)
		ended         int64 // seconds from now
		status        int
	}{
		{name: "right", subject: "u_georgio", status: 200},
		{name: "given when its user's tokens were ended", subject: "u_georgio", ended: 60, status: 403},
		{name: "given after that", subject: "u_georgio", ended: -60, status: 200},
		{name: "of a disabled user", subject: "u_former", status: 403},
		{name: "of a deleted user", subject: "u_deleted", status: 403},
		{
			name: "of a password shown long ago", subject: "u_georgio", status: 403,
			claims: func(s *setup, c *token.Claims) { c.AuthTime = jwt.NewNumericDate(s.clock.Add(-61 * time.Minute)) },
		},
		{
			name: "that does not say when the password was shown", subject: "u_georgio", status: 403,
			claims: func(_ *setup, c *token.Claims) { c.AuthTime = nil },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, Config{SignUp: "closed"})
			byID := s.users.byID
			s.users.byID = func(id string) (account.User, error) {
				u, err := byID(id)
				if tt.ended != 0 {
					u.TokensAfter = s.clock.Unix() + tt.ended
				}
				return u, err
			}
			shown := s.clock.Add(-time.Minute).Truncate(time.Second)
			resp := s.do(t, "POST", "/token", "", s.bearer(t, tt.subject, func(c *token.Claims) {
				c.AuthTime = jwt.NewNumericDate(shown)
				if tt.claims != nil {
					tt.claims(s, c)
				}
			}))
			body := bodyOf(t, resp)
			if resp.StatusCode != tt.status {
				t.Fatalf("POST /token = %d %s, want %d", resp.StatusCode, body, tt.status)
			}
			if tt.status != 200 {
				if !strings.Contains(body, "log in again") {
					t.Errorf("POST /token says %q", body)
				}
				return
			}
			c, err := s.signer.Verifier().Verify(t.Context(), body)
			if err != nil || c.Subject != tt.subject || c.Admin || !c.AuthTime.Equal(shown) {
				t.Errorf("Verify() = %+v, %v, want what the store says of the user now, and when the password was shown", c, err)
			}
		})
	}
	s := newSetup(t, Config{SignUp: "closed"})
	if resp := s.do(t, "POST", "/token", ""); resp.StatusCode != 401 {
		t.Errorf("POST /token without one = %d, want 401", resp.StatusCode)
	}
	s.users.byID = func(string) (account.User, error) { return account.User{}, errors.New("away") }
	if resp := s.do(t, "POST", "/token", "", s.bearer(t, "u_georgio", nil)); resp.StatusCode != 503 {
		t.Errorf("POST /token without the store = %d, want 503", resp.StatusCode)
	}
}

// TestLoginAgainAtOnce has a user log in within the second in which the tokens before were ended: the new one counts.
func TestLoginAgainAtOnce(t *testing.T) {
	t.Parallel()
	s := newSetup(t, Config{SignUp: "closed"})
	next := time.Now().Unix() + 1
	s.users.authenticate = func(string, string) (account.User, error) {
		return account.User{ID: "u_georgio", Email: "georgio@email.com", TokensAfter: next}, nil
	}
	raw := bodyOf(t, s.do(t, "POST", "/login", "", basic("georgio@email.com", "Admin123")))
	if c, err := s.signer.Verifier().Verify(t.Context(), raw); err != nil || !c.GivenSince(next) {
		t.Errorf("Verify() = %+v, %v, want one that counts from %d on", c, err, next)
	}
}

func TestTokensAfter(t *testing.T) {
	t.Parallel()
	s := newSetup(t, Config{SignUp: "closed"})
	s.users.tokensAfter = func(since int64) (map[string]int64, int64, error) {
		if since == 7 {
			return nil, 0, errors.New("away")
		}
		return map[string]int64{"u_georgio": since + 1}, since + 2, nil
	}
	for query, want := range map[string]token.Ended{
		"":           {Now: 2, TokensAfter: map[string]int64{"u_georgio": 1}},
		"?since=100": {Now: 102, TokensAfter: map[string]int64{"u_georgio": 101}},
	} {
		resp := s.do(t, "GET", "/.well-known/tokens-after"+query, "")
		var got token.Ended
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s: %v, %v", query, err, resp.Header)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("GET %s (-want +got):\n%s", query, diff)
		}
	}
	for query, want := range map[string]int{"?since=now": 400, "?since=7": 503} {
		if resp := s.do(t, "GET", "/.well-known/tokens-after"+query, ""); resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", query, resp.StatusCode, want)
		}
	}
}
