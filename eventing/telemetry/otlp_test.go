package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// collector takes OTLP in JSON, and answers the first requests with the given statuses.
type collector struct {
	statuses []int
	answer   string
	hold     chan struct{} // when it is not nil, an answer waits until it is closed

	mu       sync.Mutex
	requests []*http.Request
	bodies   []map[string]any
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var message map[string]any
	if err := json.Unmarshal(body, &message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	status := http.StatusOK
	if n := len(c.requests); n < len(c.statuses) {
		status = c.statuses[n]
	}
	c.requests, c.bodies = append(c.requests, r), append(c.bodies, message)
	c.mu.Unlock()
	if c.hold != nil {
		<-c.hold
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, c.answer)
}

// spans gives those of each request.
func (c *collector) spans(t *testing.T) (batches [][]map[string]any) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.bodies {
		var batch []map[string]any
		for _, s := range at[[]any](t, b, "resourceSpans", 0, "scopeSpans", 0, "spans") {
			batch = append(batch, s.(map[string]any))
		}
		batches = append(batches, batch)
	}
	return batches
}

// at gives what a path of names and indexes leads to.
func at[T any](t *testing.T, v any, path ...any) T {
	t.Helper()
	for _, step := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[step.(string)]
		case []any:
			v = in[step.(int)]
		default:
			t.Fatalf("%v of %v leads nowhere", step, v)
		}
	}
	found, ok := v.(T)
	if !ok {
		t.Fatalf("%v leads to %v", path, v)
	}
	return found
}

// newExporter makes one of a collector.
func newExporter(t *testing.T, c *collector) *exporter {
	t.Helper()
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return &exporter{url: s.URL, header: http.Header{"Api-Key": {"k"}}, client: s.Client()}
}

// never is for batches that time does not send.
const never = time.Hour

func newTracer(e *exporter, options ...sdktrace.BatchSpanProcessorOption) (*sdktrace.TracerProvider, trace.Tracer) {
	p := sdktrace.NewTracerProvider(
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "x"))),
		sdktrace.WithBatcher(traceExporter{e}, append(options, sdktrace.WithBatchTimeout(never))...))
	return p, p.Tracer(Scope)
}

// TestSpan drains a process: what it has not sent of a trace is sent then, all that it tells.
func TestSpan(t *testing.T) {
	t.Parallel()
	c := new(collector)
	provider, tracer := newTracer(newExporter(t, c))
	ctx, root := tracer.Start(t.Context(), "root", trace.WithSpanKind(trace.SpanKindServer))
	_, other := tracer.Start(t.Context(), "other")
	_, span := tracer.Start(ctx, "child", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(time.Unix(1, 5)), trace.WithLinks(trace.Link{SpanContext: other.SpanContext()}),
		trace.WithAttributes(attribute.String("s", "a"), attribute.Int("i", 1<<53+1), attribute.Float64("f", 0.5),
			attribute.Bool("b", true), attribute.StringSlice("l", []string{"x", "y"})))
	span.AddEvent("e", trace.WithTimestamp(time.Unix(2, 0)))
	span.SetStatus(codes.Error, "why")
	span.End(trace.WithTimestamp(time.Unix(3, 0)))
	root.End()
	if n := len(c.spans(t)); n != 0 {
		t.Fatalf("%d requests before the drain, want none", n)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown() = %v", err)
	}
	batches := c.spans(t)
	if len(batches) != 1 || len(batches[0]) != 2 {
		t.Fatalf("spans %v, want two in one request", batches)
	}
	value := func(key, kind string, v any) any {
		return map[string]any{"key": key, "value": map[string]any{kind: v}}
	}
	texts := []any{map[string]any{"stringValue": "x"}, map[string]any{"stringValue": "y"}}
	link := other.SpanContext()
	want := map[string]any{"traceId": root.SpanContext().TraceID().String(), "traceState": "", "flags": 1.,
		"spanId": span.SpanContext().SpanID().String(), "parentSpanId": root.SpanContext().SpanID().String(),
		"name": "child", "kind": 3., "startTimeUnixNano": "1000000005", "endTimeUnixNano": "3000000000",
		"attributes": []any{value("s", "stringValue", "a"), value("i", "intValue", "9007199254740993"),
			value("f", "doubleValue", 0.5), value("b", "boolValue", true),
			value("l", "arrayValue", map[string]any{"values": texts})},
		"events": []any{map[string]any{"name": "e", "timeUnixNano": "2000000000", "attributes": []any{},
			"droppedAttributesCount": 0.}},
		"links": []any{map[string]any{"traceId": link.TraceID().String(), "spanId": link.SpanID().String(),
			"traceState": "", "flags": 1., "attributes": []any{}}},
		"status":                 map[string]any{"code": 2., "message": "why"},
		"droppedAttributesCount": 0., "droppedEventsCount": 0., "droppedLinksCount": 0.}
	if diff := cmp.Diff(want, batches[0][0]); diff != "" {
		t.Errorf("span (-want +got):\n%s", diff)
	}
	if _, has := batches[0][1]["parentSpanId"]; has || batches[0][1]["kind"] != 2. {
		t.Errorf("root is %v, want a server's without a parent", batches[0][1])
	}
	r := c.requests[0]
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("Api-Key") != "k" {
		t.Errorf("request is %s %s with %v", r.Method, r.URL, r.Header)
	}
	name := at[string](t, c.bodies[0], "resourceSpans", 0, "resource", "attributes", 0, "value", "stringValue")
	if name != "x" {
		t.Errorf("service.name = %q, want x", name)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	c := new(collector)
	provider, tracer := newTracer(newExporter(t, c), sdktrace.WithMaxExportBatchSize(10), sdktrace.WithBlocking())
	for range 25 {
		_, span := tracer.Start(t.Context(), "x")
		span.End()
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown() = %v", err)
	}
	all, most := 0, 0
	for _, b := range c.spans(t) {
		all, most = all+len(b), max(most, len(b))
	}
	if all != 25 || most != 10 {
		t.Errorf("%d spans, at most %d in a request, want 25, 10", all, most)
	}
}

// TestCollectorStuck has a collector that does not answer: nobody waits for it, and what does not fit is dropped.
func TestCollectorStuck(t *testing.T) {
	t.Parallel()
	const kept, batch = 16, 4
	c := &collector{hold: make(chan struct{})}
	provider, tracer := newTracer(newExporter(t, c), sdktrace.WithMaxQueueSize(kept),
		sdktrace.WithMaxExportBatchSize(batch))
	for range 100 * kept { // would never end if it waited
		_, span := tracer.Start(t.Context(), "x")
		span.End()
	}
	close(c.hold)
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown() = %v", err)
	}
	all := 0
	for _, b := range c.spans(t) {
		all += len(b)
	}
	// The queue, the batch that was on its way, and the one that was being made.
	if all == 0 || all > kept+2*batch {
		t.Errorf("%d spans arrived, want some, and no more than %d: the others are dropped", all, kept+2*batch)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		statuses []int
		answer   string
		tries    int
		err      string
	}{
		{name: "taken", answer: `{"partialSuccess":{}}`, tries: 1},
		{name: "taken, with words", answer: "ok", tries: 1},
		{name: "not now, then taken", statuses: []int{503}, tries: 2},
		{name: "refused", statuses: []int{400}, answer: "no", tries: 1, err: "400"},
		{name: "taken in part", answer: `{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}`, tries: 1,
			err: "too old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &collector{statuses: tt.statuses, answer: tt.answer}
			err := newExporter(t, c).post(t.Context(), "/v1/traces", object{})
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("post() = %v, want %q", err, tt.err)
			}
			if len(c.requests) != tt.tries {
				t.Errorf("%d tries, want %d", len(c.requests), tt.tries)
			}
		})
	}
}

