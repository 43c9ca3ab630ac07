package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing"
)

// Headers that are ours and not the event's. RabbitMQ's own begin with x- as well; none of these outlives a message.
const (
	attemptsHeader = "x-soundstrip-attempts"
	reasonHeader   = "x-soundstrip-reason"
	triggerHeader  = "x-soundstrip-trigger"
	// Traceparents: see [Trail]. They are ours, because cloudEvents_traceparent is the event's own, and programs that read
	// a bare traceparent would take it for that.
	publishedHeader = "x-soundstrip-published"
	triedHeader     = "x-soundstrip-tried"
)

const (
	maxShort   = 255 // bytes in a name or key (AMQP 0-9-1, section 4.2.5.3)
	maxReason  = 1 << 10
	maxHeaders = 64 << 10 // bytes of an event's attributes
	// maxFrame bounds the headers of a message, with those that the broker adds: they and the properties must fit into one
	// frame, of 128 KiB by default (frame_max), and RabbitMQ ends the connection that sends a larger one.
	maxFrame = 120 << 10
)

// prefixes of the headers that carry attributes. The CloudEvents AMQP Protocol Binding 1.0.2, section 3.1.3.1, allows
// the first two. Knative and others have used that of the HTTP binding, and none.
var prefixes = []string{"cloudevents_", "cloudevents:", "ce-", ""}

// encode makes the message that carries e in binary mode. Its errors are rejections.
func encode(e event.Event) (amqp.Publishing, error) {
	reject := func(format string, args ...any) (amqp.Publishing, error) {
		return amqp.Publishing{}, eventing.Reject(fmt.Errorf(format, args...))
	}
	if len(e.Type()) > maxShort {
		return reject("type of the event is longer than %d bytes", maxShort)
	}
	headers, size, long := amqp.Table{}, 0, false
	err := eventing.Attributes(e, func(name, value string) {
		name = "cloudEvents_" + name
		headers[name] = value
		size += len(name) + len(value)
		long = long || len(name) > maxShort
	})
	if err != nil {
		return reject("%w", err)
	}
	if long {
		return reject("an attribute of the event has a name longer than %d bytes", maxShort-len("cloudEvents_"))
	}
	if size > maxHeaders {
		return reject("the attributes of the event take more than %d bytes", maxHeaders)
	}
	if len(e.DataContentType()) > maxShort {
		return reject("datacontenttype of the event is longer than %d bytes", maxShort)
	}
	return amqp.Publishing{
		Headers: headers, ContentType: e.DataContentType(), DeliveryMode: amqp.Persistent, Body: e.Data(),
	}, nil
}

// encodeLegacy makes the message of the system before CloudEvents. Its errors are rejections.
func encodeLegacy(e event.Event) (amqp.Publishing, error) {
	ref, err := reference(e.Data())
	if err != nil {
		err = fmt.Errorf("event %s cannot be written as a legacy message: %w", e.ID(), err)
		return amqp.Publishing{}, eventing.Reject(err)
	}
	body, err := json.Marshal(ref)
	return amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}, err
}

// decode reads the event that a message carries: in binary or structured mode of CloudEvents, or else as a legacy
// message, to be wrapped as the given type, which may be empty when none is expected.
func decode(d amqp.Delivery, legacyType string) (e event.Event, legacy bool, err error) {
	if headersSize(d.Headers) > maxFrame {
		return e, false, fmt.Errorf("the headers of the message take more than %d bytes", maxFrame)
	}
	media, _, _ := mime.ParseMediaType(d.ContentType)
	headers := make(map[string]any, len(d.Headers))
	for k, v := range d.Headers {
		headers[strings.ToLower(k)] = v
	}
	if strings.HasPrefix(media, "application/cloudevents") {
		if media != event.ApplicationCloudEventsJSON {
			return e, false, fmt.Errorf("the event format %s is not known here", media)
		}
		if err := json.Unmarshal(d.Body, &e); err != nil {
			return e, false, fmt.Errorf("read structured event: %w", err)
		}
		return e, false, validate(e)
	}
	for _, prefix := range prefixes {
		if headers[prefix+"specversion"] != nil {
			e, err := decodeBinary(headers, prefix, d.ContentType, d.Body)
			return e, false, err
		}
	}
	if legacyType == "" {
		return e, true, errors.New("the message has no CloudEvent headers, and the trigger has no type to wrap it as")
	}
	e, err = wrap(d.Body, legacyType)
	return e, true, err
}

