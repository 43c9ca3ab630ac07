package gateway

import (
	"html/template"
	"net/http"
	"path"
	"strings"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// around is a page that sends the browser to the address that it came from.
var around = template.Must(template.New("").Parse(`<!DOCTYPE html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0;url={{.}}">
<title>Soundstrip</title>
<p><a href="{{.}}">Go on</a></p>
`))

// landing is for who follows a link to an MP3 in a browser. From a mail that another site shows, the browser does not
// bring the session's cookie, which is SameSite=Strict; from a page of ours it does. So it is sent around by one. Who
// is not signed in gets to the page, to do so.
func landing(next http.Handler) http.Handler {
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		h := r.Header
		ours := strings.HasPrefix(r.URL.Path, "/jobs/") || r.URL.Path == "/download"
		switch {
		case !ours || r.Method != http.MethodGet || h.Get("Sec-Fetch-Mode") != "navigate" || h.Get("Authorization") != "" ||
			r.URL.Query().Has("signature"):
			next.ServeHTTP(w, r)
			return nil
		case h.Get("Sec-Fetch-Site") != "cross-site":
			seeOther(w, "./"+strings.Repeat("../", strings.Count(r.URL.Path, "/")-1))
			return nil
		}
		here := "./" + path.Base(r.URL.EscapedPath())
		if r.URL.RawQuery != "" {
			here += "?" + r.URL.RawQuery
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy",
			"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "no-store")
		return around.Execute(w, here)
	})
}
