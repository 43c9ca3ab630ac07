package upload

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/container"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// saveEvery is how often it is recorded what of a request's body is stored: a process that dies loses so much.
const saveEvery = time.Second

// readAtOnce is how many bytes of a body are read between two looks at the clock.
const readAtOnce = 256 << 10

// tusUpload is one upload for tusd.
type tusUpload struct {
	t *tus
	x *exchange
	*job.Upload
}

// NewUpload is of tusd's DataStore.
func (t *tus) NewUpload(ctx context.Context, info handler.FileInfo) (handler.Upload, error) {
	x := exchangeOf(ctx)
	u, err := t.create(ctx, x, info)
	if err != nil {
		return nil, x.fail(err)
	}
	x.upload = &u
	return tusUpload{t, x, &u}, nil
}

func (t *tus) create(ctx context.Context, x *exchange, info handler.FileInfo) (job.Upload, error) {
	name, o, err := t.describe(x, info.MetaData)
	if err != nil {
		return job.Upload{}, err
	}
	for _, field := range job.WebhookFields {
		delete(info.MetaData, field) // which goes back to the client, and may be seen on the way
	}
	u := job.Upload{
		ID: media.NewID(), Owner: token.FromContext(ctx).Owner(), Filename: name,
		Options: o.conversion, Webhook: o.webhook, Keep: o.keep,
		Metadata: info.MetaData, Length: info.Size, Partial: info.IsPartial, Parts: info.PartialUploads,
	}
	if info.SizeIsDeferred {
		u.Length = job.Unknown
	}
	if u.Length == 0 {
		return job.Upload{}, sniff(name, nil)
	}
	if err := t.room(ctx, u.Length); err != nil {
		return job.Upload{}, err
	}
	if _, err := t.within(ctx, x.Header(), u.Length); err != nil {
		return job.Upload{}, err
	}
	if u, err = t.uploads.Begin(ctx, u, t.expires); err != nil {
		return u, notStored(err)
	}
	return u, nil
}

// describe reads the video's name and the options from Upload-Metadata, and options from the query.
func (t *tus) describe(x *exchange, metadata map[string]string) (name string, o options, err error) {
	for _, pair := range strings.Split(x.request.Header.Get("Upload-Metadata"), ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		if _, err := base64.StdEncoding.DecodeString(value); err != nil || key == "" && value != "" {
			return "", o, problem.New(problem.Invalid,
				"Upload-Metadata has a malformed %q: want a key, a space and the value in Base64, and commas between such pairs",
				key)
		}
	}
	fields, _, err := t.query(x.request)
	if err != nil {
		return "", o, err
	}
	name = "video"
	for key, value := range metadata {
		value = strings.ToValidUTF8(value, "\uFFFD")
		switch key {
		case "filename":
			name = cleanName(value)
		case "name", "filetype", "type", "relativePath": // which clients add by themselves
		default:
			fields.Add(key, value)
		}
	}
	o, err = t.parseOptions(fields)
	return name, o, err
}

// GetUpload is of tusd's DataStore.
func (t *tus) GetUpload(ctx context.Context, id string) (handler.Upload, error) {
	x := exchangeOf(ctx)
	if x.upload == nil || x.upload.ID != id { // one of the parts of another
		u, err := t.own(ctx, id)
		if err != nil {
			return nil, x.fail(err)
		}
		return tusUpload{t, x, &u}, nil
	}
	u := tusUpload{t, x, x.upload}
	if u.Complete() && !u.Progress.Done { // whoever received the last byte has died
		if err := t.finish(ctx, u.Upload); err != nil {
			return nil, x.fail(err)
		}
	}
	return u, nil
}

// own gives an upload of the client.
func (t *tus) own(ctx context.Context, id string) (job.Upload, error) {
	u, err := t.uploads.Get(ctx, id)
	if err == nil && (u.Owner != token.FromContext(ctx).Owner() || u.Job != "") {
		err = fmt.Errorf("upload %s is another's, or a key's: %w", id, job.ErrNotFound)
	}
	if err != nil {
		return u, noUpload(err)
	}
	return u, nil
}

// GetInfo is of tusd's Upload.
func (u tusUpload) GetInfo(context.Context) (handler.FileInfo, error) {
	return handler.FileInfo{
		ID: u.ID, Size: max(0, u.Length), SizeIsDeferred: u.Length == job.Unknown, Offset: u.Progress.Offset,
		MetaData: u.Metadata, IsPartial: u.Partial, IsFinal: len(u.Parts) > 0, PartialUploads: u.Parts,
	}, nil
}

