// Package convert makes the MP3 of a video: it takes video.uploaded, and replies audio.converted or conversion.failed. Several
// converters can share a long sound: then it takes video.segment.requested and video.segments.converted as well.
package convert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// Jobs is what the function needs of the jobs; see [job.Store] for what each does.
type Jobs interface {
	Get(ctx context.Context, id string) (job.Job, error)
	Adopt(ctx context.Context, j job.Job) (job.Job, error)
	Claim(ctx context.Context, id, worker string, ttl time.Duration) (job.Job, error)
	Heartbeat(ctx context.Context, id string, epoch int, ttl time.Duration, progress int) error
	Finish(ctx context.Context, id string, epoch int, mp3 job.MP3) (job.Job, error)
	Fail(ctx context.Context, id string, epoch int, f eventing.Failure) (job.Job, error)
	Release(ctx context.Context, id string, epoch int, reason string) error
	Divide(ctx context.Context, id string, epoch int, s job.Split, ttl time.Duration) (job.Job, error)
	ClaimSegment(ctx context.Context, id string, t job.Turn, ttl time.Duration) (job.Job, job.Turn, error)
	HeartbeatSegment(ctx context.Context, id string, t job.Turn, ttl time.Duration, progress int) error
	FinishSegment(ctx context.Context, id string, t job.Turn, made job.Segment) (job.Job, error)
	ReleaseSegment(ctx context.Context, id string, t job.Turn) error
}

// Sender sends an event and returns when it is taken.
type Sender interface {
	Send(ctx context.Context, e event.Event) error
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
	events       Sender
	cfg          Config
	worker       string
}

// New makes the function. It sends events only when sounds are to be shared (see [Config]); without that, events may be nil.
func New(jobs Jobs, videos, mp3s media.Store, engine Engine, events Sender, cfg Config) http.Handler {
	worker, err := os.Hostname()
	if err != nil {
		worker = "unknown"
	}
	f := &function{jobs: jobs, videos: videos, mp3s: mp3s, engine: engine, events: events, cfg: cfg, worker: worker}
	return eventing.Func(func(ctx context.Context, e event.Event) (*event.Event, error) {
		switch e.Type() {
		case eventing.TypeSegmentRequested:
			return f.segment(ctx, e)
		case eventing.TypeSegmentsConverted:
			return f.join(ctx, e)
		}
		return f.convert(ctx, e)
	})
}

// convert takes video.uploaded.
//
// A reply (200) means that the job has ended, with an MP3 that is stored or with a reason why there is none, and that both are
// on record; the broker passes the reply on before it drops the event. No content (204) means that nothing is left to do: the
// job was cancelled, deleted, or goes on with other workers. Anything else leaves the job free for the next delivery. Of the
// event only the job's id is trusted, unless the job did not begin with us.
func (f *function) convert(ctx context.Context, e event.Event) (*event.Event, error) {
	p, err := eventing.Decode[eventing.VideoUploaded](e)
	if err != nil {
		return nil, err
	}
	if err := about(e, p.Reference); err != nil {
		return nil, err
	}
	j, err := f.claim(ctx, p)
	return f.claimed(ctx, j, err)
}

// about reports an event that is not about one video.
func about(e event.Event, r eventing.Reference) error {
	if !media.ValidID(r.VideoFID) || e.Subject() != "" && e.Subject() != r.VideoFID {
		return eventing.Reject(fmt.Errorf("event %s is about %q and has video_fid %q: want one id of a video", e.ID(), e.Subject(), r.VideoFID))
	}
	return nil
}

// claimed works on a job, unless it could not be claimed.
func (f *function) claimed(ctx context.Context, j job.Job, err error) (*event.Event, error) {
	busy := (*job.BusyError)(nil)
	switch {
	case errors.As(err, &busy):
		return nil, f.busy(busy, err)
	case errors.Is(err, job.ErrState):
		return reply(ctx, j)
	case errors.Is(err, job.ErrNotFound):
		slog.InfoContext(ctx, "nothing to convert: job and video are deleted")
		return nil, nil
	case err != nil:
		return nil, eventing.RetryAfter(retryAfter, err)
	}
	return f.work(ctx, j)
}

