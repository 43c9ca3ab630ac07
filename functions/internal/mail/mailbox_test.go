package mail

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func get(t *testing.T, h http.Handler, path string) (*http.Response, string) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = "//" + r.URL.Host + path // as it is, dots and all
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestMailbox(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "mail")
	m, err := NewMailbox(dir)
	if err != nil {
		t.Fatal(err)
	}
	if resp, body := get(t, m, "/mailbox"); resp.StatusCode != 200 || !strings.Contains(body, "There are none yet") {
		t.Errorf("empty mailbox: %d\n%s", resp.StatusCode, body)
	}
	older, newer := converted(), failed()
	older.Job.Filename = "<script>x</script>.mp4"
	newer.Date = newer.Date.Add(time.Second)
	for _, l := range []Letter{newer, older} {
		if err := m.Send(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	names := list(t, dir)
	if len(names) != 2 {
		t.Fatalf("files %q, want two", names)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, names[0])); err != nil ||
		open(t, string(raw)).subject != "Your MP3 is ready" {
		t.Errorf("the first file: %v\n%s", err, raw)
	}

	resp, body := get(t, m, "/mailbox")
	if i, j := strings.Index(body, names[1]), strings.Index(body, names[0]); resp.StatusCode != 200 || i < 0 || j < i {
		t.Errorf("GET /mailbox = %d, want the newer mail first\n%s", resp.StatusCode, body)
	}
	resp, body = get(t, m, "/mailbox/"+names[0])
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("GET of a mail = %d, %v", resp.StatusCode, resp.Header)
	}
	for _, want := range []string{
		"anna@example.com", "Wed, 04 Mar 2026 05:06:07",
		`<a href="https://soundstrip.example.com/jobs/65f0a1b2c3d4e5f601234567/mp3">` +
			`https://soundstrip.example.com/jobs/65f0a1b2c3d4e5f601234567/mp3</a>`,
		"&lt;script&gt;x&lt;/script&gt;.mp4",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the page:\n%s", want, body)
		}
	}
	if strings.Contains(body, "<script>") {
		t.Errorf("the page has foreign markup:\n%s", body)
	}
}

func TestMailboxShowsNothingElse(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "mail")
	m, err := NewMailbox(dir)
	if err != nil {
		t.Fatal(err)
	}
	const mail = "20260304T050607.000Z-00000000.eml"
	for _, name := range []string{filepath.Join(root, mail), filepath.Join(root, "secret"), filepath.Join(dir, ".new-1"),
		filepath.Join(dir, "notes.txt")} {
		if err := os.WriteFile(name, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		"/mailbox/" + mail, "/mailbox/../secret", "/mailbox/..%2fsecret", "/mailbox/%2e%2e%2f" + mail,
		"/mailbox/..%5c" + mail, "/mailbox/.new-1", "/mailbox/notes.txt",
		"/mailbox/%2fetc%2fpasswd", "/mailbox/" + mail + "%00", "/mailbox/" + mail + "%0a", "/mailbox/", "/other",
	} {
		resp, body := get(t, m, path)
		if resp.StatusCode/100 == 2 || strings.Contains(body, "secret\n") || strings.Contains(body, "root:") {
			t.Errorf("GET %s = %d %q, want nothing shown", path, resp.StatusCode, body)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, mail), []byte("no mail"), 0o600); err != nil {
		t.Fatal(err)
	}
	if resp, body := get(t, m, "/mailbox"); resp.StatusCode != 200 || strings.Contains(body, mail) ||
		strings.Contains(body, "notes") || strings.Contains(body, ".new") {
		t.Errorf("GET /mailbox = %d\n%s, want no other file listed", resp.StatusCode, body)
	}
}

// TestMailboxKeepsWhole: readers never see half a mail, and a mail that cannot be kept leaves nothing.
func TestMailboxKeepsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, err := NewMailbox(dir)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			l := converted()
			l.Date = l.Date.Add(time.Duration(i) * time.Millisecond)
			if err := m.Send(t.Context(), l); err != nil {
				t.Error(err)
			}
			for _, name := range list(t, dir) {
				if !fileName.MatchString(name) {
					continue
				}
				if _, err := m.read(name); err != nil {
					t.Errorf("half a mail: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(list(t, dir)); n != 20 {
		t.Errorf("%d files, want 20", n)
	}
	if err := m.keep("no/such/folder.eml", []byte("x")); err == nil {
		t.Error("keep = nil, want an error")
	}
	if n := len(list(t, dir)); n != 20 {
		t.Errorf("%d files after one that could not be kept, want 20", n)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"converted", "foreign"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".eml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := parse(raw)
		if err != nil {
			return
		}
		var whole strings.Builder
		for _, piece := range p.Body {
			whole.WriteString(piece.Text + piece.URL)
			if piece.URL != "" && !strings.HasPrefix(piece.URL, "http") {
				t.Errorf("%q is clicked on", piece.URL)
			}
		}
		if w := httptest.NewRecorder(); show(w, "mail.html", p) != nil || strings.Count(w.Body.String(), "<script") > 0 {
			t.Errorf("page of %q:\n%s", whole.String(), w.Body)
		}
	})
}
