package telemetry

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Scope is what our instruments and spans are made by.
const Scope = "github.com/soundstrip/soundstrip"

// Tracing reports whether traces go somewhere.
func Tracing() bool {
	_, is := otel.GetTracerProvider().(*sdktrace.TracerProvider)
	return is
}

// Span begins a span, which [End] ends.
func Span(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context,
	trace.Span) {
	return otel.Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
}

// Child is [Span] within another that is recorded. Without one there is none: what runs by itself, again and again,
// would be traces that tell nothing.
func Child(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context,
	trace.Span) {
	if span := trace.SpanFromContext(ctx); !span.IsRecording() {
		return ctx, span // to end it does nothing
	}
	return Span(ctx, name, kind, attrs...)
}

// End ends a span of what failed with err, or did not. That somebody has gone is no failure.
func End(span trace.Span, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && span.IsRecording() {
		Fail(span, err.Error())
	}
	span.End()
}

// most bounds what a span tells of a failure, in bytes.
const most = 512

// Fail marks a span as that of a failure.
func Fail(span trace.Span, why string) {
	if len(why) > most {
		why = why[:most]
	}
	span.SetStatus(codes.Error, why)
}

// Propagator reads and writes W3C Trace Context.
var Propagator = propagation.TraceContext{}

// Transport makes a span of each request, and tells who gets it of the trace, in the header traceparent. Base may be
// nil, as in [http.Client].
func Transport(base http.RoundTripper) Traced {
	if base == nil {
		base = http.DefaultTransport
	}
	return Traced{base}
}

// Traced is what [Transport] makes.
type Traced struct{ Base http.RoundTripper }

// RoundTrip is of [http.RoundTripper].
func (t Traced) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := Child(r.Context(), r.Method, trace.SpanKindClient, attribute.String("http.request.method", r.Method),
		attribute.String("server.address", r.URL.Hostname()))
	r = r.WithContext(ctx) // a RoundTripper does not change its request
	r.Header = maps.Clone(r.Header)
	Propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))
	resp, err := t.Base.RoundTrip(r)
	if err == nil {
		span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
		if resp.StatusCode >= http.StatusBadRequest {
			span.SetStatus(codes.Error, "")
			span.SetAttributes(attribute.String("error.type", strconv.Itoa(resp.StatusCode)))
		}
	}
	End(span, err) // when the answer has begun: its body may be long
	return resp, err
}

// CloseIdleConnections is for [http.Client.CloseIdleConnections].
func (t Traced) CloseIdleConnections() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
