package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/soundstrip/soundstrip/eventing"
)

// version is the part of a document that the stores need to change it.
type version struct {
	Rev int64     `bson:"rev"`           // counts the changes
	Now time.Time `bson:"now,omitempty"` // the store's clock at the reading; never kept
}

// record is a job as the stores keep it.
type record struct {
	Job     `bson:",inline"`
	Version version    `bson:",inline"`
	Owes    bool       `bson:"owes"`              // an event is to follow that nobody has answered yet
	Since   time.Time  `bson:"since"`             // from when on the job counts as silent
	Telling time.Time  `bson:"telling,omitempty"` // until when somebody tells the owner
	Due     *time.Time `bson:"due,omitempty"`     // when something of the job is to be deleted
	Waits   bool       `bson:"waits"`             // for its turn: see [Store.Take]
	Kept    int64      `bson:"kept"`              // bytes of its files
	Turn    string     `bson:"turn,omitempty"`    // that it was taken in: see [Store.Take]
	Rest    bson.M     `bson:",inline"`           // fields that a newer version of us wrote
}

func (r *record) version() *version { return &r.Version }

// change edits a record or says why it cannot be; errSame when there is nothing to do. A store may call it several
// times.
type change func(r *record, now time.Time) error

var errSame = errors.New("nothing to change")

// apply runs the change and keeps the record's own fields in step with the job.
func (r *record) apply(f change, now time.Time) error {
	finished := r.State.Finished()
	if err := f(r, now); errors.Is(err, errSame) {
		return err
	} else if err != nil {
		return fmt.Errorf("job %s, which is %s: %w", r.ID, r.State, err)
	}
	switch {
	case !finished && r.State.Finished():
		r.ended(now)
	case finished && !r.State.Finished():
		r.begunAnew()
	}
	delete(r.Rest, "split") // of versions until November 2026, in which several converters shared a sound
	r.setOwes()
	r.setWaits()
	r.Kept = r.kept()
	return nil
}

// setOwes records whether the job still owes an event. A Failed one does until Noticed says otherwise.
func (r *record) setOwes() {
	switch {
	case !r.State.Finished(), r.State == Converted:
		r.Owes = true
	case r.State != Failed:
		r.Owes = false
	}
}

// begin makes the record of a job that is new to the store.
func begin(j Job) record {
	j.Round = max(j.Round, 1)
	if j.Expires != nil {
		at := j.Expires.UTC().Truncate(time.Millisecond) // as BSON holds it
		j.Expires = &at
	}
	r := record{Job: j, Owes: true}
	r.setOwes()
	r.setWaits()
	r.Kept = r.kept()
	r.Due = r.nextDue(false)
	return r
}

// steps are the methods of [Store] that change a job: the same for every store that can make one change atomically.
type steps struct {
	change func(ctx context.Context, id string, f change) (Job, error)
	turns  turns
	// usually makes a step's usual change in one go, and reports whether it did. Nil where no store can.
	usually func(ctx context.Context, id string, u usual) (j Job, made bool, err error)
}

// first makes the usual change or, of another job, the step's own.
func (s steps) first(ctx context.Context, id string, u usual, own func() (Job, error)) (Job, error) {
	if s.usually != nil {
		if j, made, err := s.usually(ctx, id, u); made || err != nil {
			return j, err
		}
	}
	return own()
}

// step is a change that is news about the job.
func (s steps) step(ctx context.Context, id string, f change) (Job, error) {
	return s.change(ctx, id, func(r *record, now time.Time) error {
		if err := f(r, now); err != nil {
			return err
		}
		r.Updated, r.Since = now, now
		return nil
	})
}

// Queued is of [Store].
func (s steps) Queued(ctx context.Context, id string) error {
	_, err := s.first(ctx, id, usualQueued(), func() (Job, error) {
		return s.step(ctx, id, func(r *record, _ time.Time) error {
			if r.move(queued) != nil {
				return errSame
			}
			return nil
		})
	})
	return err
}

// maxSilence bounds how much longer each time [Store.Resent] lets a job be silent.
const maxSilence = time.Hour

