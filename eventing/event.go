package eventing

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// The types of Soundstrip's events.
const (
	TypeVideoUploaded    = "dev.soundstrip.video.uploaded.v1"
	TypeAudioConverted   = "dev.soundstrip.audio.converted.v1"
	TypeConversionFailed = "dev.soundstrip.conversion.failed.v1"
	TypeNotificationSent = "dev.soundstrip.notification.sent.v1"
	TypeAccountMail      = "dev.soundstrip.account.mail.v1"
)

// Types that versions until November 2026 sent, when several converters shared a long sound. They may still wait in a
// queue.
const (
	TypeSegmentRequested  = "dev.soundstrip.video.segment.requested.v1"
	TypeSegmentsConverted = "dev.soundstrip.video.segments.converted.v1"
)

// Payload is the data of an event; it knows the event's type.
type Payload interface {
	// Type is the CloudEvents type that the payload travels under.
	Type() string
	// Validate reports everything that is wrong with the payload.
	Validate() error
}

// LegacySource is the source of events that the broker makes of what old programs do.
const LegacySource = "/soundstrip/legacy"

// Reference names a job and its files. It is the message that the queues carried before CloudEvents, and the data of
// every event begins with it.
type Reference struct {
	VideoFID string  `json:"video_fid"`
	MP3FID   *string `json:"mp3_fid"` // null until there is one
	Username string  `json:"username"`
}

func (r Reference) validate() error {
	var errs []error
	if r.VideoFID == "" {
		errs = append(errs, errors.New("video_fid is missing"))
	}
	if r.Username == "" {
		errs = append(errs, errors.New("username is missing"))
	}
	return errors.Join(errs...)
}

// VideoUploaded says that a video is stored and waits to be converted.
type VideoUploaded struct {
	Reference
	Filename string  `json:"filename,omitempty"`
	Options  Options `json:"options,omitzero"`
}

// Type is [TypeVideoUploaded].
func (VideoUploaded) Type() string { return TypeVideoUploaded }

// Validate reports a missing reference and bad options.
func (p VideoUploaded) Validate() error { return errors.Join(p.validate(), p.Options.Validate()) }

// AudioConverted says that the MP3 of a video is stored.
type AudioConverted struct {
	Reference
	Filename string  `json:"filename,omitempty"`
	Options  Options `json:"options,omitzero"`
	Duration float64 `json:"duration"`         // of the MP3, in seconds
	Bytes    int64   `json:"bytes"`            // length of the MP3
	SHA256   string  `json:"sha256"`           // of the MP3, in hex
	Notice   string  `json:"notice,omitempty"` // what the job's owner is to know of the MP3
}

// Type is [TypeAudioConverted].
func (AudioConverted) Type() string { return TypeAudioConverted }

// Validate reports a missing reference or MP3.
func (p AudioConverted) Validate() error {
	err := p.validate()
	if p.MP3FID == nil || *p.MP3FID == "" {
		err = errors.Join(err, errors.New("mp3_fid is missing"))
	}
	return err
}

// ConversionFailed says that a video cannot be converted, and why.
type ConversionFailed struct {
	Reference
	Filename string  `json:"filename,omitempty"`
	Options  Options `json:"options,omitzero"`
	Error    Failure `json:"error"`
}

// Failure is why a conversion ended without an MP3.
type Failure struct {
	Code    string `json:"code" bson:"code"`       // no_audio, not_media, truncated, too_long, unsupported, …
	Message string `json:"message" bson:"message"` // for the person who uploaded the video
}

// Type is [TypeConversionFailed].
func (ConversionFailed) Type() string { return TypeConversionFailed }

// Validate reports a missing reference or reason.
func (p ConversionFailed) Validate() error {
	err := p.validate()
	if p.Error.Code == "" {
		err = errors.Join(err, errors.New("error.code is missing"))
	}
	return err
}

// NotificationSent says that the owner of a job was told how it ended.
type NotificationSent struct {
	Reference
	Channel string `json:"channel"` // email, webhook or job_webhook
}

// Type is [TypeNotificationSent].
func (NotificationSent) Type() string { return TypeNotificationSent }

// Validate reports a missing reference or channel.
func (p NotificationSent) Validate() error {
	err := p.validate()
	if p.Channel == "" {
		err = errors.Join(err, errors.New("channel is missing"))
	}
	return err
}

// AccountMail asks for a mail by which its reader chooses the password of an account. It is about no job.
type AccountMail struct {
	Email  string    `json:"email"`
	Secret string    `json:"secret"` // of the link
	Ends   time.Time `json:"ends"`   // when the link does
	// Muted says that no mail is to be sent: nobody shall learn from what login does that an address has no account.
	Muted bool `json:"muted,omitempty"`
}

// Type is [TypeAccountMail].
func (AccountMail) Type() string { return TypeAccountMail }

// Validate reports what is missing.
func (p AccountMail) Validate() error {
	var errs []error
	if p.Email == "" {
		errs = append(errs, errors.New("email is missing"))
	}
	if p.Secret == "" {
		errs = append(errs, errors.New("secret is missing"))
	}
	return errors.Join(errs...)
}

// New makes the event that carries p about a job. Round counts how often the job was started anew by its owner: the
// same job, payload type and round always make the same id. It fails when p does not validate.
func New(source, job string, round int, p Payload) (event.Event, error) {
	if err := p.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("make event %s of job %s: %w", p.Type(), job, err)
	}
	e := event.New()
	e.SetID(job + "/" + p.Type() + "/" + strconv.Itoa(round))
	e.SetType(p.Type())
	e.SetSource(source)
	e.SetSubject(job)
	if err := e.SetData(event.ApplicationJSON, p); err != nil {
		return event.Event{}, fmt.Errorf("make event %s of job %s: %w", p.Type(), job, err)
	}
	return e, nil
}

// Round is that with which [New] made the event; 1 for one that was made by somebody else.
func Round(e event.Event) int {
	s, ours := strings.CutPrefix(e.ID(), e.Subject()+"/"+e.Type()+"/")
	if n, err := strconv.Atoi(s); ours && err == nil {
		return n
	}
	return 1
}

// NewReply makes the event that answers cause with p, about what cause is about: one cause and payload type always make
// the same id. It fails when p does not validate.
func NewReply(source string, cause event.Event, p Payload) (*event.Event, error) {
	e, err := New(source, cause.Source()+"/"+cause.ID(), 1, p)
	if err != nil {
		return nil, fmt.Errorf("reply to event %s: %w", cause.ID(), err)
	}
	e.SetSubject(cause.Subject())
	return &e, nil
}

// Decode reads the data of an event of P's type and validates it. Its errors are permanent: see [Reject].
func Decode[P Payload](e event.Event) (P, error) {
	var p P
	if e.Type() != p.Type() {
		return p, Reject(fmt.Errorf("event type is %q, this function takes %q", e.Type(), p.Type()))
	}
	if err := json.Unmarshal(e.Data(), &p); err != nil {
		return p, Reject(fmt.Errorf("data of event %s is not the JSON of %s: %w", e.ID(), e.Type(), err))
	}
	if err := p.Validate(); err != nil {
		return p, Reject(fmt.Errorf("data of event %s: %w", e.ID(), err))
	}
	return p, nil
}
