package eventing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
)

const (
	parentA = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	parentB = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

// TestTraceOfHeader: what is no traceparent is none, and a request without one is part of what its event is part of.
func TestTraceOfHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ parent, event, want string }{
		{parent: parentA, want: parentA},
		{parent: parentA, event: parentB, want: parentA},
		{event: parentB, want: parentB},
		{parent: "cc" + parentA[2:], want: parentA},
		{},
		{parent: "ff" + parentA[2:]},
		{parent: "00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
		{parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"},
		{parent: strings.ToUpper(parentA)},
		{parent: parentA + "\n"},
		{parent: "x" + parentA},
	} {
		h := http.Header{"Traceparent": {tt.parent}, "Ce-Traceparent": {tt.event}, "Tracestate": {"a=b"}}
		ctx := eventing.WithTraceOfHeader(t.Context(), h)
		e := event.New()
		eventing.SetTrace(ctx, &e)
		if got, _ := e.Extensions()["traceparent"].(string); got != tt.want {
			t.Errorf("of traceparent %q and ce-traceparent %q: %q, want %q", tt.parent, tt.event, got, tt.want)
		}
		if id := eventing.TraceID(eventing.WithTrace(ctx)); len(id) != 32 || tt.want != "" && id != tt.want[3:35] {
			t.Errorf("id of the trace of %q = %q", tt.parent, id)
		}
	}
	a, b := eventing.WithTrace(t.Context()), eventing.WithTrace(t.Context())
	if eventing.TraceID(a) == eventing.TraceID(b) {
		t.Errorf("two new traces are the same: %v", eventing.TraceID(a))
	}
}

// TestTracePropagation: an event's trace goes on in the reply; an event without one belongs to the request's.
func TestTracePropagation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                 string
		header, event, reply string // traceparents; reply is what the function set itself
		want                 string
	}{
		{name: "of the event", event: parentA, want: parentA},
		{name: "of the event before the request's", header: parentB, event: parentA, want: parentA},
		{name: "of the request", header: parentB, want: parentB},
		{name: "broken in the event", header: parentB, event: "00-0-0-0", want: parentB},
		{name: "set by the function", event: parentA, reply: parentB, want: parentB},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := eventing.Func(func(context.Context, event.Event) (*event.Event, error) {
				reply := testEvent(t)
				if tt.reply != "" {
					reply.SetExtension("traceparent", tt.reply)
				}
				return &reply, nil
			})
			r := httptest.NewRequest("POST", "/", nil)
			for _, h := range []string{version, id, source, typ, "Ce-Traceparent: " + tt.event} {
				k, v, _ := strings.Cut(h, ": ")
				r.Header.Set(k, v)
			}
			if tt.header != "" {
				r = r.WithContext(eventing.WithTraceOfHeader(r.Context(), http.Header{"Traceparent": {tt.header}}))
			}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if got := w.Header().Get("Ce-Traceparent"); got != tt.want {
				t.Errorf("ce-traceparent of the reply = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLogHandler(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := slog.New(eventing.LogHandler{Handler: slog.NewJSONHandler(&b, nil)}).With("function", "convert")
	ctx := eventing.WithTraceOfHeader(t.Context(), http.Header{"Traceparent": {parentA}})
	ctx = eventing.WithAttrs(ctx, slog.String("event_id", "1"))
	_ = eventing.WithAttrs(ctx, slog.String("other", "x"))
	ctx = eventing.WithAttrs(ctx, slog.String("subject", "s"))
	log.InfoContext(ctx, "hello")
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{"function": "convert", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
		"event_id": "1", "subject": "s", "other": nil} {
		if line[k] != want {
			t.Errorf("%s = %v, want %v in %s", k, line[k], want, b.String())
		}
	}
	if n := strings.Count(b.String(), "trace_id"); n != 1 {
		t.Errorf("trace_id is logged %d times: %s", n, b.String())
	}
}
