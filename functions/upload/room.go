package upload

import (
	"context"
	"log/slog"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// roomEvery is after how many bytes of a video it is seen again whether there is room for more.
const roomEvery = 64 << 20

// Room reports whether uploads are taken, for /readyz: below STORE_MIN_FREE the rest is for jobs, MP3s and users.
func Room(videos media.Store, cfg Config) func(ctx context.Context) error {
	u := &uploader{videos: videos, minFree: cfg.MinFree}
	return func(ctx context.Context) error { return u.room(ctx, 0) }
}

// room refuses a video of the length when less than the floor would be left; its length may be unknown, below 0.
func (u *uploader) room(ctx context.Context, length int64) error {
	if u.minFree == 0 {
		return nil
	}
	free, err := u.videos.Free(ctx)
	if err != nil {
		slog.WarnContext(ctx, "it cannot be told how much can still be stored", "error", err)
		return nil
	}
	if free-max(length, 0) >= u.minFree {
		return nil
	}
	return problem.New(problem.OverQuota,
		"there is no room for the video: %d bytes are free, of which STORE_MIN_FREE keeps %d; delete old jobs, or "+
			"ask an admin",
		free, u.minFree)
}
