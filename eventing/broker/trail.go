package broker

import (
	"context"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// Trail is what a message tells of its way besides its event, which has where the trace began: the traceparents of
// where the message was published and, of one that waits for another try, of where it was last tried. They are empty
// when that is not known. System is what keeps the message, by its name in the semantic conventions for messaging.
type Trail struct{ System, Published, Tried string }

// here is the traceparent of the context; empty where traces go nowhere.
func here(ctx context.Context) string {
	if !telemetry.Tracing() {
		return ""
	}
	c := propagation.MapCarrier{}
	telemetry.Propagator.Inject(ctx, c)
	return c["traceparent"]
}

func contextOf(traceparent string) trace.SpanContext {
	c := propagation.MapCarrier{"traceparent": traceparent}
	return trace.SpanContextFromContext(telemetry.Propagator.Extract(context.Background(), c))
}

// messaging are the attributes of a span about an event (semantic conventions for messaging, and for CloudEvents).
func messaging(system, operation, destination string, e event.Event) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", system),
		attribute.String("messaging.operation.type", operation),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.destination.name", destination),
		attribute.String("messaging.message.id", e.ID()),
		attribute.String("cloudevents.event_type", e.Type()),
		attribute.String("cloudevents.event_subject", e.Subject()),
	}
}

// publishing begins the span of an event that is published, and goes to no one queue.
func publishing(ctx context.Context, system string, e event.Event) (context.Context, trace.Span) {
	const operation = "send"
	if span := trace.SpanFromContext(ctx); !span.IsRecording() {
		return ctx, span // as Child has it, and without the attributes
	}
	return telemetry.Child(ctx, operation+" "+e.Type(), trace.SpanKindProducer,
		messaging(system, operation, e.Type(), e)...)
}

// processing begins the span of a try. It is part of what published the message, so that all of a job is one trace, and
// has a link to the try before.
func processing(ctx context.Context, t Trigger, m Message) (context.Context, trace.Span) {
	const operation = "process"
	e, trail := m.Event(), m.Trail()
	ctx = eventing.WithTraceOf(ctx, e)
	if !telemetry.Tracing() {
		return ctx, trace.SpanFromContext(ctx)
	}
	if at := contextOf(trail.Published); at.TraceID() == trace.SpanContextFromContext(ctx).TraceID() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, at)
	}
	ctx, span := telemetry.Span(ctx, operation+" "+t.Name, trace.SpanKindConsumer,
		append(messaging(trail.System, operation, t.Name, e), attribute.Int("soundstrip.attempt", m.Attempts()+1))...)
	if tried := contextOf(trail.Tried); tried.IsValid() {
		span.AddLink(trace.Link{SpanContext: tried, Attributes: []attribute.KeyValue{
			attribute.String("soundstrip.link", "retry")}})
	}
	return ctx, span
}

// tell has the span say what a try came to.
func (v verdict) tell(span trace.Span) {
	if v.status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", v.status))
	}
	if v.kind != done {
		kind := v.kind.String()
		if v.kind == failed && v.status != 0 {
			kind = strconv.Itoa(v.status)
		}
		span.SetAttributes(attribute.String("error.type", kind))
		telemetry.Fail(span, v.reason)
	}
}
