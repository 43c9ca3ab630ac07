package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Metric is one of ours.
type Metric struct {
	Name string // as OpenTelemetry's semantic conventions have it, or beginning with soundstrip
	Kind Kind
	Unit string // of UCUM
	Says string
}

// Kind is a metric's instrument.
type Kind int

// The kinds of metrics.
const (
	Counter Kind = iota // only rises
	UpDown              // rises and falls
	Gauge               // is looked at when it is asked for
	Seconds             // a histogram
)

// Metrics are all that there are. Their attributes have few values, whatever clients send.
func Metrics() []Metric {
	return []Metric{
		{"http.server.request.duration", Seconds, "s", "How long requests took, until their answers were whole."},
		{"http.server.active_requests", UpDown, "{request}", "Requests that are being served."},
		{"soundstrip.upload.bytes", Counter, "By", "What arrived of videos."},
		{"soundstrip.uploads.open", UpDown, "{upload}", "Requests that bring videos at the moment."},
		{"soundstrip.quota.refusals", Counter, "{refusal}", "Uploads that were refused, by the limit that they were above."},
		{"soundstrip.store.free", Gauge, "By", "How much can still be stored of videos."},
		{"soundstrip.queue.messages", Gauge, "{message}", "Messages that wait for a trigger, or are its dead letters."},
		{"soundstrip.queue.oldest.age", Gauge, "s", "At most how long the oldest message of a trigger has waited."},
		{"soundstrip.dispatch.in_flight", UpDown, "{event}", "Events that subscribers are working on."},
		{"soundstrip.dispatch.attempts", Counter, "{attempt}", "Tries to deliver an event, by what they came to."},
		{"soundstrip.dispatch.dead_letters", Counter, "{event}", "Events that were given up."},
		{"messaging.process.duration", Seconds, "s", "How long tries to deliver an event took."},
		{"soundstrip.converters.busy", UpDown, "{conversion}", "Conversions that are under way."},
		{"soundstrip.conversions", Counter, "{conversion}", "Conversions that ended, by plan and outcome."},
		{"soundstrip.conversion.sound", Counter, "s", "How much sound was converted."},
		{"soundstrip.conversion.cpu", Counter, "s", "CPU time that ffmpeg took."},
		{"soundstrip.job.lag", Seconds, "s", "From the end of an upload until its owner was told."},
		{"soundstrip.notices", Counter, "{notice}", "Mails and posts to webhooks, by what they came to."},
		{"soundstrip.sweeps", Counter, "{sweep}", "Sweeps that ended."},
		{"soundstrip.sweep.items", Counter, "{item}", "What sweeps dealt with."},
		{"soundstrip.sse.clients", UpDown, "{client}", "Clients that follow their jobs."},
	}
}

// find gives the metric of a name of ours.
func find(name string, kinds ...Kind) Metric {
	for _, m := range Metrics() {
		for _, k := range kinds {
			if m.Name == name && m.Kind == k {
				return m
			}
		}
	}
	panic("there is no such metric of ours: " + name)
}

func meter() metric.Meter { return otel.Meter(Scope) }

// must is for names and units that are constants.
func must[I any](instrument I, err error) I {
	if err != nil {
		panic(fmt.Sprintf("make instrument: %v", err))
	}
	return instrument
}

// Attr is an attribute of a metric. Its values are few.
func Attr(name, value string) attribute.KeyValue { return attribute.String(name, value) }

// Instrument is what [Count] and [Measure] make. The zero value does nothing.
type Instrument struct {
	record  func(ctx context.Context, n float64, attrs metric.MeasurementOption)
	enabled func(context.Context) bool
}

// Add adds to a counter, or puts what was measured into the histogram.
func (i Instrument) Add(ctx context.Context, n float64, attrs ...attribute.KeyValue) {
	if i.enabled != nil && i.enabled(ctx) {
		i.record(ctx, n, metric.WithAttributes(attrs...))
	}
}

// Count makes a counter, which may be one that falls as well.
func Count(name string) Instrument {
	m := find(name, Counter, UpDown)
	if m.Kind == UpDown {
		c := must(meter().Float64UpDownCounter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Says)))
		return Instrument{func(ctx context.Context, n float64, a metric.MeasurementOption) { c.Add(ctx, n, a) }, c.Enabled}
	}
	c := must(meter().Float64Counter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Says)))
	return Instrument{func(ctx context.Context, n float64, a metric.MeasurementOption) { c.Add(ctx, n, a) }, c.Enabled}
}

// Measure makes a histogram of times, in seconds.
func Measure(name string) Instrument {
	m := find(name, Seconds)
	h := must(meter().Float64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Says)))
	return Instrument{func(ctx context.Context, n float64, a metric.MeasurementOption) { h.Record(ctx, n, a) }, h.Enabled}
}

// Look has a gauge's values told whenever somebody asks for metrics.
func Look(name string, at func(ctx context.Context, tell func(n float64, attrs ...attribute.KeyValue)) error) {
	m := find(name, Gauge)
	must(meter().Float64ObservableGauge(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Says),
		metric.WithFloat64Callback(func(ctx context.Context, o metric.Float64Observer) error {
			return at(ctx, func(n float64, attrs ...attribute.KeyValue) { o.Observe(n, metric.WithAttributes(attrs...)) })
		})))
}
