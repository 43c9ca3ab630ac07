package job

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
)

// State is where a job stands.
type State string

// The states of a job.
const (
	Stored     State = "stored"     // the video is kept, its event not yet taken by the broker
	Queued     State = "queued"     // the broker has the event
	Converting State = "converting" // a worker holds the lease
	Converted  State = "converted"  // the MP3 is kept
	Notified   State = "notified"   // and its owner told
	Failed     State = "failed"
	Cancelled  State = "cancelled"
	Expired    State = "expired"
	HandedOver State = "handed_over" // its event was taken, and nothing more is known
)

// States lists them all.
var States = []State{Stored, Queued, Converting, Converted, Notified, Failed, Cancelled, Expired, HandedOver}

// Finished reports whether nothing is left to convert.
func (s State) Finished() bool { return !slices.Contains(unfinished, s) }

// Job is one video on its way to an MP3.
type Job struct {
	ID string `bson:"_id" json:"id"` // the video's id
	// Owner is the id of a user, which no other user gets, ever.
	Owner    string            `bson:"owner" json:"owner"`
	Username string            `bson:"username,omitempty" json:"username,omitempty"` // see Addressee
	Filename string            `bson:"filename" json:"filename"`
	Options  eventing.Options  `bson:"options" json:"options"`
	Webhook  *Webhook          `bson:"webhook,omitempty" json:"webhook,omitempty"`
	State    State             `bson:"state" json:"state"`
	Round    int               `bson:"round" json:"round"` // 1, and one more each time its owner starts it anew
	Video    Video             `bson:"video" json:"video"`
	MP3      *MP3              `bson:"mp3,omitempty" json:"mp3,omitempty"`
	Progress int               `bson:"progress" json:"progress"` // percent; 100 only when the MP3 is stored
	Attempts []Attempt         `bson:"attempts,omitempty" json:"attempts,omitempty"`
	Lease    Lease             `bson:"lease" json:"-"`
	Error    *eventing.Failure `bson:"error,omitempty" json:"error,omitempty"`
	Notice   string            `bson:"notice,omitempty" json:"notice,omitempty"` // what its owner is to know of the MP3
	Notices  []Notice          `bson:"notices,omitempty" json:"notices,omitempty"`
	Created  time.Time         `bson:"created" json:"created"`
	Updated  time.Time         `bson:"updated" json:"updated"`
	Keep     Retention         `bson:"keep,omitempty" json:"keep,omitzero"`

	// VideoExpires is when the video is deleted, and Expires when the MP3 is as well. They are set when the job has ended.
	VideoExpires *time.Time `bson:"video_expires,omitempty" json:"video_expires,omitempty"`
	Expires      *time.Time `bson:"expires,omitempty" json:"expires,omitempty"`
}

// Video is the source.
type Video struct {
	Length int64  `bson:"length" json:"length"` // bytes
	SHA256 string `bson:"sha256,omitempty" json:"sha256,omitempty"`
	// Deleted says that it is not kept any more.
	Deleted bool `bson:"deleted,omitempty" json:"deleted,omitempty"`
}

// MP3 is the result.
type MP3 struct {
	FID      string  `bson:"fid" json:"fid"`
	Length   int64   `bson:"length" json:"length"` // bytes
	SHA256   string  `bson:"sha256" json:"sha256"`
	Duration float64 `bson:"duration" json:"duration"`             // seconds
	Plan     string  `bson:"plan,omitempty" json:"plan,omitempty"` // the way the video took through the converter
	Notice   string  `bson:"-" json:"-"`                           // becomes the job's
}

// Attempt is one worker's try.
type Attempt struct {
	Epoch  int        `bson:"epoch" json:"epoch"`
	Worker string     `bson:"worker" json:"worker"`
	From   time.Time  `bson:"from" json:"from"`
	To     *time.Time `bson:"to,omitempty" json:"to,omitempty"`
	Error  string     `bson:"error,omitempty" json:"error,omitempty"` // what its owner may read of it
	// Released says that the worker gave the job back, for a reason that is not known to lie in the video.
	Released bool `bson:"released,omitempty" json:"released,omitempty"`
}

