// Package notify tells the owner of a job how it ended: it takes audio.converted and conversion.failed, and replies
// notification.sent.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// Jobs is what the function needs of the jobs; see [job.Store] for what each does.
type Jobs interface {
	Get(ctx context.Context, id string) (job.Job, error)
	FindMP3(ctx context.Context, fid string) (job.Job, error)
	Adopt(ctx context.Context, j job.Job) (job.Job, error)
	Claim(ctx context.Context, id, worker string, ttl time.Duration) (job.Job, error)
	Finish(ctx context.Context, id string, epoch int, mp3 job.MP3) (job.Job, error)
	Fail(ctx context.Context, id string, epoch int, f eventing.Failure) (job.Job, error)
	Tell(ctx context.Context, id string, ttl time.Duration) (job.Job, error)
	Noticed(ctx context.Context, id string, n job.Notice, done bool) error
}

// Webhooks is what the function needs of the webhooks of users; see [job.Webhooks].
type Webhooks interface {
	Get(ctx context.Context, owner string) (job.Webhook, error)
}

// Files is where the files of old programs are; see [media.Store].
type Files interface {
	Open(ctx context.Context, id string) (media.File, error)
}

// Channel is a way to reach the owner of a job.
type Channel interface {
	// Name is what the channel's notices are recorded by: email, webhook or job_webhook.
	Name() string
	// For reports whether the channel has somebody to tell about the job.
	For(j job.Job) bool
	// Tell returns when the message is accepted. A *RefusedError is permanent, another error is passing.
	Tell(ctx context.Context, o Outcome) error
}

// RefusedError says that a channel cannot tell an outcome, and never will.
type RefusedError struct {
	Reason string // for the owner of the job
	Err    error  // for the log; may be nil
}

