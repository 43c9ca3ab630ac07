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

// Remove deletes a job with its video and MP3, and ends it before when it is unfinished. The files go before the job:
// when it breaks off, the job is still there to be removed again.
func Remove(ctx context.Context, jobs interface {
	Get(ctx context.Context, id string) (Job, error)
	Cancel(ctx context.Context, id string) (Job, error)
	Delete(ctx context.Context, id string) error
}, videos, mp3s Files, j Job,
) error {
	id := j.ID
	if !j.State.Finished() {
		// A worker that has the job loses it by this, and removes what it made.
		var err error
		j, err = jobs.Cancel(ctx, id)
		if errors.Is(err, ErrState) { // it finished meanwhile, perhaps with an MP3
			j, err = jobs.Get(ctx, id)
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
