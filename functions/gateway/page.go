package gateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

//go:embed page
var files embed.FS

// types are the media types of the page's files, whatever the machine calls them.
var types = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".json": "application/manifest+json",
	".svg":  "image/svg+xml",
}

// policy lets the page load its own files only, and make no markup of a text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; " +
	"img-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// page is the page that a person sees, and the files that it loads. These have the hash of all in their addresses, so
// that a browser keeps them for ever and never has some of one version and some of another.
type page struct {
	hash   string
	assets map[string]asset
}

// asset is a file as it is and as gzip, the empty slice where that is no shorter.
type asset struct{ kind, plain, packed string }

var thePage = sync.OnceValues(func() (*page, error) {
	p := &page{assets: map[string]asset{}}
	hash := sha256.New()
	err := fs.WalkDir(files, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		_, _ = hash.Write([]byte(name)) // has no error
		_, _ = hash.Write(b)
		if path.Ext(name) == ".js" {
			b = slim(b)
		}
		p.assets[path.Base(name)] = newAsset(path.Ext(name), b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.hash = hex.EncodeToString(hash.Sum(nil)[:8])
	text := template.Must(template.New("").Parse(p.assets[index].plain))
	for name, signedIn := range map[string]bool{index: false, indexOfUser: true} {
		var b bytes.Buffer
		if err := text.Execute(&b, struct {
			Assets   string
			SignedIn bool
		}{p.folder(), signedIn}); err != nil {
			return nil, err
		}
		p.assets[name] = newAsset(".html", b.Bytes())
	}
	return p, nil
})

// The page begins with the form to sign in, or for who has a session with what shows the list.
const index, indexOfUser = "index.html", "index.html of a user"

// folder is where the page's files are, as seen from the page.
func (p *page) folder() string { return "assets/" + p.hash }

// slim takes comments out of a script, and what lines are indented by: a sixth of what is sent. No text of a script
// goes over several lines, and no line of code begins as one of a comment does. A comment behind code stays when it
// has a quote: it may be a text.
func slim(script []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(script) {
		line = bytes.TrimLeft(line, " ")
		if bytes.HasPrefix(line, []byte("//")) || bytes.HasPrefix(line, []byte("/*")) ||
			bytes.HasPrefix(line, []byte("*")) {
			continue
		}
		if i := bytes.Index(line, []byte(" // ")); i >= 0 && !bytes.ContainsAny(line[i:], "'\"`") {
			line = append(line[:i:i], '\n')
		}
		b.Write(line)
	}
	return b.Bytes()
}

func newAsset(extension string, b []byte) asset {
	a := asset{kind: types[extension], plain: string(b)}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // which is a level
	_, _ = w.Write(b)                                          // a buffer has no error
	_ = w.Close()
	if packed.Len() < len(b) {
		a.packed = packed.String()
	}
	return a
}

func (a asset) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Add("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	body := a.plain
	if a.packed != "" && takesGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	_, _ = w.Write([]byte(body))
}

// takesGzip reads an Accept-Encoding (RFC 9110, section 12.5.3).
func takesGzip(accept string) bool {
	for coding := range strings.SplitSeq(strings.ToLower(accept), ",") {
		name, weight, _ := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";")
		if name == "gzip" {
			q, err := strconv.ParseFloat(strings.TrimPrefix(weight, "q="), 64)
			return weight == "" || err == nil && q > 0
		}
	}
	return false
}

// servePage answers with the page itself.
func servePage(w http.ResponseWriter, r *http.Request) error {
	p, err := thePage()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, forms would have the origin null, and be refused
	h.Set("Cache-Control", "no-cache")
	name, tag := index, `W/"`+p.hash+`"`
	if r.Header.Get("Authorization") != "" { // the cookie's
		name, tag = indexOfUser, `W/"`+p.hash+`-user"`
	}
	h.Set("ETag", tag)
	h.Add("Vary", "Cookie")
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	p.assets[name].write(w, r)
	return nil
}

// serveAsset answers with a file that the page loads.
func serveAsset(w http.ResponseWriter, r *http.Request) error {
	p, err := thePage()
	if err != nil {
		return err
	}
	a, found := p.assets[r.PathValue("name")]
	if !found || r.PathValue("hash") != p.hash {
		return problem.New(problem.NotFound, "the page is another by now: load it again")
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	a.write(w, r)
	return nil
}
