package jobs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// putWebhook sends a body as curl -d does.
func (s *setup) putWebhook(bearer, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPut, "/users/me/webhook", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// TestWebhook sets a webhook, the same again, and another; looks at it, and ends it.
func TestWebhook(t *testing.T) {
	t.Parallel()
	s := newSetup()
	put := func(bearer, address string, status int) string {
		t.Helper()
		w := s.putWebhook(bearer, `{"url": "`+address+`"}`)
		var got struct{ URL, Secret string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != status || got.URL != address ||
			!strings.HasPrefix(got.Secret, "whsec_") || s.webhooks.of[bearer] != (job.Webhook(got)) {
			t.Fatalf("PUT of %s = %d %s, %v, want %d, and the address and the secret that are kept", address, w.Code, w.Body,
				err, status)
		}
		return got.Secret
	}
	const address, other = "https://example.com/hook?key=hunter2&a", "https://example.org/"
	eves := put("eve", address, 201)
	first := put("georgio", address, 201)
	if second := put("georgio", address, 200); first == eves || second != first {
		t.Errorf("the secrets are %s, then %s, and %s of another user, want the same twice", first, second, eves)
	}
	w := s.do("georgio", "GET", "/users/me/webhook")
	if body := w.Body.String(); w.Code != 200 || body != `{"url":"https://example.com/hook"}`+"\n" {
		t.Errorf("GET = %d %s, want the address without what may be secret", w.Code, body)
	}
	if changed := put("georgio", other, 200); changed == first {
		t.Errorf("another address has the secret of the one before")
	}
	for range 2 {
		if w := s.do("georgio", "DELETE", "/users/me/webhook"); w.Code != http.StatusNoContent {
			t.Errorf("DELETE = %d %s, want 204", w.Code, w.Body)
		}
	}
	if w := s.do("georgio", "GET", "/users/me/webhook"); w.Code != http.StatusNotFound {
		t.Errorf("GET after the end = %d %s, want 404", w.Code, w.Body)
	}
	if again := put("georgio", address, 201); again == first {
		t.Error("the secret is the same after the end, want a new one")
	}
	put("eve", address, 200)
}

func TestWebhookStatus(t *testing.T) {
	t.Parallel()
	const good = `{"url": "https://example.com/hook"}`
	for _, tt := range []struct {
		name, bearer, method, body string
		err                        error
		status                     int
		says                       string
	}{
		{"set by a bad token", "mallory", "PUT", good, nil, 403, ""},
		{"set by a token without a name", "nobody", "PUT", good, nil, 403, ""},
		{"set without the store", "georgio", "PUT", good, errStore, 503, ""},
		{"set nothing", "georgio", "PUT", "", nil, 400, `{"url": "https://`},
		{"set no JSON", "georgio", "PUT", "url=https://example.com/hook", nil, 400, `{"url": "https://`},
		{"set what is no text", "georgio", "PUT", `{"url": 1}`, nil, 400, `{"url": "https://`},
		{"set too much", "georgio", "PUT", `{"url": "` + strings.Repeat("x", maxWebhook) + `"}`, nil, 413, "16384 bytes"},
		{"set no address", "georgio", "PUT", `{}`, nil, 422, "url: want"},
		{"set by another scheme", "georgio", "PUT", `{"url": "ftp://example.com/"}`, nil, 422, "url: want"},
		{"set with a password", "georgio", "PUT", `{"url": "https://a:hunter2@example.com"}`, nil, 422, "url: want"},
		{"set a port of mail", "georgio", "PUT", `{"url": "https://example.com:25"}`, nil, 422, "url: want"},
		{"show by a token without a name", "nobody", "GET", "", nil, 403, ""},
		{"show none", "georgio", "GET", "", nil, 404, "PUT /users/me/webhook"},
		{"show without the store", "georgio", "GET", "", errStore, 503, ""},
		{"end by a token without a name", "nobody", "DELETE", "", nil, 403, ""},
		{"end without the store", "georgio", "DELETE", "", errStore, 503, ""},
		{"post", "georgio", "POST", good, nil, 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			s.webhooks.err = tt.err
			var w *httptest.ResponseRecorder
			if tt.method == "PUT" {
				w = s.putWebhook(tt.bearer, tt.body)
			} else {
				w = s.do(tt.bearer, tt.method, "/users/me/webhook")
			}
			text := w.Body.String()
			if w.Code != tt.status || !strings.Contains(text, tt.says) || strings.Contains(text, "hunter2") ||
				strings.Contains(text, "mongodb") {
				t.Errorf("%s %.60s = %d %s, want %d and %q in it", tt.method, tt.body, w.Code, text, tt.status, tt.says)
			}
			if tt.err == nil && len(s.webhooks.of) > 0 {
				t.Errorf("%s %.60s keeps %v", tt.method, tt.body, s.webhooks.of)
			}
		})
	}
	for _, method := range []string{"PUT", "GET", "DELETE"} {
		if w := newSetup().do("", method, "/users/me/webhook"); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a token = %d %s, want 401", method, w.Code, w.Body)
		}
	}
}
