package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

// behind serves the function behind a proxy and gives the proxy's address.
func behind(t *testing.T, function http.HandlerFunc) string {
	t.Helper()
	upstream := httptest.NewServer(function)
	t.Cleanup(upstream.Close)
	return proxyTo(t, upstream.URL)
}

func proxyTo(t *testing.T, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Proxy("upload", u, time.Minute))
	t.Cleanup(server.Close)
	return server.URL
}

func request(t *testing.T, method, target string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func transport(t *testing.T) *http.Transport {
	tr := &http.Transport{ExpectContinueTimeout: time.Minute}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := transport(t).RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return resp, string(b)
}

func TestProxyForwards(t *testing.T) {
	t.Parallel()
	var got *http.Request
	origin := behind(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Location", "/jobs/1")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "here only")
		w.WriteHeader(http.StatusAccepted)
	})
	r := request(t, http.MethodPut, origin+"/upload/a%2Fb%20c.mp4?title=100%&mono=true;x", strings.NewReader("video"))
	for k, v := range map[string]string{
		"Authorization": "Bearer good", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https",
		"Connection": "X-Secret-Hop", "X-Secret-Hop": "1",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		r.Header.Set(k, v)
	}
	r.Host = "soundstrip.example"
	resp, _ := do(t, r)
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != "/jobs/1" ||
		resp.Header.Get("X-Hop") != "" {
		t.Errorf("answer = %d %v, want the function's own without X-Hop", resp.StatusCode, resp.Header)
	}
	if want := "/upload/a%2Fb%20c.mp4?title=100%&mono=true;x"; got.RequestURI != want {
		t.Errorf("the function was asked %s, want %s", got.RequestURI, want)
	}
	if got.Host == "soundstrip.example" {
		t.Error("the function was asked by the gateway's name, by which a cluster would not find it")
	}
	want := map[string]string{
		"Authorization": "Bearer good", "X-Forwarded-For": "203.0.113.9, 127.0.0.1", "X-Forwarded-Proto": "https",
		"X-Forwarded-Host": "soundstrip.example", "X-Secret-Hop": "",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	have := map[string]string{}
	for k := range want {
		have[k] = got.Header.Get(k)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestProxyWithoutFunction(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there now
	origin := proxyTo(t, "http://"+l.Addr().String())
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		resp, body := do(t, request(t, method, origin+"/upload", nil))
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" ||
			!strings.Contains(body, "upload function") {
			t.Errorf("%s = %d %v %q, want 503 with Retry-After that names upload", method, resp.StatusCode, resp.Header, body)
		}
		if strings.Contains(body, "127.0.0.1") {
			t.Errorf("%s tells where the functions are: %q", method, body)
		}
	}
}

// TestProxyFunctionDies has the function break the connection in the middle of its answer: the client must not take
// half of it for the whole.
func TestProxyFunctionDies(t *testing.T) {
	t.Parallel()
	origin := behind(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	resp, err := transport(t).RoundTrip(request(t, http.MethodGet, origin+"/jobs", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client took %q for the whole answer", b)
	}
}

// TestProxyStreams wants what the function flushed to be there before it is done, whether or not it said how much will
// come.
func TestProxyStreams(t *testing.T) {
	t.Parallel()
	for _, length := range []string{"", "13"} {
		t.Run("Content-Length "+length, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct{})
			origin := behind(t, func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = io.WriteString(w, "first\n")
				_ = http.NewResponseController(w).Flush()
				<-seen
				_, _ = io.WriteString(w, "second\n")
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			defer close(seen)
			resp, err := transport(t).RoundTrip(request(t, http.MethodGet, origin+"/jobs", nil).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "first\n" {
				t.Errorf("read %q, %v, want the first line", line, err)
			}
		})
	}
}

// TestProxyLargeBody sends 256 MiB through and back, and bounds the whole process's heap meanwhile.
func TestProxyLargeBody(t *testing.T) { //nolint:paralleltest // the heap is everyone's
	const size, maxHeap = 256 << 20, 64 << 20
	origin := behind(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Sum", hex.EncodeToString(h.Sum(nil)))
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.Copy(w, io.LimitReader(rand.NewChaCha8([32]byte{1}), size))
	})
	sent, peak := sha256.New(), uint64(0)
	body := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), writerFunc(func(p []byte) (int, error) {
		if rand.N(200) == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
		return sent.Write(p)
	}))
	resp, err := transport(t).RoundTrip(request(t, http.MethodPost, origin+"/upload", body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	back := sha256.New()
	if n, err := io.Copy(back, resp.Body); n != size || err != nil {
		t.Fatalf("%d bytes came back (%v), want %d", n, err, size)
	}
	sum := hex.EncodeToString(sent.Sum(nil))
	if resp.Header.Get("X-Sum") != sum || hex.EncodeToString(back.Sum(nil)) != sum {
		t.Error("what came through differs from what was sent")
	}
	if peak > maxHeap {
		t.Errorf("the heap grew to %d MiB while %d MiB went through", peak>>20, size>>20)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestProxyRefusal has the function refuse a large body by its head: the refusal reaches the client.
func TestProxyRefusal(t *testing.T) {
	t.Parallel()
	origin := behind(t, func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, r, problem.New(problem.TooLarge, "too large"))
	})
	r := request(t, http.MethodPut, origin+"/upload/a.mp4", io.LimitReader(rand.NewChaCha8([32]byte{}), 64<<20))
	r.ContentLength = 64 << 20
	resp, err := transport(t).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("PUT = %s, want 413", resp.Status)
	}
}

// TestProxyContinue has the client ask to be told to go on: the gateway does so, and does not ask the function.
func TestProxyContinue(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("curl is not installed: apt-get install curl")
	}
	origin := behind(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n, err, r.Header["Expect"])
	})
	name := filepath.Join(t.TempDir(), "a.mp4")
	if err := os.WriteFile(name, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	curl := exec.CommandContext(t.Context(), "curl", "-sSv", "-H", "Expect: 100-continue", "--expect100-timeout", "60",
		"-T", name, origin+"/upload/")
	var trace bytes.Buffer
	curl.Stderr = &trace
	out, err := curl.Output()
	want := fmt.Sprintln(3<<20, nil, []string(nil))
	if err != nil || string(out) != want || !strings.Contains(trace.String(), "100 Continue") {
		t.Errorf("curl prints %q (%v), want %q, and to be told to continue:\n%s", out, err, want, &trace)
	}
}

