// Package gateway is the one origin in front of the functions.
package gateway

import (
	_ "embed"
	"net/http"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// Routes are the functions behind the gateway.
type Routes struct{ Login, Validate, Upload, Jobs http.Handler }

//go:embed index.html
var index []byte

// New serves
//
//	/                                              a page that says how to use the service by curl
//	/login, /users, /.well-known/jwks.json         Login
//	/validate                                      Validate
//	/upload, /upload/{filename}                    Upload
//	/jobs, /jobs/…, /download                      Jobs
func New(routes Routes) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serveIndex)
	mux.Handle("/{$}", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.Handle("/login", routes.Login)
	mux.Handle("/users", routes.Login)
	mux.Handle("/.well-known/jwks.json", routes.Login)
	mux.Handle("/validate", routes.Validate)
	mux.Handle("/upload", routes.Upload)
	mux.Handle("/upload/", routes.Upload)
	mux.Handle("/jobs", routes.Jobs)
	mux.Handle("/jobs/", routes.Jobs)
	mux.Handle("/download", routes.Jobs)
	mux.HandleFunc("/", problem.NoSuchRoute)
	return mux
}

func serveIndex(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(index)
}
