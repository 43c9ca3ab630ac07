package eventing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// MaxEvent is the size, in bytes, above which an event is refused with 413.
const MaxEvent = 1 << 20

// Func takes one event and returns the event to reply with, or nil. Its error decides what becomes of the event: see
// [Reject], [RetryAfter] and [Busy]; any other is passing.
type Func func(ctx context.Context, e event.Event) (*event.Event, error)

// ServeHTTP receives one event in binary or structured mode and answers in the same mode (CloudEvents HTTP Protocol
// Binding 1.0.2). A batch is a 415, what is no event a 400.
//
// It decodes with the SDK's binding and not with its receive handler, which stalls when clients cancel.
func (f Func) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		problem.Write(w, r, problem.New(problem.Method, "%s is not for events: POST a CloudEvent", r.Method).
			With("Allow", http.MethodPost))
		return
	}
	e, mode, err := Receive(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	ctx := WithTraceOf(r.Context(), e)
	ctx = WithEvent(ctx, e)
	reply, err := f(ctx, e)
	if err != nil {
		writeOutcome(w, r.WithContext(ctx), err)
		return
	}
	if reply == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	SetTrace(ctx, reply)
	if err := writeEvent(ctx, w, *reply, mode); err != nil {
		slog.ErrorContext(ctx, "reply not written", "error", err)
	}
}

// IsEvent reports whether a request claims to carry a CloudEvent, in any mode.
func IsEvent(r *http.Request) bool {
	return r.Header.Get("Ce-Specversion") != "" || format.IsFormat(strings.ToLower(r.Header.Get("Content-Type")))
}

// Receive reads the event that a request carries and says in which mode it came. Its errors are of package problem.
func Receive(r *http.Request) (event.Event, binding.Encoding, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxEvent))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return event.Event{}, 0, problem.New(problem.TooLarge,
				"the event is larger than %d bytes: refer to data instead of sending it along", MaxEvent)
		}
		return event.Event{}, 0, problem.Wrap(err, problem.Invalid, "the event's body broke off")
	}
	header, err := decodeHeader(r.Header)
	if err != nil {
		return event.Event{}, 0, problem.New(problem.Invalid, "%v", err)
	}
	m := cehttp.NewMessage(header, io.NopCloser(bytes.NewReader(body)))
	mode := m.ReadEncoding()
	switch mode {
	case binding.EncodingBatch:
		return event.Event{}, mode, problem.New(problem.Unsupported,
			"batched events are not taken here: send each event in a request of its own")
	case binding.EncodingUnknown:
		if v := header.Get("Ce-Specversion"); v != "" {
			return event.Event{}, mode, wrongVersion(v)
		}
		if ct := header.Get("Content-Type"); IsEvent(r) {
			return event.Event{}, mode, problem.New(problem.Unsupported,
				"the event format %q is not known here: use application/cloudevents+json", ct)
		}
		return event.Event{}, mode, problem.New(problem.Invalid, "the request is no CloudEvent: "+
			"send the ce- headers (specversion, id, source, type) or application/cloudevents+json")
	}
	e, err := decode(r.Context(), m, body)
	if err != nil {
		why := strings.TrimSpace(err.Error())
		return event.Event{}, mode, problem.New(problem.Invalid, "the CloudEvent cannot be read: %s", why)
	}
	if v := e.SpecVersion(); v != event.CloudEventsVersionV1 {
		return event.Event{}, mode, wrongVersion(v)
	}
	if err := validate(e); err != nil {
		return event.Event{}, mode, problem.New(problem.Invalid, "the CloudEvent is not valid: %v", err)
	}
	return *e, mode, nil
}

func wrongVersion(v string) error {
	return problem.New(problem.Invalid, "the CloudEvent's specversion is %q, this function takes 1.0", v)
}

// decode reads the message. It is given the body as well, to look for what the SDK panics at: a data_base64 that is no
// string.
func decode(ctx context.Context, m *cehttp.Message, body []byte) (*event.Event, error) {
	if m.ReadEncoding() == binding.EncodingStructured {
		var data struct {
			Base64 string `json:"data_base64"`
		}
		if err := json.Unmarshal(body, &data); err != nil {
			return nil, errors.New("the body is not a JSON object, or its data_base64 no string")
		}
	}
	return binding.ToEvent(ctx, m)
}

// validate checks what the SDK does, and that no attribute has a control character (CloudEvents 1.0.2, section 3.1,
// String): attributes end up in headers, logs and mails.
func validate(e *event.Event) error {
	var invalid event.ValidationError
	if err := e.Validate(); errors.As(err, &invalid) {
		return errors.New(strings.Join(slices.Sorted(strings.SplitSeq(strings.TrimSpace(invalid.Error()), "\n")), "; "))
	}
	attrs := map[string]any{"id": e.ID(), "type": e.Type(), "source": e.Source(), "subject": e.Subject()}
	maps.Copy(attrs, e.Extensions())
	for name, v := range attrs {
		if s, ok := v.(string); ok && strings.ContainsFunc(s, unicode.IsControl) {
			return fmt.Errorf("%s has a control character", name)
		}
	}
	return nil
}

