package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// ending is how an old converter's work ended: one of both is set.
type ending struct {
	mp3     *job.MP3
	failure *eventing.Failure
}

// adopt gives the job that an event about an old converter's work is about. Such a converter does not end the job, and
// behind an old gateway there is no job. Both is done here: without a job the owner cannot download the MP3.
func (f *function) adopt(
	ctx context.Context, r eventing.Reference, name string, o eventing.Options, read func() (ending, error),
) (job.Job, error) {
	j, err := f.jobs.Get(ctx, r.VideoFID)
	none := errors.Is(err, job.ErrNotFound)
	if none {
		j, err = f.found(ctx, r, name, o)
	}
	if err != nil || !none && !open(j) {
		return j, passing(err)
	}
	end, err := read()
	if err != nil {
		return j, err
	}
	if none {
		j.State, j.MP3, j.Error = job.Failed, end.mp3, end.failure
		if end.mp3 != nil {
			j.State, j.Progress = job.Converted, 100
		}
		if j, err = f.jobs.Adopt(ctx, j); err != nil || !open(j) {
			return j, passing(err)
		}
	}
	if j, err = f.jobs.Claim(ctx, j.ID, "an old converter", recording); err != nil {
		return j, passing(err)
	}
	if end.mp3 != nil {
		j, err = f.jobs.Finish(ctx, j.ID, j.Lease.Epoch, *end.mp3)
	} else {
		j, err = f.jobs.Fail(ctx, j.ID, j.Lease.Epoch, *end.failure)
	}
	return j, passing(err)
}

// open reports whether the job may still be ended.
func open(j job.Job) bool { return !j.State.Finished() || j.State == job.HandedOver && j.MP3 == nil }

// found makes the job of a video that came without one. A video that is not there was deleted with its job.
func (f *function) found(ctx context.Context, r eventing.Reference, name string, o eventing.Options) (job.Job, error) {
	j := job.Job{ID: r.VideoFID, Owner: r.Username, Filename: name, Options: o, Round: 1}
	video, err := f.videos.Open(ctx, r.VideoFID)
	if errors.Is(err, media.ErrNotFound) {
		return j, job.ErrNotFound
	}
	if err != nil {
		return j, fmt.Errorf("look for video %s: %w", r.VideoFID, err)
	}
	info := video.Info()
	j.Filename = cmp.Or(name, info.Name)
	j.Video = job.Video{Length: info.Length, SHA256: info.SHA256}
	if info.Owner != "" {
		j.Owner, j.Username = info.Owner, r.Username
	}
	return j, video.Close()
}

// adoptMP3 takes the message of an old converter. It has the ids and the owner, and no SHA-256, which ours always has.
// An MP3 that belongs to another job is not given away.
func (f *function) adoptMP3(ctx context.Context, p eventing.AudioConverted) (job.Job, error) {
	fid := *p.MP3FID
	if !media.ValidID(fid) {
		return job.Job{}, eventing.Reject(fmt.Errorf("mp3_fid %q is no file's id", fid))
	}
	other, err := f.jobs.FindMP3(ctx, fid)
	if err == nil && other.ID != p.VideoFID {
		return job.Job{}, eventing.Reject(fmt.Errorf("the MP3 %s is that of job %s", fid, other.ID))
	}
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return job.Job{}, eventing.RetryAfter(retryAfter, err)
	}
	return f.adopt(ctx, p.Reference, p.Filename, p.Options, func() (ending, error) {
		m, err := f.measure(ctx, fid)
		if err != nil {
			return ending{}, eventing.RetryAfter(retryAfter, err)
		}
		return ending{mp3: &job.MP3{FID: fid, Length: m.Length, SHA256: m.SHA256, Duration: m.Duration.Seconds()}}, nil
	})
}

// adoptFailure takes the broker's word that an old converter ends at the video.
func (f *function) adoptFailure(ctx context.Context, p eventing.ConversionFailed) (job.Job, error) {
	return f.adopt(ctx, p.Reference, p.Filename, p.Options, func() (ending, error) {
		return ending{failure: &p.Error}, nil
	})
}

func (f *function) measure(ctx context.Context, fid string) (mp3.Measured, error) {
	file, err := f.mp3s.Open(ctx, fid)
	if err != nil {
		return mp3.Measured{}, fmt.Errorf("open MP3 %s: %w", fid, err)
	}
	defer file.Close()
	return mp3.Measure(file)
}

// passing is the outcome of an event when the store of jobs or files gives the error.
func passing(err error) error {
	if busy := (*job.BusyError)(nil); errors.As(err, &busy) {
		return eventing.Busy(min(busy.For, retryAfter), err)
	}
	if err == nil || errors.Is(err, job.ErrNotFound) {
		return err
	}
	return eventing.RetryAfter(retryAfter, err)
}
