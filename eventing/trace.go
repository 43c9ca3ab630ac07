package eventing

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// WithTraceOfHeader puts the trace of a request (W3C Trace Context) into the context: what the request is part of, by
// its own headers, or else by those of the event that it carries.
func WithTraceOfHeader(ctx context.Context, h http.Header) context.Context {
	ctx = telemetry.Propagator.Extract(ctx, propagation.HeaderCarrier(h))
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return telemetry.Propagator.Extract(ctx, propagation.MapCarrier{
		"traceparent": h.Get("Ce-Traceparent"), "tracestate": h.Get("Ce-Tracestate")})
}

// WithTrace begins a trace unless the context has one: events made and logs written under it carry it.
func WithTrace(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	c := trace.SpanContextConfig{TraceFlags: trace.FlagsSampled, Remote: true}
	_, _ = rand.Read(c.TraceID[:]) // never fails
	_, _ = rand.Read(c.SpanID[:])
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(c))
}

// TraceID is that of the context's trace, 32 hex digits, or empty.
func TraceID(ctx context.Context) string {
	if c := trace.SpanContextFromContext(ctx); c.HasTraceID() {
		return c.TraceID().String()
	}
	return ""
}

// WithTraceOf puts the event's trace into the context. A context that is of the same trace stays where it is: the event
// tells where it began, and the context where it is now (CloudEvents Distributed Tracing extension). When the event has
// none the context keeps its own, or gets a new one.
func WithTraceOf(ctx context.Context, e event.Event) context.Context {
	carrier := propagation.MapCarrier{}
	for _, name := range telemetry.Propagator.Fields() {
		carrier[name] = extension(e, name)
	}
	of := trace.SpanContextFromContext(telemetry.Propagator.Extract(context.Background(), carrier))
	have := trace.SpanContextFromContext(ctx)
	switch {
	case !of.IsValid():
		return WithTrace(ctx)
	case of.TraceID() == have.TraceID():
		return ctx
	}
	trace.SpanFromContext(ctx).AddLink(trace.Link{SpanContext: of})
	return trace.ContextWithRemoteSpanContext(ctx, of)
}

// SetTrace writes the context's trace on e, which begins here, unless e has one.
func SetTrace(ctx context.Context, e *event.Event) {
	if extension(*e, "traceparent") != "" {
		return
	}
	carrier := propagation.MapCarrier{}
	telemetry.Propagator.Inject(ctx, carrier)
	for name, value := range carrier {
		e.SetExtension(name, value)
	}
}

type attrsKey struct{}

// WithAttrs adds attributes to all that is logged under the context through [LogHandler]. They replace those of the
// same name.
func WithAttrs(ctx context.Context, attrs ...slog.Attr) context.Context {
	have, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	all := slices.Clone(attrs)
	for _, a := range have {
		if !slices.ContainsFunc(attrs, func(b slog.Attr) bool { return a.Key == b.Key }) {
			all = append(all, a)
		}
	}
	return context.WithValue(ctx, attrsKey{}, all)
}

// WithEvent adds the event's id, type and subject to all that is logged under the context.
func WithEvent(ctx context.Context, e event.Event) context.Context {
	return WithAttrs(ctx, slog.String("event_id", e.ID()), slog.String("event_type", e.Type()),
		slog.String("subject", e.Subject()))
}

// LogHandler adds the context's trace and attributes to every record.
type LogHandler struct{ slog.Handler }

// Handle adds the context's trace and attributes.
func (h LogHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := TraceID(ctx); id != "" {
		r.AddAttrs(slog.String("trace_id", id))
	}
	attrs, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	r.AddAttrs(attrs...)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the wrapping.
func (h LogHandler) WithAttrs(a []slog.Attr) slog.Handler { return LogHandler{h.Handler.WithAttrs(a)} }

// WithGroup keeps the wrapping.
func (h LogHandler) WithGroup(name string) slog.Handler { return LogHandler{h.Handler.WithGroup(name)} }
