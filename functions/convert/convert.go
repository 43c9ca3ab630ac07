// Package convert makes the MP3 of a video: it takes video.uploaded, and replies audio.converted or conversion.failed.
package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// Jobs is what the function needs of the jobs; see [job.Store] for what each does.
type Jobs interface {
	Get(ctx context.Context, id string) (job.Job, error)
	Adopt(ctx context.Context, j job.Job) (job.Job, error)
	Take(ctx context.Context, turn, worker string, ttl time.Duration) (job.Job, error)
	TakeNext(ctx context.Context, turn, worker string, ttl time.Duration) (job.Job, error)
	Heartbeat(ctx context.Context, id string, epoch int, ttl time.Duration, progress int) error
	Finish(ctx context.Context, id string, epoch int, mp3 job.MP3) (job.Job, error)
	Fail(ctx context.Context, id string, epoch int, f eventing.Failure) (job.Job, error)
	Release(ctx context.Context, id string, epoch int, reason string) error
}

// Engine makes the MP3 of a video; see [engine.Engine].
type Engine interface {
	Convert(ctx context.Context, src io.ReaderAt, size int64, o eventing.Options, dst engine.Destination,
		progress func(percent int)) (engine.Result, error)
}

// Source is the source of the events that the function makes.
const Source = "/soundstrip/convert"

const (
	// retryAfter is when a passing failure may be tried again.
	retryAfter = 5 * time.Second
	// closing bounds what must be done after the work, when its own time may be over.
	closing = 30 * time.Second
)

type function struct {
	jobs         Jobs
	videos, mp3s media.Store
	engine       Engine
	cfg          Config
	worker       string

	busy, ended, sound telemetry.Instrument
}

// New makes the function.
func New(jobs Jobs, videos, mp3s media.Store, engine Engine, cfg Config) http.Handler {
	worker, err := os.Hostname()
	if err != nil {
		worker = "unknown"
	}
	f := &function{jobs: jobs, videos: videos, mp3s: mp3s, engine: engine, cfg: cfg, worker: worker,
		busy: telemetry.Count("soundstrip.converters.busy"), ended: telemetry.Count("soundstrip.conversions"),
		sound: telemetry.Count("soundstrip.conversion.sound")}
	return eventing.Func(f.convert)
}

// convert takes video.uploaded.
//
// A reply (200) means that the job has ended, with an MP3 that is stored or with a reason why there is none, and that
// both are on record; the broker passes the reply on before it drops the event. No content (204) means that nothing is
// left to do: the job was cancelled, deleted, or goes on with other workers. Anything else leaves the job free for the
// next delivery. Of the event only the job's id is trusted, unless the job did not begin with us.
//
// The event is a turn, and the job of it that of whoever's turn it is: see [job.Store]. So nobody waits behind all of
// somebody else's jobs, whatever the queue's order, and there is one queue. Neither RabbitMQ's priorities nor queues
// for bands of priority would do: those are set when a job is queued, when nobody knows what others will ask for.
func (f *function) convert(ctx context.Context, e event.Event) (*event.Event, error) {
	if t := e.Type(); t == eventing.TypeSegmentRequested || t == eventing.TypeSegmentsConverted {
		slog.InfoContext(ctx, "event of a version that shared sounds: sweep sends video.uploaded of its job again")
		return nil, nil
	}
	p, err := eventing.Decode[eventing.VideoUploaded](e)
	if err != nil {
		return nil, err
	}
	if !media.ValidID(p.VideoFID) || e.Subject() != "" && e.Subject() != p.VideoFID {
		return nil, eventing.Reject(fmt.Errorf("event %s is about %q and has video_fid %q: want one id of a video", e.ID(),
			e.Subject(), p.VideoFID))
	}
	j, err := f.claim(ctx, p, job.Turn(p.VideoFID, eventing.Round(e)))
	busy := (*job.BusyError)(nil)
	switch {
	case errors.As(err, &busy):
		return nil, eventing.Busy(max(time.Second, min(busy.For, f.cfg.Lease)), err)
	case errors.Is(err, job.ErrState):
		return reply(ctx, j)
	case errors.Is(err, job.ErrNotFound):
		slog.InfoContext(ctx, "nothing to convert: job and video are deleted, and no other waits")
		return nil, nil
	case err != nil:
		return nil, eventing.RetryAfter(retryAfter, err)
	}
	return f.work(ctx, j)
}

// claim takes the job whose turn it is. A video without one came by the old queue, or from a gateway that keeps no
// jobs: the event is all that is known of it, and a job is made of that.
func (f *function) claim(ctx context.Context, p eventing.VideoUploaded, turn string) (job.Job, error) {
	j, err := f.jobs.Take(ctx, turn, f.worker, f.cfg.Lease)
	if !errors.Is(err, job.ErrNotFound) {
		return j, err
	}
	video, err := f.videos.Open(ctx, p.VideoFID)
	if errors.Is(err, media.ErrNotFound) {
		return f.jobs.TakeNext(ctx, turn, f.worker, f.cfg.Lease)
	}
	if err != nil {
		return job.Job{}, fmt.Errorf("look for video %s: %w", p.VideoFID, err)
	}
	info := video.Info()
	if err := video.Close(); err != nil {
		return job.Job{}, fmt.Errorf("look for video %s: %w", p.VideoFID, err)
	}
	adopted := job.Job{
		ID:       p.VideoFID,
		Owner:    p.Username,
		Filename: p.Filename,
		Options:  p.Options,
		State:    job.Queued,
		Round:    1,
		Video:    job.Video{Length: info.Length, SHA256: info.SHA256},
	}
	if info.Owner != "" {
		adopted.Owner, adopted.Username = info.Owner, p.Username
	}
	if adopted.Filename == "" {
		adopted.Filename = info.Name
	}
	if _, err := f.jobs.Adopt(ctx, adopted); err != nil {
		return job.Job{}, err
	}
	return f.jobs.Take(ctx, turn, f.worker, f.cfg.Lease)
}

