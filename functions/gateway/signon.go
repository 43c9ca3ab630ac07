package gateway

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// handshakeHolds is how long somebody may take to sign on elsewhere; login's is the same.
const handshakeHolds = 10 * time.Minute

// stateCookie binds a sign-on to the browser that began it. The provider sends the browser back from another site, so
// that it is SameSite=Lax.
func stateCookie(r *http.Request, value string, seconds int) *http.Cookie {
	c := cookie(r, value, seconds) //nolint:gosec // Secure where there is TLS: a laptop has none
	c.Name += "-sign-on"
	c.SameSite = http.SameSiteLaxMode
	return c
}

type stateKey struct{}

// withState keeps the state for the callback, because handlers see no cookies.
func withState(r *http.Request) *http.Request {
	if r.URL.Path != "/login/oidc/callback" {
		return r
	}
	c, err := r.Cookie(stateCookie(r, "", 0).Name)
	if err != nil {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), stateKey{}, c.Value))
}

func stateOf(r *http.Request) string {
	state, _ := r.Context().Value(stateKey{}).(string)
	return state
}

// beginSignOn sends the browser to the OpenID provider.
func (s sessions) beginSignOn(w http.ResponseWriter, r *http.Request) error {
	a := s.post(r, "/login/oidc", nil)
	if a.status != http.StatusOK {
		return a.show(w)
	}
	var begun struct{ State, URL string }
	if err := json.Unmarshal(a.body.Bytes(), &begun); err != nil {
		return err
	}
	http.SetCookie(w, stateCookie(r, begun.State, int(handshakeHolds.Seconds())))
	w.Header().Set("Cache-Control", "no-store")
	seeOther(w, begun.URL)
	return nil
}

// endSignOn logs in the browser that comes back, when it is the one that was sent.
func (s sessions) endSignOn(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	sent := stateOf(r)
	http.SetCookie(w, stateCookie(r, "", -1))
	if sent == "" || subtle.ConstantTimeCompare([]byte(sent), []byte(q.Get("state"))) != 1 {
		return problem.New(problem.Forbidden, "this browser did not begin the sign-on, or took too long: begin anew")
	}
	if q.Get("code") == "" { // with error, RFC 6749, section 4.1.2.1
		return problem.New(problem.Forbidden, "the OpenID provider has not signed you on: begin anew")
	}
	body, err := json.Marshal(map[string]string{"code": q.Get("code"), "state": sent})
	if err != nil {
		return err
	}
	a := s.post(r, "/login/oidc/callback", body)
	if a.status != http.StatusOK {
		return a.show(w)
	}
	if err := s.keep(w, r, a); err != nil {
		return err
	}
	seeOther(w, "../../")
	return nil
}

// post asks login, with JSON.
func (s sessions) post(r *http.Request, path string, body []byte) *answer {
	in := r.Clone(r.Context())
	in.Method, in.Body, in.ContentLength = http.MethodPost, io.NopCloser(bytes.NewReader(body)), int64(len(body))
	in.URL.Path, in.URL.RawPath, in.URL.RawQuery, in.RequestURI = path, "", "", ""
	in.Header.Del("Authorization")
	in.Header.Set("Content-Type", "application/json")
	in.Header.Set("Accept", "application/json")
	return ask(s.routes.Login, in)
}
