package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// named answers with its name and what it was asked.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, name+" "+r.Method+" "+r.URL.RequestURI())
	})
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	h := New(Routes{Login: named("login"), Validate: named("validate"), Upload: named("upload"), Jobs: named("jobs")}, "")
	for _, tt := range []struct {
		method, target string
		status         int
		want           string
	}{
		{"POST", "/login", 200, "login POST /login"},
		{"POST", "/users", 200, "login POST /users"},
		{"GET", "/.well-known/jwks.json", 200, "login GET /.well-known/jwks.json"},
		{"GET", "/.well-known/tokens-after", 200, "login GET /.well-known/tokens-after"},
		{"POST", "/token", 200, "login POST /token"},
		{"POST", "/users/reset", 200, "login POST /users/reset"},
		{"POST", "/users/password", 200, "login POST /users/password"},
		{"POST", "/logout", 200, "login POST /logout"},
		{"DELETE", "/users/me", 200, "login DELETE /users/me"},
		{"PUT", "/users/me/password", 200, "login PUT /users/me/password"},
		{"POST", "/users/me/keys", 200, "login POST /users/me/keys"},
		{"DELETE", "/users/me/keys/1", 200, "login DELETE /users/me/keys/1"},
		{"GET", "/users/deleted", 404, "there is no /users/deleted"},
		{"POST", "/validate", 200, "validate POST /validate"},
		{"POST", "/upload?mono=true", 200, "upload POST /upload?mono=true"},
		{"PUT", "/upload/", 200, "upload PUT /upload/"},
		{"PUT", "/upload/a%2Fb.mp4", 200, "upload PUT /upload/a%2Fb.mp4"},
		{"GET", "/jobs", 200, "jobs GET /jobs"},
		{"GET", "/jobs/1/mp3", 200, "jobs GET /jobs/1/mp3"},
		{"DELETE", "/jobs/1", 200, "jobs DELETE /jobs/1"},
		{"HEAD", "/download?fid=1", 200, "jobs HEAD /download?fid=1"},
		{"POST", "/users/me/feed", 200, "jobs POST /users/me/feed"},
		{"GET", "/feeds/x.xml", 200, "jobs GET /feeds/x.xml"},
		{"PUT", "/users/me/webhook", 200, "jobs PUT /users/me/webhook"},
		{"GET", "/", 200, "main.js"},
		{"GET", "/curl", 200, "curl"},
		{"POST", "/", 405, "GET, HEAD"},
		{"GET", "/nothing", 404, "there is no /nothing here"},
		{"GET", "/login/x", 404, "there is no /login/x here"},
	} {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%s %s = %d %.100q, want %d %q", tt.method, tt.target, w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

// TestAddress sees that the page tells its own address, or the public one, and that who came by https is to stay with
// it.
func TestAddress(t *testing.T) {
	t.Parallel()
	h := New(Routes{Login: named("login"), Validate: named("validate"), Upload: named("upload"), Jobs: named("jobs")}, "")
	for proto, want := range map[string]string{
		"":      "S=http://lectures.example.com\n",
		"https": "S=https://lectures.example.com\n",
	} {
		r := httptest.NewRequest(http.MethodGet, "/curl", nil)
		r.Host = "lectures.example.com"
		r.Header.Set("X-Forwarded-Proto", proto)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page by %q has no %q", proto, want)
		}
		w = httptest.NewRecorder()
		peopleAt("https://example.com/sound/").ServeHTTP(w, r)
		if want := "S=https://example.com/sound\n"; !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page of a public address by %q has no %q", proto, want)
		}
		if strict := w.Header().Get("Strict-Transport-Security"); (strict != "") != (proto == "https") {
			t.Errorf("Strict-Transport-Security by %q = %q", proto, strict)
		}
	}
}

// TestCurl holds that page to its policy: nothing in it is active, and nothing is loaded.
func TestCurl(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	h := New(Routes{Login: named(""), Validate: named(""), Upload: named(""), Jobs: named("")}, "")
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/curl", nil))
	if got := w.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type = %q", got)
	}
	if got := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none';") ||
		strings.Contains(got, "unsafe") {
		t.Errorf("Content-Security-Policy = %q", got)
	}
	active := regexp.MustCompile(`(?i)<script|<style|<link|<img|style=|src=|\son\w+=`)
	if active := active.FindString(w.Body.String()); active != "" {
		t.Errorf("the page has %q, which its policy forbids", active)
	}
}
