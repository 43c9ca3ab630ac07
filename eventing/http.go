package eventing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// MaxEvent is the size, in bytes, above which an event is refused with 413.
const MaxEvent = 1 << 20

// Func takes one event and returns the event to reply with, or nil. Its error decides what becomes of the event: see
// [Reject], [RetryAfter] and [Busy]; any other is passing.
type Func func(ctx context.Context, e event.Event) (*event.Event, error)

// ServeHTTP receives one event in binary or structured mode and answers in the same mode (CloudEvents HTTP Protocol
// Binding 1.0.2). A batch is a 415, what is no event a 400.
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
	if err := writeEvent(w, *reply, mode); err != nil {
		slog.ErrorContext(ctx, "reply not written", "error", err)
	}
}

// IsEvent reports whether a request claims to carry a CloudEvent, in any mode.
func IsEvent(r *http.Request) bool {
	return r.Header.Get("Ce-Specversion") != "" || format.IsFormat(strings.ToLower(r.Header.Get("Content-Type")))
}

// Receive reads the event that a request carries and says in which mode it came. Its errors are of package problem.
func Receive(r *http.Request) (event.Event, binding.Encoding, error) {
	body, err := readAll(http.MaxBytesReader(nil, r.Body, MaxEvent), r.ContentLength)
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return event.Event{}, 0, problem.New(problem.TooLarge,
				"the event is larger than %d bytes: refer to data instead of sending it along", MaxEvent)
		}
		return event.Event{}, 0, problem.Wrap(err, problem.Invalid, "the event's body broke off")
	}
	mode := modeOf(r.Header)
	switch mode {
	case binding.EncodingBatch:
		return event.Event{}, mode, problem.New(problem.Unsupported,
			"batched events are not taken here: send each event in a request of its own")
	case binding.EncodingUnknown:
		if v := r.Header.Get("Ce-Specversion"); v != "" {
			return event.Event{}, mode, wrongVersion(v)
		}
		if ct := r.Header.Get("Content-Type"); IsEvent(r) {
			return event.Event{}, mode, problem.New(problem.Unsupported,
				"the event format %q is not known here: use application/cloudevents+json", ct)
		}
		return event.Event{}, mode, problem.New(problem.Invalid, "the request is no CloudEvent: "+
			"send the ce- headers (specversion, id, source, type) or application/cloudevents+json")
	}
	e, err := decode(r.Header, mode, body)
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
	return e, mode, nil
}

// readAll reads a body whose length may be known, or is negative.
func readAll(r io.Reader, length int64) ([]byte, error) {
	const most = 64 << 10 // of what is kept for a body that may never come
	b := bytes.NewBuffer(make([]byte, 0, max(0, min(length, most))+bytes.MinRead))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// modeOf says how the headers announce an event.
func modeOf(h http.Header) binding.Encoding {
	switch format.Lookup(h.Get("Content-Type")) {
	case format.JSON:
		return binding.EncodingStructured
	case format.JSONBatch:
		return binding.EncodingBatch
	}
	if versionOf(h) != nil {
		return binding.EncodingBinary
	}
	return binding.EncodingUnknown
}

func wrongVersion(v string) error {
	return problem.New(problem.Invalid, "the CloudEvent's specversion is %q, this function takes 1.0", v)
}

func decode(h http.Header, mode binding.Encoding, body []byte) (e event.Event, err error) {
	switch mode {
	case binding.EncodingBinary:
		return decodeBinary(h, body)
	case binding.EncodingStructured:
		var data struct { // the SDK panics at one that is no string
			Base64 string `json:"data_base64"`
		}
		if err := json.Unmarshal(body, &data); err != nil {
			return e, errors.New("the body is not a JSON object, or its data_base64 no string")
		}
		return e, json.Unmarshal(body, &e)
	default:
		return e, errors.New("it is a batch")
	}
}

// validate checks what the SDK does, and that no attribute has a control character (CloudEvents 1.0.2, section 3.1,
// String): attributes end up in headers, logs and mails.
func validate(e event.Event) error {
	var invalid event.ValidationError
	if err := e.Validate(); errors.As(err, &invalid) {
		return errors.New(strings.Join(slices.Sorted(strings.SplitSeq(strings.TrimSpace(invalid.Error()), "\n")), "; "))
	}
	for name, v := range attributes(e) {
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

func writeEvent(w http.ResponseWriter, e event.Event, mode binding.Encoding) (err error) {
	body := e.Data()
	if mode == binding.EncodingStructured {
		w.Header().Set("Content-Type", event.ApplicationCloudEventsJSON)
		body, err = json.Marshal(e)
	} else {
		err = encodeBinary(w.Header(), e)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(body)
	return err
}

// NewRequest makes the POST that carries e in binary mode.
func NewRequest(ctx context.Context, target string, e event.Event) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(e.Data()))
	if err != nil {
		return nil, fmt.Errorf("make request to %s: %w", target, err)
	}
	if err := encodeBinary(r.Header, e); err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID(), err)
	}
	return r, nil
}

// Reply reads the event that a response carries, or nil when it carries none.
func Reply(resp *http.Response) (*event.Event, error) {
	body, err := readAll(io.LimitReader(resp.Body, MaxEvent+1), resp.ContentLength)
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	if len(body) > MaxEvent {
		return nil, fmt.Errorf("reply is larger than %d bytes", MaxEvent)
	}
	mode := modeOf(resp.Header)
	if mode == binding.EncodingUnknown {
		return nil, nil
	}
	e, err := decode(resp.Header, mode, body)
	if err == nil {
		err = validate(e)
	}
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	return &e, nil
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