// reply gives the event that tells how a job ended, the same each time; none when nobody waits for one.
func reply(ctx context.Context, j job.Job) (*event.Event, error) {
	if j.State == job.Cancelled || j.State == job.Expired {
		slog.InfoContext(ctx, "nothing to convert", "state", j.State)
		return nil, nil
	}
	e, err := j.Event(Source)
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// work converts a claimed job, and records how that ended.
func (f *function) work(ctx context.Context, j job.Job) (*event.Event, error) {
	began := time.Now()
	f.busy.Add(ctx, 1)
	defer f.busy.Add(ctx, -1)
	ctx = eventing.WithAttrs(ctx, slog.String("job", j.ID))
	working, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	mp3, err := f.make(working, j)
	f.count(ctx, mp3, err)
	last, cancel := afterwards(ctx)
	defer cancel()
	if err == nil {
		j, err = f.finish(last, j, mp3)
	} else if !errors.Is(err, job.ErrLost) {
		failed := engine.FailureOf(err)
		if failed.Passing {
			// The lease ends by itself when it cannot be given back.
			err = errors.Join(err, f.jobs.Release(last, j.ID, j.Lease.Epoch, failed.Message))
			return nil, eventing.RetryAfter(retryAfter, err)
		}
		slog.InfoContext(ctx, "conversion failed", "code", failed.Code, "error", err)
		j, err = f.jobs.Fail(last, j.ID, j.Lease.Epoch, failed.Failure)
	}
	switch {
	case errors.Is(err, job.ErrLost):
		slog.InfoContext(ctx, "job lost: it was cancelled, deleted, or another worker has it", "error", err)
		return nil, nil
	case err != nil:
		return nil, eventing.RetryAfter(retryAfter, err)
	}
	slog.InfoContext(ctx, "conversion ended", "state", j.State, "seconds", time.Since(began).Seconds(), "video_bytes",
		j.Video.Length)
	return reply(ctx, j)
}

// count tells the metrics of a conversion: what it came to is one of the codes of failures.
func (f *function) count(ctx context.Context, mp3 job.MP3, err error) {
	outcome := "converted"
	switch {
	case errors.Is(err, job.ErrLost):
		outcome = "lost"
	case err != nil:
		outcome = engine.FailureOf(err).Code
	}
	f.sound.Add(ctx, mp3.Duration)
	f.ended.Add(ctx, 1, attribute.String("plan", mp3.Plan), attribute.String("outcome", outcome))
}

// make makes and stores the MP3 while it keeps the lease; with an error nothing is stored.
func (f *function) make(ctx context.Context, j job.Job) (mp3 job.MP3, err error) {
	ctx, lease := f.hold(ctx, j)
	defer func() { err = lease.end(err) }()
	video, err := f.videos.Open(ctx, j.ID)
	if errors.Is(err, media.ErrNotFound) {
		return mp3, engine.GoneFailure(err)
	}
	if err != nil {
		return mp3, engine.StorageFailure(err)
	}
	defer video.Close()
	w, err := f.mp3s.Create(ctx, media.Info{ID: media.NewID(), Name: mp3Name(j.Filename), Owner: j.Owner})
	if err != nil {
		return mp3, engine.StorageFailure(err)
	}
	made, err := f.engine.Convert(ctx, video, video.Info().Length, j.Options, w, lease.progress)
	if err != nil {
		return mp3, errors.Join(err, w.Abort(ctx))
	}
	info, err := w.Commit(ctx)
	if err != nil {
		return mp3, engine.StorageFailure(errors.Join(err, w.Abort(ctx)))
	}
	return job.MP3{FID: info.ID, Length: info.Length, SHA256: info.SHA256, Duration: made.Duration.Seconds(),
		Plan: made.Plan, Notice: made.Notice}, nil
}

// finish records the MP3, even when the one who asked for it has gone.
//
// The job may seem to be lost because the driver sent the write again and found the job changed by the first try. So an
// MP3 is deleted only when the job does not name it; when that is not known, it is left to sweep.
func (f *function) finish(ctx context.Context, j job.Job, mp3 job.MP3) (job.Job, error) {
	ended, err := f.jobs.Finish(ctx, j.ID, j.Lease.Epoch, mp3)
	if !errors.Is(err, job.ErrLost) {
		return ended, err
	}
	now, reading := f.jobs.Get(ctx, j.ID)
	switch {
	case reading == nil && now.MP3 != nil && now.MP3.FID == mp3.FID:
		return now, nil
	case reading == nil || errors.Is(reading, job.ErrNotFound):
		return now, errors.Join(err, f.mp3s.Delete(ctx, mp3.FID))
	}
	return now, reading
}

// afterwards is the time for what must be done when the work's own may be over.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), closing)
}

func mp3Name(video string) string {
	return strings.TrimSuffix(video, path.Ext(video)) + ".mp3"
}
