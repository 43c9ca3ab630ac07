package upload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// keyFor is how long a request with the same Idempotency-Key is the same request.
const keyFor = 24 * time.Hour

// keyed is a request with an Idempotency-Key: draft-ietf-httpapi-idempotency-key-header-07. Its record is an upload
// that names the job to be, and is leased to one request at a time.
type keyed struct {
	record job.Upload
	before *job.Job // that an earlier request with the key made; nil when this is to make it
	end    context.CancelFunc
	held   sync.WaitGroup
}

// once has requests with one Idempotency-Key make one job. A request that fails leaves the key free.
func (u *uploader) once(take func(http.ResponseWriter, *http.Request, *keyed) error) problem.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		key, err := idempotencyKey(r.Header)
		if err != nil {
			return err
		}
		if key == "" {
			return take(w, r, nil)
		}
		k, err := u.begun(r.Context(), key)
		if err != nil {
			return err
		}
		err = take(w, r, k)
		u.ended(r.Context(), k, err == nil)
		return err
	}
}

// idempotencyKey reads the key: a string of a structured field (RFC 9651), or the same without its quotes, as many
// clients have it. It is empty when there is none.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := strings.TrimSpace(values[0])
	if quoted, ok := strings.CutPrefix(key, `"`); ok {
		key, ok = strings.CutSuffix(quoted, `"`)
		if !ok {
			key = ""
		}
	}
	const longest = 255
	bad := strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
	if len(values) > 1 || key == "" || len(key) > longest || bad {
		return "", problem.New(problem.Invalid,
			`Idempotency-Key: want one key of at most %d characters in quotes, such as "8e03978e-40d5-43dd-bc93-6894a57f9324"`,
			longest)
	}
	return key, nil
}

// keyID is the id of a key's record, as the ids of uploads are.
func keyID(owner, key string) string {
	sum := sha256.Sum256([]byte(owner + "\n" + key))
	return hex.EncodeToString(sum[:12])
}

// begun gives the request the key, or says that another one has it.
func (u *uploader) begun(ctx context.Context, key string) (*keyed, error) {
	owner := token.FromContext(ctx).Owner()
	id := keyID(owner, key)
	_, err := u.uploads.Begin(ctx, job.Upload{ID: id, Owner: owner, Length: job.Unknown, Job: media.NewID()}, keyFor)
	if err != nil && !errors.Is(err, job.ErrExists) {
		return nil, notStored(err)
	}
	k := &keyed{}
	if k.record, err = u.uploads.Lock(ctx, id, leaseFor); errors.As(err, new(*job.BusyError)) {
		return nil, problem.Wrap(err, problem.Conflict,
			"another request with this Idempotency-Key is under way: try again when it has ended").RetryAfter(leaseFor)
	} else if err != nil {
		return nil, notStored(err)
	}
	holding, end := context.WithCancel(context.WithoutCancel(ctx))
	k.end = end
	epoch := k.record.Lease.Epoch
	k.held.Go(func() { u.holdKey(holding, id, epoch) })
	if err := u.look(ctx, k); err != nil {
		u.unlock(ctx, k)
		return nil, err
	}
	return k, nil
}

// look sees whether the key has a job. Whoever had it before may have died at any point.
func (u *uploader) look(ctx context.Context, k *keyed) error {
	if time.Now().Before(k.record.Expires) {
		j, err := u.jobs.Get(ctx, k.record.Job)
		switch {
		case err == nil:
			k.before = &j
			return nil
		case !errors.Is(err, job.ErrNotFound):
			return notStored(err)
		case k.record.Progress.Done:
			return problem.New(problem.Gone, "the job that was made with this Idempotency-Key was deleted: use another key")
		}
	}
	k.record.Job, k.record.Progress = media.NewID(), job.Progress{}
	if err := u.uploads.Save(ctx, k.record, keyFor); err != nil {
		return notStored(err)
	}
	return nil
}

// holdKey prolongs the lease until ctx ends.
func (u *uploader) holdKey(ctx context.Context, id string, epoch int) {
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = u.uploads.Hold(ctx, id, epoch, leaseFor) // the next time, or at the end
		}
	}
}

// ended gives the key back, and records that there is a job when this has made it. The record of one that did not
// stays: the job may be there, where it could be neither made nor removed for certain, and the key may be another
// request's by now.
func (u *uploader) ended(ctx context.Context, k *keyed, made bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	if made && k.before == nil {
		k.record.Progress.Done = true
		if err := u.uploads.Save(ctx, k.record, keyFor); err != nil {
			slog.WarnContext(ctx, "job not recorded with its Idempotency-Key, which finds it all the same", "error", err)
		}
	}
	u.unlock(ctx, k)
}

func (u *uploader) unlock(ctx context.Context, k *keyed) {
	k.end()
	k.held.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	if err := u.uploads.Unlock(ctx, k.record.ID, k.record.Lease.Epoch); err != nil && !errors.Is(err, job.ErrNotFound) {
		slog.WarnContext(ctx, "Idempotency-Key not unlocked, until its lease ends", "error", err)
	}
}

// still sees that the key is still the request's, before its job is made.
func (u *uploader) still(ctx context.Context, k *keyed) error {
	_, err := u.uploads.Hold(ctx, k.record.ID, k.record.Lease.Epoch, leaseFor)
	if errors.Is(err, job.ErrLost) {
		return problem.Wrap(err, problem.Conflict, "another request with this Idempotency-Key came between: try again")
	} else if err != nil {
		return notStored(err)
	}
	return nil
}

// same gives the job of the key, if a video that came again would make the same one.
func (k *keyed) same(video media.Info, o options) (job.Job, error) {
	j := *k.before
	if video.Name != j.Filename || video.Length != j.Video.Length || video.SHA256 != j.Video.SHA256 ||
		!reflect.DeepEqual(o.conversion, j.Options) || !reflect.DeepEqual(o.webhook, j.Webhook) || o.keep != j.Keep {
		return job.Job{}, problem.New(problem.Unprocessable,
			"this Idempotency-Key was used for another video, name or options: use another key for this")
	}
	return j, nil
}

// again is a video that comes again: it is compared, and not stored.
type again struct {
	media.Writer // none

	info media.Info
	sum  hash.Hash
}

func (k *keyed) again(info media.Info) media.Writer { return &again{info: info, sum: sha256.New()} }

func (a *again) Write(p []byte) (int, error) {
	a.info.Length += int64(len(p))
	return a.sum.Write(p)
}

// ReadFrom is of [media.Writer].
func (a *again) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{a}, r) }

// Commit is of [media.Writer].
func (a *again) Commit(context.Context) (media.Info, error) {
	a.info.SHA256 = fmt.Sprintf("%x", a.sum.Sum(nil))
	return a.info, nil
}

// Abort is of [media.Writer].
func (*again) Abort(context.Context) error { return nil }
