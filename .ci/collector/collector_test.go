// Package collector has the stock receiver of OTLP take what our exporter sends. It is a module of its own, so that the
// receiver's dependencies are none of the programs'.
package collector

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

func TestReceiver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	cfg.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = address
	settings := receivertest.NewNopSettings(factory.Type())
	traces, metrics := new(consumertest.TracesSink), new(consumertest.MetricsSink)
	spans, err := factory.CreateTraces(t.Context(), settings, cfg, traces)
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := factory.CreateMetrics(t.Context(), settings, cfg, metrics)
	if err != nil {
		t.Fatal(err)
	}
	host := componenttest.NewNopHost()
	if err := errors.Join(spans.Start(t.Context(), host), numbers.Start(t.Context(), host)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = spans.Shutdown(context.Background())
		_ = numbers.Shutdown(context.Background())
	}()

	sent, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: "http://" + address}, "convert")
	if err != nil {
		t.Fatal(err)
	}
	parent, root := telemetry.Span(t.Context(), "process convert", trace.SpanKindConsumer, attribute.Int("n", -3),
		attribute.Bool("b", true), attribute.Float64("f", .5), attribute.StringSlice("s", []string{"a", "ü"}))
	_, child := telemetry.Span(parent, "ffmpeg", trace.SpanKindInternal)
	child.AddLink(trace.Link{SpanContext: root.SpanContext()})
	child.AddEvent("e")
	telemetry.End(child, errors.New("it failed"))
	root.End()
	m := otel.Meter(telemetry.Scope)
	counter, _ := m.Int64Counter("c", metric.WithUnit("By"))
	counter.Add(parent, 1<<40, metric.WithAttributes(attribute.String("k", "v")))
	gauge, _ := m.Float64Gauge("g")
	gauge.Record(parent, 1.5)
	histogram, _ := m.Float64Histogram("h", metric.WithUnit("s"))
	histogram.Record(parent, .3)
	if err := sent.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	if n := traces.SpanCount(); n != 2 {
		t.Fatalf("%d spans arrived, want 2", n)
	}
	all := traces.AllTraces()[0].ResourceSpans().At(0)
	if name, _ := all.Resource().Attributes().Get("service.name"); name.Str() != "convert" {
		t.Errorf("service.name = %q, want convert", name.Str())
	}
	first, second := all.ScopeSpans().At(0).Spans().At(0), all.ScopeSpans().At(0).Spans().At(1) // as they ended
	if got := second.Attributes().AsRaw(); second.Name() != "process convert" || second.Kind().String() != "Consumer" ||
		got["n"] != int64(-3) || got["b"] != true || got["f"] != .5 || len(got["s"].([]any)) != 2 {
		t.Errorf("the first span is %s, %v, %v", second.Name(), second.Kind(), got)
	}
	if first.Name() != "ffmpeg" || first.ParentSpanID() != second.SpanID() || first.TraceID() != second.TraceID() ||
		first.Status().Code().String() != "Error" || first.Status().Message() != "it failed" || first.Events().Len() != 1 ||
		first.Links().Len() != 1 || first.Links().At(0).SpanID() != second.SpanID() ||
		first.TraceID().String() != root.SpanContext().TraceID().String() ||
		time.Since(first.EndTimestamp().AsTime()) > time.Minute {
		t.Errorf("the span within is %s, %v", first.Name(), first.Status().Message())
	}
	got := map[string]string{}
	for _, m := range metrics.AllMetrics() {
		scopes := m.ResourceMetrics().At(0).ScopeMetrics()
		for i := range scopes.Len() {
			for j := range scopes.At(i).Metrics().Len() {
				m := scopes.At(i).Metrics().At(j)
				got[m.Name()] = m.Type().String()
				switch m.Name() {
				case "c":
					if p := m.Sum().DataPoints().At(0); p.IntValue() != 1<<40 || !m.Sum().IsMonotonic() {
						t.Errorf("counter = %v", p.IntValue())
					}
				case "g":
					if p := m.Gauge().DataPoints().At(0); p.DoubleValue() != 1.5 {
						t.Errorf("gauge = %v", p.DoubleValue())
					}
				case "h":
					if p := m.Histogram().DataPoints().At(0); p.Count() != 1 || p.Sum() != .3 ||
						p.BucketCounts().Len() != p.ExplicitBounds().Len()+1 {
						t.Errorf("histogram = %v, %v", p.Count(), p.Sum())
					}
				}
			}
		}
	}
	for name, kind := range map[string]string{"c": "Sum", "g": "Gauge", "h": "Histogram"} {
		if got[name] != kind {
			t.Errorf("metric %s is %q, want %s", name, got[name], kind)
		}
	}
}
