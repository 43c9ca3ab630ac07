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

func TestTraceOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		parent string
		kept   bool
	}{
		{parentA, true},
		{"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
		{"", false},
		{"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
		{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
		{strings.ToUpper(parentA), false},
		{parentA + "\n", false},
		{"x" + parentA, false},
	} {
		got := eventing.TraceOf(http.Header{"Traceparent": {tt.parent}, "Tracestate": {"a=b"}})
		if (got == eventing.Trace{Parent: tt.parent, State: "a=b"}) != tt.kept {
			t.Errorf("TraceOf(%q) = %v, kept: want %v", tt.parent, got, tt.kept)
		}
		if len(got.ID()) != 32 {
			t.Errorf("ID of %v = %q", got, got.ID())
		}
	}
	if a, b := eventing.TraceOf(nil), eventing.TraceOf(nil); a == b {
		t.Errorf("two new traces are the same: %v", a)
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
				r = r.WithContext(eventing.WithTrace(r.Context(), eventing.TraceOf(http.Header{"Traceparent": {tt.header}})))
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
	ctx := eventing.WithTrace(t.Context(), eventing.TraceOf(http.Header{"Traceparent": {parentB}}))
	ctx = eventing.WithTrace(ctx, eventing.Trace{Parent: parentA})
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