// TestProxyClientLeaves wants the function to learn that the client is gone, and not to take the part for a whole.
func TestProxyClientLeaves(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}), make(chan error, 1)
	origin := behind(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		close(begun)
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})
	ctx, leave := context.WithCancel(t.Context())
	body, feed := io.Pipe()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		r := request(t, http.MethodPut, origin+"/upload/a.mp4", body).WithContext(ctx)
		if resp, err := transport(t).RoundTrip(r); err == nil {
			resp.Body.Close()
		}
	}()
	if _, err := io.WriteString(feed, "video"); err != nil {
		t.Fatal(err)
	}
	<-begun
	leave()
	feed.CloseWithError(errors.New("gone"))
	<-gone
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the function saw a whole body")
		}
	case <-time.After(30 * time.Second):
		t.Error("the function still waits for the body")
	}
}

// TestProxyClientFault has the client's body fail with a fault of the client's: it is told of that, and not that the
// function is away.
func TestProxyClientFault(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer upstream.Close()
	u, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	quiet := iotest.ErrReader(problem.New(problem.Invalid, "went quiet"))
	r := httptest.NewRequest(http.MethodPost, "/upload", io.MultiReader(strings.NewReader("video"), quiet))
	w := httptest.NewRecorder()
	Proxy("upload", u, time.Minute).ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || w.Body.String() != "went quiet\n" {
		t.Errorf("POST = %d %q, want 400 and went quiet", w.Code, w.Body)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := map[string]string{"LOGIN_URL": "http://login", "VALIDATE_URL": "http://validate",
		"UPLOAD_URL": "http://upload:8080", "JOBS_URL": "https://jobs",
		"PUBLIC_URL": "https://example.com/soundstrip/"}
	var c Config
	if err := serve.Load(t.Context(), envconfig.MapLookuper(good), &c); err != nil || c.UploadURL.Host != "upload:8080" {
		t.Errorf("Load(%v) = %+v, %v", good, c, err)
	}
	bad := map[string]string{"LOGIN_URL": "http://login", "VALIDATE_URL": "validate:8080", "UPLOAD_URL": "ftp://upload",
		"JOBS_URL": "http://", "PUBLIC_URL": "soundstrip.example.com"}
	err := serve.Load(t.Context(), envconfig.MapLookuper(bad), &Config{})
	for _, name := range []string{"VALIDATE_URL", "UPLOAD_URL", "JOBS_URL", "PUBLIC_URL"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Load(%v) = %v, want %s in it", bad, err, name)
		}
	}
}