func (e *RefusedError) Error() string {
	if e.Err != nil {
		return e.Reason + ": " + e.Err.Error()
	}
	return e.Reason
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Outcome is how a job ended.
type Outcome struct {
	ID    string // the same for a repeat
	Job   job.Job
	Links Links
}

// Links are absolute addresses; those of the MP3 are empty when there is none.
type Links struct {
	Home     string `json:"-"` // of the gateway
	Job      string `json:"job"`
	MP3      string `json:"mp3,omitempty"`
	Download string `json:"download,omitempty"` // the MP3, by its file id

	Open string    `json:"-"` // the MP3, for whoever has the address, until it ends: mails only go to the owner
	Ends time.Time `json:"-"`
}

// Source is the source of the events that the function makes.
const Source = "/soundstrip/notify"

const (
	// telling is how long a delivery keeps others from telling the owner. Its channels take less: three times
	// [mail.MaxTimeout], twice maxTimeout, and recording for each.
	telling = 4 * time.Minute
	// retryAfter is when a passing failure may be tried again.
	retryAfter = 10 * time.Second
	// recording bounds the recording of what was sent, which goes on when the caller has left.
	recording = 10 * time.Second
)

type function struct {
	jobs         Jobs
	webhooks     Webhooks
	videos, mp3s Files
	channels     []Channel
	cfg          Config

	notices, lag telemetry.Instrument
}

// New makes the function. All channels that are for a job tell its outcome. The first, which there must be, is for
// every job. They get a job that has no webhook with that of its owner.
func New(jobs Jobs, webhooks Webhooks, videos, mp3s Files, channels []Channel, cfg Config) http.Handler {
	f := &function{jobs: jobs, webhooks: webhooks, videos: videos, mp3s: mp3s, channels: channels, cfg: cfg,
		notices: telemetry.Count("soundstrip.notices"), lag: telemetry.Measure("soundstrip.job.lag")}
	return eventing.Func(f.notify)
}

// notify takes audio.converted and conversion.failed.
//
// A reply (200) means that every channel has told the outcome or never will, and that this is recorded. A repeat gets
// the same reply and tells nothing. No content (204) means that there is nobody to tell: the job was deleted, or goes
// on. After any other answer, the next delivery tells what this one did not. A crash between the yes of a channel and
// our record of it leaves one message that is sent twice, with the same id.
//
// Of the event only the id of the job is trusted. The job says what is told, and to whom. The exception is adopt.
func (f *function) notify(ctx context.Context, e event.Event) (*event.Event, error) {
	if e.Type() == eventing.TypeAccountMail {
		return nil, f.account(ctx, e)
	}
	j, err := f.find(ctx, e)
	if errors.Is(err, job.ErrNotFound) {
		slog.InfoContext(ctx, "nobody to tell: the job was deleted")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if j.Webhook, err = f.webhook(ctx, j); err != nil {
		return nil, eventing.RetryAfter(retryAfter, err)
	}
	ended, err := j.Event(Source)
	switch {
	case errors.Is(err, job.ErrState), err == nil && ended.Type() != e.Type():
		slog.InfoContext(ctx, "nothing to tell: the job went on", "state", j.State)
		return nil, nil
	case err != nil:
		return nil, err
	case j.State == job.Notified:
	default:
		if j, err = f.tell(ctx, j, ended.ID()); err != nil {
			return nil, err
		}
	}
	return reply(j, ended.ID())
}

// account takes account.mail. No content (204) means that the mail is sent, or never will be. Nothing is recorded: a
// repeat sends it once more, with the same Message-ID.
func (f *function) account(ctx context.Context, e event.Event) error {
	p, err := eventing.Decode[eventing.AccountMail](e)
	if err != nil {
		return err
	}
	if p.Muted || time.Now().After(p.Ends) {
		return nil
	}
	for _, c := range f.channels {
		c, ok := c.(email)
		if !ok {
			continue
		}
		err := c.choose(ctx, e.Source()+"/"+e.ID(), p, strings.TrimRight(f.cfg.PublicURL, "/")+"/")
		f.count(ctx, c.Name(), err)
		if errors.As(err, new(*RefusedError)) {
			slog.WarnContext(ctx, "no mail about an account", "error", err)
			return nil
		}
		if err != nil {
			return eventing.RetryAfter(retryAfter, err)
		}
		return nil
	}
	slog.WarnContext(ctx, "no mail about an account: there is no mail server")
	return nil
}

// webhook gives the webhook of the job, or else of its owner; nil when neither has one.
func (f *function) webhook(ctx context.Context, j job.Job) (*job.Webhook, error) {
	if j.Webhook != nil {
		return j.Webhook, nil
	}
	w, err := f.webhooks.Get(ctx, j.Owner)
	switch {
	case errors.Is(err, job.ErrNotFound):
		return nil, nil //nolint:nilnil // there is none
	case err != nil:
		return nil, err
	}
	return &w, nil
}

// find gives the job that an event is about. Its errors are an outcome of the event, or job.ErrNotFound.
func (f *function) find(ctx context.Context, e event.Event) (job.Job, error) {
	var ref eventing.Reference
	var converted eventing.AudioConverted
	var failed eventing.ConversionFailed
	var err error
	if e.Type() == eventing.TypeConversionFailed {
		failed, err = eventing.Decode[eventing.ConversionFailed](e)
		ref = failed.Reference
	} else {
		converted, err = eventing.Decode[eventing.AudioConverted](e)
		ref = converted.Reference
	}
	if err != nil {
		return job.Job{}, err
	}
	if !media.ValidID(ref.VideoFID) || e.Subject() != "" && e.Subject() != ref.VideoFID {
		return job.Job{}, eventing.Reject(fmt.Errorf("event %s is about %q and has video_fid %q: want one id of a video",
			e.ID(), e.Subject(), ref.VideoFID))
	}
	if e.Type() == eventing.TypeAudioConverted && converted.SHA256 == "" {
		return f.adoptMP3(ctx, converted)
	}
	if e.Type() == eventing.TypeConversionFailed && e.Source() == eventing.LegacySource {
		return f.adoptFailure(ctx, failed)
	}
	j, err := f.jobs.Get(ctx, ref.VideoFID)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return j, eventing.RetryAfter(retryAfter, err)
	}
	return j, err
}

// pending gives the channels that have yet to tell the outcome.
func (f *function) pending(j job.Job, id string) []Channel {
	var left []Channel
	for _, c := range f.channels {
		if c.For(j) && !j.Told(id, c.Name()) {
			left = append(left, c)
		}
	}
	return left
}

// tell tells the outcome by every channel that has not told it. No other delivery does so meanwhile. It gives the job
// as it is then, with the webhook that it came with.
func (f *function) tell(ctx context.Context, j job.Job, id string) (job.Job, error) {
	w := j.Webhook
	j, err := f.jobs.Tell(ctx, j.ID, telling)
	j.Webhook = w
	busy := (*job.BusyError)(nil)
	if errors.As(err, &busy) {
		return j, eventing.Busy(min(busy.For, retryAfter), err)
	}
	if err != nil {
		return j, eventing.RetryAfter(retryAfter, err)
	}
	var failed error
	left := f.pending(j, id)
	if e, err := j.Event(Source); err != nil || e.ID() != id {
		failed, left = errors.New("the job went on meanwhile"), nil
	} else if len(left) == 0 {
		// Every channel has told it. The job does not say so, because the last channel then is not configured any more.
		failed = f.record(ctx, j.ID, job.Notice{Event: id, Channel: f.channels[0].Name(), Round: j.Round}, true)
	}
	for i, c := range left {
		n := job.Notice{Event: id, Channel: c.Name(), Round: j.Round}
		err := c.Tell(ctx, Outcome{ID: id, Job: j, Links: f.cfg.links(j)})
		f.count(ctx, c.Name(), err)
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			slog.WarnContext(ctx, "not told, and not to be", "channel", c.Name(), "error", err)
			n.Refused = refused.Reason
		} else if err != nil {
			failed = errors.Join(failed, fmt.Errorf("tell by %s: %w", c.Name(), err))
			continue
		}
		done := i == len(left)-1 && failed == nil
		if err := f.record(ctx, j.ID, n, done); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if done && j.Round == 1 { // one that is tried again was uploaded long ago
			f.lag.Add(ctx, time.Since(j.Created).Seconds())
		}
		j.Notices = append(j.Notices, n)
	}
	last, cancel := afterwards(ctx)
	defer cancel()
	if _, err := f.jobs.Tell(last, j.ID, 0); err != nil {
		slog.WarnContext(ctx, "job not given back: the next delivery has to wait", "error", err)
	}
	if failed != nil {
		return j, eventing.RetryAfter(retryAfter, failed)
	}
	return j, nil
}

