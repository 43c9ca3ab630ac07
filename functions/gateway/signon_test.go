package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// TestSignOn binds a sign-on to the browser that began it: nobody can have another's browser be logged in as somebody.
func TestSignOn(t *testing.T) {
	t.Parallel()
	none := http.NotFoundHandler()
	h := New(Routes{Validate: none, Upload: none, Jobs: none,
		Login: problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			switch r.Method + " " + r.URL.String() {
			case "POST /login/oidc":
				_, _ = io.WriteString(w, `{"state": "S", "url": "https://op.example.com/authorize?state=S"}`)
			case "POST /login/oidc/callback":
				if string(body) != `{"code":"C","state":"S"}` {
					return problem.New(problem.Forbidden, "the sign-on did not succeed")
				}
				_, _ = io.WriteString(w, `{"access_token": "abc", "token_type": "Bearer", "expires_in": 60}`)
			default:
				t.Errorf("login is asked %s %s", r.Method, r.URL)
			}
			return nil
		})}, "")
	ask := func(target, cookie string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("Sec-Fetch-Site", "cross-site") // from the provider
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := ask("/login/oidc", "")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "https://op.example.com/authorize?state=S" ||
		w.Header().Get("Set-Cookie") != "__Host-soundstrip-sign-on=S; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("GET /login/oidc = %d %v", w.Code, w.Header())
	}
	for _, tt := range []struct {
		name, query, cookie string
		in                  bool
	}{
		{"right", "code=C&state=S", "__Host-soundstrip-sign-on=S", true},
		{"another browser", "code=C&state=S", "", false},
		{"a sign-on of somebody else's", "code=C&state=S", "__Host-soundstrip-sign-on=X", false},
		{"no state", "code=C", "__Host-soundstrip-sign-on=S", false},
		{"neither", "code=C", "__Host-soundstrip-sign-on=", false},
		{"a cookie that any host may set", "code=C&state=S", "soundstrip-sign-on=S", false},
		{"refused by the provider", "error=access_denied&state=S", "__Host-soundstrip-sign-on=S", false},
		{"refused by login", "code=X&state=S", "__Host-soundstrip-sign-on=S", false},
	} {
		w := ask("/login/oidc/callback?"+tt.query, tt.cookie)
		cookies := strings.Join(w.Header().Values("Set-Cookie"), "\n")
		if in := strings.Contains(cookies, "__Host-soundstrip=abc;"); in != tt.in ||
			(w.Code == http.StatusSeeOther) != in || !in && w.Code != http.StatusForbidden {
			t.Errorf("%s: %d, cookies %q, want in: %v", tt.name, w.Code, cookies, tt.in)
		}
		if !strings.Contains(cookies, "__Host-soundstrip-sign-on=; Path=/; Max-Age=0") {
			t.Errorf("%s: cookies %q, want the state gone", tt.name, cookies)
		}
	}
}
