//go:build browser

package browser

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestReports opens a page on which everything is wrong: the other tests would tell of it.
func TestReports(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; img-src data:; "+
			"require-trusted-types-for 'script'; trusted-types 'none'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><html lang="en"><title>Wrong</title><main><h1>Wrong</h1><img src="data:,">
			<p id="wide">wide</p></main><script>inline</script><script src="wrong.js"></script></html>`)
	})
	mux.HandleFunc("GET /wrong.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, `document.querySelector('#wide').style.width = '3000px'; console.error('an error of its own');
			fetch('elsewhere').catch(() => {}); Promise.reject(new Error('nobody catches this'));
			document.querySelector('#wide').innerHTML = 'a string';`)
	})
	p := person(t, newFront(t, mux))
	p.allow("")
	for _, want := range []string{"console.error: \"an error of its own\"", "nobody catches this", "innerHTML",
		"script-src-elem", "connect-src", "TrustedHTML"} {
		eventually(t, want, func() (string, bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return strings.Join(p.faults, "\n"), slices.ContainsFunc(p.faults, func(f string) bool {
				return strings.Contains(f, want)
			})
		})
	}
	if v := p.violations(); !slices.ContainsFunc(v, func(v string) bool { return strings.HasPrefix(v, "image-alt") }) {
		t.Errorf("axe-core finds %q, want the image without a text", v)
	}
	if n := eval[int](p, "document.documentElement.scrollWidth"); n < 3000 {
		t.Errorf("the page is %d px wide, want 3000", n)
	}
}
