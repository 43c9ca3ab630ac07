// Package sweep keeps the promise that every upload ends in an MP3 or a notice of its failure, whatever died in
// between: it sends events again that were lost, gives up on jobs that kill their converters, and removes what belongs
// to no job.
package sweep

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// Jobs is what the sweep needs of the jobs.
type Jobs interface {
	Keeps(ctx context.Context, ids []string) (map[string]bool, error)
	Stuck(ctx context.Context, unsent, silent time.Duration, limit int) ([]job.Job, error)
	Resent(ctx context.Context, id string) error
	GiveUp(ctx context.Context, id string, epoch int, f eventing.Failure) (job.Job, error)
	HandOver(ctx context.Context, id string) (job.Job, error)
	Expire(ctx context.Context, limit int) ([]job.Job, error)
	Swept(ctx context.Context, id string) error
	List(ctx context.Context, q job.Query) ([]job.Job, error)
	Get(ctx context.Context, id string) (job.Job, error)
	Cancel(ctx context.Context, id string) (job.Job, error)
	Delete(ctx context.Context, id string) error
}

// Uploads is what the sweep needs of the uploads that are not complete.
type Uploads interface {
	Keeps(ctx context.Context, ids []string) (map[string]bool, error)
	Expired(ctx context.Context, limit int) ([]job.Upload, error)
	Lock(ctx context.Context, id string, lease time.Duration) (job.Upload, error)
	Unlock(ctx context.Context, id string, epoch int) error
	Delete(ctx context.Context, id string) error
}

// Sender sends an event and returns when it is taken.
type Sender interface {
	Send(ctx context.Context, e event.Event) error
}

// Report counts what one sweep did.
type Report struct {
	Sent    int `json:"sent"`     // events sent again, or for a job that was given up
	GivenUp int `json:"given_up"` // jobs
	Handed  int `json:"handed"`   // jobs left to old programs
	Expired int `json:"expired"`  // jobs
	Uploads int `json:"uploads"`  // removed, whose time was up
	Videos  int `json:"videos"`   // removed, of jobs that are kept or of none
	MP3s    int `json:"mp3s"`     // removed
	// Forgotten counts the jobs of deleted accounts that were removed.
	Forgotten int `json:"forgotten"`
}

// Sweeper sweeps. Several may at the same time.
type Sweeper struct {
	jobs         Jobs
	uploads      Uploads
	videos, mp3s media.Store
	events       Sender
	accounts     *Accounts // nil when nobody knows them
	cfg          Config

	sweeps, items telemetry.Instrument
}

// New makes a sweeper.
func New(jobs Jobs, uploads Uploads, videos, mp3s media.Store, events Sender, cfg Config) *Sweeper {
	return &Sweeper{jobs: jobs, uploads: uploads, videos: videos, mp3s: mp3s, events: events, cfg: cfg,
		sweeps: telemetry.Count("soundstrip.sweeps"), items: telemetry.Count("soundstrip.sweep.items")}
}

// page is how many jobs are read at once.
const page = 100

// Sweep sweeps once. What fails does not keep it from the rest; the report is of what was done.
func (s *Sweeper) Sweep(ctx context.Context) (r Report, err error) {
	ctx, span := telemetry.Span(ctx, "sweep", trace.SpanKindInternal)
	defer func() {
		telemetry.End(span, err)
		s.count(ctx, r, err)
	}()
	err = errors.Join(s.expire(ctx, &r), s.endUploads(ctx, &r), s.unstick(ctx, &r), s.forget(ctx, &r))
	before := time.Now().Add(-s.cfg.Grace)
	videos, videoErr := s.videos.Sweep(ctx, before, s.knownVideos)
	mp3s, mp3Err := s.mp3s.Sweep(ctx, before, s.known)
	r.Videos, r.MP3s = r.Videos+videos, r.MP3s+mp3s
	return r, errors.Join(err, videoErr, mp3Err)
}

// count tells the metrics of a sweep.
func (s *Sweeper) count(ctx context.Context, r Report, err error) {
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	s.sweeps.Add(ctx, 1, attribute.String("outcome", outcome))
	for kind, n := range map[string]int{
		"sent": r.Sent, "given_up": r.GivenUp, "handed_over": r.Handed, "expired": r.Expired,
		"upload": r.Uploads, "video": r.Videos, "mp3": r.MP3s, "forgotten": r.Forgotten} {
		if n > 0 {
			s.items.Add(ctx, float64(n), attribute.String("kind", kind))
		}
	}
}