// GetReader is of tusd's Upload. Nobody downloads an upload.
func (tusUpload) GetReader(context.Context) (io.ReadCloser, error) {
	return nil, handler.ErrNotImplemented
}

// WriteChunk is of tusd's Upload. Without a checksum it keeps what it can, also when it fails.
func (u tusUpload) WriteChunk(ctx context.Context, _ int64, src io.Reader) (int64, error) {
	n, err := u.t.write(ctx, u.Upload, src, u.x.checksum)
	if err != nil {
		return n, u.x.fail(err)
	}
	return n, nil
}

// write appends all of src to an upload, and says how much of it is kept. From time to time it records what is stored,
// unless the checksum is to be verified before.
func (t *tus) write(ctx context.Context, u *job.Upload, src io.Reader, sum *checksum) (kept int64, err error) {
	t.open.Add(ctx, 1)
	defer t.open.Add(ctx, -1)
	if sum != nil {
		src = io.TeeReader(src, sum)
	}
	begun := u.Progress.Offset
	for more := true; more && err == nil; {
		next := *u
		if more, err = t.writeSome(ctx, &next, src, sum == nil); err != nil {
			break
		}
		if sum != nil && !sum.right() {
			err = problem.New(problem.Checksum,
				"what arrived does not have the checksum of Upload-Checksum, and is not kept: send it again")
			break
		}
		if err = t.sniffHead(ctx, &next); err != nil {
			break
		}
		if err = t.save(ctx, next); err == nil {
			*u = next
		}
	}
	return u.Progress.Offset - begun, err
}

// sniffHead refuses an upload that is no media file, as soon as its first bytes tell.
func (t *tus) sniffHead(ctx context.Context, u *job.Upload) error {
	head := u.Progress.Head
	if u.Partial || len(head) == 0 || len(head) < container.SniffLen && !u.Complete() {
		return nil
	}
	u.Progress.Head = nil
	err := sniff(u.Filename, head)
	if err != nil {
		t.discard(ctx, u.ID)
	}
	return err
}

// discard removes an upload of which there will be nothing.
func (t *tus) discard(ctx context.Context, id string) {
	if err := t.remove(ctx, id); err != nil {
		slog.WarnContext(ctx, "upload not removed, left to sweep", "upload", id, "error", err)
	}
}

// writeSome appends what src gives, for saveEvery at most when it may end before src does.
func (t *tus) writeSome(ctx context.Context, u *job.Upload, src io.Reader, mayEnd bool) (more bool, err error) {
	if err := t.room(ctx, 0); err != nil {
		return false, err
	}
	if err := t.roomFor(ctx); err != nil {
		return false, err
	}
	video, err := t.videos.Resume(ctx, fileOf(u), u.Progress.State)
	if err != nil {
		return false, notStored(err)
	}
	if missing := container.SniffLen - u.Progress.Offset; missing > 0 {
		head, _ := io.ReadAll(io.LimitReader(src, missing)) // an error comes again
		u.Progress.Head = append(u.Progress.Head, head...)
		src = io.MultiReader(bytes.NewReader(head), src)
	}
	until := time.Now().Add(saveEvery)
	for more = true; more && err == nil && (!mayEnd || time.Now().Before(until)); {
		var n int64
		n, err = video.ReadFrom(io.LimitReader(src, readAtOnce))
		u.Progress.Offset += n
		t.bytes.Add(ctx, float64(n))
		more = n == readAtOnce
	}
	state, suspendErr := video.Suspend(ctx)
	if err = errors.Join(err, suspendErr); err != nil {
		return false, notStored(err)
	}
	u.Progress.State = state
	return more, nil
}

// roomFor refuses more of an upload whose owner has no room left, as of one whose length was not told.
func (t *tus) roomFor(ctx context.Context) error {
	if t.quotas.Of(token.FromContext(ctx).Group).Bytes == 0 {
		return nil
	}
	used, limits, err := t.usage(ctx)
	if err != nil || used.Bytes <= limits.Bytes {
		return err
	}
	return t.overQuota(ctx, 0, limits)
}

func fileOf(u *job.Upload) media.Info {
	return media.Info{ID: u.ID, Name: u.Filename, Owner: u.Owner}
}

func (t *tus) save(ctx context.Context, u job.Upload) error {
	err := t.uploads.Save(ctx, u, t.expires)
	if errors.Is(err, job.ErrLost) || errors.Is(err, job.ErrNotFound) {
		return problem.Wrap(err, problem.Conflict, "another request goes on with this upload: ask for its offset (HEAD)")
	}
	if err != nil {
		return notStored(err)
	}
	return nil
}

