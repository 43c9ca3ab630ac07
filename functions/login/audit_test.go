package login

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// TestAudit reads the log of users' lives.
func TestAudit(t *testing.T) { //nolint:paralleltest // the log is everyone's
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	defer slog.SetDefault(before)

	s := newHome(t)
	me, right := s.user.ID, basic("georgio@email.com", "Admin123")
	const far = "X-Forwarded-For: 192.0.2.77, 2001:db8:1:2::3"
	s.want(t, 200, "POST", "/login", "", right, far)
	s.want(t, 401, "POST", "/login", "", basic("georgio@email.com", "hunter2!"))
	s.want(t, 401, "POST", "/login", "", basic("nobody@email.com", "hunter2!"))
	for range 60 {
		limit := account.LimitOf("network", 1000, time.Second, "198.51.100.7/32")
		if err := s.store.Take(t.Context(), limit); err != nil {
			t.Fatal(err)
		}
	}
	s.want(t, 429, "POST", "/login", "", right, "X-Forwarded-For: 198.51.100.7")

	var key struct{ ID, Key string }
	made := s.want(t, 201, "POST", "/users/me/keys", `{"name": "a"}`, s.token)
	if err := json.Unmarshal([]byte(made), &key); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.want(t, 200, "POST", "/token", "", "Authorization: Bearer "+key.Key)
	}
	s.want(t, 204, "DELETE", "/users/me/keys/"+key.ID, "", s.token)
	s.want(t, 403, "PUT", "/users/me/password", `{"current": "hunter2!", "password": "Violet-Harbour-7"}`, s.token)
	s.want(t, 204, "DELETE", "/users/me", `{"password": "Admin123"}`, s.token)

	s.want(t, 202, "POST", "/users", `{"email": "new@email.com"}`)
	link := s.letter(t).Secret
	s.want(t, 204, "POST", "/users/password", `{"token": "`+link+`", "password": "Violet-Harbour-7"}`)
	ada, err := s.store.ByEmail(t.Context(), "new@email.com")
	if err != nil {
		t.Fatal(err)
	}
	s.want(t, 204, "POST", "/logout", "", s.bearer(t, ada.ID, nil))
	root, err := s.store.Create(t.Context(), "root@email.com", "Admin123", true)
	if err != nil {
		t.Fatal(err)
	}
	admin := s.bearer(t, root, nil)
	s.want(t, 200, "PATCH", "/users/"+ada.ID, `{"group": "team"}`, admin)
	s.want(t, 204, "DELETE", "/users/"+ada.ID, "", admin)

	for _, secret := range []string{"Admin123", "hunter2", "Violet", key.Key, link, "email.com"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	type line struct{ Msg, Event, Subject, Actor, Network, Outcome string }
	var got []line
	for text := range bytes.Lines(log.Bytes()) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
		if l.Msg == "audit" {
			got = append(got, l)
		}
	}
	const near = "192.0.2.0/24"
	want := []line{
		{"audit", "login", me, me, "2001:db8:1::/48", "ok"},
		{"audit", "login", me, me, near, "failed"},
		{"audit", "login", "", "", near, "failed"},
		{"audit", "login", me, me, "198.51.100.0/24", "throttled"},
		{"audit", "key.made", key.ID, me, near, "ok"},
		{"audit", "key.used", key.ID, me, "", "ok"},
		{"audit", "key.ended", key.ID, me, near, "ok"},
		{"audit", "password.asked", me, me, near, "failed"},
		{"audit", "password.asked", me, me, near, "ok"},
		{"audit", "user.deleted", me, me, near, "ok"},
		{"audit", "user.made", ada.ID, ada.ID, near, "ok"},
		{"audit", "token.revoked", ada.ID, ada.ID, near, "ok"},
		{"audit", "user.changed", ada.ID, root, near, "ok"},
		{"audit", "user.deleted", ada.ID, root, near, "ok"},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}
