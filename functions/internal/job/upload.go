package job

import (
	"context"
	"fmt"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
)

// Upload is a video that comes in several requests, until it is all there and has a job.
type Upload struct {
	ID       string            `bson:"_id"` // of the video and the job to be
	Owner    string            `bson:"owner"`
	Filename string            `bson:"filename"`
	Options  eventing.Options  `bson:"options"`
	Webhook  *Webhook          `bson:"webhook,omitempty"`
	Keep     Retention         `bson:"keep,omitempty"`
	Metadata map[string]string `bson:"metadata,omitempty"` // as the client gave it, without what is about the webhook
	Length   int64             `bson:"length"`             // bytes; Unknown until the client tells
	Partial  bool              `bson:"partial,omitempty"`  // it has no job, and becomes a part of another
	Parts    []string          `bson:"parts,omitempty"`    // the ids of the uploads that it is made of
	Job      string            `bson:"job,omitempty"`      // of the one request of an Idempotency-Key: the job to be
	Progress Progress          `bson:"progress"`
	Lease    Lease             `bson:"lease"`
	Wanted   bool              `bson:"wanted,omitempty"` // somebody waits for the lease
	Expires  time.Time         `bson:"expires"`
}

// Unknown is the length of an upload whose client has not told it yet.
const Unknown = -1

// Progress is what the holder of an upload's lease records.
type Progress struct {
	Offset int64  `bson:"offset"`          // bytes that are kept
	State  []byte `bson:"state,omitempty"` // with which the media's store goes on from there
	Head   []byte `bson:"head,omitempty"`  // the first bytes, while they are too few to tell a media file
	Done   bool   `bson:"done,omitempty"`  // the video is stored and has its job, or its place in another
}

// Complete reports whether all bytes are kept.
func (u *Upload) Complete() bool { return u.Length != Unknown && u.Progress.Offset == u.Length }

// Uploads is what [MongoUploads] and [SQLiteUploads] both do. Methods are as those of [Store]: an upload that is not
// there is ErrNotFound.
type Uploads interface {
	// Begin keeps a new upload, which ends after ttl. ErrExists when its id is taken.
	Begin(ctx context.Context, u Upload, ttl time.Duration) (Upload, error)
	// Get gives one upload.
	Get(ctx context.Context, id string) (Upload, error)
	// Lock gives the upload to the caller: with a new epoch, and a lease that runs for the given time. *BusyError while
	// another lease runs; its holder learns from Hold that somebody waits.
	Lock(ctx context.Context, id string, lease time.Duration) (Upload, error)
	// Hold prolongs the lease, and tells whether somebody waits for it. ErrLost when the epoch is not the upload's any
	// more.
	Hold(ctx context.Context, id string, epoch int, lease time.Duration) (wanted bool, err error)
	// Save records length, progress and job, and lets the upload live for ttl from now on. ErrLost as with Hold.
	Save(ctx context.Context, u Upload, ttl time.Duration) error
	// Unlock gives the lease back, unless the epoch is not the upload's any more.
	Unlock(ctx context.Context, id string, epoch int) error
	// Delete forgets the upload; one that is not there is no error.
	Delete(ctx context.Context, id string) error
	// Keeps tells which of the ids, at most some hundreds, are those of uploads.
	Keeps(ctx context.Context, ids []string) (map[string]bool, error)
	// Usage counts the owner's uploads that are under way, and the bytes that are kept of them.
	Usage(ctx context.Context, owner string) (Usage, error)
	// Expired gives up to limit uploads whose time is up.
	Expired(ctx context.Context, limit int) ([]Upload, error)
}

// uploadRecord is an upload as the stores keep it.
type uploadRecord struct {
	Upload  `bson:",inline"`
	Version version `bson:",inline"`
}

// kept is how many bytes of the upload are stored that are no job's; -1 when it is not under way.
func (r *uploadRecord) kept() int64 {
	if r.Job != "" || r.Progress.Done && !r.Partial {
		return -1
	}
	return r.Progress.Offset
}

func (r *uploadRecord) version() *version { return &r.Version }

// uploadSteps are the methods of [Uploads] that change an upload.
type uploadSteps struct {
	change func(ctx context.Context, id string, f func(r *uploadRecord, now time.Time) error) (Upload, error)
}

// expireAfter ends the upload in ttl.
func (s uploadSteps) expireAfter(ctx context.Context, id string, ttl time.Duration) (Upload, error) {
	return s.change(ctx, id, func(r *uploadRecord, now time.Time) error {
		r.Expires = now.Add(ttl)
		return nil
	})
}

// Lock is of [Uploads].
func (s uploadSteps) Lock(ctx context.Context, id string, lease time.Duration) (Upload, error) {
	var busy *BusyError
	u, err := s.change(ctx, id, func(r *uploadRecord, now time.Time) error {
		if left := r.Lease.Until.Sub(now); left > 0 {
			busy = &BusyError{For: left}
			if r.Wanted {
				return errSame
			}
			r.Wanted = true
			return nil
		}
		busy, r.Wanted = nil, false
		r.Lease = Lease{Epoch: r.Lease.Epoch + 1, Until: now.Add(lease)}
		return nil
	})
	if err == nil && busy != nil {
		err = fmt.Errorf("upload %s: %w", id, busy)
	}
	return u, err
}

// held is a change by the holder of the epoch.
func (s uploadSteps) held(
	ctx context.Context, id string, epoch int, f func(r *uploadRecord, now time.Time) error,
) (Upload, error) {
	return s.change(ctx, id, func(r *uploadRecord, now time.Time) error {
		if r.Lease.Epoch != epoch {
			return fmt.Errorf("upload %s, epoch %d: %w", id, epoch, ErrLost)
		}
		return f(r, now)
	})
}

// Hold is of [Uploads].
func (s uploadSteps) Hold(ctx context.Context, id string, epoch int, lease time.Duration) (bool, error) {
	u, err := s.held(ctx, id, epoch, func(r *uploadRecord, now time.Time) error {
		r.Lease.Until = now.Add(lease)
		return nil
	})
	return u.Wanted, err
}

// Save is of [Uploads].
func (s uploadSteps) Save(ctx context.Context, u Upload, ttl time.Duration) error {
	_, err := s.held(ctx, u.ID, u.Lease.Epoch, func(r *uploadRecord, now time.Time) error {
		r.Length, r.Progress, r.Job, r.Expires = u.Length, u.Progress, u.Job, now.Add(ttl)
		return nil
	})
	return err
}

// Unlock is of [Uploads].
func (s uploadSteps) Unlock(ctx context.Context, id string, epoch int) error {
	_, err := s.change(ctx, id, func(r *uploadRecord, _ time.Time) error {
		if r.Lease.Epoch != epoch {
			return errSame
		}
		r.Lease.Until, r.Wanted = time.Time{}, false
		return nil
	})
	return err
}

func idsOf(uploads []Upload) map[string]bool {
	ids := map[string]bool{}
	for _, u := range uploads {
		ids[u.ID] = true
	}
	return ids
}
