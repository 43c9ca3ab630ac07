package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// turns are what a store has to tell for [Store.Take].
type turns interface {
	Get(ctx context.Context, id string) (Job, error)
	// taken gives the unfinished job that was taken in the turn of an event; empty when there is none.
	taken(ctx context.Context, turn string) (id string, err error)
	// answered gives the job that was taken in the turn of an event and has ended, as its owner is still to be told.
	answered(ctx context.Context, turn string) (id string, err error)
	// next gives the job whose turn it is of those that wait: that of the owner who had none for the longest time, and the
	// shortest of these; empty when none waits.
	next(ctx context.Context) (id string, err error)
	// had records that the owner had a turn.
	had(ctx context.Context, owner string) error
	// made records for how long the sound is that was made for the owner today.
	made(ctx context.Context, owner string, seconds float64) error
}

// Turn names the turn that an event about a job is: by the job, and by the round that the event begins, when it is not
// the first. What was taken in the turn of one round is not to be answered for in that of another.
func Turn(job string, round int) string {
	if round <= 1 {
		return job
	}
	return job + "/" + strconv.Itoa(round)
}

// answering is for how long an event that comes again is answered with what came of its turn. After that a sweep has
// sent the answer, and the event, too: the job that it is about may wait without another, for as long as the owner of
// the one before cannot be told. It is more than clocks should be apart.
const answering = 10 * time.Minute

// takeTries bounds how often another worker may take the job whose turn it is before us.
const takeTries = 20

// Take is of [Store].
//
// There are as many events as jobs that wait, each a turn. So an event must not be given up while a job waits, which
// then had none, also when the job that we looked at is ended or deleted before we claim it. And a Stored job does not
// wait: it may have no event, and would take the turn of one that has.
func (s steps) Take(ctx context.Context, turn, worker string, ttl time.Duration) (Job, error) {
	id, err := s.turns.taken(ctx, turn)
	if err != nil {
		return Job{}, err
	}
	if id != "" {
		if j, err := s.claim(ctx, id, turn, worker, ttl); !isOver(err) {
			return j, err
		}
	}
	// The worker before us may have died when the job had ended, and nobody heard of that.
	if id, err = s.turns.answered(ctx, turn); err != nil {
		return Job{}, err
	}
	if id != "" {
		j, err := s.claim(ctx, id, turn, worker, ttl)
		if !isOver(err) || time.Since(j.Updated) < answering {
			return j, err
		}
	}
	id, _, _ = strings.Cut(turn, "/")
	own, err := s.turns.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	if own.State == Stored { // here is its event
		if err := s.Queued(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
			return Job{}, err
		}
	}
	// One that was handed over does not wait either: its event did, for longer than old programs are given.
	if !own.State.Finished() && len(own.Attempts) > 0 || own.State == HandedOver {
		j, err := s.claim(ctx, id, turn, worker, ttl)
		if !isOver(err) && !errors.As(err, new(*BusyError)) {
			return j, err
		}
	}
	j, err := s.TakeNext(ctx, turn, worker, ttl)
	if !errors.Is(err, ErrNotFound) {
		return j, err
	}
	return s.claim(ctx, id, turn, worker, ttl)
}

// TakeNext is of [Store].
func (s steps) TakeNext(ctx context.Context, turn, worker string, ttl time.Duration) (Job, error) {
	for range takeTries {
		id, err := s.turns.next(ctx)
		if err != nil {
			return Job{}, err
		}
		if id == "" {
			return Job{}, fmt.Errorf("none waits: %w", ErrNotFound)
		}
		j, err := s.claimWaiting(ctx, id, turn, worker, ttl)
		switch {
		case err == nil:
			if err := s.turns.had(ctx, j.Owner); err != nil { // the worker has the job all the same
				slog.WarnContext(ctx, "turn not recorded: the owner may have the next one, too", "job", j.ID, "error", err)
			}
			return j, nil
		case !isOver(err) && !errors.As(err, new(*BusyError)):
			return j, err
		}
	}
	return Job{}, &BusyError{} // others were quicker each time, and more may wait
}

// isOver reports whether a claim failed because nothing is left to do for the job.
func isOver(err error) bool { return errors.Is(err, ErrState) || errors.Is(err, ErrNotFound) }

// claimWaiting is claim for a job that nobody has begun with; ErrState for another.
func (s steps) claimWaiting(ctx context.Context, id, turn, worker string, ttl time.Duration) (Job, error) {
	return s.first(ctx, id, usualClaimWaiting(turn, worker, ttl), func() (Job, error) {
		return s.step(ctx, id, func(r *record, now time.Time) error {
			if !r.Waits {
				return ErrState
			}
			return r.claim(turn, worker, now, ttl)
		})
	})
}

// setWaits records whether the job's event is there and nobody has begun with the job, so that it is anyone's.
func (r *record) setWaits() { r.Waits = r.State == Queued && len(r.Attempts) == 0 }
