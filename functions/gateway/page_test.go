package gateway

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	people().ServeHTTP(w, r)
	return w
}

// TestPage holds the page to its policy, and follows what it loads, and what that loads.
func TestPage(t *testing.T) {
	t.Parallel()
	w := get("/")
	body := w.Body.String()
	if w.Header().Get("Content-Security-Policy") != policy || w.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("GET / has the header %v", w.Header())
	}
	forbidden := regexp.MustCompile(`(?i)<style|<base|\sstyle=|\son\w+=|<script[^>]*>[^<]`)
	if active := forbidden.FindString(body); active != "" {
		t.Errorf("the page has %q, which its policy forbids", active)
	}
	if w := get("/", "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("GET / of who has it = %d %q, want 304", w.Code, w.Body)
	}
	for accept, gzipped := range map[string]bool{"": false, "gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false,
		"gzip; q=0.000, br": false, "x-gzip": false} {
		if got := get("/", "Accept-Encoding", accept).Header().Get("Content-Encoding") == "gzip"; got != gzipped {
			t.Errorf("GET / of who takes %q is gzip: %v", accept, got)
		}
	}
	folder := regexp.MustCompile(`assets/[0-9a-f]{16}/`).FindString(body)
	named := regexp.MustCompile(`(?:assets/[0-9a-f]{16}|from '\.|import\('\.)/([\w.-]+)`)
	loaded, size := map[string]bool{}, 0
	var follow func(text string)
	follow = func(text string) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if loaded[m[1]] {
				continue
			}
			loaded[m[1]] = true
			w := get("/"+folder+m[1], "Accept-Encoding", "br, gzip")
			if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") ||
				w.Header().Get("Content-Type") == "" {
				t.Errorf("GET %s = %d %v", m[1], w.Code, w.Header())
				continue
			}
			size += w.Body.Len()
			var content io.Reader = w.Body
			if w.Header().Get("Content-Encoding") == "gzip" {
				var err error
				if content, err = gzip.NewReader(w.Body); err != nil {
					t.Fatal(err)
				}
			}
			text, err := io.ReadAll(content)
			if err != nil {
				t.Fatal(err)
			}
			follow(string(text))
		}
	}
	follow(body)
	if !loaded["main.js"] || !loaded["style.css"] || len(loaded) < 8 {
		t.Errorf("the page loads %v, want its modules and style", loaded)
	}
	all, err := thePage()
	if err != nil {
		t.Fatal(err)
	}
	for name := range all.assets {
		if !loaded[name] && name != index && name != indexOfUser {
			t.Errorf("nothing loads %s", name)
		}
	}
	if size += len(all.assets[index].packed); size > 60_000 {
		t.Errorf("the page takes %d bytes, want 60,000 at most", size)
	}
	source, err := files.ReadFile("page/text.js")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^  (\w+):`).FindAllStringSubmatch(string(source), -1) {
		if texts[m[1]] {
			t.Errorf("text.js has two texts called %s: the page shows one for both", m[1])
		}
		texts[m[1]] = true
	}
	// What is seen before the modules come has its texts in the HTML, the same as those of text.js.
	seen := regexp.MustCompile(`data-t="(\w+)">([^<]+)<`).FindAllStringSubmatch(body, -1)
	for _, m := range seen {
		if !strings.Contains(all.assets["text.js"].plain, "\n"+m[1]+": '"+m[2]+"'") {
			t.Errorf("the page says %q, and text.js has another %s", m[2], m[1])
		}
	}
	if len(seen) < 8 || len(texts) < 100 {
		t.Errorf("the page has %d texts before its modules come, and then %d: want more", len(seen), len(texts))
	}
	if w := get("/", "Cookie", "soundstrip=x.y.z"); !strings.Contains(w.Body.String(), `data-view="app"`) ||
		w.Header().Get("ETag") == get("/").Header().Get("ETag") {
		t.Errorf("GET / of who has the cookie = %v, want what shows the list", w.Header())
	}
	if w := get("/assets/0123456789abcdef/main.js"); w.Code != http.StatusNotFound ||
		strings.Contains(w.Header().Get("Cache-Control"), "max-age") {
		t.Errorf("GET of another version = %d %v, want 404", w.Code, w.Header())
	}
}
