package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // panics and failed checks are logged
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}

// running is a process under test.
type running struct {
	url  string
	stop context.CancelFunc // as SIGTERM does
	done chan error         // what Run returned
}

func run(t *testing.T, c serve.Config, p serve.Process) running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c.Host = "127.0.0.1"
	ready := make(chan net.Addr, 1)
	p.Name, p.Ready = "test", func(a net.Addr) { ready <- a }
	r := running{stop: stop, done: make(chan error, 1)}
	go func() { r.done <- serve.Run(ctx, c, p) }()
	select {
	case a := <-ready:
		r.url = "http://" + a.String()
	case err := <-r.done:
		t.Fatalf("Run = %v before it was ready", err)
	}
	t.Cleanup(stop)
	return r
}

// get uses a connection of its own, so that none idles when the process drains.
func get(ctx context.Context, method, url string) (status int, body string, h http.Header, err error) {
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, "", nil, err
	}
	resp, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header, err
}

func (r running) end(t *testing.T) error {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not return")
		return nil
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var down error
	r := run(t, serve.Config{Drain: time.Second}, serve.Process{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.URL.Path) }),
		Checks: []serve.Check{
			{Name: "MongoDB", Ping: func(context.Context) error { return nil }},
			{Name: "RabbitMQ", Ping: func(context.Context) error { return down }},
		},
	})
	expect := func(method, path string, status int, body string) {
		t.Helper()
		s, b, h, err := get(t.Context(), method, r.url+path)
		if err != nil || s != status || strings.TrimSpace(b) != body {
			t.Errorf("%s %s = %d %q %v, want %d %q", method, path, s, b, err, status, body)
		}
		if status == 503 && h.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	expect("GET", "/healthz", 200, "ok")
	expect("GET", "/readyz", 200, "ok")
	expect("GET", "/other", 200, "GET /other")
	expect("POST", "/", 200, "POST /")
	down = errors.New("dial amqp://guest:guest@x")
	expect("GET", "/healthz", 200, "ok")
	expect("GET", "/readyz", 503, "RabbitMQ cannot be reached")
	down = problem.New(problem.OverQuota, "less than STORE_MIN_FREE is free")
	expect("GET", "/readyz", 503, "RabbitMQ: less than STORE_MIN_FREE is free")
	if err := r.end(t); err != nil {
		t.Errorf("Run = %v", err)
	}
}

