package login

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// TestAdmin has an admin list, make, change and delete users, and nobody else.
func TestAdmin(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	if _, err := s.store.Create(t.Context(), "admin@email.com", "Admin123", true); err != nil {
		t.Fatal(err)
	}
	root, err := s.store.ByEmail(t.Context(), "admin@email.com")
	if err != nil {
		t.Fatal(err)
	}
	admin := s.bearer(t, root.ID, nil)
	other := "/users/" + s.user.ID
	for _, call := range []string{"GET /users", "PATCH " + other, "DELETE " + other} {
		method, path, _ := strings.Cut(call, " ")
		s.want(t, 401, method, path, "{}")
		s.want(t, 403, method, path, "{}", s.token) // which says admin, and the store does not
	}

	var list struct{ Users []person }
	if err := json.Unmarshal([]byte(s.want(t, 200, "GET", "/users", "", admin)), &list); err != nil ||
		len(list.Users) != 2 || list.Users[0].ID != s.user.ID || list.Users[1].Group != "admin" {
		t.Fatalf("GET /users = %+v, %v", list, err)
	}

	// Where everybody gets a mail, an admin makes the account at once.
	s.want(t, 201, "POST", "/users", `{"email": "ada@email.com", "password": "Violet-Harbour-7"}`, admin)
	s.want(t, 202, "POST", "/users", `{"email": "bob@email.com", "password": "Violet-Harbour-7"}`, s.token)
	s.want(t, 202, "POST", "/users", `{"email": "eve@email.com"}`, admin)
	s.want(t, 200, "POST", "/login", "", basic("ada@email.com", "Violet-Harbour-7"))

	for body, status := range map[string]int{`{}`: 422, `{"group": "No Name"}`: 422, `{"password": "short"}`: 422,
		`{"disabled": "perhaps"}`: 400} {
		s.want(t, status, "PATCH", other, body, admin)
	}
	if got := s.want(t, 200, "PATCH", other, `{"group": "team", "disabled": true}`, admin); !strings.Contains(got,
		`"group":"team"`) || !strings.Contains(got, `"disabled":true`) {
		t.Errorf("PATCH %s = %s", other, got)
	}
	s.want(t, 403, "GET", "/users/me", "", s.token)
	s.want(t, 401, "POST", "/login", "", basic("georgio@email.com", "Admin123"))
	s.want(t, 200, "PATCH", other, `{"disabled": false, "password": "Violet-Harbour-7"}`, admin)
	s.want(t, 200, "POST", "/login", "", basic("georgio@email.com", "Violet-Harbour-7"))

	s.want(t, 409, "PATCH", "/users/"+root.ID, `{"group": "default"}`, admin)
	s.want(t, 409, "DELETE", "/users/"+root.ID, "", admin)
	s.want(t, 404, "DELETE", "/users/u_nobody", "", admin)
	s.want(t, 405, "GET", other, "", admin)
	s.want(t, 204, "DELETE", other, "", admin)
	if gone, err := s.store.Deletions(t.Context()); err != nil || len(gone) != 1 || gone[0].ID != s.user.ID {
		t.Errorf("Deletions() = %+v, %v, want that the files go", gone, err)
	}

	if err := s.store.SetGroup(t.Context(), root.Email, "default"); err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.Add(2 * time.Second)
	s.want(t, 403, "GET", "/users", "", admin)
}

// TestMayNotAdmin has keys of an admin do nothing to others.
func TestMayNotAdmin(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	if err := s.store.SetGroup(t.Context(), s.user.Email, "admin"); err != nil {
		t.Fatal(err)
	}
	_, key, err := s.store.CreateKey(t.Context(), s.user.ID, account.Key{Name: "a", Scope: "upload read"})
	if err != nil {
		t.Fatal(err)
	}
	raw := s.want(t, 200, "POST", "/token", "", "Authorization: Bearer "+key)
	s.want(t, 403, "GET", "/users", "", "Authorization: Bearer "+raw)
	s.want(t, 403, "DELETE", "/users/u_x", "", "Authorization: Bearer "+raw)
}
