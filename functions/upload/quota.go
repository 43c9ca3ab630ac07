package upload

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// underWay counts the uploads in one request of each owner that this process takes at the moment.
type underWay struct {
	mu sync.Mutex
	n  map[string]int
}

// add begins or ends one, and tells how many there are then.
func (w *underWay) add(owner string, n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == nil {
		w.n = map[string]int{}
	}
	if w.n[owner] += n; w.n[owner] == 0 {
		delete(w.n, owner)
		return 0
	}
	return w.n[owner]
}

// usage tells what the bearer has and does, and may.
func (u *uploader) usage(ctx context.Context) (job.Usage, job.Limits, error) {
	c := token.FromContext(ctx)
	limits := u.quotas.Of(c.Group)
	used, err := u.jobs.Usage(ctx, c.Owner())
	if err != nil {
		return used, limits, notStored(err)
	}
	more, err := u.uploads.Usage(ctx, c.Owner())
	if err != nil {
		return used, limits, notStored(err)
	}
	used.Bytes, used.Uploads = used.Bytes+more.Bytes, more.Uploads+u.requests.add(c.Owner(), 0)
	return used, limits, nil
}

// showUsage answers with it.
func (u *uploader) showUsage(w http.ResponseWriter, r *http.Request) error {
	used, limits, err := u.usage(r.Context())
	if err != nil {
		return err
	}
	tell(w.Header(), used, limits)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(struct {
		Used   job.Usage  `json:"used"`
		Limits job.Limits `json:"limits"`
	}{used, limits})
	return nil
}

// within refuses another upload of the length, below 0 when it is not known, where the bearer's quota has no room for
// it. It gives how many bytes there is room for.
func (u *uploader) within(ctx context.Context, h http.Header, length int64) (room int64, err error) {
	if u.quotas.Of(token.FromContext(ctx).Group) == (job.Limits{}) {
		return math.MaxInt64, nil
	}
	used, limits, err := u.usage(ctx)
	if err != nil {
		return 0, err
	}
	tell(h, used, limits)
	switch {
	case limits.Jobs > 0 && used.Jobs >= limits.Jobs:
		u.refused.Add(ctx, 1, attribute.String("limit", "jobs"))
		return 0, problem.New(problem.TooMany, "you have %d unfinished jobs, the most that you may: wait until one is done",
			used.Jobs).RetryAfter(time.Minute)
	case limits.Uploads > 0 && used.Uploads >= limits.Uploads:
		u.refused.Add(ctx, 1, attribute.String("limit", "uploads"))
		return 0, problem.New(problem.TooMany, "you have %d uploads under way, the most that you may: wait until one is done",
			used.Uploads).RetryAfter(time.Minute)
	case limits.Minutes > 0 && used.Minutes >= float64(limits.Minutes):
		u.refused.Add(ctx, 1, attribute.String("limit", "minutes"))
		return 0, problem.New(problem.TooMany, "%.0f minutes of sound were made for you today, the most that you may: "+
			"come again tomorrow", used.Minutes).RetryAfter(untilTomorrow(time.Now()))
	case limits.Bytes == 0:
		return math.MaxInt64, nil
	}
	room = limits.Bytes - used.Bytes
	if room <= 0 || length > room {
		return 0, u.overQuota(ctx, room, limits)
	}
	return room, nil
}

func (u *uploader) overQuota(ctx context.Context, room int64, limits job.Limits) error {
	u.refused.Add(ctx, 1, attribute.String("limit", "bytes"))
	return problem.New(problem.OverQuota, "you may keep %d bytes, and %d are left: delete old jobs", limits.Bytes,
		max(0, room))
}

func untilTomorrow(now time.Time) time.Duration {
	now = now.UTC()
	return now.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now)
}

// tell sets the headers of draft-ietf-httpapi-ratelimit-headers-10: what there is of each limit, and what is left.
func tell(h http.Header, used job.Usage, limits job.Limits) {
	add := func(name string, limit, used int64, unit string) {
		if limit > 0 {
			h.Add("RateLimit-Policy", fmt.Sprintf("%q;q=%d%s", name, limit, unit))
			h.Add("RateLimit", fmt.Sprintf("%q;r=%d", name, max(0, limit-used)))
		}
	}
	add("bytes", limits.Bytes, used.Bytes, `;qu="content-bytes"`)
	add("jobs", int64(limits.Jobs), int64(used.Jobs), `;qu="jobs"`)
	add("uploads", int64(limits.Uploads), int64(used.Uploads), `;qu="uploads"`)
	add("minutes", int64(limits.Minutes), int64(used.Minutes), `;qu="minutes";w=86400`)
}

// counted has a request of an upload count as one that is under way.
func (u *uploader) counted(take func(http.ResponseWriter, *http.Request, *keyed) error) func(
	http.ResponseWriter, *http.Request, *keyed) error {
	return func(w http.ResponseWriter, r *http.Request, k *keyed) error {
		owner := token.FromContext(r.Context()).Owner()
		room, err := u.within(r.Context(), w.Header(), r.ContentLength)
		if err != nil {
			return err
		}
		u.requests.add(owner, 1)
		defer u.requests.add(owner, -1)
		u.open.Add(r.Context(), 1)
		defer u.open.Add(r.Context(), -1)
		return take(w, r.WithContext(context.WithValue(r.Context(), roomKey{}, room)), k)
	}
}

type roomKey struct{}

// roomOf is how many bytes the quota had room for when the request came.
func roomOf(ctx context.Context) int64 {
	if n, ok := ctx.Value(roomKey{}).(int64); ok {
		return n
	}
	return math.MaxInt64
}
