package job

import (
	"context"
	"errors"
	"fmt"
)

// Files is the part of a store of media that [Remove] needs. A file that is not there is no error.
type Files interface {
	Delete(ctx context.Context, id string) error
}

// removable is the part of [Store] that [Remove] needs.
type removable interface {
	Get(ctx context.Context, id string) (Job, error)
	Cancel(ctx context.Context, id string) (Job, error)
	Delete(ctx context.Context, id string) error
}

// Remove deletes a job with its video and MP3, and ends it before when it is unfinished. The files go before the job:
// when it breaks off, the job is still there to be removed again. Where the job cannot be written, because the disk is
// full, its video makes room.
func Remove(ctx context.Context, jobs removable, videos, mp3s Files, j Job) error {
	id := j.ID
	if !j.State.Finished() {
		// A worker that has the job loses it by this, and removes what it made.
		var err error
		if j, err = end(ctx, jobs, id); err != nil && !errors.Is(err, ErrNotFound) {
			if deleteErr := videos.Delete(ctx, id); deleteErr == nil {
				j, err = end(ctx, jobs, id)
			}
		}
		if err != nil {
			return fmt.Errorf("cancel: %w", err)
		}
	}
	if j.MP3 != nil {
		if err := mp3s.Delete(ctx, j.MP3.FID); err != nil {
			return fmt.Errorf("delete MP3 %s: %w", j.MP3.FID, err)
		}
	}
	if err := videos.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete video: %w", err)
	}
	return jobs.Delete(ctx, id)
}

// end cancels a job, unless it finished meanwhile, perhaps with an MP3.
func end(ctx context.Context, jobs removable, id string) (Job, error) {
	j, err := jobs.Cancel(ctx, id)
	if errors.Is(err, ErrState) {
		j, err = jobs.Get(ctx, id)
	}
	return j, err
}
