package serve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// echo answers with how many bytes of the body it read, or with what went wrong.
var echo = problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return err
	}
	fmt.Fprint(w, n)
	return nil
})

// dial opens a connection and writes the beginning of a request to it.
func dial(t *testing.T, server *httptest.Server, request string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}

const (
	begun    = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
	begunOff = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"
)

// TestSmall: a body that is small by nature has ten seconds, however much others have.
func TestSmall(t *testing.T) {
	t.Parallel()
	for _, total := range []time.Duration{0, time.Second, time.Hour} {
		b := &stallBody{limit: newLimit(stall, total)}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Body = b
		Small(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(httptest.NewRecorder(), r)
		want := smallFor
		if total == time.Second {
			want = total
		}
		if left := time.Until(b.limit.end); b.total != want || left <= 0 || left > want {
			t.Errorf("of a request that has %v, Small gives a body %v, and %v from now, want %v", total, b.total, left, want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	Small(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(httptest.NewRecorder(), r)
}

func TestStall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, request string }{{"length", begun}, {"chunked", begunOff}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(withStallTimeout(500*time.Millisecond, 0, 0, echo))
			defer server.Close()
			answer, err := io.ReadAll(dial(t, server, tt.request))
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") ||
				!strings.Contains(string(answer), "nothing of the request's body arrived") {
				t.Errorf("a client that went quiet is answered %q, %v, want 400 and why", answer, err)
			}
		})
	}
}

// TestStallUnread has the handler answer without reading the body, or all of it: the server itself reads on then, and
// must neither wait forever nor take what comes later for a request.
func TestStallUnread(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"some":    func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadFull(r.Body, make([]byte, 1)) },
		"some, and says so": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 1))
			fmt.Fprint(w, "some")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(withStallTimeout(500*time.Millisecond, 0, 0, h))
			defer server.Close()
			if answer, err := io.ReadAll(dial(t, server, begun)); err != nil ||
				!strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
				t.Errorf("a client that went quiet is answered %q, %v, want 200 and the connection closed", answer, err)
			}
		})
	}
}

// TestStallExpect has the handler refuse a body that the client asks leave to send: no leave is given.
func TestStallExpect(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(withStallTimeout(time.Minute, 0, 0,
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		})))
	defer server.Close()
	conn := dial(t, server, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 413 ") {
		t.Errorf("the client is answered %q, %v, want 413 at once", line, err)
	}
}

// TestRefusedMidway has the handler refuse a large body when it has read a little: the client gets the answer, although
// it still writes.
func TestRefusedMidway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(withStallTimeout(time.Minute, 0, 0,
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadFull(r.Body, make([]byte, 100_000)); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusUnsupportedMediaType)
		})))
	defer server.Close()
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	for _, header := range []http.Header{{"Expect": {"100-continue"}}, {"Connection": {"close"}}, {}} {
		for range 10 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.LimitReader(zeros{}, 64<<20))
			if err != nil {
				t.Fatal(err)
			}
			r.Header, r.ContentLength = header, 64<<20
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Errorf("POST with %v: %v, want 415", header, err)
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnsupportedMediaType {
				t.Errorf("POST with %v = %s, want 415", header, resp.Status)
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// protocols are how a client may speak to a server.
var protocols = []struct {
	name string
	use  func(*http.Protocols)
}{
	{"HTTP/1", func(p *http.Protocols) { p.SetHTTP1(true) }},
	{"HTTP/2", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }},
}

// buffer is about how much a connection holds of what is written and not yet read: little, so that tests do not write
// much.
const buffer = 64 << 10

// start serves h in one protocol, and gives a client that speaks it.
func start(t *testing.T, use func(*http.Protocols), h http.Handler) (*httptest.Server, *http.Transport) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = new(http.Protocols)
	use(server.Config.Protocols)
	server.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(buffer)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	transport := &http.Transport{
		Protocols: server.Config.Protocols,
		HTTP2:     &http.HTTP2Config{MaxReceiveBufferPerStream: buffer},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err == nil {
				err = c.(*net.TCPConn).SetReadBuffer(buffer)
			}
			return c, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return server, transport
}

// TestSlow has a client and a handler that each take longer than the deadline in all, twice on one connection.
func TestSlow(t *testing.T) {
	t.Parallel()
	const d, pieces = 500 * time.Millisecond, 6
	for _, tt := range protocols {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, transport := start(t, tt.use,
				withStallTimeout(d, 0, 0, problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
					if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != nil {
						return err
					}
					<-time.After(d * 6 / 5)
					if err := echo(w, r); err != nil {
						return err
					}
					<-time.After(d * 6 / 5)
					return r.Context().Err()
				})))
			for range 2 {
				body, feed := io.Pipe()
				go func() {
					for range pieces {
						<-time.After(d / 4)
						_, _ = io.WriteString(feed, "x")
					}
					feed.Close()
				}()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(got) != fmt.Sprint(pieces-1) {
					t.Errorf("a slow client is answered %q, %v, want %d", got, err, pieces-1)
				}
			}
		})
	}
}

