package telemetry

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Handler serves GET /metrics in Prometheus's text format 0.0.4. It is nil where no port is set for it.
//
// Names and units are translated as OpenTelemetry says:
// https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
func (t *Telemetry) Handler() http.Handler {
	if t == nil || t.reader == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		var all metricdata.ResourceMetrics
		if err := t.reader.Collect(r.Context(), &all); err != nil && len(all.ScopeMetrics) == 0 {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = writeText(w, all)
	})
	return mux
}

// Series is the name of a metric in Prometheus; a histogram's series end in _bucket, _sum and _count.
func (m Metric) Series() string { return series(m.Name, m.Unit, m.Kind == Counter) }

func series(name, unit string, total bool) string {
	name = strings.ReplaceAll(name, ".", "_")
	suffix := map[string]string{"s": "_seconds", "By": "_bytes"}[unit] // what stands in braces is no unit
	if !strings.HasSuffix(name, suffix) {
		name += suffix
	}
	if total {
		name += "_total"
	}
	return name
}

func writeText(w io.Writer, all metricdata.ResourceMetrics) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# TYPE target_info gauge\ntarget_info%s 1\n", labels(all.Resource.Attributes()))
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				numbers(b, m, d.IsMonotonic, d.DataPoints)
			case metricdata.Sum[float64]:
				numbers(b, m, d.IsMonotonic, d.DataPoints)
			case metricdata.Gauge[int64]:
				numbers(b, m, false, d.DataPoints)
			case metricdata.Gauge[float64]:
				numbers(b, m, false, d.DataPoints)
			case metricdata.Histogram[float64]:
				buckets(b, m, d.DataPoints)
			}
		}
	}
	return b.Flush()
}

func head(w io.Writer, m metricdata.Metrics, name, kind string) {
	says := strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(m.Description)
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, says, name, kind)
}

func numbers[N int64 | float64](w io.Writer, m metricdata.Metrics, total bool, points []metricdata.DataPoint[N]) {
	name, kind := series(m.Name, m.Unit, total), "gauge"
	if total {
		kind = "counter"
	}
	head(w, m, name, kind)
	for _, p := range points {
		fmt.Fprintf(w, "%s%s %s\n", name, labels(p.Attributes.ToSlice()), number(float64(p.Value)))
	}
}

func buckets(w io.Writer, m metricdata.Metrics, points []metricdata.HistogramDataPoint[float64]) {
	name := series(m.Name, m.Unit, false)
	head(w, m, name, "histogram")
	for _, p := range points {
		attrs := p.Attributes.ToSlice()
		var n uint64
		for i, count := range p.BucketCounts {
			n += count
			most := "+Inf"
			if i < len(p.Bounds) {
				most = number(p.Bounds[i])
			}
			fmt.Fprintf(w, "%s_bucket%s %d\n", name, labels(append(slices.Clone(attrs), attribute.String("le", most))), n)
		}
		fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", name, labels(attrs), number(p.Sum), name, labels(attrs), p.Count)
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func labels(attrs []attribute.KeyValue) string {
	if len(attrs) == 0 {
		return ""
	}
	var all []string
	for _, a := range attrs {
		value := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(a.Value.String())
		all = append(all, strings.ReplaceAll(string(a.Key), ".", "_")+`="`+value+`"`)
	}
	return "{" + strings.Join(all, ",") + "}"
}
