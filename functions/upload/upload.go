// Package upload takes a video: it streams it into the store, makes its job and sends the event that has it converted.
package upload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/container"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

const (
	source    = "/soundstrip/upload"
	finishFor = 30 * time.Second // bounds what follows Commit, and the clearing up after a failure
	comeBack  = 5 * time.Second  // when a store that is away is worth another try
)

// Jobs is the part of [job.Store] that an upload needs.
type Jobs interface {
	Create(ctx context.Context, j job.Job) (job.Job, error)
	Get(ctx context.Context, id string) (job.Job, error)
	Queued(ctx context.Context, id string) error
	Usage(ctx context.Context, owner string) (job.Usage, error)
	Delete(ctx context.Context, id string) error
}

// Uploads is the part of [job.Uploads] that uploads in several requests, or with an Idempotency-Key, need.
type Uploads interface {
	Begin(ctx context.Context, u job.Upload, ttl time.Duration) (job.Upload, error)
	Get(ctx context.Context, id string) (job.Upload, error)
	Lock(ctx context.Context, id string, lease time.Duration) (job.Upload, error)
	Hold(ctx context.Context, id string, epoch int, lease time.Duration) (wanted bool, err error)
	Save(ctx context.Context, u job.Upload, ttl time.Duration) error
	Unlock(ctx context.Context, id string, epoch int) error
	Delete(ctx context.Context, id string) error
	Usage(ctx context.Context, owner string) (job.Usage, error)
}

// Sender sends events to the broker.
type Sender interface {
	Send(ctx context.Context, e event.Event) error
}

// Config bounds uploads.
type Config struct {
	MaxBytes int64         `env:"UPLOAD_MAX_BYTES, default=68719476736"` // of one video; 64 GiB
	Expires  time.Duration `env:"UPLOAD_EXPIRES, default=24h"`           // after its last byte, one that is not complete

	// Legacy has a form answered as the old gateway does, for clients that know nothing else.
	Legacy bool `env:"UPLOAD_LEGACY"`

	MinFree int64 `env:"STORE_MIN_FREE, default=268435456"` // bytes, below which no videos are taken; 256 MiB

	Retention job.RetentionConfig
	Quotas    job.Quotas `env:"QUOTAS"` // by group of users: see [job.Quotas]
}

// Validate reports limits that would refuse every video.
func (c Config) Validate() error {
	var errs []error
	if c.MaxBytes <= 0 {
		errs = append(errs, fmt.Errorf("UPLOAD_MAX_BYTES is %d: want a number of bytes above 0", c.MaxBytes))
	}
	if c.Expires <= 0 {
		errs = append(errs, fmt.Errorf("UPLOAD_EXPIRES is %v: want a duration above 0", c.Expires))
	}
	if c.MinFree < 0 {
		errs = append(errs, fmt.Errorf("STORE_MIN_FREE is %d: want a number of bytes, or 0 for no floor", c.MinFree))
	}
	return errors.Join(errs...)
}

type uploader struct {
	videos    media.Store
	jobs      Jobs
	uploads   Uploads
	events    Sender
	maxBytes  int64
	minFree   int64
	retention job.RetentionConfig
	quotas    job.Quotas
	legacy    bool
	requests  underWay

	bytes, open, refused telemetry.Instrument
}

