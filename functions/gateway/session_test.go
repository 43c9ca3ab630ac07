package gateway

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// people is a service in which one person has a password, and functions tell what they are asked.
func people() http.Handler { return peopleAt("") }

// peopleAt has browsers know the service by another address.
func peopleAt(publicURL string) http.Handler {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/upload" {
			w.WriteHeader(http.StatusAccepted)
		}
		if r.URL.Path == "/jobs" && r.Header.Get("Accept") == "application/json" {
			_, _ = io.WriteString(w, `{"jobs": [
				{"id": "1", "filename": "<b>talk.mp4", "state": "notified", "mp3": {"fid": "1"},
					"links": {"mp3": "/jobs/1/mp3"}},
				{"id": "2", "filename": "cut.mp4", "state": "failed", "error": {"message": "it is cut off"}, "links": {}},
				{"id": "3", "filename": "before `+r.URL.Query().Get("before")+`", "state": "queued",
					"links": {"mp3": "/jobs/3/mp3"}}], "next": "2"}`)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+"|"+r.Header.Get("Cookie"))
	})
	return New(Routes{
		Login: problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
			said, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(said), "Admin123") || r.Header.Get("Authorization") != "" {
				w.Header().Set("WWW-Authenticate", "Basic")
				return problem.New(problem.Unauthenticated, "wrong password")
			}
			_, _ = io.WriteString(w, `{"access_token": "abc", "token_type": "Bearer", "expires_in": 60}`)
			return nil
		}),
		Validate: echo, Upload: echo, Jobs: echo,
	}, publicURL)
}

const form = "application/x-www-form-urlencoded"

// TestSession signs in and out as the page does, and as a form does.
func TestSession(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, target, kind, proto, body string
		status                                  int
		cookie, location                        string
	}{
		{
			name: "page", method: "POST", target: "/session", kind: "application/json",
			body: `{"email":"a@example.com","password":"Admin123"}`, status: 204,
			cookie: "soundstrip=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict",
		},
		{
			name: "page by https", method: "POST", target: "/session", kind: "application/json", proto: "https",
			body: `{"email":"a@example.com","password":"Admin123"}`, status: 204,
			cookie: "__Host-soundstrip=abc; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Strict",
		},
		{name: "wrong", method: "POST", target: "/session", kind: "application/json", body: `{}`, status: 401},
		{
			name: "form", method: "POST", target: "/session", kind: form, body: "password=Admin123", status: 303,
			cookie: "soundstrip=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict", location: ".",
		},
		{name: "wrong form", method: "POST", target: "/session", kind: form, status: 401},
		{
			name: "end", method: "DELETE", target: "/session", status: 204,
			cookie: "soundstrip=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
		},
		{
			name: "form's end", method: "POST", target: "/session/end", kind: form, status: 303,
			cookie: "soundstrip=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict", location: "../.",
		},
		{name: "get", method: "GET", target: "/session", status: 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			r.Header.Set("X-Forwarded-Proto", tt.proto)
			w := httptest.NewRecorder()
			people().ServeHTTP(w, r)
			h := w.Header()
			if w.Code != tt.status || h.Get("Set-Cookie") != tt.cookie || h.Get("Location") != tt.location ||
				strings.Contains(h.Get("WWW-Authenticate"), "Basic") || strings.Contains(w.Body.String(), "abc") {
				t.Errorf("%s %s = %d %v %s, want %d, %q and %q", tt.method, tt.target, w.Code, h, w.Body, tt.status, tt.cookie,
					tt.location)
			}
		})
	}
}

// TestBearer sees what functions get of a cookie.
func TestBearer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		header   map[string]string
		status   int
		function string // gets
	}{
		{"cookie", map[string]string{"Cookie": "a=b; session=x; soundstrip=abc"}, 200, "Bearer abc|"},
		{"bearer", map[string]string{"Cookie": "soundstrip=abc", "Authorization": "Bearer x"}, 200, "Bearer x|"},
		{"none", nil, 200, "|"},
		{"http's by https", map[string]string{"Cookie": "soundstrip=abc", "X-Forwarded-Proto": "https"}, 200, "|"},
		{"https", map[string]string{"Cookie": "__Host-soundstrip=abc", "X-Forwarded-Proto": "https"}, 200, "Bearer abc|"},
		{"own page", map[string]string{"Cookie": "soundstrip=abc", "Sec-Fetch-Site": "same-origin"}, 200, "Bearer abc|"},
		{"another site", map[string]string{"Cookie": "soundstrip=abc", "Sec-Fetch-Site": "cross-site"}, 403, "another site"},
		{"another origin", map[string]string{"Origin": "https://evil.example"}, 403, "another site"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, "/validate", nil)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			people().ServeHTTP(w, r)
			if got := w.Body.String(); w.Code != tt.status || !strings.Contains(got, tt.function) {
				t.Errorf("POST /validate = %d %q, want %d %q", w.Code, got, tt.status, tt.function)
			}
		})
	}
}

