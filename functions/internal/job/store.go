package job

import (
	"context"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
)

// Store is what [Mongo] and [SQLite] both do; a function declares the part of it that it uses. Every method is atomic,
// and durable when it returns. Times are those of the store's clock. A job that is not there is ErrNotFound.
type Store interface {
	// Create keeps a new job, which is Stored and in round 1. ErrExists when its id is taken.
	Create(ctx context.Context, j Job) (Job, error)
	// Adopt keeps a job that did not begin with us, in the state it has, unless its id is taken; it returns what is kept.
	Adopt(ctx context.Context, j Job) (Job, error)
	// Get gives one job.
	Get(ctx context.Context, id string) (Job, error)
	// FindMP3 gives the job whose MP3 has the id.
	FindMP3(ctx context.Context, fid string) (Job, error)
	// Keeps tells which of the ids, at most some hundreds, are those of the video or MP3 of a job that is not Expired.
	Keeps(ctx context.Context, ids []string) (map[string]bool, error)
	// List gives the jobs that match, newest (highest id) first.
	List(ctx context.Context, q Query) ([]Job, error)
	// Changed gives up to limit jobs of the owner, or everyone's when that is empty, that changed at the time or later,
	// the earliest change first.
	Changed(ctx context.Context, owner string, since time.Time, limit int) ([]Job, error)
	// Queued moves a Stored job to Queued; any other it leaves alone.
	Queued(ctx context.Context, id string) error
	// Resent records that the event which the job owes was sent again: a Stored job becomes Queued, and Stuck leaves the
	// job out for as long again as it has been unchanged, an hour at most.
	Resent(ctx context.Context, id string) error
	// Claim gives an unfinished job, or a HandedOver one that has no MP3, to the worker: Converting, with a new epoch, a
	// lease that runs for ttl, and an attempt begun. *BusyError while another lease runs; ErrState when it is finished,
	// with the job.
	Claim(ctx context.Context, id, worker string, ttl time.Duration) (Job, error)
	// Take gives the worker the job whose turn it is, for an event (see [Turn]). An event is not for its own job: it is a
	// turn. Owners have turns one after the other, however many jobs each has, and the shortest video of an owner is
	// first. A turn is for one job: who comes again with the event, because the first one died or gave the job back, gets
	// the same, and ErrState with it when it has just ended and its owner is not told yet. It is the event's own job that
	// was tried before or handed over, and when none waits: a job waits when its event is sent, which leaves it Queued,
	// until somebody begins with it. Errors are as with Claim, of the event's own job where none waits.
	Take(ctx context.Context, turn, worker string, ttl time.Duration) (Job, error)
	// TakeNext is Take for an event whose own job is deleted: its turn is for another that waits. ErrNotFound when none
	// does.
	TakeNext(ctx context.Context, turn, worker string, ttl time.Duration) (Job, error)
	// Heartbeat prolongs the lease to ttl from now and records progress, which never goes down within an epoch. ErrLost
	// when the epoch is not the job's any more, or the job was cancelled or deleted.
	Heartbeat(ctx context.Context, id string, epoch int, ttl time.Duration, progress int) error
	// Finish records the MP3: Converted, 100 percent. ErrLost as with Heartbeat; no error when this very call was made
	// before.
	Finish(ctx context.Context, id string, epoch int, mp3 MP3) (Job, error)
	// Fail records why there will be no MP3: Failed. Errors as with Finish.
	Fail(ctx context.Context, id string, epoch int, f eventing.Failure) (Job, error)
	// Release gives the job back after a passing failure: Queued, without a lease, the attempt ended with the reason.
	// Errors as with Finish.
	Release(ctx context.Context, id string, epoch int, reason string) error
	// GiveUp is Fail for an unfinished job that nobody holds. ErrState when it is finished, or has another epoch because
	// somebody has claimed or begun it anew since it was looked at; *BusyError while a lease runs.
	GiveUp(ctx context.Context, id string, epoch int, f eventing.Failure) (Job, error)
	// HandOver leaves a Queued or Converted job to an old program that has taken its event, of which nothing more may be
	// heard: HandedOver. ErrState otherwise.
	HandOver(ctx context.Context, id string) (Job, error)
	// Tell leaves it to one caller, for ttl, to tell the owner how the job ended; 0 gives that back. *BusyError while
	// another has it.
	Tell(ctx context.Context, id string, ttl time.Duration) (Job, error)
	// Noticed records a notice, once. With done its owner knows all there is to know: a Converted job becomes Notified,
	// as does a HandedOver one, and neither it nor a Failed one owes an event any more. A notice of an earlier round is
	// about none of that.
	Noticed(ctx context.Context, id string, n Notice, done bool) error
	// Cancel ends an unfinished job: Cancelled. ErrState when it is finished.
	Cancel(ctx context.Context, id string) (Job, error)
	// Retry starts a Failed or Cancelled job anew, or a HandedOver one that has no MP3: Stored, in the next round, without
	// attempts. ErrState otherwise, and when Expire has marked its video, with the job.
	Retry(ctx context.Context, id string) (Job, error)
	// Delete forgets the job; one that is not there is no error.
	Delete(ctx context.Context, id string) error
	// Expire gives up to limit finished jobs of which something is to be deleted, marked so: the job is Expired, which is
	// for all of its files, or its video Deleted. It gives them again until they are Swept.
	Expire(ctx context.Context, limit int) ([]Job, error)
	// Swept records that what Expire marked is deleted.
	Swept(ctx context.Context, id string) error
	// Stuck gives up to limit jobs that have no running lease and still owe an event: the unfinished ones, Converted
	// ones, and Failed ones whose owner was not told. Stored ones have been silent for unsent, the others for silent.
	// Longest silent first.
	Stuck(ctx context.Context, unsent, silent time.Duration, limit int) ([]Job, error)
	// Usage tells what the owner's jobs keep and do; of uploads it knows nothing.
	Usage(ctx context.Context, owner string) (Usage, error)
	// Ping reports whether the store can be used.
	Ping(ctx context.Context) error
}
