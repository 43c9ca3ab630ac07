package gateway

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"mime"
	"net/http"
	"strings"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// sessions are those of people who came by a browser. A session is a cookie that holds the token, and which no script
// can read; functions get the token as a bearer, and never see the cookie.
type sessions struct{ routes Routes }

// cookieName begins with __Host- where it can: no other host can set such a cookie (RFC 6265bis, section 4.1.3.2).
func cookieName(r *http.Request) string {
	if scheme(r) == "https" {
		return "__Host-session"
	}
	return "session"
}

func cookie(r *http.Request, value string, seconds int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure where there is TLS: a laptop has none
		Name: cookieName(r), Value: value, Path: "/", MaxAge: seconds,
		Secure: scheme(r) == "https", HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// bearer makes a bearer of the cookie, unless the request has one.
func bearer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		if c, err := r.Cookie(cookieName(r)); err == nil && r.Header.Get("Authorization") == "" {
			r.Header.Set("Authorization", "Bearer "+c.Value)
			w = forBrowser(w, r)
		}
		r.Header.Del("Cookie")
		next.ServeHTTP(w, r)
	})
}

// begin logs in, with JSON from the page or with a form from one without JavaScript.
func (s sessions) begin(w http.ResponseWriter, r *http.Request) error {
	in := r.Clone(r.Context())
	in.URL.Path, in.URL.RawQuery, in.RequestURI = "/login", "", ""
	in.Header.Del("Authorization")
	in.Header.Set("Accept", "application/json")
	a := ask(s.routes.Login, in)
	if a.status != http.StatusOK {
		a.header.Del("WWW-Authenticate") // or the browser would ask for a password itself
		if isForm(r) {
			return a.problem()
		}
		a.copyTo(w)
		return nil
	}
	var token struct {
		Access  string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	if err := json.Unmarshal(a.body.Bytes(), &token); err != nil || token.Access == "" {
		return errors.Join(errors.New("login's answer has no token"), err)
	}
	http.SetCookie(w, cookie(r, token.Access, token.Expires))
	s.done(w, r)
	return nil
}

// end forgets the cookie.
func (s sessions) end(w http.ResponseWriter, r *http.Request) error {
	http.SetCookie(w, cookie(r, "", -1))
	s.done(w, r)
	return nil
}

func (s sessions) done(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if isForm(r) {
		seeOther(w, strings.Repeat("../", strings.Count(r.URL.Path, "/")-1)+".")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func isForm(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "application/x-www-form-urlencoded"
}

// seeOther sends the browser on. The address is relative to that of the request, because only the browser knows what
// a proxy puts in front of it.
func seeOther(w http.ResponseWriter, address string) {
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}

// answer is a function's answer that the gateway reads itself.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// ask has a function answer.
func ask(h http.Handler, r *http.Request) *answer {
	a := &answer{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(a, r)
	return a
}

// Header is of [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// Write is of [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// WriteHeader is of [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if status >= http.StatusOK {
		a.status = status
	}
}

func (a *answer) copyTo(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}

// problem is what the answer says in JSON.
func (a *answer) problem() error {
	var said struct {
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(a.body.Bytes(), &said); err != nil {
		return err
	}
	return problem.New(problem.ForStatus(a.status), "%s", said.Detail)
}

// forBrowser sends a browser without JavaScript on to the list of jobs when its form has been taken.
func forBrowser(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if r.Method == http.MethodPost && r.URL.Path == "/upload" && strings.Contains(r.Header.Get("Accept"), "text/html") {
		return &formWriter{ResponseWriter: w}
	}
	return w
}

type formWriter struct {
	http.ResponseWriter
	taken bool
}

// WriteHeader is of [http.ResponseWriter].
func (w *formWriter) WriteHeader(status int) {
	if w.taken = status == http.StatusAccepted; !w.taken {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.Header().Del("Content-Length")
	seeOther(w.ResponseWriter, "plain")
}

// Write is of [http.ResponseWriter].
func (w *formWriter) Write(p []byte) (int, error) {
	if w.taken {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *formWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

//go:embed plain.html
var plain string

var list = template.Must(template.New("plain.html").Parse(plain))

// servePlain lists the newest jobs for a browser without JavaScript.
func (s sessions) servePlain(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Authorization") == "" {
		seeOther(w, ".")
		return nil
	}
	in := r.Clone(r.Context())
	in.URL.Path, in.URL.RawQuery = "/jobs", ""
	in.Header.Set("Accept", "application/json")
	a := ask(s.routes.Jobs, in)
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		http.SetCookie(w, cookie(r, "", -1))
		seeOther(w, ".")
		return nil
	}
	if a.status != http.StatusOK {
		return a.problem()
	}
	var known struct {
		Jobs []struct {
			ID, Filename, State string
			Error               *struct{ Message string }
			Links               struct{ MP3 string }
		}
	}
	if err := json.Unmarshal(a.body.Bytes(), &known); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	return list.Execute(w, known)
}