// TestSessionIsRenewed has a token of which more than half of the time is over replaced where jobs are asked for, and
// nowhere else: caches keep other answers.
func TestSessionIsRenewed(t *testing.T) {
	t.Parallel()
	tokenOf := func(begin, end time.Duration) string {
		claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, time.Now().Add(begin).Unix(), time.Now().Add(end).Unix())
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x"
	}
	old, young := tokenOf(-time.Hour, time.Minute), tokenOf(-time.Minute, time.Hour)
	over := tokenOf(-time.Hour, -time.Minute)
	for _, tt := range []struct {
		name, method, target, cookie, authorization string
		refuse                                      bool
		renewed                                     bool
	}{
		{name: "old", target: "/jobs", cookie: old, renewed: true},
		{name: "live", target: "/jobs/events", cookie: old, renewed: true},
		{name: "young", target: "/jobs", cookie: young},
		{name: "over", target: "/jobs", cookie: over},
		{name: "no token", target: "/jobs", cookie: "a.!.c"},
		{name: "a bearer beside it", target: "/jobs", cookie: old, authorization: "Bearer x"},
		{name: "what a cache may keep", target: "/jobs/1/mp3", cookie: old},
		{name: "refused", target: "/jobs", cookie: old, refuse: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got string
			h := New(Routes{
				Login: problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
					body, _ := io.ReadAll(r.Body)
					if r.Method != http.MethodPost || r.URL.Path != "/token" || r.URL.RawQuery != "" || len(body) > 0 ||
						r.Header.Get("Authorization") != "Bearer "+old {
						t.Errorf("login is asked %s %s %v", r.Method, r.URL, r.Header)
					}
					if tt.refuse {
						return problem.New(problem.Forbidden, "ended")
					}
					_, _ = io.WriteString(w, `{"access_token": "new", "token_type": "Bearer", "expires_in": 60}`)
					return nil
				}),
				Validate: http.NotFoundHandler(), Upload: http.NotFoundHandler(),
				Jobs: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }),
			}, "")
			r := httptest.NewRequest(http.MethodGet, tt.target+"?a=b", nil)
			r.Header.Set("Cookie", "soundstrip="+tt.cookie)
			if tt.authorization != "" {
				r.Header.Set("Authorization", tt.authorization)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if renewed := strings.HasPrefix(w.Header().Get("Set-Cookie"), "soundstrip=new;"); renewed != tt.renewed {
				t.Errorf("GET %s sets the cookie %q, want a new one: %v", tt.target, w.Header().Get("Set-Cookie"), tt.renewed)
			}
			if want := cmp.Or(tt.authorization, "Bearer "+tt.cookie); got != want {
				t.Errorf("the function gets %q, want %q: the token that there is still counts", got, want)
			}
		})
	}
}

// TestOrigin has a form sent by a browser that tells its origin only, as all do by http to another machine.
func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, publicURL, host, origin string
		status                        int
	}{
		{"ours", "", "sound.lan", "http://sound.lan", 303},
		{"another", "", "sound.lan", "http://evil.lan", 403},
		{"none", "", "sound.lan", "null", 403},
		{"ours behind a proxy", "http://example.com/sound/", "sound.lan", "http://example.com", 303},
		{"another behind a proxy", "http://example.com/sound/", "sound.lan", "http://evil.lan", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, "/session", strings.NewReader("password=Admin123"))
			r.Host = tt.host
			r.Header.Set("Origin", tt.origin)
			r.Header.Set("Content-Type", form)
			w := httptest.NewRecorder()
			peopleAt(tt.publicURL).ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("POST /session from %s = %d %s, want %d", tt.origin, w.Code, w.Body, tt.status)
			}
		})
	}
	// With no-referrer, a form of ours would have the origin null.
	if got := get("/").Header().Get("Referrer-Policy"); got != "same-origin" {
		t.Errorf("Referrer-Policy = %q, want same-origin", got)
	}
}

