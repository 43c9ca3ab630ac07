package telemetry

import (
	"context"
	"fmt"
	"strconv"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

type metricExporter struct{ *exporter }

// Temporality is cumulative, which any collector takes.
func (metricExporter) Temporality(metric.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}

// Aggregation is the SDK's own.
func (metricExporter) Aggregation(k metric.InstrumentKind) metric.Aggregation {
	return metric.DefaultAggregationSelector(k)
}

// Export sends the metrics of one process.
func (e metricExporter) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	var scopes []object
	for _, s := range all.ScopeMetrics {
		var metrics []object
		for _, m := range s.Metrics {
			kind, data, err := dataOf(m.Data)
			if err != nil {
				return fmt.Errorf("metric %s: %w", m.Name, err)
			}
			metrics = append(metrics, object{"name": m.Name, "description": m.Description, "unit": m.Unit, kind: data})
		}
		scopes = append(scopes, object{"scope": scopeOf(s.Scope), "metrics": metrics})
	}
	if len(scopes) == 0 {
		return nil
	}
	return e.post(ctx, "/v1/metrics", object{"resourceMetrics": []object{
		{"resource": resourceOf(all.Resource), "scopeMetrics": scopes}}})
}

func (metricExporter) ForceFlush(context.Context) error { return nil }

func (metricExporter) Shutdown(context.Context) error { return nil }

// dataOf gives the name and the value of the field for an instrument's kind.
func dataOf(data metricdata.Aggregation) (string, object, error) {
	switch d := data.(type) {
	case metricdata.Sum[int64]:
		return "sum", sum(d), nil
	case metricdata.Sum[float64]:
		return "sum", sum(d), nil
	case metricdata.Gauge[int64]:
		return "gauge", object{"dataPoints": points(d.DataPoints)}, nil
	case metricdata.Gauge[float64]:
		return "gauge", object{"dataPoints": points(d.DataPoints)}, nil
	case metricdata.Histogram[int64]:
		return "histogram", histogram(d), nil
	case metricdata.Histogram[float64]:
		return "histogram", histogram(d), nil
	}
	return "", nil, fmt.Errorf("%T is not known here", data)
}

func sum[N int64 | float64](s metricdata.Sum[N]) object {
	return object{"dataPoints": points(s.DataPoints), "isMonotonic": s.IsMonotonic, "aggregationTemporality": cumulative}
}

const cumulative = 2 // AGGREGATION_TEMPORALITY_CUMULATIVE

func points[N int64 | float64](all []metricdata.DataPoint[N]) (list []object) {
	for _, p := range all {
		o := object{"attributes": attributes(p.Attributes.ToSlice()), "startTimeUnixNano": nanos(p.StartTime),
			"timeUnixNano": nanos(p.Time)}
		switch v := any(p.Value).(type) {
		case int64:
			o["asInt"] = strconv.FormatInt(v, 10)
		case float64:
			o["asDouble"] = v
		}
		list = append(list, o)
	}
	return list
}

func histogram[N int64 | float64](h metricdata.Histogram[N]) object {
	var list []object
	for _, p := range h.DataPoints {
		counts := make([]string, len(p.BucketCounts))
		for i, n := range p.BucketCounts {
			counts[i] = strconv.FormatUint(n, 10)
		}
		list = append(list, object{"attributes": attributes(p.Attributes.ToSlice()), "startTimeUnixNano": nanos(p.StartTime),
			"timeUnixNano": nanos(p.Time), "count": strconv.FormatUint(p.Count, 10), "sum": float64(p.Sum),
			"bucketCounts": counts, "explicitBounds": p.Bounds})
	}
	return object{"dataPoints": list, "aggregationTemporality": cumulative}
}