// count tells the metrics of a notice.
func (f *function) count(ctx context.Context, channel string, err error) {
	outcome := "sent"
	switch {
	case errors.As(err, new(*RefusedError)):
		outcome = "refused"
	case err != nil:
		outcome = "failed"
	}
	f.notices.Add(ctx, 1, attribute.String("channel", channel), attribute.String("outcome", outcome))
}

func (f *function) record(ctx context.Context, jobID string, n job.Notice, done bool) error {
	last, cancel := afterwards(ctx)
	defer cancel()
	return f.jobs.Noticed(last, jobID, n, done)
}

// afterwards is the time for what must be done when the caller has left.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recording)
}

// reply names the channel that told the outcome first; there is none when all of them refused.
func reply(j job.Job, id string) (*event.Event, error) {
	i := slices.IndexFunc(j.Notices, func(n job.Notice) bool { return n.Event == id && n.Refused == "" })
	if i < 0 {
		return nil, nil
	}
	p := eventing.NotificationSent{Reference: eventing.Reference{VideoFID: j.ID, Username: j.Addressee()},
		Channel: j.Notices[i].Channel}
	if j.MP3 != nil {
		p.MP3FID = &j.MP3.FID
	}
	e, err := eventing.New(Source, j.ID, j.Round, p)
	if err != nil {
		return nil, err
	}
	return &e, nil
}
