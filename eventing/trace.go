package eventing

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Trace is the place of a piece of work in a distributed trace: the two headers of W3C Trace Context, which travel on
// events as the extensions of the same names (CloudEvents Distributed Tracing extension).
type Trace struct{ Parent, State string }

var traceparent = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$`)

// TraceOf reads the trace of a request, or begins one.
func TraceOf(h http.Header) Trace {
	return Trace{h.Get("Traceparent"), h.Get("Tracestate")}.orNew()
}

// valid knows the traceparents that may be passed on (W3C Trace Context, section 3.2.2).
func valid(parent string) bool {
	m := traceparent.FindStringSubmatch(parent)
	return m != nil && m[1] != "ff" && strings.Trim(m[2], "0") != "" && strings.Trim(m[3], "0") != ""
}

func (t Trace) orNew() Trace {
	if valid(t.Parent) {
		return t
	}
	var id [24]byte
	_, _ = rand.Read(id[:]) // never fails
	return Trace{Parent: "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-01"}
}

// ID is the trace's own id, 32 hex digits.
func (t Trace) ID() string { return strings.Split(t.Parent+"--", "-")[1] }

type traceKey struct{}

// WithTrace puts t into the context; events made and logs written under it carry it.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// WithTraceOf puts the event's trace into the context. When the event has none the context keeps its own, or gets a new
// one.
func WithTraceOf(ctx context.Context, e event.Event) context.Context {
	parent, _ := e.Extensions()["traceparent"].(string)
	state, _ := e.Extensions()["tracestate"].(string)
	if _, has := ctx.Value(traceKey{}).(Trace); has && !valid(parent) {
		return ctx
	}
	return WithTrace(ctx, Trace{parent, state}.orNew())
}

// SetTrace writes the context's trace on e unless e has one.
func SetTrace(ctx context.Context, e *event.Event) {
	t, ok := ctx.Value(traceKey{}).(Trace)
	if _, has := e.Extensions()["traceparent"]; !ok || has {
		return
	}
	e.SetExtension("traceparent", t.Parent)
	if t.State != "" {
		e.SetExtension("tracestate", t.State)
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
	if t, ok := ctx.Value(traceKey{}).(Trace); ok {
		r.AddAttrs(slog.String("trace_id", t.ID()))
	}
	attrs, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	r.AddAttrs(attrs...)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the wrapping.
func (h LogHandler) WithAttrs(a []slog.Attr) slog.Handler { return LogHandler{h.Handler.WithAttrs(a)} }

// WithGroup keeps the wrapping.
func (h LogHandler) WithGroup(name string) slog.Handler { return LogHandler{h.Handler.WithGroup(name)} }