// TestSlowReader has a client take longer than the deadline for an answer that no buffer holds.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const d, pieces, piece = 2 * time.Second, 8, 8 * buffer
	for _, tt := range protocols {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, transport := start(t, tt.use,
				withStallTimeout(d, 0, 0, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.CopyN(w, zeros{}, pieces*piece)
				})))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			for n := range pieces {
				<-time.After(d / 4)
				if _, err := io.CopyN(io.Discard, resp.Body, piece); err != nil {
					t.Fatalf("a slow client gets %d of %d pieces, %v", n, pieces, err)
				}
			}
		})
	}
}

// TestStalledReader has a client take nothing of an answer without an end.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	for _, tt := range protocols {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			server, transport := start(t, tt.use,
				withStallTimeout(50*time.Millisecond, 0, 0, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					defer close(ended)
					_, _ = io.Copy(w, zeros{})
				})))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			select {
			case <-ended:
			case <-ctx.Done():
				t.Error("the handler writes to a client that takes nothing")
			}
		})
	}
}

// TestStalledReaderOfSmallAnswers has a client take none of many answers that the server itself writes, when each
// handler has ended.
func TestStalledReaderOfSmallAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(withStallTimeout(50*time.Millisecond, 0, 0,
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.CopyN(w, zeros{}, 1000)
		})))
	defer server.Close()
	conn := dial(t, server, "")
	defer conn.Close()
	for {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server waits for a client that takes nothing")
		} else if err != nil {
			return
		}
	}
}

// TestRequestTimeout has requests take longer than they may: an answer that has begun is broken off, what is sent too
// slowly is refused, and an answer that begins late is given.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	const total = 200 * time.Millisecond
	over := func() { <-time.After(2 * total) }
	server := func(t *testing.T, use func(*http.Protocols), h http.HandlerFunc) (url string, transport *http.Transport) {
		s, transport := start(t, use, withStallTimeout(time.Minute, total, total, h))
		return s.URL, transport
	}
	for _, tt := range protocols {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			t.Run("an answer without an end", func(t *testing.T) {
				t.Parallel()
				url, transport := server(t, tt.use, func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.Copy(w, zeros{})
				})
				resp := exchange(t, transport, url, http.NoBody)
				n, err := io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != http.StatusOK || n == 0 || err == nil {
					t.Errorf("answer = %s with %d bytes, %v, want some, and that they are not all", resp.Status, n, err)
				}
			})
			t.Run("a body that takes too long", func(t *testing.T) {
				t.Parallel()
				url, transport := server(t, tt.use, problem.Handler(func(_ http.ResponseWriter, r *http.Request) error {
					_, err := io.Copy(io.Discard, r.Body)
					return err
				}).ServeHTTP)
				// It ends, since the client must read the answer before its connection is closed, linger after that.
				resp := exchange(t, transport, url, zerosUntil{time.Now().Add(2 * total)})
				said, err := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusRequestTimeout || err != nil || !bytes.Contains(said, []byte(total.String())) {
					t.Errorf("answer = %s %q, %v, want 408 that tells the time", resp.Status, said, err)
				}
			})
			t.Run("an answer that begins late", func(t *testing.T) {
				t.Parallel()
				url, transport := server(t, tt.use, func(w http.ResponseWriter, _ *http.Request) {
					over()
					fmt.Fprint(w, "stored")
				})
				resp := exchange(t, transport, url, http.NoBody)
				if said, err := io.ReadAll(resp.Body); string(said) != "stored" || err != nil {
					t.Errorf("answer = %q, %v, want that it is stored", said, err)
				}
			})
			t.Run("events", func(t *testing.T) {
				t.Parallel()
				url, transport := server(t, tt.use, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/event-stream")
					fmt.Fprint(w, "first, ")
					_ = http.NewResponseController(w).Flush()
					over()
					fmt.Fprint(w, "last")
				})
				resp := exchange(t, transport, url, http.NoBody)
				if said, err := io.ReadAll(resp.Body); string(said) != "first, last" || err != nil {
					t.Errorf("answer = %q, %v, want all events", said, err)
				}
			})
		})
	}
}

// zerosUntil is a body that ends at a time.
type zerosUntil struct{ end time.Time }

func (z zerosUntil) Read(p []byte) (int, error) {
	if time.Now().After(z.end) {
		return 0, io.EOF
	}
	return zeros{}.Read(p)
}

func exchange(t *testing.T, transport *http.Transport, url string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}