func decodeBinary(headers map[string]any, prefix, contentType string, body []byte) (event.Event, error) {
	if v := headers[prefix+"specversion"]; v != event.CloudEventsVersionV1 {
		return event.Event{}, fmt.Errorf("specversion is %v, want %s", v, event.CloudEventsVersionV1)
	}
	e := event.New()
	for name, v := range headers {
		name, ok := strings.CutPrefix(name, prefix)
		if !ok || !attributeName.MatchString(name) {
			continue
		}
		s, err := types.Format(v)
		if err != nil {
			return e, fmt.Errorf("attribute %s: %w", name, err)
		}
		if err := spec.V1.SetAttribute(e.Context, name, s); err != nil {
			return e, fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	if contentType != "" {
		e.SetDataContentType(contentType)
	}
	e.DataEncoded = body
	return e, validate(e)
}

func validate(e event.Event) error {
	if e.Context == nil {
		return errors.New("the event has no attributes")
	}
	return e.Validate()
}

// wrap makes an event of the message {"video_fid", "mp3_fid", "username"}.
func wrap(body []byte, typ string) (event.Event, error) {
	ref, err := reference(body)
	if err != nil {
		return event.Event{}, fmt.Errorf("the message is neither a CloudEvent nor a legacy message: %w", err)
	}
	return eventing.New(eventing.LegacySource, ref.VideoFID, 1, legacyPayload{ref, typ})
}

func reference(body []byte) (ref eventing.Reference, err error) {
	if err := json.Unmarshal(body, &ref); err != nil {
		return ref, err
	}
	return ref, legacyPayload{Reference: ref}.Validate()
}

// legacyPayload is what is known of an event that came as a legacy message.
type legacyPayload struct {
	eventing.Reference
	typ string
}

func (p legacyPayload) Type() string { return p.typ }

func (p legacyPayload) Validate() error {
	if p.VideoFID == "" || p.Username == "" {
		return errors.New("video_fid or username is missing")
	}
	return nil
}

// again makes a message that is as d was when it was first published.
func again(d amqp.Delivery) amqp.Publishing {
	headers := amqp.Table{}
	for k, v := range d.Headers {
		if !strings.HasPrefix(k, "x-") {
			headers[k] = v
		}
	}
	return amqp.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, MessageId: d.MessageId,
		CorrelationId: d.CorrelationId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId,
		DeliveryMode: amqp.Persistent, Body: d.Body,
	}
}

// headersSize is about how many bytes a value takes among the headers of a message, and no less.
func headersSize(v any) (n int) {
	const fixed = 16 // the value's type, and its length or the longest number
	switch v := v.(type) {
	case string:
		n = len(v)
	case []byte:
		n = len(v)
	case []any:
		for _, v := range v {
			n += headersSize(v)
		}
	case amqp.Table:
		for name, v := range v {
			n += 1 + len(name) + headersSize(v)
		}
	}
	return fixed + n
}

// attempts reads how many were spent on d; what is no such number, as we write it, counts as none.
func attempts(d amqp.Delivery) int {
	n, _ := d.Headers[attemptsHeader].(int64)
	if n < 0 || n > math.MaxInt32 {
		return 0
	}
	return int(n)
}

const rabbitSystem = "rabbitmq"

// trail reads where d comes from.
func trail(d amqp.Delivery) Trail {
	t := Trail{System: rabbitSystem}
	t.Published, _ = d.Headers[publishedHeader].(string)
	t.Tried, _ = d.Headers[triedHeader].(string)
	return t
}
