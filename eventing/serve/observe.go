package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// Mux is a [http.ServeMux] that tells by which pattern a request was found, so that spans and metrics are of routes,
// and not of paths.
type Mux struct{ http.ServeMux }

// NewMux makes one without routes.
func NewMux() *Mux { return new(Mux) }

func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		// Of a mux within another it is the inner one that knows better, and it is here first.
		if s, ok := r.Context().Value(servedKey{}).(*served); ok && s.route == "" {
			s.route = r.Pattern[max(0, strings.IndexByte(r.Pattern, '/')):] // without its method
		}
	}()
	m.ServeMux.ServeHTTP(w, r)
}

type servedKey struct{}

// served is one request, for its span and the metrics.
type served struct {
	by     *observer
	span   trace.Span
	method string
	route  string // empty when none was found
	began  time.Time
}

// observer has the instruments of a process's requests.
type observer struct{ duration, active telemetry.Instrument }

func newObserver() *observer {
	return &observer{telemetry.Measure("http.server.request.duration"), telemetry.Count("http.server.active_requests")}
}

// begin puts the request's trace into the context: a span of its own, where traces go somewhere. What asks for health
// has none.
func (o *observer) begin(ctx context.Context, r *http.Request) (context.Context, *served) {
	ctx = eventing.WithTraceOfHeader(ctx, r.Header)
	if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
		return eventing.WithTrace(ctx), nil
	}
	s := &served{by: o, method: r.Method, began: time.Now()}
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, s.method) {
		s.method = "_OTHER"
	}
	ctx, s.span = telemetry.Span(ctx, s.method, trace.SpanKindServer, attribute.String("http.request.method", s.method))
	o.active.Add(ctx, 1, attribute.String("http.request.method", s.method))
	return context.WithValue(eventing.WithTrace(ctx), servedKey{}, s), s
}

// end tells how the request was answered.
func (s *served) end(ctx context.Context, status int) {
	if s == nil {
		return
	}
	method := attribute.String("http.request.method", s.method)
	attrs := []attribute.KeyValue{method, attribute.Int("http.response.status_code", status)}
	name := s.method
	if s.route != "" {
		attrs = append(attrs, attribute.String("http.route", s.route))
		name += " " + s.route
	}
	if status >= http.StatusInternalServerError {
		attrs = append(attrs, attribute.String("error.type", strconv.Itoa(status)))
		telemetry.Fail(s.span, "")
	}
	s.by.active.Add(ctx, -1, method)
	s.by.duration.Add(ctx, time.Since(s.began).Seconds(), attrs...)
	s.span.SetName(name)
	s.span.SetAttributes(attrs...)
	s.span.End()
}

// serveMetrics serves them on their port until ctx ends.
func serveMetrics(ctx context.Context, c Config, name string, h http.Handler) error {
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Telemetry.MetricsPort))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%s: METRICS_PORT: %w", name, err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: stall, WriteTimeout: stall, IdleTimeout: 2 * stall}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: serve metrics: %w", name, err)
	}
	return nil
}