// TestExpect has a client ask to be told to go on. Behind Knative it is not.
// TestProtected: every answer has the headers that browsers are to heed, whoever makes it.
func TestProtected(t *testing.T) {
	t.Parallel()
	r := run(t, serve.Config{Drain: time.Second}, serve.Process{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/panic":
				panic("as it may be")
			case "/page":
				w.Header().Set("Content-Security-Policy", "default-src 'self'")
			case "/problem":
				problem.NoSuchRoute(w, r)
			}
		}),
	})
	for _, path := range []string{"/", "/healthz", "/readyz", "/panic", "/problem", "/page", "//"} {
		for _, proto := range []string{"http", "https"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Close = true
			request.Header.Set("X-Forwarded-Proto", proto)
			res, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			for name, want := range serve.Protective {
				if path == "/page" && name == "Content-Security-Policy" {
					want = "default-src 'self'"
				}
				if got := res.Header.Values(name); len(got) != 1 || got[0] != want {
					t.Errorf("GET %s = %d with %s %q, want %q", path, res.StatusCode, name, got, want)
				}
			}
			if got := res.Header.Get("Strict-Transport-Security"); (got != "") != (proto == "https") {
				t.Errorf("GET %s by %s has Strict-Transport-Security %q", path, proto, got)
			}
		}
	}
	status, _, _, err := get(t.Context(), http.MethodGet, r.url+"/"+strings.Repeat("x", 40<<10))
	if status != http.StatusRequestHeaderFieldsTooLarge && err == nil {
		t.Errorf("GET with a head of 40 KiB = %d, want 431", status)
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestCompressedBody(t *testing.T) {
	t.Parallel()
	r := run(t, serve.Config{Drain: time.Second}, serve.Process{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	})
	for coding, want := range map[string]int{"": 418, "identity": 418, "gzip": 415, "identity, br": 415} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true
		if coding != "" {
			request.Header.Set("Content-Encoding", coding)
		}
		res, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want || want == 415 &&
			(res.Header.Get("Accept-Encoding") != "identity" || !strings.Contains(string(body), coding)) {
			t.Errorf("POST with Content-Encoding %q = %d %v %s, want %d, and of 415 the name", coding, res.StatusCode,
				res.Header, body, want)
		}
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestExpect(t *testing.T) {
	t.Parallel()
	store := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	})
	for _, tt := range []struct {
		name, service string
		want          []string // the status lines
	}{
		{"alone", "", []string{"HTTP/1.1 100 Continue", "HTTP/1.1 202 Accepted"}},
		{"behind Knative", "upload", []string{"HTTP/1.1 202 Accepted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, serve.Config{Service: tt.service}, serve.Process{Name: "upload", Handler: store})
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+
				"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
			answer, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.SplitSeq(string(answer), "\r\n") {
				if strings.HasPrefix(line, "HTTP/") {
					got = append(got, line)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("answers = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRefusedExpect has a client begin its body unasked in the moment in which it is refused.
func TestRefusedExpect(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"", "upload"} {
		t.Run("behind "+service, func(t *testing.T) {
			t.Parallel()
			refusing := make(chan struct{})
			r := run(t, serve.Config{Service: service}, serve.Process{
				Name: "upload",
				Handler: problem.Handler(func(http.ResponseWriter, *http.Request) error {
					<-time.After(300 * time.Millisecond) // what every proxy has asked for by then is on its way
					close(refusing)
					return problem.New(problem.Unprocessable, "no")
				}),
			})
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3000000\r\n\r\n")
			<-refusing
			sent := make(chan error, 1)
			go func() {
				_, err := conn.Write(make([]byte, 1_000_000)) // the rest of it never comes
				sent <- err
			}()
			answer := bufio.NewReader(conn)
			res, err := http.ReadResponse(answer, nil)
			if err == nil && res.StatusCode == http.StatusContinue {
				res, err = http.ReadResponse(answer, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusUnprocessableEntity || res.ContentLength != int64(len(body)) || err != nil {
				t.Errorf("answer = %s of %d bytes, %q, %v, want a 422 that says its length",
					res.Status, res.ContentLength, body, err)
			}
			if err := <-sent; err != nil {
				t.Errorf("the body that was on its way: %v, want it taken", err)
			}
		})
	}
}

// TestEnding has an answer without an end be under way when the process is to end.
func TestEnding(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	r := run(t, serve.Config{Drain: time.Minute}, serve.Process{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			<-serve.Ending(r.Context())
			fmt.Fprint(w, "over")
		}),
	})
	answer := make(chan string, 1)
	go func() {
		_, body, _, err := get(t.Context(), http.MethodGet, r.url)
		answer <- fmt.Sprint(body, err)
	}()
	<-begun
	if err := r.end(t); err != nil {
		t.Errorf("Run = %v", err)
	}
	if got := <-answer; got != fmt.Sprint("over", nil) {
		t.Errorf("GET = %s, want over", got)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var closed, background []string
	r := run(t, serve.Config{Drain: time.Minute}, serve.Process{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-release
			if err := r.Context().Err(); err != nil {
				t.Errorf("the context of the request in flight ended: %v", err)
			}
			fmt.Fprint(w, "whole")
		}),
		Background: []func(context.Context) error{func(ctx context.Context) error {
			<-ctx.Done()
			background = append(background, "stopped")
			return nil
		}},
		Close: []func(context.Context) error{
			func(ctx context.Context) error { closed = append(closed, "a"); return ctx.Err() },
			func(ctx context.Context) error { closed = append(closed, "b"); return ctx.Err() },
		},
	})
	answer := make(chan string, 1)
	go func() {
		status, body, _, err := get(t.Context(), "GET", r.url)
		answer <- fmt.Sprint(status, body, err)
	}()
	<-entered
	r.stop()
	<-refused(t, r.url) // without a delay the listener closes at once
	select {
	case err := <-r.done:
		t.Fatalf("Run = %v while a request is in flight", err)
	default:
	}
	close(release)
	if got := <-answer; got != "200whole<nil>" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := r.end(t); err != nil {
		t.Errorf("Run = %v", err)
	}
	if got := fmt.Sprint(background, closed); got != "[stopped] [a b]" {
		t.Errorf("ended %s, want [stopped] [a b]", got)
	}
}

// TestShutdownDelay has clients that do not know yet that the process is to end, as Kubernetes has them.
func TestShutdownDelay(t *testing.T) {
	t.Parallel()
	const requests = 20
	slow, release := make(chan struct{}), make(chan struct{})
	background := make(chan struct{})
	r := run(t, serve.Config{ShutdownDelay: 5 * time.Second, Drain: time.Minute}, serve.Process{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(slow)
				<-release
			}
			fmt.Fprint(w, "whole")
		}),
		Background: []func(context.Context) error{func(ctx context.Context) error {
			defer close(background)
			<-ctx.Done()
			return nil
		}},
	})
	kept := &http.Transport{}
	defer kept.CloseIdleConnections()
	again := func() (closed bool, err error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader("event"))
		if err != nil {
			return false, err
		}
		resp, err := kept.RoundTrip(r)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if string(b) != "whole" {
			err = errors.Join(err, fmt.Errorf("POST = %d %q", resp.StatusCode, b))
		}
		return resp.Close, err
	}
	if closed, err := again(); closed || err != nil {
		t.Fatalf("before the end: connection closed %v, %v, want it kept", closed, err)
	}

	r.stop()
	<-background // what runs beside the handler ends at once
	if status, body, _, err := get(t.Context(), "GET", r.url+"/readyz"); err != nil || status != 503 ||
		!strings.Contains(body, "ends") {
		t.Errorf("GET /readyz = %d %q %v, want 503 and why", status, body, err)
	}
	if status, _, _, err := get(t.Context(), "GET", r.url+"/healthz"); err != nil || status != 200 {
		t.Errorf("GET /healthz = %d %v, want 200: nothing is wrong", status, err)
	}
	for range requests {
		if closed, err := again(); !closed || err != nil {
			t.Fatalf("on a kept connection: closed %v, %v, want an answer and a client that connects anew", closed, err)
		}
		if status, body, _, err := get(t.Context(), "POST", r.url); err != nil || status != 200 || body != "whole" {
			t.Fatalf("on a new connection: %d %q %v, want an answer", status, body, err)
		}
	}
	answer := make(chan string, 1)
	go func() {
		status, body, _, err := get(t.Context(), "GET", r.url+"/slow")
		answer <- fmt.Sprint(status, body, err)
	}()
	<-slow
	select {
	case err := <-r.done:
		t.Fatalf("Run = %v while a request is in flight", err)
	case <-refused(t, r.url):
	}
	close(release)
	if got := <-answer; got != "200whole<nil>" {
		t.Errorf("a request that outlasts the delay got %q", got)
	}
	if err := r.end(t); err != nil {
		t.Errorf("Run = %v", err)
	}
}

// refused is closed once nobody listens at the URL.
func refused(t *testing.T, url string) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for t.Context().Err() == nil {
			c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				return
			}
			_ = c.Close()
			<-time.After(10 * time.Millisecond)
		}
	}()
	return done
}

