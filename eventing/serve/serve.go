// Package serve is the frame of every process of Soundstrip: it reads the configuration from the environment, listens,
// says ready, serves, and on SIGTERM finishes what is in flight.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sethvargo/go-envconfig"
	"golang.org/x/sync/errgroup"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// Config is what every process is told.
type Config struct {
	Host     string        `env:"HOST"`                       // address to listen on; empty means all
	Port     int           `env:"PORT, default=8080"`         // 0 means any free one
	Drain    time.Duration `env:"DRAIN_TIMEOUT, default=10m"` // how long requests in flight may take to end
	LogLevel slog.Level    `env:"LOG_LEVEL, default=INFO"`    // DEBUG, INFO, WARN or ERROR

	// ShutdownDelay is how long new requests are taken after SIGTERM, before those in flight are waited for. A plain pod
	// needs it: Kubernetes sends SIGTERM while clients still have its address. A pod of Knative does not: Knative sends
	// SIGTERM when no more requests come.
	ShutdownDelay time.Duration `env:"SHUTDOWN_DELAY"`

	// RequestTimeout is how long the body of a request may take to come; 0 means as long as it likes. Behind Knative it
	// has to be shorter than timeoutSeconds, so that the answer says why.
	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT"`

	// AnswerTimeout is how long after its request an answer may be under way; 0 means as long as it likes. Behind Knative
	// it has to be shorter than timeoutSeconds by what the proxies hold of an answer: when those seconds are over, from
	// Knative 1.19 on, the queue-proxy writes the words "request timeout" behind what it has passed on, and who resumes a
	// download has them in the file.
	AnswerTimeout time.Duration `env:"ANSWER_TIMEOUT"`

	// Service is the name of the Knative Service that the process belongs to; Knative sets it.
	Service string `env:"K_SERVICE"`

	Telemetry telemetry.Config
	Reports   *telemetry.Telemetry // what [Configure] has started, and [Run] ends; nil where nothing is asked for
}

// CloseTimeout is how long the functions of [Process.Close] have together.
const CloseTimeout = 10 * time.Second

// Exit is an error that ends the process with a code of its own.
type Exit struct {
	Code int
	Err  error
}

func (e *Exit) Error() string { return e.Err.Error() }
func (e *Exit) Unwrap() error { return e.Err }

// Main calls run with a context that SIGINT and SIGTERM end, and with the environment; it is the one place that exits:
// with 0, with the code of an [Exit], or with 1.
func Main(run func(ctx context.Context, env envconfig.Lookuper) error) {
	hideMemory()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, envconfig.OsLookuper())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if e := (*Exit)(nil); errors.As(err, &e) {
			os.Exit(e.Code)
		}
		os.Exit(1)
	}
}

// Configure fills config as [Load] does, makes the logger of the process of the given name the default, and has traces
// and metrics go where they are asked for. Own is the [Config] in config, which says so.
func Configure(ctx context.Context, env envconfig.Lookuper, name string, config any, own *Config) (err error) {
	if err := Load(ctx, env, config); err != nil {
		return err
	}
	slog.SetDefault(Log(os.Stderr, own.LogLevel))
	own.Reports, err = telemetry.Start(ctx, own.Telemetry, name)
	return err
}

// Log makes the process's logger: JSON lines with the attributes of the context.
func Log(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(eventing.LogHandler{Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})})
}

// Check reports whether a dependency can be used. What a [problem.Error] says is for the client.
type Check struct {
	Name string
	Ping func(context.Context) error
}

// Process is a handler and what runs beside it.
type Process struct {
	Name       string
	Handler    http.Handler
	Checks     []Check                       // what /readyz asks
	Background []func(context.Context) error // run until the context ends; an error ends the process
	Ready      func(addr net.Addr)           // called once the process listens; may be nil
	Close      []func(context.Context) error // called last, in order, with a deadline
}

// Run serves p until ctx ends. Then what runs in the background is told to end, /readyz answers 503, new requests are
// taken for the delay, those in flight are waited for, and p is closed.
//
// In the delay every answer asks its client to close the connection (RFC 9112, section 9.6), and HTTP/2 clients to make
// another (GOAWAY, RFC 9113, section 6.8), so that few connections are left to break at its end. When the background
// fails, there is no delay.
func Run(ctx context.Context, c Config, p Process) (err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("%s: listen: %w", p.Name, err)
	}
	if c.Service != "" {
		l = finalListener{l}
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), CloseTimeout)
		defer cancel()
		for _, f := range p.Close {
			err = errors.Join(err, f(closing))
		}
		err = errors.Join(err, c.Reports.Close(closing))
	}()
	g, running := errgroup.WithContext(ctx)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           frame(running, c, p),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    32 << 10,
		IdleTimeout:       2 * time.Minute,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: stall}, // withStallTimeout bounds streams only
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("%s: serve: %w", p.Name, err)
		}
		return nil
	})
	g.Go(func() error {
		<-running.Done()
		if ctx.Err() != nil {
			slog.InfoContext(ctx, "ending", "function", p.Name, "delay", c.ShutdownDelay.String())
			<-time.After(c.ShutdownDelay)
		}
		// The requests in flight may end; the context that told us to stop is over, so this needs one of its own.
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
		defer cancel()
		if err := server.Shutdown(draining); err != nil {
			return errors.Join(fmt.Errorf("%s: drain: %w", p.Name, err), server.Close())
		}
		return nil
	})
	for _, f := range p.Background {
		g.Go(func() error { return f(running) })
	}
	if h := c.Reports.Handler(); h != nil {
		g.Go(func() error { return serveMetrics(running, c, p.Name, h) })
	}
	slog.InfoContext(ctx, "listening", "function", p.Name, "address", l.Addr().String())
	if p.Ready != nil {
		p.Ready(l.Addr())
	}
	return g.Wait()
}

