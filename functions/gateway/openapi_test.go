package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// document is what the tests look at of openapi.yaml.
type document struct {
	Paths map[string]map[string]json.RawMessage
}

func described(t *testing.T, h http.Handler) (d document) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != http.StatusOK {
		t.Fatalf("GET /openapi.json = %d %.200s, %v", w.Code, w.Body, err)
	}
	return d
}

// TestDescription sees that the gateway takes every route of the document, and that the document has every route that
// TestRoutes tries, but for pages.
func TestDescription(t *testing.T) {
	t.Parallel()
	token := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token": "abc"}`)
	})
	h := New(Routes{Login: token, Validate: named("validate"), Upload: named("upload"), Jobs: named("jobs")}, "")
	d := described(t, h)
	parameter := regexp.MustCompile(`\{\w+\}`)
	for path, operations := range d.Paths {
		for method := range operations {
			if method == "parameters" {
				continue
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(strings.ToUpper(method), parameter.ReplaceAllString(path, "x"), nil))
			signOn := strings.HasPrefix(path, "/login/oidc") && (w.Code == http.StatusSeeOther || w.Code == http.StatusForbidden)
			if w.Code != http.StatusOK && w.Code != http.StatusNoContent && !signOn {
				t.Errorf("%s %s = %d, want that it is taken", method, path, w.Code)
			}
		}
	}
	for _, route := range []string{
		"POST /login", "GET /login/oidc", "GET /login/oidc/callback", "POST /token", "POST /logout", "POST /users",
		"OPTIONS /users", "OPTIONS /login/oidc", "GET /users", "PATCH /users/1", "DELETE /users/1",
		"POST /users/reset", "POST /users/password", "GET /users/me", "DELETE /users/me",
		"PUT /users/me/password", "GET /users/me/keys", "POST /users/me/keys", "DELETE /users/me/keys/1",
		"GET /.well-known/jwks.json", "GET /.well-known/tokens-after", "POST /validate", "POST /upload", "PUT /upload/a.mp4",
		"POST /session", "DELETE /session", "POST /session/end",
		"OPTIONS /files", "POST /files", "HEAD /files/1", "PATCH /files/1", "DELETE /files/1",
		"GET /jobs", "GET /jobs/events", "GET /jobs/1", "DELETE /jobs/1", "GET /jobs/1/events", "POST /jobs/1/cancel",
		"POST /jobs/1/retry", "GET /jobs/1/mp3", "GET /jobs/mp3s.zip", "POST /jobs/delete",
		"POST /jobs/1/link", "GET /jobs/1/audio.mp3", "POST /users/me/feed", "DELETE /users/me/feed", "GET /feeds/x.xml",
		"PUT /users/me/webhook", "GET /users/me/webhook", "DELETE /users/me/webhook",
		"GET /download", "GET /openapi.json",
	} {
		found := false
		for path, operations := range d.Paths {
			method, target, _ := strings.Cut(route, " ")
			like := regexp.MustCompile("^" + parameter.ReplaceAllString(strings.ReplaceAll(path, ".", `\.`), "[^/]+") + "$")
			found = found || like.MatchString(target) && operations[strings.ToLower(method)] != nil
		}
		if !found {
			t.Errorf("%s is not described", route)
		}
	}
}