// Resent is of [Store].
func (s steps) Resent(ctx context.Context, id string) error {
	_, err := s.first(ctx, id, usualResent(), func() (Job, error) {
		return s.change(ctx, id, func(r *record, now time.Time) error {
			_ = r.move(resent) // in any other state it stays
			r.Since = now.Add(min(now.Sub(r.Updated), maxSilence))
			return nil
		})
	})
	return err
}

// Claim is of [Store].
func (s steps) Claim(ctx context.Context, id, worker string, ttl time.Duration) (Job, error) {
	return s.claim(ctx, id, id, worker, ttl)
}

func (s steps) claim(ctx context.Context, id, turn, worker string, ttl time.Duration) (Job, error) {
	return s.first(ctx, id, usualClaim(turn, worker, ttl), func() (Job, error) {
		return s.step(ctx, id, func(r *record, now time.Time) error { return r.claim(turn, worker, now, ttl) })
	})
}

func (r *record) claim(turn, worker string, now time.Time, ttl time.Duration) error {
	if r.handedMP3() {
		return ErrState
	}
	if err := r.take(claimed, now); err != nil {
		return err
	}
	r.endAttempt(now, "the worker went away")
	r.Progress, r.Turn = 0, turn
	r.Lease = Lease{Epoch: r.Lease.Epoch + 1, Until: now.Add(ttl)}
	r.Attempts = append(r.Attempts, Attempt{Epoch: r.Lease.Epoch, Worker: worker, From: now})
	return nil
}

// take moves a job that nobody holds.
func (r *record) take(t transition, now time.Time) error {
	if left := r.Lease.Until.Sub(now); left > 0 && slices.Contains(t.from, r.State) {
		return &BusyError{For: left}
	}
	return r.move(t)
}

func (r *record) endAttempt(now time.Time, reason string) {
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].To == nil {
		r.Attempts[n-1].To, r.Attempts[n-1].Error = &now, reason
	}
}

// revoke takes the lease from whoever holds it.
func (r *record) revoke(now time.Time, reason string) {
	r.endAttempt(now, reason)
	r.Lease = Lease{Epoch: r.Lease.Epoch + 1}
}

// held is a step of the worker that holds the epoch. It is the same twice: when repeated says that the job already is
// as the step would leave it, the first answer was lost on the way, and the worker must not take that for a lost job.
func (s steps) held(ctx context.Context, id string, epoch int, repeated func(*record) bool, f change) (Job, error) {
	j, err := s.step(ctx, id, func(r *record, now time.Time) error {
		switch {
		case r.Lease.Epoch != epoch:
			return ErrLost
		case r.State == Converting:
			return f(r, now)
		case repeated(r):
			return errSame
		}
		return ErrLost
	})
	if errors.Is(err, ErrNotFound) {
		return Job{}, fmt.Errorf("job %s, epoch %d: it was deleted: %w", id, epoch, ErrLost)
	}
	return j, err
}

// most is the percentage of a job whose MP3 is not stored yet.
const most = 99

// Heartbeat is of [Store].
func (s steps) Heartbeat(ctx context.Context, id string, epoch int, ttl time.Duration, progress int) error {
	never := func(*record) bool { return false }
	_, err := s.first(ctx, id, usualHeartbeat(epoch, ttl, progress), func() (Job, error) {
		return s.held(ctx, id, epoch, never, func(r *record, now time.Time) error {
			r.Lease.Until = now.Add(ttl)
			r.Progress = max(r.Progress, min(progress, most))
			return nil
		})
	})
	return err
}

// Finish is of [Store].
func (s steps) Finish(ctx context.Context, id string, epoch int, mp3 MP3) (Job, error) {
	repeated := func(r *record) bool { return r.MP3 != nil && r.MP3.FID == mp3.FID }
	moved := true
	j, err := s.first(ctx, id, usualFinish(epoch, mp3), func() (Job, error) {
		moved = false
		return s.held(ctx, id, epoch, repeated, func(r *record, now time.Time) error {
			r.endAttempt(now, "")
			made := mp3
			r.Progress, r.Notice, made.Notice = 100, mp3.Notice, ""
			r.MP3 = &made
			r.Lease.Until = time.Time{}
			moved = true
			return r.move(finished)
		})
	})
	if err == nil && moved && s.turns != nil {
		if err := s.turns.made(ctx, j.Owner, mp3.Duration); err != nil {
			slog.WarnContext(ctx, "sound not counted", "job", id, "error", err) // the MP3 is there all the same
		}
	}
	return j, err
}

