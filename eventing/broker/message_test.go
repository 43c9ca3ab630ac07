package broker

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/soundstrip/soundstrip/eventing"
)

func TestEncode(t *testing.T) {
	t.Parallel()
	e := newEvent(t, "1", "a.x")
	e.SetDataSchema("https://example.org/schema")
	e.SetExtension("level", 7)
	e.SetExtension("flag", true)
	got := must(t, encode, e)
	want := amqp.Publishing{
		Headers: amqp.Table{
			"cloudEvents_specversion": "1.0",
			"cloudEvents_id":          "1",
			"cloudEvents_type":        "a.x",
			"cloudEvents_source":      "/test",
			"cloudEvents_subject":     "subject of 1",
			"cloudEvents_time":        "2026-01-02T03:04:05Z",
			"cloudEvents_dataschema":  "https://example.org/schema",
			"cloudEvents_level":       "7",
			"cloudEvents_flag":        "true",
			"cloudEvents_traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		},
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		Body:         e.Data(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("encode() (-want +got):\n%s", diff)
	}
	if e.Extensions()["id"] != nil {
		t.Error("encode() changed the event")
	}
}

func TestEncodeRejects(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*event.Event)
	}{
		{"type", func(e *event.Event) { e.SetType(strings.Repeat("x", 256)) }},
		{"name of an extension", func(e *event.Event) { e.SetExtension(strings.Repeat("x", 256), "v") }},
		{"datacontenttype", func(e *event.Event) { e.SetDataContentType("a/" + strings.Repeat("x", 256)) }},
		{"attributes together", func(e *event.Event) { e.SetExtension("x", strings.Repeat("x", maxHeaders)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEvent(t, "1", "a.x")
			tt.change(&e)
			_, err := encode(e)
			if status, _ := eventing.Outcome(err); err == nil || status != http.StatusBadRequest {
				t.Errorf("encode() of a too long %s = %v, want a rejection", tt.name, err)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	plain := event.New()
	plain.SetID("1")
	plain.SetType("a.x")
	plain.SetSource("/s")
	plain.SetTime(time.Unix(1000, 0).UTC())
	plain.SetExtension("level", "7")
	if err := plain.SetData(event.ApplicationJSON, json.RawMessage(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	structured, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	binary := func(prefix string) amqp.Delivery {
		return amqp.Delivery{ContentType: "application/json", Body: []byte(`{"a":1}`), Headers: amqp.Table{
			prefix + "specversion": "1.0", prefix + "id": "1", prefix + "type": "a.x", prefix + "source": "/s",
			prefix + "time": time.Unix(1000, 0), prefix + "level": int32(7), "x-death": []any{}, "not an attribute": "x",
		}}
	}
	legacy := must(t,
		func(p legacyPayload) (event.Event, error) { return eventing.New(eventing.LegacySource, "v1", 1, p) },
		legacyPayload{eventing.Reference{VideoFID: "v1", Username: "ada"}, "a.x"})
	tests := []struct {
		name     string
		delivery amqp.Delivery
		want     event.Event
		legacy   bool
	}{
		{"cloudEvents_", binary("cloudEvents_"), plain, false},
		{"cloudEvents:", binary("cloudEvents:"), plain, false},
		{"ce-", binary("ce-"), plain, false},
		{"CE-", binary("CE-"), plain, false},
		{"bare", binary(""), plain, false},
		{"structured", amqp.Delivery{ContentType: "application/cloudevents+json; charset=utf-8", Body: structured}, plain,
			false},
		{"old JSON", amqp.Delivery{Body: []byte(`{"video_fid": "v1", "mp3_fid": null, "username": "ada"}`)}, legacy, true},
		{"old JSON with other headers", amqp.Delivery{Headers: amqp.Table{"id": "x"}, ContentType: "text/plain",
			Body: []byte(`{"username": "ada", "video_fid": "v1", "more": []}`)}, legacy, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, legacy, err := decode(tt.delivery, "a.x")
			if err != nil {
				t.Fatalf("decode() = %v", err)
			}
			if diff := cmp.Diff(tt.want.String(), got.String()); diff != "" || legacy != tt.legacy {
				t.Errorf("decode() = legacy %v, want %v (-want +got):\n%s", legacy, tt.legacy, diff)
			}
		})
	}
}

func TestDecodeFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		delivery amqp.Delivery
		typ      string
	}{
		{"nothing", amqp.Delivery{}, "a.x"},
		{"no JSON", amqp.Delivery{Body: []byte("video 1")}, "a.x"},
		{"no video", amqp.Delivery{Body: []byte(`{"username": "ada"}`)}, "a.x"},
		{"no username", amqp.Delivery{Body: []byte(`{"video_fid": "v1"}`)}, "a.x"},
		{"null", amqp.Delivery{Body: []byte("null")}, "a.x"},
		{"no type to wrap as", amqp.Delivery{Body: []byte(`{"video_fid": "v1", "username": "ada"}`)}, ""},
		{"another version", amqp.Delivery{Headers: amqp.Table{"cloudEvents_specversion": "2.0"}}, "a.x"},
		{"version of another kind", amqp.Delivery{Headers: amqp.Table{"cloudEvents_specversion": int32(1)}}, "a.x"},
		{"attributes are missing", amqp.Delivery{Headers: amqp.Table{"cloudEvents_specversion": "1.0"}}, "a.x"},
		{"attribute of no type", amqp.Delivery{Headers: amqp.Table{"ce-specversion": "1.0", "ce-id": amqp.Table{}}}, "a.x"},
		{"structured, empty", amqp.Delivery{ContentType: "application/cloudevents+json", Body: []byte("{}")}, "a.x"},
		{"structured, null", amqp.Delivery{ContentType: "application/cloudevents+json", Body: []byte("null")}, "a.x"},
		{"batch", amqp.Delivery{ContentType: "application/cloudevents-batch+json", Body: []byte("[]")}, "a.x"},
		{"another format", amqp.Delivery{ContentType: "application/cloudevents+avro"}, "a.x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if e, _, err := decode(tt.delivery, tt.typ); err == nil {
				t.Errorf("decode() = %v, want an error", e)
			}
		})
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	d := amqp.Delivery{ContentType: "a/b", MessageId: "m", UserId: "guest", Expiration: "1", ReplyTo: "q",
		Body: []byte("x"), Headers: amqp.Table{
			"cloudEvents_id": "1", "x-death": []any{}, attemptsHeader: int64(3), reasonHeader: "because"}}
	want := amqp.Publishing{ContentType: "a/b", MessageId: "m", Body: []byte("x"), DeliveryMode: amqp.Persistent,
		Headers: amqp.Table{"cloudEvents_id": "1"}}
	if diff := cmp.Diff(want, again(d)); diff != "" {
		t.Errorf("again() (-want +got):\n%s", diff)
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		value any
		want  int
	}{
		{"none", nil, 0},
		{"ours", int64(3), 3},
		{"negative", int64(-1), 0},
		{"huge", int64(1) << 62, 0},
		{"of another type", "3", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := attempts(amqp.Delivery{Headers: amqp.Table{attemptsHeader: tt.value}}); got != tt.want {
				t.Errorf("attempts(%v) = %d, want %d", tt.value, got, tt.want)
			}
		})
	}
}

// FuzzDecode feeds whatever another program may put into a queue.
func FuzzDecode(f *testing.F) {
	f.Add("cloudEvents_", "1", "a.x", "/s", "level", "7", "application/json", []byte(`{"a":1}`))
	f.Add("ce-", "1", "a.x", "/s", "time", "2026-01-02T03:04:05Z", "text/plain", []byte("x"))
	f.Add("", "", "", "%", "data", "\xff", "a/b;c", []byte{})
	f.Add("x", "", "", "", "", "", "application/cloudevents+json",
		[]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"eA=="}`))
	f.Add("x", "", "", "", "", "", "", []byte(`{"video_fid":"v1","mp3_fid":"m1","username":"ada"}`))
	f.Fuzz(func(t *testing.T, prefix, id, typ, source, name, value, contentType string, body []byte) {
		d := amqp.Delivery{ContentType: contentType, Body: body,
			Headers: amqp.Table{prefix + "specversion": "1.0", prefix + "id": id,
				prefix + "type": typ, prefix + "source": source, prefix + name: value}}
		e, _, err := decode(d, "a.x")
		if err != nil {
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("decode() gave an event that is not valid: %v", err)
		}
		p, err := encode(e)
		if status, _ := eventing.Outcome(err); err != nil && status == http.StatusBadRequest {
			return
		} else if err != nil {
			t.Fatalf("encode() = %v", err)
		}
		back, legacy, err := decode(amqp.Delivery{ContentType: p.ContentType, Headers: p.Headers, Body: p.Body}, "")
		if err != nil || legacy {
			t.Fatalf("decode() of what encode() made = legacy %v, %v", legacy, err)
		}
		e.DataBase64 = false // says how its JSON form is written
		if diff := cmp.Diff(e.String(), back.String()); diff != "" {
			t.Fatalf("event changed on its way (-want +got):\n%s", diff)
		}
	})
}
