// Package telemetry sends traces and metrics to a collector by OTLP, and shows metrics to Prometheus. It uses
// OpenTelemetry's API and SDK, and exporters of its own: the stock ones bring gRPC, and 7 MB into each binary.
//
// Without [Config.Endpoint] and [Config.MetricsPort] nothing of it runs, and the API of OpenTelemetry does nothing.
// Names are those of OpenTelemetry's semantic conventions 1.43.0, where it has them.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Config says where traces and metrics go. The SDK reads other variables by itself: OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_METRIC_EXPORT_INTERVAL and OTEL_BSP_….
type Config struct {
	// Endpoint is a collector's that takes OTLP over HTTP, such as http://collector:4318.
	Endpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
	// Headers go along: name=value,…, values percent-encoded.
	Headers string `env:"OTEL_EXPORTER_OTLP_HEADERS"`
	// MetricsPort is where GET /metrics answers Prometheus.
	MetricsPort int `env:"METRICS_PORT"`
}

// Validate reports every fault by variable name.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" &&
		(err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT: want an address such as http://collector:4318"))
	}
	if _, err := c.header(); err != nil {
		errs = append(errs, err)
	}
	if c.MetricsPort < 0 || c.MetricsPort > 65535 {
		errs = append(errs, fmt.Errorf("METRICS_PORT: %d is no port", c.MetricsPort))
	}
	return errors.Join(errs...)
}

func (c Config) header() (http.Header, error) {
	h := http.Header{}
	for pair := range strings.SplitSeq(c.Headers, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: want name=value,…") // without the value, which may be secret
		}
		h.Set(strings.TrimSpace(name), value)
	}
	return h, nil
}

// Telemetry is what runs for one process. Nil is one that does nothing.
type Telemetry struct {
	traces  *sdktrace.TracerProvider // nil without an endpoint
	metrics *metric.MeterProvider
	reader  *metric.ManualReader // nil without a port for metrics
}

// Start begins to send, as the process of the given name, and makes OpenTelemetry's API do so. It is nil when the
// configuration asks for nothing.
func Start(ctx context.Context, c Config, name string) (*Telemetry, error) {
	if c.Endpoint == "" && c.MetricsPort == 0 {
		return nil, nil
	}
	own, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.namespace", "soundstrip"), attribute.String("service.name", name)),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := new(Telemetry)
	readers := []metric.Option{metric.WithResource(own), metric.WithView(views...)}
	if c.Endpoint != "" {
		header, err := c.header()
		if err != nil {
			return nil, err
		}
		client := &http.Client{Timeout: 10 * time.Second}
		e := &exporter{url: strings.TrimRight(c.Endpoint, "/"), header: header, client: client}
		t.traces = sdktrace.NewTracerProvider(sdktrace.WithResource(own), sdktrace.WithBatcher(traceExporter{e}))
		readers = append(readers, metric.WithReader(metric.NewPeriodicReader(metricExporter{e})))
		otel.SetTracerProvider(t.traces)
	}
	if c.MetricsPort != 0 {
		t.reader = metric.NewManualReader()
		readers = append(readers, metric.WithReader(t.reader))
	}
	t.metrics = metric.NewMeterProvider(readers...)
	otel.SetMeterProvider(t.metrics)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { slog.WarnContext(ctx, "telemetry lost", "error", err) }))
	return t, nil
}

// Close sends what is left.
func (t *Telemetry) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	err := t.metrics.Shutdown(ctx)
	if t.traces != nil {
		err = errors.Join(err, t.traces.Shutdown(ctx))
	}
	if err != nil {
		// It is no failure of the process's work.
		slog.WarnContext(ctx, "telemetry lost", "error", err)
	}
	return nil
}

// views give the times their buckets: what takes less than the first is at once, and what takes more than the last is
// a conversion of hours.
var views = []metric.View{metric.NewView(
	metric.Instrument{Unit: "s", Kind: metric.InstrumentKindHistogram},
	metric.Stream{Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: []float64{
		.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 7200}}})}
