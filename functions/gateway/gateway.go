// Package gateway is the one origin in front of the functions.
package gateway

import (
	"cmp"
	_ "embed"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

// Routes are the functions behind the gateway.
type Routes struct{ Login, Validate, Upload, Jobs http.Handler }

//go:embed curl.html
var curl string

var curlPage = template.Must(template.New("curl.html").Parse(curl))

//go:embed openapi.yaml
var openapi []byte

var description = sync.OnceValues(func() ([]byte, error) { return yaml.YAMLToJSON(openapi) })

// New serves
//
//	/, /assets/…                                   the page
//	/curl                                          a page that says how to use the service by curl
//	/session, /session/end                         the page's cookie, made of Login's token
//	/login/oidc, /login/oidc/callback              the same by an OpenID provider
//	/plain                                         the list of jobs for a browser without JavaScript
//	/login, /token, /logout, /users, /users/{id}   Login
//	/users/reset, /users/password                  Login
//	/users/me, /users/me/password, /users/me/keys  Login
//	/.well-known/jwks.json, …/tokens-after         Login
//	/validate                                      Validate
//	/upload, /upload/{filename}, /files, /files/…  Upload
//	/jobs, /jobs/…, /download                      Jobs
//	/users/me/feed, /feeds/…, /users/me/webhook    Jobs
//	/users/me/usage                                Upload
//	/openapi.json                                  what there is to all of these, as an OpenAPI document
//
// What a page of another site has a browser send is refused (net/http's CrossOriginProtection). publicURL is the
// address that browsers know us by, for where a proxy changes its name or path; when it is empty, the request tells.
// To who came by https every answer says that it is the only way from now on (HSTS, RFC 6797).
func New(routes Routes, publicURL string) http.Handler {
	mux := serve.NewMux()
	s := sessions{routes}
	reads := problem.NotAllowed(http.MethodGet, http.MethodHead)
	mux.Handle("GET /{$}", problem.Handler(servePage))
	mux.Handle("/{$}", reads)
	mux.Handle("GET /assets/{hash}/{name}", problem.Handler(serveAsset))
	mux.Handle("GET /curl", serveCurl(publicURL))
	mux.Handle("/curl", reads)
	mux.Handle("POST /session", serve.Small(problem.Handler(s.begin)))
	mux.Handle("DELETE /session", problem.Handler(s.end))
	mux.Handle("/session", problem.NotAllowed(http.MethodPost, http.MethodDelete))
	mux.Handle("POST /session/end", problem.Handler(s.end))
	mux.Handle("GET /plain", problem.Handler(s.servePlain))
	mux.Handle("/plain", reads)
	mux.Handle("GET /openapi.json", problem.Handler(serveDescription))
	mux.Handle("/openapi.json", reads)
	mux.Handle("/login", routes.Login)
	mux.Handle("GET /login/oidc", problem.Handler(s.beginSignOn))
	mux.Handle("OPTIONS /login/oidc", routes.Login)
	mux.Handle("/login/oidc", reads)
	mux.Handle("GET /login/oidc/callback", problem.Handler(s.endSignOn))
	mux.Handle("/login/oidc/callback", reads)
	mux.Handle("/token", routes.Login)
	mux.Handle("/logout", routes.Login)
	mux.Handle("/users", routes.Login)
	mux.Handle("/users/reset", routes.Login)
	mux.Handle("/users/password", routes.Login)
	mux.Handle("/users/{id}", routes.Login)
	mux.HandleFunc("/users/deleted", problem.NoSuchRoute) // is for sweep
	mux.Handle("/users/me/password", routes.Login)
	mux.Handle("/users/me/keys", routes.Login)
	mux.Handle("/users/me/keys/{id}", routes.Login)
	mux.Handle("/.well-known/jwks.json", routes.Login)
	mux.Handle("/.well-known/tokens-after", routes.Login)
	mux.Handle("/validate", routes.Validate)
	mux.Handle("/upload", routes.Upload)
	mux.Handle("POST /upload", problem.Handler(s.upload))
	mux.Handle("/upload/", routes.Upload)
	mux.Handle("/files", routes.Upload)
	mux.Handle("/files/", routes.Upload)
	mux.Handle("/jobs", routes.Jobs)
	mux.Handle("/jobs/", routes.Jobs)
	mux.Handle("/download", routes.Jobs)
	mux.Handle("/users/me/feed", routes.Jobs)
	mux.Handle("/feeds/", routes.Jobs)
	mux.Handle("/users/me/webhook", routes.Jobs)
	mux.Handle("/users/me/usage", routes.Upload)
	mux.HandleFunc("/", problem.NoSuchRoute)
	guard := http.NewCrossOriginProtection()
	if u, err := url.Parse(publicURL); err == nil && u.Host != "" {
		_ = guard.AddTrustedOrigin(u.Scheme + "://" + u.Host) // of a valid URL it is valid
	}
	guard.SetDenyHandler(problem.Handler(func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.Forbidden, "a page of another site asked for this: open Soundstrip itself")
	}))
	guarded := guard.Handler(s.bearer(landing(mux)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if scheme(r) == "https" {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		guarded.ServeHTTP(w, r)
	})
}

func serveDescription(w http.ResponseWriter, _ *http.Request) error {
	document, err := description()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document)
	return nil
}

// scheme is that of the address that the client asked for. TLS ends in front of us.
func scheme(r *http.Request) string {
	if r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https"
	}
	return "http"
}

func serveCurl(publicURL string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		address := cmp.Or(strings.TrimRight(publicURL, "/"), scheme(r)+"://"+r.Host)
		if err := curlPage.Execute(w, address); err != nil {
			slog.DebugContext(r.Context(), "page not written", "error", err)
		}
	}
}
