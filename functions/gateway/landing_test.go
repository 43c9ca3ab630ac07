package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/gateway"
)

// TestLanding follows links as browsers do.
func TestLanding(t *testing.T) {
	t.Parallel()
	function := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := gateway.New(gateway.Routes{Login: function, Validate: function, Upload: function, Jobs: function}, "")
	const mp3 = "/jobs/65f0a1b2c3d4e5f601234567/mp3"
	for _, tt := range []struct {
		name, target, site, mode, cookie string
		status                           int
		location, words                  string
	}{
		{"from another site, without its cookie", mp3, "cross-site", "navigate", "", 200, "", `content="0;url=./mp3"`},
		{"the same, around", mp3, "same-origin", "navigate", "soundstrip=x", 418, "", ""},
		{"by file id", "/download?fid=65f0a1b2c3d4e5f60123beef", "cross-site", "navigate", "", 200, "",
			`url=./download?fid=65f0a1b2c3d4e5f60123beef"`},
		{"not signed in", mp3, "none", "navigate", "", 303, "./../../", ""},
		{"not signed in, a file id", "/download?fid=1", "none", "navigate", "", 303, "./", ""},
		{"whoever has the link", mp3 + "?expires=1&signature=2", "cross-site", "navigate", "", 418, "", ""},
		{"a script", mp3, "same-origin", "cors", "", 418, "", ""},
		{"no browser", mp3, "", "", "", 418, "", ""},
		{"markup in the query", "/download?fid=%22%3E%3Cscript%3E\"><script>", "cross-site", "navigate", "", 200, "",
			"url=./d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, strings.ReplaceAll(tt.target, `"`, ""), nil)
			r.URL.RawQuery = strings.TrimPrefix(tt.target[strings.IndexByte(tt.target+"?", '?'):], "?")
			for name, value := range map[string]string{
				"Sec-Fetch-Site": tt.site, "Sec-Fetch-Mode": tt.mode, "Cookie": tt.cookie,
			} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			body := w.Body.String()
			if w.Code != tt.status || w.Header().Get("Location") != tt.location || !strings.Contains(body, tt.words) ||
				strings.Contains(body, "<script") {
				t.Errorf("GET %s = %d, Location %q, %s, want %d, %q and %q", tt.target, w.Code, w.Header().Get("Location"), body,
					tt.status, tt.location, tt.words)
			}
		})
	}
}
