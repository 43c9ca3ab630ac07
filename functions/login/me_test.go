package login

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

const eventSecret = "event-event-event-event-event-ev"

// person is a user of a store that is as in earnest.
type home struct {
	*setup
	store *account.Store
	user  account.User
	token string // of the user, as a header
}

func newHome(t testing.TB) *home {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := &home{setup: newSetup(t, Config{SignUp: "closed"})}
	if s.store, err = account.NewSQLite(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Create(t.Context(), "georgio@email.com", "Admin123", false); err != nil {
		t.Fatal(err)
	}
	if s.user, err = s.store.ByEmail(t.Context(), "georgio@email.com"); err != nil {
		t.Fatal(err)
	}
	s.h = newHandler(s.store, s.signer, s.setup,
		Config{SignUp: "open", Confirm: true, Session: time.Hour, EventSecret: eventSecret,
			Proxies: eventing.ProxyConfig{Hops: 1}},
		func() time.Time { return s.clock }).routes()
	s.token = s.bearer(t, s.user.ID, nil)
	return s
}

func (s *home) want(t *testing.T, status int, method, path, body string, header ...string) string {
	t.Helper()
	resp := s.do(t, method, path, body, header...)
	got := bodyOf(t, resp)
	if resp.StatusCode != status {
		t.Fatalf("%s %s = %d %s, want %d", method, path, resp.StatusCode, got, status)
	}
	return got
}

func TestMe(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	if got := s.want(t, 200, "GET", "/users/me", "", s.token); !strings.Contains(got, `"email":"georgio@email.com"`) ||
		!strings.Contains(got, `"group":"default"`) {
		t.Errorf("GET /users/me = %s", got)
	}
	for _, call := range []string{"GET /users/me", "DELETE /users/me", "PUT /users/me/password", "GET /users/me/keys",
		"POST /users/me/keys", "DELETE /users/me/keys/x", "POST /logout"} {
		method, path, _ := strings.Cut(call, " ")
		s.want(t, 401, method, path, "{}")
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	s.want(t, 204, "POST", "/logout", "", s.token)
	s.want(t, 403, "POST", "/token", "", s.token)
	after, _, err := s.store.TokensAfter(t.Context(), 0)
	if err != nil || after[s.user.ID] == 0 {
		t.Errorf("TokensAfter() = %v, %v, want that others are told", after, err)
	}
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	s.want(t, 403, "PUT", "/users/me/password", `{"current": "wrong", "password": "Violet-Harbour-7"}`, s.token)
	for _, weak := range []string{"short", "Password1", "GEORGIO2026!", "georgio@email.com", "Soundstrip-1"} {
		s.want(t, 422, "PUT", "/users/me/password", `{"current": "Admin123", "password": "`+weak+`"}`, s.token)
	}
	s.want(t, 204, "PUT", "/users/me/password", `{"current": "Admin123", "password": "Violet-Harbour-7"}`, s.token)
	s.want(t, 403, "GET", "/users/me", "", s.token)
	s.want(t, 401, "POST", "/login", "", basic("georgio@email.com", "Admin123"))
	s.want(t, 200, "POST", "/login", "", basic("georgio@email.com", "Violet-Harbour-7"))
}

func TestDeleteMe(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	s.want(t, 403, "DELETE", "/users/me", `{"password": "wrong"}`, s.token)
	s.want(t, 403, "DELETE", "/users/me", "", s.token)
	s.want(t, 204, "DELETE", "/users/me", "password=Admin123", s.token)
	s.want(t, 403, "GET", "/users/me", "", s.token)
	s.want(t, 401, "POST", "/login", "", basic("georgio@email.com", "Admin123"))

	s.want(t, 401, "GET", "/users/deleted", "")
	s.want(t, 403, "GET", "/users/deleted", "", s.token)
	signed := func(method, path string) string {
		r := httptest.NewRequest(method, path, http.NoBody)
		if err := eventing.Authorize(r, []byte(eventSecret), "login"); err != nil {
			t.Fatal(err)
		}
		return "Authorization: " + r.Header.Get("Authorization")
	}
	if got := s.want(t, 200, "GET", "/users/deleted", "", signed("GET", "/users/deleted")); !strings.Contains(got,
		`"owner":"`+s.user.Owner+`"`) {
		t.Errorf("GET /users/deleted = %s, want the owner", got)
	}
	path := "/users/deleted/" + s.user.ID
	s.want(t, 204, "DELETE", path, "", signed("DELETE", path))
}

// TestKeysAreForMachines has a key do what its scopes say, and nothing to the account that it belongs to.
func TestKeysAreForMachines(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	s.want(t, 422, "POST", "/users/me/keys", `{"name": "a", "scopes": ["admin"]}`, s.token)
	s.want(t, 422, "POST", "/users/me/keys", `{"name": ""}`, s.token)
	s.want(t, 422, "POST", "/users/me/keys", `{"name": "a", "expires": "tomorrow"}`, s.token)
	var made struct{ ID, Key, Scope string }
	got := s.want(t, 201, "POST", "/users/me/keys", `{"name": "a", "scopes": ["upload"], "expires": "`+
		time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`, s.token)
	if err := json.Unmarshal([]byte(got), &made); err != nil || made.Scope != "upload" {
		t.Fatalf("POST /users/me/keys = %s, %v", got, err)
	}
	if got := s.want(t, 201, "POST", "/users/me/keys", "name=b&scopes=read&scopes=upload", s.token); !strings.Contains(got,
		`"scope":"upload read"`) {
		t.Errorf("POST /users/me/keys by form = %s", got)
	}
	if got := s.want(t, 200, "GET", "/users/me/keys", "", s.token); strings.Contains(got, made.Key) ||
		!strings.Contains(got, made.ID) {
		t.Errorf("GET /users/me/keys = %s, want no secret", got)
	}
	key := "Authorization: Bearer " + made.Key
	raw := s.want(t, 200, "POST", "/token", "", key)
	c, err := s.signer.Verifier().Verify(t.Context(), raw)
	if err != nil || c.Subject != s.user.ID || c.Admin || c.Scope != "upload" ||
		time.Until(c.ExpiresAt.Time) > 2*time.Minute {
		t.Errorf("Verify() = %+v, %v, want a token that ends soon and may upload", c, err)
	}
	for _, call := range []string{"GET /users/me", "DELETE /users/me", "PUT /users/me/password", "GET /users/me/keys",
		"POST /users/me/keys", "DELETE /users/me/keys/" + made.ID, "POST /logout"} {
		method, path, _ := strings.Cut(call, " ")
		s.want(t, 403, method, path, "{}", key)
		s.want(t, 403, method, path, "{}", "Authorization: Bearer "+raw)
	}
	s.want(t, 403, "POST", "/token", "", "Authorization: Bearer "+raw) // no longer life from a short one
	s.want(t, 403, "POST", "/token", "", key+"x")
	s.want(t, 404, "DELETE", "/users/me/keys/x", "", s.token)
	s.want(t, 204, "DELETE", "/users/me/keys/"+made.ID, "", s.token)
	s.want(t, 403, "POST", "/token", "", key)
}