// TestPlain is a browser without JavaScript.
func TestPlain(t *testing.T) {
	t.Parallel()
	ask := func(method, target string, cookie bool) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, nil)
		r.Header.Set("Accept", "text/html,*/*;q=0.8")
		if cookie {
			r.Header.Set("Cookie", "soundstrip=abc")
		}
		w := httptest.NewRecorder()
		people().ServeHTTP(w, r)
		return w
	}
	if w := ask("POST", "/upload", true); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "plain" ||
		w.Body.Len() > 0 {
		t.Errorf("POST /upload of a form = %d %v %q, want 303 to plain", w.Code, w.Header(), w.Body)
	}
	got := ask("GET", "/plain?before=9", true).Body.String()
	for _, want := range []string{
		"<li>before 9:\nqueued", `href="plain?before=2"`,
		"<a href=\"jobs/1/mp3\">&lt;b&gt;talk.mp4</a>:\nready", "cut.mp4:\nfailed, it is cut off",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("GET /plain = %s, want %s", got, want)
		}
	}
	if w := ask("GET", "/plain", false); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "." {
		t.Errorf("GET /plain of nobody = %d %v, want 303 to the page", w.Code, w.Header())
	}
}

// TestPlainRefused has functions refuse what a form asks for: a page says why, when to try again, and the way back.
// Programs get the functions' own words.
func TestPlainRefused(t *testing.T) {
	t.Parallel()
	const browser = "text/html,*/*;q=0.8"
	for _, tt := range []struct {
		name, method, target, kind, accept string
		page                               bool
	}{
		{"sign-in", "POST", "/session", form, browser, true},
		{"sign-in by curl", "POST", "/session", "application/json", "*/*", false},
		{"upload", "POST", "/upload", "multipart/form-data", browser, true},
		{"upload by curl", "POST", "/upload", "multipart/form-data", "*/*", false},
		{"upload by a script", "POST", "/upload", "multipart/form-data", "application/json, text/html", false},
		{"list", "GET", "/plain", "", browser, true},
	} {
		for _, err := range []*problem.Error{
			problem.New(problem.Unauthenticated, "not <you>").With("WWW-Authenticate", `Basic realm="x"`),
			problem.New(problem.TooMany, "not <now>").RetryAfter(time.Second),
		} {
			t.Run(tt.name+" "+string(err.Code), func(t *testing.T) {
				t.Parallel()
				h := problem.Handler(func(http.ResponseWriter, *http.Request) error { return err })
				r := httptest.NewRequest(tt.method, tt.target, strings.NewReader("x"))
				r.Header.Set("Content-Type", tt.kind)
				r.Header.Set("Accept", tt.accept)
				r.Header.Set("Cookie", "soundstrip=abc")
				w := httptest.NewRecorder()
				New(Routes{Login: h, Validate: h, Upload: h, Jobs: h}, "").ServeHTTP(w, r)
				if tt.target == "/plain" && err.Code == problem.Unauthenticated {
					if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Set-Cookie"), "soundstrip=;") {
						t.Errorf("GET /plain = %d %v, want 303 to sign in", w.Code, w.Header())
					}
					return
				}
				if w.Code != err.Status() || w.Header().Get("Retry-After") != err.Header.Get("Retry-After") ||
					w.Header().Get("Set-Cookie") != "" {
					t.Errorf("%s %s = %d %v, want %d", tt.method, tt.target, w.Code, w.Header(), err.Status())
				}
				said := "&lt;"
				if tt.target == "/upload" && err.Code == problem.Unauthenticated {
					said = "sign in" // a browser has no use for words about tokens
				}
				if page := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"); page != tt.page ||
					page != strings.Contains(w.Body.String(), said) || page != strings.Contains(w.Body.String(), `href="./"`) {
					t.Errorf("%s %s has %s, %s: want a page: %v", tt.method, tt.target, w.Header().Get("Content-Type"), w.Body,
						tt.page)
				}
				if basic := strings.Contains(w.Header().Get("WWW-Authenticate"), "Basic"); basic && tt.page {
					t.Error("the browser would ask for a password by itself")
				}
			})
		}
	}
}
