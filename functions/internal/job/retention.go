package job

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Retention is how long what a job has is kept after the job has ended, in seconds; 0 is for ever.
type Retention struct {
	Video int64 `bson:"video,omitempty" json:"video,omitempty"`
	MP3   int64 `bson:"mp3,omitempty" json:"mp3,omitempty"`
}

// RetentionField is the name that [RetentionConfig.Parse] knows.
const RetentionField = "expires"

// RetentionConfig bounds how long files are kept after their job has ended; 0 is for ever.
type RetentionConfig struct {
	Video Period `env:"RETENTION_VIDEO, default=1d"` // until then a failed job can be tried again
	MP3   Period `env:"RETENTION_MP3, default=0"`
}

// Validate reports every fault by variable name.
func (c RetentionConfig) Validate() error {
	var errs []error
	for name, p := range map[string]Period{"RETENTION_VIDEO": c.Video, "RETENTION_MP3": c.MP3} {
		if p < 0 || p > 0 && p < Period(time.Second) {
			errs = append(errs, fmt.Errorf("%s is %v: want at least 1s, or 0 to keep files", name, time.Duration(p)))
		}
	}
	return errors.Join(errs...)
}

// Parse reads from form fields or a query how long an upload's files are to be kept: expires is for both, and bounded
// by the configuration. Its error says what is valid.
func (c RetentionConfig) Parse(v url.Values) (Retention, error) {
	r := Retention{Video: c.Video.seconds(), MP3: c.MP3.seconds()}
	values := v[RetentionField]
	if values == nil {
		return r, nil
	}
	value, longest := values[len(values)-1], c.MP3
	if longest == 0 {
		longest = maxPeriod
	}
	p, err := ParsePeriod(value)
	if err != nil || p < Period(time.Second) || p > longest {
		return r, fmt.Errorf("%s=%q: want a time from 1s to %v after the end of the job, such as 90m, 12h or 7d",
			RetentionField, value, longest)
	}
	r.MP3 = p.seconds()
	if r.Video == 0 || r.Video > r.MP3 {
		r.Video = r.MP3
	}
	return r, nil
}

// Period is a time that is written as Go writes a Duration, or in whole days (30d).
type Period time.Duration

const (
	day       = Period(24 * time.Hour)
	maxPeriod = 10 * 365 * day
)

// ParsePeriod reads a period.
func ParsePeriod(s string) (Period, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 12) // more might be too long for a Duration
		return Period(n) * day, err
	}
	d, err := time.ParseDuration(s)
	return Period(d), err
}

// UnmarshalText is of [encoding.TextUnmarshaler].
func (p *Period) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePeriod(string(b))
	return err
}

// String is as [ParsePeriod] reads it.
func (p Period) String() string {
	if p > 0 && p%day == 0 {
		return strconv.FormatInt(int64(p/day), 10) + "d"
	}
	return time.Duration(p).String()
}

func (p Period) seconds() int64 { return int64(time.Duration(p) / time.Second) }

// ended sets when the files of a job that has just ended end as well.
func (r *record) ended(now time.Time) {
	after := func(seconds int64) *time.Time {
		at := now.Add(time.Duration(seconds) * time.Second)
		return &at
	}
	if r.Keep.Video > 0 {
		r.VideoExpires = after(r.Keep.Video)
	}
	if r.Keep.MP3 > 0 {
		r.Expires = after(r.Keep.MP3)
	}
	// A sweep that has marked the video, when the job had ended before, may have died before it deleted it.
	r.Due = r.nextDue(false)
}

// begunAnew takes that back.
func (r *record) begunAnew() {
	r.VideoExpires, r.Due = nil, nil
	if r.Keep.MP3 > 0 {
		r.Expires = nil
	}
}

// nextDue is when something of the job is to be deleted, of which the video may be gone; nil when nothing is.
func (r *record) nextDue(gone bool) *time.Time {
	switch {
	case !r.State.Finished(), r.State == Expired:
		return nil
	case r.VideoExpires != nil && !gone && (r.Expires == nil || r.VideoExpires.Before(*r.Expires)):
		return r.VideoExpires
	}
	return r.Expires
}

// expire marks what has ended of those jobs that are still due: the video as deleted, or the job as Expired.
func (s steps) expire(ctx context.Context, due []Job) ([]Job, error) {
	var ended []Job
	for _, j := range due {
		still := true
		j, err := s.first(ctx, j.ID, usualExpire(), func() (Job, error) {
			return s.first(ctx, j.ID, usualExpireVideo(), func() (Job, error) {
				return s.step(ctx, j.ID, func(r *record, now time.Time) (err error) {
					still, err = r.expire(now)
					return err
				})
			})
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return ended, err
		}
		if err == nil && still {
			ended = append(ended, j)
		}
	}
	return ended, nil
}

// expire marks what has ended, and reports whether anything has.
func (r *record) expire(now time.Time) (due bool, err error) {
	switch {
	case !r.State.Finished(), r.Due == nil, r.Due.After(now):
		return false, errSame
	case r.Expires != nil && !r.Expires.After(now) && r.State != Expired:
		r.Video.Deleted = true
		return true, r.move(expired)
	case r.Video.Deleted: // by a sweep that did not come to its end
		return true, errSame
	}
	r.Video.Deleted = true
	return true, nil
}

// Swept is of [Store].
func (s steps) Swept(ctx context.Context, id string) error {
	_, err := s.first(ctx, id, usualSwept(), func() (Job, error) {
		return s.change(ctx, id, func(r *record, _ time.Time) error {
			r.Due = r.nextDue(r.Video.Deleted)
			return nil
		})
	})
	return err
}
