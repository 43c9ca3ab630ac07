package mongodb

import (
	"context"
	"sync"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// key is one command: the driver counts them for each connection's server.
type key struct {
	connection string
	request    int64
}

// monitor makes a span of each command but those about the chunks of files, of which there are thousands. It is for
// processes whose traces go somewhere only: with a monitor, the driver copies every chunk, which takes 1.5 CPU seconds
// a GiB.
func monitor() *event.CommandMonitor {
	var running sync.Map // of the span by key
	end := func(e event.CommandFinishedEvent, err error) {
		if span, ok := running.LoadAndDelete(key{e.ConnectionID, e.RequestID}); ok {
			telemetry.End(span.(trace.Span), err)
		}
	}
	return &event.CommandMonitor{
		Started: func(ctx context.Context, e *event.CommandStartedEvent) {
			of := collection(e)
			if of == "fs.chunks" {
				return
			}
			name := e.CommandName
			if of != "" {
				name += " " + of
			}
			_, span := telemetry.Child(ctx, name, trace.SpanKindClient,
				attribute.String("db.system.name", "mongodb"),
				attribute.String("db.namespace", e.DatabaseName),
				attribute.String("db.collection.name", of),
				attribute.String("db.operation.name", e.CommandName))
			if trace.SpanFromContext(ctx).IsRecording() {
				running.Store(key{e.ConnectionID, e.RequestID}, span)
			}
		},
		Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) { end(e.CommandFinishedEvent, nil) },
		Failed:    func(_ context.Context, e *event.CommandFailedEvent) { end(e.CommandFinishedEvent, e.Failure) },
	}
}

// collection is what a command is about; empty when it is about none.
func collection(e *event.CommandStartedEvent) string {
	field := e.CommandName // whose value is the collection's name
	if field == "getMore" {
		field = "collection"
	}
	name, _ := e.Command.Lookup(field).StringValueOK()
	return name
}