// known tells which files there is a job to keep for.
func (s *Sweeper) known(ctx context.Context, files []media.Info) (map[string]bool, error) {
	return s.jobs.Keeps(ctx, idsOf(files))
}

// knownVideos tells which videos there is a job or an upload to keep for.
func (s *Sweeper) knownVideos(ctx context.Context, files []media.Info) (map[string]bool, error) {
	jobs, err := s.known(ctx, files)
	if err != nil {
		return nil, err
	}
	uploads, err := s.uploads.Keeps(ctx, idsOf(files))
	known := map[string]bool{}
	maps.Copy(known, jobs)
	maps.Copy(known, uploads)
	return known, err
}

func idsOf(files []media.Info) []string {
	ids := make([]string, len(files))
	for i, f := range files {
		ids[i] = f.ID
	}
	return ids
}

// lease is how long an upload may take to be removed: nobody goes on with it meanwhile.
const lease = time.Minute

// endUploads removes the uploads whose time is up, with their bytes unless these have a job.
func (s *Sweeper) endUploads(ctx context.Context, r *Report) error {
	for {
		due, err := s.uploads.Expired(ctx, page)
		if err != nil || len(due) == 0 {
			return err
		}
		before := r.Uploads
		for _, u := range due {
			locked, err := s.uploads.Lock(ctx, u.ID, lease)
			switch {
			case moved(err):
				continue
			case err != nil:
				return err
			case !locked.Expires.Equal(u.Expires): // its client came back meanwhile, maybe with the last byte
				err = s.uploads.Unlock(ctx, u.ID, locked.Lease.Epoch)
			default:
				err = s.endUpload(ctx, locked, r)
			}
			if err != nil {
				return err
			}
		}
		if r.Uploads == before {
			return nil // others are at it
		}
	}
}

// endUpload removes one that the sweep holds. One that is not recorded as done may have a job nevertheless: whoever
// made that died before the record. And one that is may have none: in a restored copy, or when its job was deleted.
func (s *Sweeper) endUpload(ctx context.Context, u job.Upload, r *Report) error {
	jobs, err := s.jobs.Keeps(ctx, []string{u.ID})
	if err != nil {
		return err
	}
	if !jobs[u.ID] {
		if err := s.videos.Delete(ctx, u.ID); err != nil {
			return err
		}
	}
	if err := s.uploads.Delete(ctx, u.ID); err != nil {
		return err
	}
	r.Uploads++
	return nil
}

// expire deletes the files whose time is up.
func (s *Sweeper) expire(ctx context.Context, r *Report) error {
	for {
		ended, err := s.jobs.Expire(ctx, page)
		if err != nil {
			return err
		}
		for _, j := range ended {
			if err := s.deleteFiles(ctx, j, r); err != nil {
				return err
			}
		}
		if len(ended) < page {
			return nil
		}
	}
}

// deleteFiles deletes what is marked of a job. When it breaks off, the job is given to a sweep again.
func (s *Sweeper) deleteFiles(ctx context.Context, j job.Job, r *Report) error {
	if err := s.videos.Delete(ctx, j.ID); err != nil {
		return err
	}
	if j.State == job.Expired {
		if j.MP3 != nil {
			if err := s.mp3s.Delete(ctx, j.MP3.FID); err != nil {
				return err
			}
		}
		r.Expired++
	} else {
		r.Videos++
	}
	if err := s.jobs.Swept(ctx, j.ID); !errors.Is(err, job.ErrNotFound) {
		return err
	}
	return nil
}

