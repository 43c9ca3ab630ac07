package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// badLine is a proxy as there are in front of a service: it calls the host otherwise, takes no body above a limit, and
// breaks connections off in the middle of a body.
type badLine struct {
	proxy httputil.ReverseProxy
	limit int64

	mu   sync.Mutex
	rand *rand.Rand
	cuts int // that are still to come
	done int
}

func newBadLine(t *testing.T, to string, limit int64, cuts int) (*badLine, string) {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	b := &badLine{limit: limit, cuts: cuts, rand: rand.New(rand.NewPCG(1, 2))}
	b.proxy.Rewrite = func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = target.Host
		p.Out.Header.Set("Forwarded", `for=192.0.2.1;host="videos.example.com";proto=https`)
		p.Out.Header.Set("X-Forwarded-Host", "videos.example.com")
		p.Out.Header.Set("X-Forwarded-Proto", "https")
	}
	b.proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, server.URL
}

func (b *badLine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > b.limit {
		http.Error(w, "too large for this proxy", http.StatusRequestEntityTooLarge)
		return
	}
	if r.Method == http.MethodPatch {
		b.mu.Lock()
		if b.cuts > 0 {
			b.cuts--
			r.Body = &cutBody{r.Body, b.rand.Int64N(r.ContentLength), b}
		}
		b.mu.Unlock()
	}
	b.proxy.ServeHTTP(w, r)
}

// cutBody breaks off after some bytes.
type cutBody struct {
	io.ReadCloser
	left int64
	b    *badLine
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left == 0 {
		c.b.mu.Lock()
		c.b.done++
		c.b.mu.Unlock()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// noisyVideo writes a file that begins as a video, and has noise in each quarter of a megabyte. It gives its SHA-256.
// On the disk it takes little room.
func noisyVideo(t *testing.T, bytes int64) (path, sum string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "noise.mp4")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise, source := make([]byte, 4<<10), rand.NewChaCha8([32]byte{})
	for at := int64(0); at < bytes; at += 256 << 10 {
		_, _ = source.Read(noise) // has no error
		if at == 0 {
			copy(noise, "\x00\x00\x00\x18ftypmp42")
		}
		if _, err := f.WriteAt(noise, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(bytes); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return path, hex.EncodeToString(h.Sum(nil))
}

// TestTusClients uploads by the published clients, over a line that breaks off, behind a proxy.
func TestTusClients(t *testing.T) {
	t.Parallel()
	clients := need(t, "TEST_TUS")
	const piece, limit = 8 << 20, 10 << 20
	file, sum := noisyVideo(t, 3*piece+12345)
	for name, open := range map[string]func(t *testing.T) string{
		"laptop":    func(t *testing.T) string { return laptop(t, t.TempDir()).url },
		"processes": func(t *testing.T) string { return deploy(t).url },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := open(t)
			token := login(t, at, georgio)
			for _, client := range [][]string{
				{"node", "testdata/tus.js"},
				{filepath.Join(clients, "python/bin/python"), "testdata/tus.py"},
			} {
				line, address := newBadLine(t, at, limit, 6)
				cmd := exec.CommandContext(t.Context(), client[0], client[1], address+"/files", token, file, strconv.Itoa(piece))
				cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(clients, "node_modules"))
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %v\n%s", client, err, out)
				}
				id := strings.TrimSpace(string(out[strings.LastIndex(string(out), "/")+1:]))
				j := getJob(t, at, token, id)
				if j.Video.SHA256 != sum || j.Filename != "talk.mp4" || j.Options.Bitrate != 64 {
					t.Errorf("%v made the job %+v, want talk.mp4 at 64 kbit/s with the SHA-256 %s", client, j, sum)
				}
				if line.done < 6 {
					t.Errorf("the line broke off %d times, want 6", line.done)
				}
			}
			if _, body := curl(t, "-H", "Authorization: Bearer "+token, at+"/jobs"); strings.Count(body, `"id"`) != 2 {
				t.Errorf("GET /jobs = %s, want two jobs", body)
			}
		})
	}
}