// TestCollectorAway ends a process that has no time to wait for its collector.
func TestCollectorAway(t *testing.T) {
	t.Parallel()
	provider, tracer := newTracer(&exporter{url: "http://127.0.0.1:1", client: new(http.Client)})
	_, span := tracer.Start(t.Context(), "x")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := provider.Shutdown(ctx); err == nil {
		t.Error("Shutdown() without a collector = nil, want an error")
	}
}

// TestSampled begins spans of traces that others began: what they do not record, we do not, and say so further on.
func TestSampled(t *testing.T) {
	t.Parallel()
	c := new(collector)
	provider, tracer := newTracer(newExporter(t, c))
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, flags := range []string{"00", "01"} {
		in := propagation.MapCarrier{"traceparent": "00-" + id + "-" + parent + "-" + flags, "tracestate": "a=b"}
		ctx, span := tracer.Start(Propagator.Extract(t.Context(), in), "x")
		out := propagation.MapCarrier{}
		Propagator.Inject(ctx, out)
		span.End()
		want := "00-" + id + "-" + span.SpanContext().SpanID().String() + "-" + flags
		if out["traceparent"] != want || out["tracestate"] != "a=b" || strings.Contains(out["traceparent"], parent) {
			t.Errorf("context goes on as %v, want traceparent %s and the tracestate a=b", out, want)
		}
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown() = %v", err)
	}
	batches := c.spans(t)
	if len(batches) != 1 || len(batches[0]) != 1 || batches[0][0]["parentSpanId"] != parent {
		t.Errorf("spans %v, want the sampled one alone, with its parent", batches)
	}
}

// TestTransport sends a request within a trace.
func TestTransport(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Traceparent")
	}))
	defer s.Close()
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := Propagator.Extract(t.Context(), propagation.MapCarrier{"traceparent": traceparent})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: Transport(s.Client().Transport)}).Do(r)
	if err != nil {
		t.Fatalf("Do() = %v", err)
	}
	resp.Body.Close()
	if is := <-got; is != traceparent || len(r.Header) != 0 {
		t.Errorf("traceparent = %q, the request has %v, want %q and no headers of ours", is, r.Header, traceparent)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	c := new(collector)
	provider := metric.NewMeterProvider(metric.WithView(views...),
		metric.WithReader(metric.NewPeriodicReader(metricExporter{newExporter(t, c)}, metric.WithInterval(never))))
	counter, err := provider.Meter(Scope).Float64Counter("n")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 1.5)
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown() = %v", err)
	}
	if len(c.bodies) != 1 || c.requests[0].URL.Path != "/v1/metrics" {
		t.Fatalf("requests %v, want one to /v1/metrics", c.requests)
	}
	m := at[map[string]any](t, c.bodies[0], "resourceMetrics", 0, "scopeMetrics", 0, "metrics", 0)
	if m["name"] != "n" || at[float64](t, m, "sum", "dataPoints", 0, "asDouble") != 1.5 ||
		!at[bool](t, m, "sum", "isMonotonic") || at[float64](t, m, "sum", "aggregationTemporality") != 2 {
		t.Errorf("metric is %v, want n at 1.5, cumulative", m)
	}
}

// TestOff is a process that was told of no collector.
func TestOff(t *testing.T) {
	t.Parallel()
	off, err := Start(t.Context(), Config{}, "x")
	if off != nil || err != nil || off.Handler() != nil || off.Close(t.Context()) != nil {
		t.Errorf("Start() of nothing = %v, %v, want nil, which does nothing", off, err)
	}
}