// unstick deals with every stuck job, until the broker seems to be away.
func (s *Sweeper) unstick(ctx context.Context, r *Report) error {
	for {
		silent := cmp.Or(s.cfg.HandedOver, s.cfg.Stuck)
		stuck, err := s.jobs.Stuck(ctx, min(s.cfg.Unsent, silent), silent, page)
		if err != nil || len(stuck) == 0 {
			return err
		}
		// In any order, so that a few whose events are always refused do not stand before the rest for ever.
		rand.Shuffle(len(stuck), func(i, j int) { stuck[i], stuck[j] = stuck[j], stuck[i] }) //nolint:gosec // no secret
		const most = 3
		var errs []error
		for _, j := range stuck {
			if err := s.advance(ctx, j, r); err != nil {
				errs = append(errs, err)
			}
			if len(errs) == most || ctx.Err() != nil {
				break
			}
		}
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
}

// maxReleased is how many times as often a job may be given back as its worker may go away. A worker gives a job back
// when the storage is away or when it is told to end, neither of which is the video's fault. Where its ffmpeg is killed
// each time, for want of memory, it may be, so that this ends, too.
const maxReleased = 10

// exhausted reports whether a job was tried too often.
func (s *Sweeper) exhausted(j job.Job) bool {
	return !j.State.Finished() && (j.Abandoned() >= s.cfg.MaxAttempts || len(j.Attempts) >= maxReleased*s.cfg.MaxAttempts)
}

// handedOver reports whether an old program is to be left alone with a job: it has the event, and answers none. One
// that is a week without a notice goes the same way.
func (s *Sweeper) handedOver(j job.Job) bool {
	return s.cfg.HandedOver > 0 && (j.State == job.Queued || j.State == job.Converted) ||
		j.State == job.Converted && s.unanswered(j)
}

func (s *Sweeper) unanswered(j job.Job) bool { return time.Since(j.Updated) >= s.cfg.Unanswered }

// failure says why a stuck job is to be given up; nil when it is not.
func (s *Sweeper) failure(j job.Job) *eventing.Failure {
	switch {
	case s.exhausted(j):
		return &eventing.Failure{Code: "exhausted",
			Message: fmt.Sprintf("the conversion was tried %d times and did not come to an end", len(j.Attempts))}
	case !j.State.Finished() && s.unanswered(j):
		return &eventing.Failure{Code: "exhausted", Message: "no converter took the video for " + s.cfg.Unanswered.String()}
	}
	return nil
}

// advance sends the event that a stuck job owes. A job that was tried too often, or waited too long, is given up first.
func (s *Sweeper) advance(ctx context.Context, j job.Job, r *Report) error {
	if s.handedOver(j) {
		_, err := s.jobs.HandOver(ctx, j.ID)
		if moved(err) {
			return nil
		}
		if err == nil {
			r.Handed++
		}
		return err
	}
	if f := s.failure(j); f != nil {
		given, err := s.jobs.GiveUp(ctx, j.ID, j.Lease.Epoch, *f)
		if moved(err) {
			return nil
		}
		if err != nil {
			return err
		}
		r.GivenUp++
		j = given
	}
	e, err := j.Event(source(j))
	if err != nil {
		// It will not be better next time, and must not be the first of every page.
		return errors.Join(err, s.jobs.Resent(ctx, j.ID))
	}
	if err := s.events.Send(ctx, e); err != nil {
		return err
	}
	r.Sent++
	if err := s.jobs.Resent(ctx, j.ID); !moved(err) {
		return err
	}
	return nil
}

// moved reports whether err says that the job is no longer stuck.
func moved(err error) bool {
	var busy *job.BusyError
	return errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrState) || errors.As(err, &busy)
}

// source is where the event comes from when all goes well: a repeat is the same event, by source and id.
func source(j job.Job) string {
	if j.State.Finished() {
		return "/soundstrip/convert"
	}
	return "/soundstrip/upload"
}

// ServeHTTP sweeps once for each POST, which may be an event, such as that of a timer, and answers with the report. Its
// ack means that the sweep is done; a sweep that failed is done anew with the next one.
func (s *Sweeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return problem.New(problem.Method, "%s does not sweep: POST does", r.Method).With("Allow", http.MethodPost)
		}
		if eventing.IsEvent(r) {
			if _, _, err := eventing.Receive(r); err != nil {
				return err
			}
		}
		report, err := s.Sweep(r.Context())
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(report)
	}).ServeHTTP(w, r)
}

// Run sweeps now and at every interval until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for {
		report, err := s.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			slog.ErrorContext(ctx, "sweep failed", "report", report, "error", err)
		case report != Report{}:
			slog.InfoContext(ctx, "swept", "report", report)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
