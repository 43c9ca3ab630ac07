package gateway

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/soundstrip/soundstrip/functions/internal/api"
)

// sessions are those of people who came by a browser. A session is a cookie that holds the token, and which no script
// can read; functions get the token as a bearer, and never see the cookie.
type sessions struct{ routes Routes }

// cookieName begins with __Host- where it can: no other host can set such a cookie (RFC 6265bis, section 4.1.3.2).
func cookieName(r *http.Request) string {
	if scheme(r) == "https" {
		return "__Host-soundstrip"
	}
	return "soundstrip" // not session, which others on the same host use
}

func cookie(r *http.Request, value string, seconds int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure where there is TLS: a laptop has none
		Name: cookieName(r), Value: value, Path: "/", MaxAge: seconds,
		Secure: scheme(r) == "https", HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// bearer makes a bearer of the cookie, unless the request has one. Where the page asks for jobs, a token of which more
// than half of its time is over is replaced on the way, so that a session lasts for as long as somebody is there. No
// cache keeps those answers.
func (s sessions) bearer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		c, err := r.Cookie(cookieName(r))
		r = withState(r)
		r.Header.Del("Cookie")
		if err == nil && r.Header.Get("Authorization") == "" {
			r.Header.Set("Authorization", "Bearer "+c.Value)
			switch r.URL.Path {
			case "/jobs", "/jobs/events", "/plain", "/users/me":
				if api.HalfOver(c.Value, time.Now()) {
					s.renew(w, r)
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// renewWithin bounds how long a request waits for another token.
const renewWithin = 5 * time.Second

// renew sets a new cookie. When login gives no token, the one that there is serves until it ends.
func (s sessions) renew(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), renewWithin)
	defer cancel()
	in := r.Clone(ctx)
	in.Method, in.Body, in.ContentLength = http.MethodPost, http.NoBody, 0
	in.URL.Path, in.URL.RawPath, in.URL.RawQuery, in.RequestURI = "/token", "", "", ""
	for _, name := range []string{"Content-Length", "Content-Type", "Transfer-Encoding", "Expect"} {
		in.Header.Del(name)
	}
	in.TransferEncoding = nil
	in.Header.Set("Accept", "application/json")
	a := ask(s.routes.Login, in)
	if a.status != http.StatusOK {
		return
	}
	if err := s.keep(w, r, a); err != nil {
		slog.WarnContext(ctx, "session not renewed", "error", err)
	}
}

// keep sets the cookie to the token that login has given.
func (s sessions) keep(w http.ResponseWriter, r *http.Request, a *answer) error {
	var given struct {
		Access  string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	if err := json.Unmarshal(a.body.Bytes(), &given); err != nil || given.Access == "" {
		return errors.Join(errors.New("login's answer has no token"), err)
	}
	http.SetCookie(w, cookie(r, given.Access, given.Expires))
	return nil
}

// begin logs in, with JSON from the page or with a form from one without JavaScript.
func (s sessions) begin(w http.ResponseWriter, r *http.Request) error {
	in := r.Clone(r.Context())
	in.URL.Path, in.URL.RawQuery, in.RequestURI = "/login", "", ""
	in.Header.Del("Authorization")
	in.Header.Set("Accept", "application/json")
	a := ask(s.routes.Login, in)
	if a.status != http.StatusOK {
		if isForm(r) {
			return a.show(w)
		}
		a.challenge()
		a.copyTo(w)
		return nil
	}
	if err := s.keep(w, r, a); err != nil {
		return err
	}
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

// challenge keeps the browser from asking for a password by itself, as it does where it reads Basic.
func (a *answer) challenge() {
	if a.header.Get("WWW-Authenticate") != "" {
		a.header.Set("WWW-Authenticate", `Bearer realm="soundstrip"`)
	}
}

// show tells a person what a function says in JSON of why it refuses.
func (a *answer) show(w http.ResponseWriter) error {
	var said struct{ Detail string }
	if err := json.Unmarshal(a.body.Bytes(), &said); err != nil || said.Detail == "" {
		said.Detail = http.StatusText(a.status)
	}
	a.challenge()
	a.copyHeader(w, "Retry-After", "WWW-Authenticate")
	first, size := utf8.DecodeRuneInString(said.Detail)
	return writePlain(w, a.status, plainPage{Refused: string(unicode.ToUpper(first)) + said.Detail[size:] + "."})
}

func (a *answer) copyHeader(w http.ResponseWriter, names ...string) {
	for _, name := range names {
		if values := a.header.Values(name); values != nil {
			w.Header()[name] = values
		}
	}
}

// upload answers the form of a browser without JavaScript with a page, and all else with the function's own words.
func (s sessions) upload(w http.ResponseWriter, r *http.Request) error {
	accept := r.Header.Get("Accept")
	if !strings.Contains(accept, "text/html") || strings.Contains(accept, "json") {
		s.routes.Upload.ServeHTTP(w, r)
		return nil
	}
	in := r.Clone(r.Context())
	in.Header.Set("Accept", "application/json")
	a := ask(s.routes.Upload, in)
	switch a.status {
	case http.StatusAccepted:
	case http.StatusUnauthorized, http.StatusForbidden:
		a.challenge()
		a.copyHeader(w, "WWW-Authenticate")
		return writePlain(w, a.status, plainPage{Refused: "You are not signed in, or your session has ended. " +
			"Go back, sign in, and choose the video again."})
	default:
		return a.show(w)
	}
	seeOther(w, "plain")
	return nil
}

//go:embed plain.html
var plain string

var list = template.Must(template.New("plain.html").Parse(plain))

// servePlain lists jobs for a browser without JavaScript: the newest, or those before another.
func (s sessions) servePlain(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Authorization") == "" {
		seeOther(w, ".")
		return nil
	}
	in := r.Clone(r.Context())
	in.URL.Path, in.URL.RawQuery = "/jobs", ""
	if before := r.URL.Query().Get("before"); before != "" {
		in.URL.RawQuery = url.Values{"before": {before}}.Encode()
	}
	in.Header.Set("Accept", "application/json")
	a := ask(s.routes.Jobs, in)
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		http.SetCookie(w, cookie(r, "", -1))
		seeOther(w, ".")
		return nil
	}
	if a.status != http.StatusOK {
		return a.show(w)
	}
	var known plainPage
	if err := json.Unmarshal(a.body.Bytes(), &known); err != nil {
		return err
	}
	return writePlain(w, http.StatusOK, known)
}

// plainPage is what plain.html shows.
type plainPage struct {
	Assets  string `json:"-"`
	Refused string `json:"-"` // why; then there is no list
	Jobs    []struct {
		ID, Filename, State string
		Error               *struct{ Message string }
		MP3                 *struct{} // the link is there before
		Links               struct{ MP3 string }
	}
	Next string
}

func writePlain(w http.ResponseWriter, status int, data plainPage) error {
	p, err := thePage()
	if err != nil {
		return err
	}
	data.Assets = p.folder()
	var html bytes.Buffer
	if err := list.Execute(&html, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(html.Bytes())
	return nil
}