// claim claims the job of the event. A video without one came by the old queue, or from a gateway that keeps no jobs: the event
// is all that is known of it, and a job is made of that.
func (f *function) claim(ctx context.Context, p eventing.VideoUploaded) (job.Job, error) {
	j, err := f.jobs.Claim(ctx, p.VideoFID, f.worker, f.cfg.Lease)
	if !errors.Is(err, job.ErrNotFound) {
		return j, err
	}
	video, err := f.videos.Open(ctx, p.VideoFID)
	if errors.Is(err, media.ErrNotFound) {
		return job.Job{}, job.ErrNotFound
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
		adopted.Owner = info.Owner
	}
	if adopted.Filename == "" {
		adopted.Filename = info.Name
	}
	if _, err := f.jobs.Adopt(ctx, adopted); err != nil {
		return job.Job{}, err
	}
	return f.jobs.Claim(ctx, p.VideoFID, f.worker, f.cfg.Lease)
}

// busy says when to come again for what another worker holds.
func (f *function) busy(b *job.BusyError, err error) error {
	return eventing.Busy(max(time.Second, min(b.For, f.cfg.Lease)), err)
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

// work converts a claimed job, or hands it on to several converters.
func (f *function) work(ctx context.Context, j job.Job) (*event.Event, error) {
	return f.run(ctx, j, task{
		heartbeat: func(ctx context.Context, percent int) error {
			return f.jobs.Heartbeat(ctx, j.ID, j.Lease.Epoch, f.cfg.Lease, percent)
		},
		do: func(ctx context.Context, progress func(int)) (*event.Event, error) {
			if shared, err := f.share(ctx, j); shared || err != nil {
				return nil, err
			}
			mp3, err := f.make(ctx, j, progress)
			if err != nil {
				return nil, err
			}
			ended, err := f.finish(ctx, j, mp3)
			if err != nil {
				return nil, err
			}
			return reply(ctx, ended)
		},
		release: func(ctx context.Context, reason string) error {
			return f.jobs.Release(ctx, j.ID, j.Lease.Epoch, reason)
		},
	})
}

// task is work under a lease.
type task struct {
	heartbeat heartbeat
	do        func(ctx context.Context, progress func(percent int)) (*event.Event, error)
	release   func(ctx context.Context, reason string) error // gives the lease back
}

// run does a task, and records a failure of it.
func (f *function) run(ctx context.Context, j job.Job, t task) (*event.Event, error) {
	began := time.Now()
	working, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	var next *event.Event
	err := f.hold(working, t.heartbeat, func(ctx context.Context, progress func(int)) (err error) {
		next, err = t.do(ctx, progress)
		return err
	})
	if err == nil {
		slog.InfoContext(ctx, "work ended", "seconds", time.Since(began).Seconds(), "video_bytes", j.Video.Length)
		return next, nil
	}
	last, cancel := afterwards(ctx)
	defer cancel()
	ended := j
	if !errors.Is(err, job.ErrLost) {
		failed := failureOf(err)
		if failed.Passing {
			// The lease ends by itself when it cannot be given back.
			return nil, eventing.RetryAfter(retryAfter, errors.Join(err, t.release(last, failed.Message)))
		}
		slog.InfoContext(ctx, "conversion failed", "code", failed.Code, "error", err)
		ended, err = f.jobs.Fail(last, j.ID, j.Lease.Epoch, failed.Failure)
	}
	switch {
	case errors.Is(err, job.ErrLost):
		slog.InfoContext(ctx, "job lost: it was cancelled, deleted, or another worker has it", "error", err)
		return nil, nil
	case err != nil:
		return nil, eventing.RetryAfter(retryAfter, err)
	}
	return reply(ctx, ended)
}

// make makes and stores the MP3; with an error nothing is stored.
func (f *function) make(ctx context.Context, j job.Job, progress func(int)) (job.MP3, error) {
	if j.Split.Whole() {
		m, err := f.makeOfSegments(ctx, j, progress)
		if err == nil || ctx.Err() != nil {
			return m, err
		}
		slog.WarnContext(ctx, "segments cannot be joined, one converter makes it all", "error", err)
	}
	return f.makeBy(ctx, j, func(video media.File, w media.Writer) (Result, error) {
		return f.engine.Convert(ctx, video, j.Options, w, progress)
	})
}

// makeBy stores the MP3 that the engine makes.
func (f *function) makeBy(ctx context.Context, j job.Job, engine func(video media.File, w media.Writer) (Result, error)) (job.MP3, error) {
	var made Result
	info, err := f.write(ctx, j, mp3Name(j.Filename), func(video media.File, w media.Writer) (err error) {
		made, err = engine(video, w)
		return err
	})
	return job.MP3{FID: info.ID, Length: info.Length, SHA256: info.SHA256, Duration: made.Duration.Seconds(), Plan: made.Plan}, err
}

// read gives the job's video to the engine.
func (f *function) read(ctx context.Context, j job.Job, engine func(video media.File) error) error {
	video, err := f.videos.Open(ctx, j.ID)
	if errors.Is(err, media.ErrNotFound) {
		return permanent(err, Gone, "the video is no longer stored: upload it again")
	}
	if err != nil {
		return passing(err, Storage, storageMessage)
	}
	defer video.Close()
	return engine(video)
}

// write stores what the engine makes of the job's video; with an error nothing is stored.
func (f *function) write(ctx context.Context, j job.Job, name string, engine func(video media.File, w media.Writer) error) (info media.Info, err error) {
	err = f.read(ctx, j, func(video media.File) error {
		w, err := f.mp3s.Create(ctx, media.Info{ID: media.NewID(), Name: name, Owner: j.Owner})
		if err != nil {
			return passing(err, Storage, storageMessage)
		}
		err = engine(video, w)
		last, cancel := afterwards(ctx)
		defer cancel()
		if err != nil {
			return errors.Join(err, w.Abort(last))
		}
		if info, err = w.Commit(last); err != nil {
			return passing(errors.Join(err, w.Abort(last)), Storage, storageMessage)
		}
		return nil
	})
	return info, err
}

// finish records the MP3, even when the one who asked for it has gone. Of its segments nobody hears any more.
func (f *function) finish(ctx context.Context, j job.Job, mp3 job.MP3) (job.Job, error) {
	last, cancel := afterwards(ctx)
	defer cancel()
	ended, err := f.jobs.Finish(last, j.ID, j.Lease.Epoch, mp3)
	if errors.Is(err, job.ErrLost) {
		ended, err = f.settle(last, j.ID, mp3.FID, err)
	}
	if err != nil {
		return j, err
	}
	for _, id := range j.Split.Files() {
		if err := f.mp3s.Delete(last, id); err != nil {
			slog.WarnContext(ctx, "segment left to sweep", "error", err)
		}
	}
	return ended, nil
}

// settle looks whether a file counts although the job seems to be lost: a write that was repeated below us finds the job changed
// by itself. A file that does not count is deleted; when it is not known whether it does, it is left to the sweep.
func (f *function) settle(ctx context.Context, id, fid string, lost error) (job.Job, error) {
	now, err := f.jobs.Get(ctx, id)
	switch {
	case err == nil && (now.MP3 != nil && now.MP3.FID == fid || slices.Contains(now.Split.Files(), fid)):
		return now, nil
	case err == nil || errors.Is(err, job.ErrNotFound):
		return now, errors.Join(lost, f.mp3s.Delete(ctx, fid))
	}
	return now, err
}

// afterwards is the time for what must be done when the work's own may be over.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), closing)
}

func mp3Name(video string) string {
	return strings.TrimSuffix(video, path.Ext(video)) + ".mp3"
}
