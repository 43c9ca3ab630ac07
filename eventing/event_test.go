package eventing_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/eventingtest"
)

func payloads() []eventing.Payload {
	stored := eventing.Reference{VideoFID: "65f0a1b2c3d4e5f601234567", Username: "anna@example.com"}
	converted := stored
	converted.MP3FID = new("65f0a1b2c3d4e5f60123beef")
	return []eventing.Payload{
		eventing.VideoUploaded{Reference: stored, Filename: "Urlaub <3.mp4",
			Options: eventing.Options{Quality: new(0), Start: 1.5, Mono: true, Title: "Süd"}},
		eventing.AudioConverted{Reference: converted, Filename: "talk.mp4", Options: eventing.Options{Bitrate: 192},
			Duration: 1834.5, Bytes: 44028000, SHA256: strings.Repeat("ab", 32)},
		eventing.ConversionFailed{Reference: stored, Filename: "slides.mp4",
			Error: eventing.Failure{Code: "no_audio", Message: "the video has no sound"}},
		eventing.NotificationSent{Reference: converted, Channel: "email"},
		eventing.AccountMail{Email: "anna@example.com", Secret: "GEZDGNBVGY3TQOJQGEZDGNBVGY",
			Ends: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)},
	}
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	for _, p := range payloads() {
		t.Run(p.Type(), func(t *testing.T) {
			t.Parallel()
			eventingtest.Payload(t, p)
		})
	}
}

// TestDecode checks that Decode takes what the schema takes, and refuses what it refuses, as far as Decode is to know.
func TestDecode(t *testing.T) {
	t.Parallel()
	uploaded := decode[eventing.VideoUploaded]
	converted := decode[eventing.AudioConverted]
	failed := decode[eventing.ConversionFailed]
	sent := decode[eventing.NotificationSent]
	for _, tt := range []struct {
		name   string
		decode func(typ, data string) error
		typ    string
		data   string
		err    string // in the error; none when empty
		loose  bool   // Decode takes it, the schema does not
	}{
		{name: "uploaded", decode: uploaded, typ: eventing.TypeVideoUploaded,
			data: `{"video_fid":"1","mp3_fid":null,"username":"a"}`},
		{name: "unknown members", decode: uploaded, typ: eventing.TypeVideoUploaded,
			data: `{"video_fid":"1","mp3_fid":null,"username":"a","new":1}`},
		{name: "no video", decode: uploaded, typ: eventing.TypeVideoUploaded, data: `{"mp3_fid":null,"username":"a"}`,
			err: "video_fid is missing"},
		{name: "no user", decode: uploaded, typ: eventing.TypeVideoUploaded,
			data: `{"video_fid":"1","mp3_fid":null,"username":""}`, err: "username is missing"},
		{name: "bad options", decode: uploaded, typ: eventing.TypeVideoUploaded,
			data: `{"video_fid":"1","mp3_fid":null,"username":"a","options":{"bitrate":7}}`, err: "bitrate=7"},
		{name: "bitrate and quality", decode: uploaded, typ: eventing.TypeVideoUploaded,
			data: `{"video_fid":"1","mp3_fid":null,"username":"a","options":{"bitrate":64,"quality":1}}`, err: "exclude"},
		{name: "video is a number", decode: uploaded, typ: eventing.TypeVideoUploaded,
			data: `{"video_fid":1,"mp3_fid":null,"username":"a"}`, err: "is not the JSON"},
		{name: "an array", decode: uploaded, typ: eventing.TypeVideoUploaded, data: `[]`, err: "is not the JSON"},
		{name: "no mp3_fid", decode: uploaded, typ: eventing.TypeVideoUploaded, data: `{"video_fid":"1","username":"a"}`,
			loose: true},
		{name: "converted without an MP3", decode: converted, typ: eventing.TypeAudioConverted,
			data: `{"video_fid":"1","mp3_fid":null,"username":"a","duration":1,"bytes":1,"sha256":"` +
				strings.Repeat("0", 64) + `"}`, err: "mp3_fid is missing"},
		{name: "the old converter's message", decode: converted, typ: eventing.TypeAudioConverted,
			data: `{"video_fid":"1","mp3_fid":"2","username":"a"}`, loose: true},
		{name: "failed without a code", decode: failed, typ: eventing.TypeConversionFailed,
			data: `{"video_fid":"1","mp3_fid":null,"username":"a","error":{"code":"","message":"x"}}`,
			err:  "error.code is missing"},
		{name: "sent by no channel", decode: sent, typ: eventing.TypeNotificationSent,
			data: `{"video_fid":"1","mp3_fid":null,"username":"a"}`, err: "channel is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.decode(tt.typ, tt.data)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Decode(%s) = %v, want %q", tt.data, err, tt.err)
			}
			if err != nil {
				if status, _ := eventing.Outcome(err); status != 400 {
					t.Errorf("Outcome(%v) = %d, want 400: the event stays wrong", err, status)
				}
			}
			if err := eventingtest.Schema(t, tt.typ, []byte(tt.data)); (err != nil) != (tt.err != "" || tt.loose) {
				t.Errorf("schema on %s = %v, want an error: %v", tt.data, err, tt.err != "" || tt.loose)
			}
		})
	}
	if err := uploaded(eventing.TypeAudioConverted, `{"video_fid":"1","mp3_fid":null,"username":"a"}`); err == nil {
		t.Error("Decode takes an event of another type")
	}
}