// New serves
//
//	POST /upload            a multipart form with one file, and options as fields or query (curl -F file=@video.mp4)
//	POST /                  the same, where the function has an origin of its own
//	PUT /upload/{filename}  the bare video, and options as query (curl -T video.mp4)
//	GET /users/me/usage     what the bearer has of the quota, and what that is
//	/files, /files/{id}     a video in several requests, by tus 1.0: https://tus.io/protocols/resumable-upload
//
// A 2xx to the last byte means that the video and its job are stored. Whatever dies then, it will be converted, or its
// owner told why not. Any other answer means that nothing of it is kept, unless it is an upload in several requests.
//
// A POST or PUT of a whole video may have an Idempotency-Key: requests that have the same one, within a day, make one
// job.
func New(
	videos media.Store, jobs Jobs, uploads Uploads, events Sender, v token.Verifier, cfg Config,
) http.Handler {
	u := &uploader{videos: videos, jobs: jobs, uploads: uploads, events: events, maxBytes: cfg.MaxBytes,
		minFree: cfg.MinFree, retention: cfg.Retention, quotas: cfg.Quotas, legacy: cfg.Legacy,
		bytes: telemetry.Count("soundstrip.upload.bytes"), open: telemetry.Count("soundstrip.uploads.open"),
		refused: telemetry.Count("soundstrip.quota.refusals")}
	telemetry.Look("soundstrip.store.free", func(ctx context.Context, tell func(float64, ...attribute.KeyValue)) error {
		free, err := videos.Free(ctx)
		if err == nil && free < media.Unlimited {
			tell(float64(free))
		}
		return nil // a store that is away tells it by other metrics
	})
	form := token.Required(v, token.Upload, u.once(u.counted(u.form)))
	raw := token.Required(v, token.Upload, u.once(u.counted(u.raw)))
	mux := serve.NewMux()
	mux.Handle("POST /{$}", form)
	mux.Handle("POST /upload", form)
	mux.Handle("PUT /upload/{filename}", raw)
	mux.Handle("PUT /upload/{$}", raw) // without a name, which raw says
	mux.Handle("PUT /upload", raw)
	mux.Handle("GET /users/me/usage", token.Required(v, token.Upload, problem.Handler(u.showUsage)))
	mux.Handle("/users/me/usage", problem.NotAllowed(http.MethodGet, http.MethodHead))
	resumable := newTus(u, v, cfg.Expires)
	for _, pattern := range []string{
		"OPTIONS /files", "POST /files", "OPTIONS /files/{$}", "POST /files/{$}",
		"HEAD /files/{id}", "PATCH /files/{id}", "DELETE /files/{id}", "OPTIONS /files/{id}",
		"POST /files/{id}", // with X-HTTP-Method-Override
	} {
		mux.Handle(pattern, resumable)
	}
	mux.Handle("/files", problem.NotAllowed(http.MethodPost, http.MethodOptions))
	mux.Handle("/files/{id}", problem.NotAllowed(http.MethodHead, http.MethodPatch, http.MethodDelete, http.MethodOptions))
	mux.Handle("/{$}", problem.NotAllowed(http.MethodPost))
	mux.Handle("/upload", problem.NotAllowed(http.MethodPost, http.MethodPut))
	mux.Handle("/upload/{$}", problem.NotAllowed(http.MethodPut))
	mux.Handle("/upload/{filename}", problem.NotAllowed(http.MethodPut))
	mux.HandleFunc("/", problem.NoSuchRoute)
	return mux
}

// raw takes a request whose body is the video.
func (u *uploader) raw(w http.ResponseWriter, r *http.Request, k *keyed) error {
	if r.PathValue("filename") == "" {
		return problem.New(problem.Invalid, "the video has no name: PUT it to /upload/NAME (curl -T video.mp4 …/upload/)")
	}
	if r.Header.Get("Content-Range") != "" { // RFC 9110, section 14.5
		return problem.New(problem.Invalid,
			"a PUT stores a whole video and does not resume one: send it without Content-Range")
	}
	_, o, err := u.query(r)
	if err != nil {
		return err
	}
	if r.ContentLength > u.maxBytes {
		return u.tooLarge()
	}
	if err := u.room(r.Context(), r.ContentLength); err != nil {
		return err
	}
	name := cleanName(r.PathValue("filename"))
	video, err := u.receive(r.Context(), k, name, http.MaxBytesReader(w, r.Body, u.maxBytes))
	if err != nil {
		return err
	}
	defer u.abort(r.Context(), video)
	return u.accept(w, r, k, video, o)
}

// receive streams a video into the store. Nothing of it is visible before its Commit. Nothing is left when receive
// fails.
func (u *uploader) receive(
	ctx context.Context, k *keyed, name string, content io.Reader,
) (media.Writer, error) {
	buffered := bufio.NewReaderSize(&clientReader{content, u, ctx, 0, roomOf(ctx)}, 64<<10)
	head, err := buffered.Peek(container.SniffLen)
	if err != nil && err != io.EOF { //nolint:errorlint // bufio returns it bare
		return nil, err
	}
	if err := sniff(name, head); err != nil {
		return nil, err
	}
	video, err := u.create(ctx, k, media.Info{Name: name, Owner: token.FromContext(ctx).Owner()})
	if err != nil {
		return nil, notStored(err)
	}
	if _, err := io.Copy(video, buffered); err != nil {
		u.abort(ctx, video)
		if fault := (*problem.Error)(nil); errors.As(err, &fault) {
			return nil, err
		}
		return nil, notStored(err)
	}
	return video, nil
}

// create begins a video, with the id that its job is to have.
func (u *uploader) create(ctx context.Context, k *keyed, info media.Info) (media.Writer, error) {
	switch {
	case k == nil:
		info.ID = media.NewID()
	case k.before != nil:
		return k.again(info), nil
	default:
		info.ID = k.record.Job
	}
	return u.videos.Create(ctx, info)
}

// sniff refuses what is no media file, by its first [container.SniffLen] bytes.
func sniff(name string, head []byte) error {
	switch {
	case len(head) == 0:
		return problem.New(problem.Invalid, "the file is empty: send a video or a sound file")
	case container.Sniff(head) == "" && container.Other(head) != "":
		return problem.New(problem.Unsupported, "%s is not supported: save it as MP4, MKV or WAV first",
			container.Other(head))
	case container.Sniff(head) == "":
		return problem.New(problem.Unsupported,
			"%q is not a media file: send a video or sound in MP4, MOV, Matroska, WebM, AVI, MPEG, "+
				"FLV, WMV, Ogg, WAV, AIFF, CAF, FLAC, AAC, AC-3 or MP3", name)
	}
	return nil
}