// FinishUpload is of tusd's Upload. It is called when the last byte is kept.
func (u tusUpload) FinishUpload(ctx context.Context) error {
	if err := u.t.finish(ctx, u.Upload); err != nil {
		if u.x.begins() {
			u.t.takeBack(ctx, u.ID)
		}
		return u.x.fail(err)
	}
	return nil
}

// takeBack removes an upload that its client does not know of, because the request that began it fails: with its job,
// which may have been made. The client begins another one.
func (t *tus) takeBack(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	if t.forget(ctx, id) {
		t.discard(ctx, id)
	}
}

// finish stores the video of a complete upload and makes its job, exactly once: whatever was done of it before is not
// done again.
func (t *tus) finish(ctx context.Context, u *job.Upload) error {
	if u.Progress.Done {
		return nil
	}
	if err := t.sniffHead(ctx, u); err != nil {
		return err
	}
	info, err := t.commit(ctx, u)
	if err != nil {
		return notStored(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	if !u.Partial {
		if _, err := t.begin(ctx, info, options{u.Options, u.Webhook, u.Keep}); err != nil && !errors.Is(err, job.ErrExists) {
			return notStored(err)
		}
	}
	done := *u
	done.Progress = job.Progress{Offset: u.Length, Done: true}
	if err := t.save(ctx, done); err != nil { // the job is there all the same, and whoever asks for the upload finds it
		slog.WarnContext(ctx, "upload not recorded as done", "upload", u.ID, "error", err)
	}
	*u = done
	return nil
}

func (t *tus) commit(ctx context.Context, u *job.Upload) (media.Info, error) {
	f, err := t.videos.Open(ctx, u.ID)
	if err == nil {
		return f.Info(), f.Close()
	}
	if !errors.Is(err, media.ErrNotFound) {
		return media.Info{}, err
	}
	video, err := t.videos.Resume(ctx, fileOf(u), u.Progress.State)
	if err != nil {
		return media.Info{}, err
	}
	return video.Commit(ctx)
}

// AsTerminatableUpload is of tusd's TerminaterDataStore.
func (t *tus) AsTerminatableUpload(u handler.Upload) handler.TerminatableUpload { return u.(tusUpload) }

// Terminate is of tusd's TerminatableUpload.
func (u tusUpload) Terminate(ctx context.Context) error {
	if u.Progress.Done && !u.Partial {
		return u.x.fail(problem.New(problem.Conflict, "the upload is complete, and has a job: DELETE /jobs/%s", u.ID))
	}
	if err := u.t.remove(ctx, u.ID); err != nil {
		return u.x.fail(notStored(err))
	}
	return nil
}

// remove deletes an upload's bytes and forgets it. When that breaks off, it ends when its time is up.
func (t *tus) remove(ctx context.Context, id string) error {
	if err := t.videos.Delete(ctx, id); err != nil {
		return err
	}
	return t.uploads.Delete(ctx, id)
}

// AsLengthDeclarableUpload is of tusd's LengthDeferrerDataStore.
func (t *tus) AsLengthDeclarableUpload(u handler.Upload) handler.LengthDeclarableUpload {
	return u.(tusUpload)
}

// DeclareLength is of tusd's LengthDeclarableUpload.
func (u tusUpload) DeclareLength(ctx context.Context, length int64) error {
	if length == 0 {
		return u.x.fail(sniff(u.Filename, nil))
	}
	next := *u.Upload
	next.Length = length
	if err := u.t.save(ctx, next); err != nil {
		return u.x.fail(err)
	}
	*u.Upload = next
	return nil
}

// AsConcatableUpload is of tusd's ConcaterDataStore.
func (t *tus) AsConcatableUpload(u handler.Upload) handler.ConcatableUpload { return u.(tusUpload) }

// ConcatUploads is of tusd's ConcatableUpload. The parts stay for as long as they live.
func (u tusUpload) ConcatUploads(ctx context.Context, parts []handler.Upload) error {
	if err := u.concat(ctx, parts); err != nil {
		u.t.takeBack(ctx, u.ID)
		return u.x.fail(err)
	}
	return nil
}

func (u tusUpload) concat(ctx context.Context, parts []handler.Upload) error {
	lock := u.t.newLock(u.ID)
	if err := lock.Lock(ctx, func() {}); err != nil {
		return u.x.fault
	}
	defer func() { _ = lock.Unlock() }()
	for _, p := range parts {
		part := p.(tusUpload)
		if !part.Partial {
			return problem.New(problem.Invalid, "%s was not begun with Upload-Concat: partial", part.ID)
		}
		f, err := u.t.videos.Open(ctx, part.ID)
		if err != nil {
			return notStored(err)
		}
		_, err = u.t.write(ctx, u.Upload, f, nil)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return u.t.finish(ctx, u.Upload)
}