func decode[P eventing.Payload](typ, data string) error {
	e := event.New()
	e.SetID("1")
	e.SetSource("/")
	e.SetType(typ)
	if err := e.SetData(event.ApplicationJSON, []byte(data)); err != nil {
		return err
	}
	_, err := eventing.Decode[P](e)
	return err
}

func TestNew(t *testing.T) {
	t.Parallel()
	p := payloads()[0]
	a, err := eventing.New("/a", "job", 1, p)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := eventing.New("/b", "job", 1, p)
	c, _ := eventing.New("/a", "job", 2, p)
	d, _ := eventing.New("/a", "job", 1, payloads()[2])
	if a.ID() != b.ID() {
		t.Errorf("a repeat has id %q, want %q", b.ID(), a.ID())
	}
	if a.ID() == c.ID() || a.ID() == d.ID() {
		t.Errorf("ids %q, %q, %q, want three: another round and another type are other events", a.ID(), c.ID(), d.ID())
	}
	if n := eventing.Round(c); n != 2 {
		t.Errorf("Round(%s) = %d, want 2", c.ID(), n)
	}
	if c.SetID("7"); eventing.Round(c) != 1 {
		t.Errorf("Round of another's event = %d, want 1", eventing.Round(c))
	}
	if _, err := eventing.New("/a", "job", 1, eventing.VideoUploaded{}); err == nil {
		t.Error("New makes an event without a reference")
	}
}

func TestNewReply(t *testing.T) {
	t.Parallel()
	cause := event.New()
	cause.SetID("1")
	cause.SetSource("/app")
	cause.SetSubject("s")
	a, err := eventing.NewReply("/a", cause, payloads()[0])
	if err != nil {
		t.Fatal(err)
	}
	if a.Source() != "/a" || a.Subject() != "s" {
		t.Errorf("the reply is from %q about %q, want /a about s", a.Source(), a.Subject())
	}
	b, _ := eventing.NewReply("/a", cause, payloads()[0])
	cause.SetSource("/other")
	c, _ := eventing.NewReply("/a", cause, payloads()[0])
	if a.ID() != b.ID() || a.ID() == c.ID() {
		t.Errorf("ids %q, %q, %q, want the first two the same: the third has another cause", a.ID(), b.ID(), c.ID())
	}
	if _, err := eventing.NewReply("/a", cause, eventing.VideoUploaded{}); err == nil {
		t.Error("NewReply makes an event without a reference")
	}
}
