package telemetry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// exporter posts to a collector by OTLP/HTTP, in its JSON encoding.
// Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
type exporter struct {
	url    string
	header http.Header
	client *http.Client
}

// object is a message of OTLP: its fields in lower camel case, numbers of 64 bits as text, enumerations as numbers, the
// ids of traces and spans in hex.
type object = map[string]any

// tries bounds how often something is sent that the collector may take another time.
const tries = 3

// post sends one message, and again after an answer that asks for it.
func (e *exporter) post(ctx context.Context, path string, message object) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode telemetry: %w", err)
	}
	for n := 1; ; n++ {
		again, err := e.try(ctx, path, body)
		if err == nil || !again || n == tries {
			return err
		}
		select {
		case <-time.After(time.Duration(n) * time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

func (e *exporter) try(ctx context.Context, path string, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	for name, values := range e.header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := e.client.Do(r)
	if err != nil {
		return ctx.Err() == nil, fmt.Errorf("send telemetry: %w", err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch resp.StatusCode {
	case http.StatusOK:
		var told struct {
			PartialSuccess struct{ ErrorMessage string }
		}
		if json.Unmarshal(answer, &told) == nil && told.PartialSuccess.ErrorMessage != "" {
			return false, fmt.Errorf("the collector takes some telemetry only: %s", told.PartialSuccess.ErrorMessage)
		}
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, fmt.Errorf("the collector answers %s: %.200q", resp.Status, answer)
}

type traceExporter struct{ *exporter }

// ExportSpans sends the spans of one process.
func (e traceExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	scopes := map[instrumentation.Scope][]object{}
	for _, s := range spans {
		scopes[s.InstrumentationScope()] = append(scopes[s.InstrumentationScope()], spanOf(s))
	}
	var all []object
	for scope, spans := range scopes {
		all = append(all, object{"scope": scopeOf(scope), "spans": spans})
	}
	return e.post(ctx, "/v1/traces", object{"resourceSpans": []object{
		{"resource": resourceOf(spans[0].Resource()), "scopeSpans": all}}})
}

func (traceExporter) Shutdown(context.Context) error { return nil }

func spanOf(s sdktrace.ReadOnlySpan) object {
	c := s.SpanContext()
	o := object{
		"traceId": c.TraceID().String(), "spanId": c.SpanID().String(), "traceState": c.TraceState().String(),
		"flags": uint32(c.TraceFlags()), "name": s.Name(), "kind": int(s.SpanKind()), // the same numbers
		"startTimeUnixNano": nanos(s.StartTime()), "endTimeUnixNano": nanos(s.EndTime()),
		"attributes": attributes(s.Attributes()), "droppedAttributesCount": s.DroppedAttributes(),
		"droppedEventsCount": s.DroppedEvents(), "droppedLinksCount": s.DroppedLinks(),
	}
	if s.Parent().HasSpanID() {
		o["parentSpanId"] = s.Parent().SpanID().String()
	}
	switch s.Status().Code { // OTLP has other numbers
	case codes.Error:
		o["status"] = object{"code": 2, "message": s.Status().Description}
	case codes.Ok:
		o["status"] = object{"code": 1}
	}
	var events, links []object
	for _, e := range s.Events() {
		events = append(events, object{"name": e.Name, "timeUnixNano": nanos(e.Time), "attributes": attributes(e.Attributes),
			"droppedAttributesCount": e.DroppedAttributeCount})
	}
	for _, l := range s.Links() {
		links = append(links, linkOf(l.SpanContext, l.Attributes))
	}
	o["events"], o["links"] = events, links
	return o
}

func linkOf(c trace.SpanContext, a []attribute.KeyValue) object {
	return object{"traceId": c.TraceID().String(), "spanId": c.SpanID().String(), "traceState": c.TraceState().String(),
		"flags": uint32(c.TraceFlags()), "attributes": attributes(a)}
}

func resourceOf(r *resource.Resource) object { return object{"attributes": attributes(r.Attributes())} }

func scopeOf(s instrumentation.Scope) object { return object{"name": s.Name, "version": s.Version} }

func nanos(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixNano(), 10)
}

func attributes(all []attribute.KeyValue) []object {
	list := make([]object, 0, len(all))
	for _, a := range all {
		list = append(list, object{"key": string(a.Key), "value": value(a.Value)})
	}
	return list
}

func value(v attribute.Value) object {
	switch v.Type() {
	case attribute.BOOL:
		return object{"boolValue": v.AsBool()}
	case attribute.INT64:
		return object{"intValue": strconv.FormatInt(v.AsInt64(), 10)}
	case attribute.FLOAT64:
		return object{"doubleValue": v.AsFloat64()}
	case attribute.BYTESLICE:
		return object{"bytesValue": base64.StdEncoding.EncodeToString(v.AsByteSlice())}
	case attribute.STRINGSLICE:
		values := []object{}
		for _, s := range v.AsStringSlice() {
			values = append(values, object{"stringValue": s})
		}
		return object{"arrayValue": object{"values": values}}
	}
	return object{"stringValue": v.String()}
}