// TestDrainTimeout: a request that does not end is broken off, and Run says so.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	r := run(t, serve.Config{Drain: time.Millisecond},
		serve.Process{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
		})})
	broken := make(chan error, 1)
	go func() {
		_, _, _, err := get(t.Context(), "GET", r.url)
		broken <- err
	}()
	<-entered
	if err := r.end(t); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run = %v, want %v", err, context.DeadlineExceeded)
	}
	if err := <-broken; err == nil {
		t.Error("the request that did not end got an answer")
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	r := run(t, serve.Config{Drain: time.Second},
		serve.Process{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/before":
				panic("secret of the house")
			case "/abort":
				panic(http.ErrAbortHandler)
			case "/written":
				fmt.Fprint(w, "half")
				panic("secret of the house")
			case "/flushed":
				w.(http.Flusher).Flush()
				panic("secret of the house")
			case "/copied":
				_, _ = io.Copy(w, strings.NewReader("half"))
				panic("secret of the house")
			}
			fmt.Fprint(w, "alive")
		})})
	if status, body, _, err := get(t.Context(), "GET", r.url+"/before"); err != nil || status != 500 ||
		strings.Contains(body, "secret") {
		t.Errorf("after a panic: %d %q %v, want a 500 that tells nothing", status, body, err)
	}
	for _, path := range []string{"/abort", "/written", "/flushed", "/copied"} {
		if status, body, _, err := get(t.Context(), "GET", r.url+path); err == nil {
			t.Errorf("%s: %d %q, want a broken connection and no whole answer", path, status, body)
		}
	}
	if status, body, _, err := get(t.Context(), "GET", r.url); err != nil || status != 200 || body != "alive" {
		t.Errorf("after the panics: %d %q %v", status, body, err)
	}
	if err := r.end(t); err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestBackgroundErrorEndsProcess(t *testing.T) {
	t.Parallel()
	cause, fail := errors.New("the queue is gone"), make(chan struct{})
	r := run(t, serve.Config{ShutdownDelay: time.Hour, Drain: time.Second}, serve.Process{
		Handler:    http.NotFoundHandler(),
		Background: []func(context.Context) error{func(context.Context) error { <-fail; return cause }},
	})
	close(fail)
	if err := <-r.done; !errors.Is(err, cause) {
		t.Errorf("Run = %v, want %v", err, cause)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := serve.Config{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	if err := serve.Run(t.Context(), c, serve.Process{Name: "login"}); err == nil ||
		!strings.Contains(err.Error(), "login: listen") {
		t.Errorf("Run = %v, want an error that names the function", err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := serve.Log(&b, slog.LevelWarn)
	log.Info("quiet")
	log.Warn("loud", "n", 1)
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"msg":"loud","n":1`) {
		t.Errorf("log = %q, want one JSON line", got)
	}
}