// Fail is of [Store].
func (s steps) Fail(ctx context.Context, id string, epoch int, f eventing.Failure) (Job, error) {
	repeated := func(r *record) bool { return r.State == Failed }
	return s.first(ctx, id, usualFail(epoch, f), func() (Job, error) {
		return s.held(ctx, id, epoch, repeated, func(r *record, now time.Time) error {
			r.endAttempt(now, f.Message)
			r.Error = &f
			r.Lease.Until = time.Time{}
			return r.move(failed)
		})
	})
}

// Release is of [Store].
func (s steps) Release(ctx context.Context, id string, epoch int, reason string) error {
	repeated := func(r *record) bool { return r.State == Queued }
	_, err := s.first(ctx, id, usualRelease(epoch, reason), func() (Job, error) {
		return s.held(ctx, id, epoch, repeated, func(r *record, now time.Time) error {
			r.endAttempt(now, reason)
			if n := len(r.Attempts); n > 0 {
				r.Attempts[n-1].Released = true
			}
			r.Lease.Until = time.Time{}
			return r.move(released)
		})
	})
	return err
}

// GiveUp is of [Store].
func (s steps) GiveUp(ctx context.Context, id string, epoch int, f eventing.Failure) (Job, error) {
	return s.first(ctx, id, usualGiveUp(epoch, f), func() (Job, error) {
		return s.step(ctx, id, func(r *record, now time.Time) error {
			if r.Lease.Epoch != epoch {
				return ErrState
			}
			if err := r.take(givenUp, now); err != nil {
				return err
			}
			r.revoke(now, f.Message)
			r.Error = &f
			return nil
		})
	})
}

// HandOver is of [Store].
func (s steps) HandOver(ctx context.Context, id string) (Job, error) {
	return s.first(ctx, id, usualHandOver(), func() (Job, error) {
		return s.first(ctx, id, usualHandOverMP3(), func() (Job, error) {
			return s.step(ctx, id, func(r *record, _ time.Time) error { return r.move(handedOver) })
		})
	})
}

// Tell is of [Store].
func (s steps) Tell(ctx context.Context, id string, ttl time.Duration) (Job, error) {
	return s.first(ctx, id, usualTell(ttl), func() (Job, error) {
		return s.change(ctx, id, func(r *record, now time.Time) error {
			if left := r.Telling.Sub(now); left > 0 && ttl > 0 {
				return &BusyError{For: left}
			}
			r.Telling = now.Add(ttl)
			return nil
		})
	})
}

// Noticed is of [Store].
func (s steps) Noticed(ctx context.Context, id string, n Notice, done bool) error {
	_, err := s.first(ctx, id, usualNoticed(n, done), func() (Job, error) {
		return s.step(ctx, id, func(r *record, now time.Time) error {
			told := r.Told(n.Event, n.Channel)
			done := done && n.Round == r.Round && (slices.Contains(noticed.from, r.State) || r.State == Failed && r.Owes)
			if told && !done {
				return errSame
			}
			if !told {
				n.At = now
				r.Notices = append(r.Notices, n)
			}
			if done {
				_ = r.move(noticed) // a Failed job stays so
			}
			r.Owes = r.Owes && !done
			return nil
		})
	})
	return err
}

// Cancel is of [Store].
func (s steps) Cancel(ctx context.Context, id string) (Job, error) {
	return s.first(ctx, id, usualCancel(), func() (Job, error) {
		return s.step(ctx, id, func(r *record, now time.Time) error {
			if err := r.move(cancelled); err != nil {
				return err
			}
			r.revoke(now, "cancelled")
			return nil
		})
	})
}

// Retry is of [Store].
func (s steps) Retry(ctx context.Context, id string) (Job, error) {
	return s.first(ctx, id, usualRetry(), func() (Job, error) {
		return s.step(ctx, id, func(r *record, _ time.Time) error {
			if r.handedMP3() || r.Video.Deleted { // or a sweep is about to do so
				return ErrState
			}
			if err := r.move(retried); err != nil {
				return err
			}
			r.Progress, r.Attempts, r.Error, r.Turn = 0, nil, nil, ""
			r.Round++
			r.Lease.Epoch++
			return nil
		})
	})
}