// Lease says which worker's writes count: those of the highest epoch.
type Lease struct {
	Epoch int       `bson:"epoch"`
	Until time.Time `bson:"until"` // by the store's clock
}

// Notice is a message that was sent about the job.
type Notice struct {
	Event   string    `bson:"event" json:"-"` // id of the event that caused it
	Channel string    `bson:"channel" json:"channel"`
	At      time.Time `bson:"at" json:"at"`
	Refused string    `bson:"refused,omitempty" json:"refused,omitempty"` // why it was not, and will not be, sent
	Round   int       `bson:"-" json:"-"`                                 // of the job that was told of
}

// What a store answers instead of a job.
var (
	ErrNotFound = errors.New("no such job")
	ErrExists   = errors.New("the job exists already")
	ErrState    = errors.New("the job's state does not allow it")
	ErrLost     = errors.New("the job is no longer held by this worker")
)

// BusyError says that another worker holds the job.
type BusyError struct{ For time.Duration } // how long its lease still runs, at most

func (e *BusyError) Error() string { return fmt.Sprintf("another worker holds the job for %v", e.For) }

// Query selects jobs to list, newest first.
type Query struct {
	Owner  string // empty means everyone's
	State  State  // empty means any
	Before string // only ids below this one; empty means from the newest
	Limit  int    // at most this many
}

// Addressee is whom to tell of the job: the owner's e-mail address. Jobs of the old system, and those from before
// November 2026, have it as their owner.
func (j *Job) Addressee() string { return cmp.Or(j.Username, j.Owner) }

// handedMP3 reports whether the job was handed over with its MP3, so that nothing is left to convert. Another MP3 would
// take the place of that one, whose file nobody would know any more.
func (j *Job) handedMP3() bool { return j.State == HandedOver && j.MP3 != nil }

// Abandoned counts the attempts whose worker went away without a word.
func (j *Job) Abandoned() (n int) {
	for _, a := range j.Attempts {
		if !a.Released {
			n++
		}
	}
	return n
}

// Told reports whether a message about the event went out by the channel.
func (j *Job) Told(eventID, channel string) bool {
	return slices.ContainsFunc(j.Notices, func(n Notice) bool { return n.Event == eventID && n.Channel == channel })
}

// filesOf gives the ids of the jobs' videos and MP3s.
func filesOf(jobs []Job) map[string]bool {
	ids := map[string]bool{}
	for _, j := range jobs {
		ids[j.ID] = true
		if j.MP3 != nil {
			ids[j.MP3.FID] = true
		}
	}
	return ids
}

func (j *Job) reference() eventing.Reference {
	r := eventing.Reference{VideoFID: j.ID, Username: j.Addressee()}
	if j.MP3 != nil {
		r.MP3FID = &j.MP3.FID
	}
	return r
}

// Event makes the event that belongs to the job's state, as source would send it: video.uploaded while it is not
// converted, audio.converted when it is, conversion.failed when it failed. Any other state is ErrState.
func (j *Job) Event(source string) (event.Event, error) {
	var p eventing.Payload
	switch j.State {
	case Stored, Queued, Converting:
		p = eventing.VideoUploaded{Reference: j.reference(), Filename: j.Filename, Options: j.Options}
	case Converted, Notified, HandedOver:
		if j.MP3 == nil { // an old program has the video
			return event.Event{}, fmt.Errorf("event of job %s, which is %s: %w", j.ID, j.State, ErrState)
		}
		p = eventing.AudioConverted{Reference: j.reference(), Filename: j.Filename, Options: j.Options,
			Duration: j.MP3.Duration, Bytes: j.MP3.Length, SHA256: j.MP3.SHA256, Notice: j.Notice}
	case Failed:
		p = eventing.ConversionFailed{Reference: j.reference(), Filename: j.Filename, Options: j.Options, Error: *j.Error}
	default:
		return event.Event{}, fmt.Errorf("event of job %s, which is %s: %w", j.ID, j.State, ErrState)
	}
	return eventing.New(source, j.ID, j.Round, p)
}