// frame is what every handler gets: health, trace, a life after a panic, and connections that close when the process is
// to end.
func frame(running context.Context, c Config, p Process) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /readyz", readyz(running, p.Checks))
	mux.Handle("/", withStallTimeout(stall, c.RequestTimeout, c.AnswerTimeout, uncompressed(p.Handler)))
	observer := newObserver()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, served := observer.begin(context.WithValue(r.Context(), endingKey{}, running.Done()), r)
		r = r.WithContext(ctx)
		protect(w.Header(), r)
		answer := &answer{ResponseWriter: w, running: running, status: http.StatusOK}
		defer func() { served.end(ctx, answer.status) }()
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler { //nolint:errorlint // the documented way to compare it
				panic(cause)
			}
			answer.status = http.StatusInternalServerError
			slog.ErrorContext(r.Context(), "panic", "cause", cause, "stack", string(debug.Stack()))
			if answer.begun {
				panic(http.ErrAbortHandler) // breaks the connection: nobody takes half an answer for all of it
			}
			problem.Write(w, r, problem.New(problem.Internal,
				"something went wrong on our side; try again, and tell us if it stays"))
		}()
		start := time.Now()
		mux.ServeHTTP(answer, r)
		answer.begin()
		slog.DebugContext(r.Context(), "served",
			"method", r.Method, "path", problem.Path(r), "seconds", time.Since(start).Seconds())
	})
}

// Protective are the headers that every answer has: nothing of it is taken for another type than it says, run, framed,
// or told to other sites. A handler of a page sets its own.
var Protective = map[string]string{
	"X-Content-Type-Options":  "nosniff",
	"Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"Referrer-Policy":         "no-referrer",
}

// protect sets them. To who came by https an answer says as well that it is the only way from now on (HSTS, RFC 6797);
// TLS ends in front of us.
func protect(h http.Header, r *http.Request) {
	for name, value := range Protective {
		h.Set(name, value)
	}
	if r.Header.Get("X-Forwarded-Proto") == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// uncompressed refuses bodies that are compressed: nothing here would take them for what they are.
func uncompressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		coding := strings.Join(r.Header.Values("Content-Encoding"), ", ")
		if coding == "" || strings.EqualFold(coding, "identity") {
			next.ServeHTTP(w, r)
			return
		}
		problem.Write(w, r, problem.New(problem.Unsupported, // RFC 9110, section 15.5.16
			"the body is compressed (Content-Encoding: %s): send it as it is", coding).With("Accept-Encoding", "identity"))
	})
}

type endingKey struct{}

// Ending is closed when the process that serves a request with the context is to end: what answers without an end, ends
// then. It is nil, and so never closed, outside of [Run].
func Ending(ctx context.Context) <-chan struct{} {
	ending, _ := ctx.Value(endingKey{}).(<-chan struct{})
	return ending
}

// answer knows its status, and whether anything of it is on its way.
type answer struct {
	http.ResponseWriter
	running context.Context
	status  int
	begun   bool
}

func (a *answer) begin() {
	if !a.begun && a.running.Err() != nil {
		a.Header().Set("Connection", "close")
	}
	a.begun = true
}

func (a *answer) WriteHeader(status int) {
	if status >= http.StatusOK {
		if !a.begun {
			a.status = status
		}
		a.begin()
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(p)
}

func (a *answer) Flush() {
	a.begin()
	_ = http.NewResponseController(a.ResponseWriter).Flush() // what cannot flush need not
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func readyz(running context.Context, checks []Check) http.Handler {
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		if running.Err() != nil {
			return problem.New(problem.Unavailable, "the process ends: ask another").RetryAfter(time.Second)
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		for _, c := range checks {
			err := c.Ping(ctx)
			if told := (*problem.Error)(nil); errors.As(err, &told) {
				return problem.Wrap(err, problem.Unavailable, "%s: %s", c.Name, told.Detail).RetryAfter(time.Minute)
			}
			if err != nil {
				return problem.Wrap(err, problem.Unavailable, "%s cannot be reached", c.Name).RetryAfter(time.Second)
			}
		}
		fmt.Fprintln(w, "ok")
		return nil
	})
}
