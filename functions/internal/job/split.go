package job

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
)

// Split is a long sound that several workers share. It belongs to one epoch of the job's lease, which they hold together.
type Split struct {
	Length   int64     `bson:"length"` // of a segment, in blocks of the encoder; the last one goes on to the end
	Gain     float64   `bson:"gain"`   // dB, of all of the sound
	Segments []Segment `bson:"segments"`
}

// Segment is a part of a sound.
type Segment struct {
	FID      string `bson:"fid,omitempty"`     // where its frames are, among the MP3s; empty while they are not
	Samples  int64  `bson:"samples,omitempty"` // a channel, that were encoded
	Progress int    `bson:"progress"`          // percent
	Lease    Lease  `bson:"lease"`
}

// Turn is a worker's time with a segment.
type Turn struct {
	Epoch   int // of the job's lease
	Segment int
	Lease   int // epoch of the segment's lease
}

// Whole reports whether all segments are there.
func (s *Split) Whole() bool {
	return s != nil && !slices.ContainsFunc(s.Segments, func(x Segment) bool { return x.FID == "" })
}

// Files are the ids of the segments that are there.
func (s *Split) Files() (ids []string) {
	if s == nil {
		return nil
	}
	for _, x := range s.Segments {
		if x.FID != "" {
			ids = append(ids, x.FID)
		}
	}
	return ids
}

// progress is that of the whole, in percent.
func (s *Split) progress() int {
	sum := 0
	for _, x := range s.Segments {
		sum += x.Progress
	}
	return sum / len(s.Segments)
}

// SegmentEvent makes the event that asks for a segment.
func (j *Job) SegmentEvent(source string, segment int) (event.Event, error) {
	e, err := eventing.New(source, j.ID, j.Round, eventing.SegmentRequested{Reference: j.reference(), Epoch: j.Lease.Epoch, Segment: segment})
	if err == nil {
		e.SetID(e.ID() + "/" + strconv.Itoa(segment))
	}
	return e, err
}

// JoinEvent makes the event that says that all segments are there.
func (j *Job) JoinEvent(source string) (event.Event, error) {
	return eventing.New(source, j.ID, j.Round, eventing.SegmentsConverted{Reference: j.reference()})
}

// Divide is of [Store].
func (s steps) Divide(ctx context.Context, id string, epoch int, split Split, ttl time.Duration) (Job, error) {
	never := func(*record) bool { return false }
	return s.held(ctx, id, epoch, never, func(r *record, now time.Time) error {
		r.endAttempt(now, "")
		r.Split, r.Lease.Until = &split, now.Add(ttl)
		return nil
	})
}

// ClaimSegment is of [Store].
func (s steps) ClaimSegment(ctx context.Context, id string, t Turn, ttl time.Duration) (Job, Turn, error) {
	j, err := s.segment(ctx, id, t, func(r *record, x *Segment, now time.Time) error {
		if x.FID != "" {
			return ErrState
		}
		if left := x.Lease.Until.Sub(now); left > 0 {
			return &BusyError{For: left}
		}
		t.Lease = x.Lease.Epoch + 1
		x.Lease = Lease{Epoch: t.Lease, Until: now.Add(ttl)}
		r.Lease.Until = later(r.Lease.Until, x.Lease.Until)
		return nil
	})
	return j, t, err
}

// HeartbeatSegment is of [Store].
func (s steps) HeartbeatSegment(ctx context.Context, id string, t Turn, ttl time.Duration, progress int) error {
	_, err := s.turn(ctx, id, t, func(r *record, x *Segment, now time.Time) error {
		x.Lease.Until = now.Add(ttl)
		x.Progress = max(x.Progress, min(progress, 99))
		r.Lease.Until = later(r.Lease.Until, x.Lease.Until)
		r.Progress = max(r.Progress, r.Split.progress())
		return nil
	})
	return err
}

// FinishSegment is of [Store].
func (s steps) FinishSegment(ctx context.Context, id string, t Turn, made Segment) (Job, error) {
	return s.segment(ctx, id, t, func(r *record, x *Segment, _ time.Time) error {
		switch {
		case x.Lease.Epoch != t.Lease:
			return ErrLost
		case x.FID == made.FID:
			return errSame
		case x.FID != "":
			return ErrLost
		}
		x.FID, x.Samples, x.Progress, x.Lease.Until = made.FID, made.Samples, 99, time.Time{}
		r.Progress = max(r.Progress, r.Split.progress())
		if r.Split.Whole() {
			r.Lease.Until = time.Time{}
		}
		return nil
	})
}

// ReleaseSegment is of [Store].
func (s steps) ReleaseSegment(ctx context.Context, id string, t Turn) error {
	_, err := s.turn(ctx, id, t, func(_ *record, x *Segment, _ time.Time) error {
		x.Lease.Until = time.Time{}
		return nil
	})
	return err
}

// turn is a step of the worker that has the segment.
func (s steps) turn(ctx context.Context, id string, t Turn, f func(r *record, x *Segment, now time.Time) error) (Job, error) {
	return s.segment(ctx, id, t, func(r *record, x *Segment, now time.Time) error {
		if x.Lease.Epoch != t.Lease || x.FID != "" {
			return ErrLost
		}
		return f(r, x, now)
	})
}

// segment is a step with a segment of the epoch.
func (s steps) segment(ctx context.Context, id string, t Turn, f func(r *record, x *Segment, now time.Time) error) (Job, error) {
	never := func(*record) bool { return false }
	j, err := s.held(ctx, id, t.Epoch, never, func(r *record, now time.Time) error {
		if r.Split == nil || t.Segment < 0 || t.Segment >= len(r.Split.Segments) {
			return ErrLost
		}
		return f(r, &r.Split.Segments[t.Segment], now)
	})
	if err != nil {
		err = fmt.Errorf("segment %d: %w", t.Segment, err)
	}
	return j, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