func writeOutcome(w http.ResponseWriter, r *http.Request, err error) {
	status, after := Outcome(err)
	code := map[int]problem.Code{
		http.StatusBadRequest:         problem.Invalid,
		http.StatusConflict:           problem.Conflict,
		http.StatusServiceUnavailable: problem.Unavailable,
	}[status]
	if code == "" {
		problem.Write(w, r, err)
		return
	}
	p := problem.New(code, "%v", err)
	if status == http.StatusServiceUnavailable {
		p = problem.Wrap(err, code, "not now: try again later")
	}
	if after > 0 {
		p.RetryAfter(after)
	}
	problem.Write(w, r, p)
}

func writeEvent(ctx context.Context, w http.ResponseWriter, e event.Event, mode binding.Encoding) error {
	enc := &encodingWriter{ResponseWriter: w}
	if mode == binding.EncodingStructured {
		ctx = binding.WithForceStructured(ctx)
	} else {
		ctx = binding.WithForceBinary(ctx)
	}
	return cehttp.WriteResponseWriter(ctx, binding.ToMessage(&e), http.StatusOK, enc)
}

// encodingWriter percent-encodes the ce- headers before they go out.
type encodingWriter struct{ http.ResponseWriter }

func (w *encodingWriter) WriteHeader(status int) {
	encodeHeader(w.Header())
	w.ResponseWriter.WriteHeader(status)
}

// encodeHeader percent-encodes the attribute values of binary mode, which the SDK leaves as they are (CloudEvents HTTP
// Protocol Binding 1.0.2, section 3.1.3.2): all but printable ASCII, and space, double quote and percent.
func encodeHeader(h http.Header) {
	for k, values := range h {
		if !strings.HasPrefix(k, "Ce-") {
			continue
		}
		for i, v := range values {
			var b strings.Builder
			for j := range len(v) {
				if c := v[j]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
					fmt.Fprintf(&b, "%%%02X", c)
				} else {
					b.WriteByte(c)
				}
			}
			values[i] = b.String()
		}
	}
}

var quotedPair = lazily(`\\(.)`) // RFC 7230, section 3.2.6

// decodeHeader is the inverse of encodeHeader. It also takes off the double quotes that HTTP allows around a value. Two
// values for one attribute are an error: nothing says which one counts.
func decodeHeader(h http.Header) (http.Header, error) {
	h = h.Clone()
	for k, values := range h {
		if (strings.HasPrefix(k, "Ce-") || k == "Content-Type") && len(values) != 1 {
			return nil, fmt.Errorf("header %s is given %d times, an attribute has one value", strings.ToLower(k), len(values))
		}
		if !strings.HasPrefix(k, "Ce-") {
			continue
		}
		if k == "Ce-" {
			return nil, errors.New("header ce- names no attribute") // and the SDK panics at it
		}
		v := values[0]
		if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
			v = quotedPair().ReplaceAllString(v[1:len(v)-1], "$1")
		}
		v, err := url.PathUnescape(v)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w: percent signs are written %%25", strings.ToLower(k), err)
		}
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("header %s is not UTF-8", strings.ToLower(k))
		}
		values[0] = v
	}
	return h, nil
}

// NewRequest makes the POST that carries e in binary mode.
func NewRequest(ctx context.Context, target string, e event.Event) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, nil)
	if err != nil {
		return nil, fmt.Errorf("make request to %s: %w", target, err)
	}
	if err := cehttp.WriteRequest(binding.WithForceBinary(ctx), binding.ToMessage(&e), r); err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID(), err)
	}
	encodeHeader(r.Header)
	return r, nil
}

// Reply reads the event that a response carries, or nil when it carries none.
func Reply(ctx context.Context, resp *http.Response) (*event.Event, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxEvent+1))
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	if len(body) > MaxEvent {
		return nil, fmt.Errorf("reply is larger than %d bytes", MaxEvent)
	}
	header, err := decodeHeader(resp.Header)
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	m := cehttp.NewMessage(header, io.NopCloser(bytes.NewReader(body)))
	if m.ReadEncoding() == binding.EncodingUnknown {
		return nil, nil
	}
	e, err := decode(ctx, m, body)
	if err == nil {
		err = validate(e)
	}
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	return e, nil
}

// RetryAfterOf reads the Retry-After header in either of its forms (RFC 9110, section 10.2.3); 0 means none.
func RetryAfterOf(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 && s < math.MaxInt32 {
		return time.Duration(s * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