// clientReader marks errors of the client's bytes, so that they are not taken for errors of the store. From time to
// time it sees whether there is room for more.
type clientReader struct {
	io.Reader
	u    *uploader
	ctx  context.Context
	read int64 // bytes, since it was seen
	left int64 // of the quota
}

func (c *clientReader) Read(p []byte) (int, error) {
	if c.read >= roomEvery {
		c.read = 0
		if err := c.u.room(c.ctx, 0); err != nil {
			return 0, err
		}
	}
	n, err := c.Reader.Read(p)
	c.u.bytes.Add(c.ctx, float64(n))
	c.read += int64(n)
	if c.left -= int64(n); c.left < 0 {
		return 0, c.u.overQuota(c.ctx, 0, c.u.quotas.Of(token.FromContext(c.ctx).Group))
	}
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns it bare
		err = c.u.broken(err)
	}
	return n, err
}

// broken says why the client's bytes could not be read to the end.
func (u *uploader) broken(err error) error {
	if fault := (*problem.Error)(nil); errors.As(err, &fault) {
		return fault
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return u.tooLarge()
	}
	return problem.Wrap(err, problem.Invalid, "the upload broke off or is malformed, nothing of it is kept: send it again")
}

func (u *uploader) tooLarge() error {
	return problem.New(problem.TooLarge, "the video is larger than %d bytes, the most that is taken here", u.maxBytes)
}

func notStored(err error) error {
	return problem.Wrap(err, problem.Unavailable,
		"the video cannot be stored at the moment: send it again later").RetryAfter(comeBack)
}

// accept makes a job of a video that is all there. From here on it does not matter whether the client leaves.
func (u *uploader) accept(
	w http.ResponseWriter, r *http.Request, k *keyed, video media.Writer, o options,
) error {
	info, err := video.Commit(r.Context())
	if err != nil {
		return notStored(fmt.Errorf("commit video: %w", err))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), finishFor)
	defer cancel()
	j, err := u.beginOnce(ctx, k, info, o)
	if err != nil {
		return err
	}
	links := j.Links()
	w.Header().Set("Location", links.Self)
	if u.legacy && r.Method == http.MethodPost && !problem.AcceptsJSON(r) {
		_, _ = io.WriteString(w, "success!")
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(struct {
		JobID    string        `json:"job_id"`
		VideoFID string        `json:"video_fid"`
		State    job.State     `json:"state"`
		Keep     job.Retention `json:"keep,omitzero"`
		Links    job.Links     `json:"links"`
	}{j.ID, j.ID, j.State, j.Keep, links})
	return nil
}

// beginOnce makes the job of a video, or gives the one that its key has. When it fails the video is gone.
func (u *uploader) beginOnce(ctx context.Context, k *keyed, video media.Info, o options) (j job.Job, err error) {
	if k != nil && k.before != nil {
		return k.same(video, o)
	}
	if k != nil {
		err = u.still(ctx, k)
	}
	if err == nil {
		if j, err = u.begin(ctx, video, o); err != nil {
			err = notStored(err)
		}
	}
	if err != nil {
		u.forget(ctx, video.ID)
	}
	return j, err
}

// begin makes the job of a video that is stored. A job that is there already is job.ErrExists.
func (u *uploader) begin(ctx context.Context, video media.Info, o options) (job.Job, error) {
	j, err := u.jobs.Create(ctx, job.Job{
		ID: video.ID, Owner: video.Owner, Username: token.FromContext(ctx).Username, Filename: video.Name,
		Options: o.conversion, Webhook: o.webhook, Keep: o.keep,
		Video: job.Video{Length: video.Length, SHA256: video.SHA256},
	})
	if err != nil {
		return j, fmt.Errorf("create job %s: %w", video.ID, err)
	}
	j = job.Emit(ctx, source, j, u.jobs, u.events)
	slog.InfoContext(ctx, "video taken", "job", j.ID, "bytes", video.Length, "state", j.State)
	return j, nil
}

// abort removes a video that was not committed.
func (u *uploader) abort(ctx context.Context, video media.Writer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	if err := video.Abort(ctx); err != nil {
		slog.WarnContext(ctx, "upload not removed, left to sweep", "error", err)
	}
}

// forget removes a video that has no job. It removes the job before, since one whose creation failed may be there: a
// job that stays keeps its video. It reports whether both are gone.
func (u *uploader) forget(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	err := u.jobs.Delete(ctx, id)
	if err == nil {
		err = u.videos.Delete(ctx, id)
	}
	if err != nil {
		slog.WarnContext(ctx, "video without a job not removed, left to sweep", "job", id, "error", err)
	}
	return err == nil
}
