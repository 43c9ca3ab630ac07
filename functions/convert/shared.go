package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// A job whose sound several converters share goes round by events: the converter that claims it first divides the sound and asks
// for each segment; the one that stores the last segment asks for their joining; whoever takes that claims the job anew and joins
// them. Where this comes to a halt the leases end, and the next delivery of video.uploaded, by the broker or the sweep, gives the
// segments up and has one converter make it all. Their files have no job to keep them, so that the sweep removes what is left.

// share divides the sound of a job among several converters, if that is worth it and the job is tried for the first time. It
// reports whether it did: the job then goes on without this worker.
func (f *function) share(ctx context.Context, j job.Job) (bool, error) {
	if f.cfg.Fanout < 2 || len(j.Attempts) > 1 {
		return false, nil
	}
	var split *job.Split
	err := f.read(ctx, j, func(video media.File) (err error) {
		split, err = f.engine.Divide(ctx, video, j.Options, f.cfg.Fanout)
		return err
	})
	if err != nil || split == nil {
		return false, err
	}
	if j, err = f.jobs.Divide(ctx, j.ID, j.Lease.Epoch, *split, f.cfg.Lease); err != nil {
		return false, err
	}
	for i := range split.Segments {
		e, err := j.SegmentEvent(Source, i)
		if err == nil {
			err = f.events.Send(ctx, e)
		}
		if err != nil {
			return false, fmt.Errorf("ask for segment %d: %w", i, err)
		}
	}
	slog.InfoContext(ctx, "sound divided", "segments", len(split.Segments))
	return true, nil
}

// segment takes video.segment.requested.
//
// No content (204) means that the segment is stored, or that nobody waits for it any more; a reply (200) that it was the last
// one, or that the job has failed with it. Anything else leaves the segment free for the next delivery.
func (f *function) segment(ctx context.Context, e event.Event) (*event.Event, error) {
	p, err := eventing.Decode[eventing.SegmentRequested](e)
	if err == nil {
		err = about(e, p.Reference)
	}
	if err != nil {
		return nil, err
	}
	j, t, err := f.jobs.ClaimSegment(ctx, p.VideoFID, job.Turn{Epoch: p.Epoch, Segment: p.Segment}, f.cfg.Lease)
	busy := (*job.BusyError)(nil)
	switch {
	case errors.As(err, &busy):
		return nil, f.busy(busy, err)
	case errors.Is(err, job.ErrState):
		return joining(j)
	case errors.Is(err, job.ErrLost):
		slog.InfoContext(ctx, "nobody waits for the segment", "error", err)
		return nil, nil
	case err != nil:
		return nil, eventing.RetryAfter(retryAfter, err)
	}
	return f.run(ctx, j, task{
		heartbeat: func(ctx context.Context, percent int) error {
			return f.jobs.HeartbeatSegment(ctx, j.ID, t, f.cfg.Lease, percent)
		},
		do: func(ctx context.Context, progress func(int)) (*event.Event, error) {
			now, err := f.makeSegment(ctx, j, t, progress)
			if err != nil {
				return nil, err
			}
			return joining(now)
		},
		release: func(ctx context.Context, _ string) error { return f.jobs.ReleaseSegment(ctx, j.ID, t) },
	})
}

// joining asks for the joining of the segments, once they are all there.
func joining(j job.Job) (*event.Event, error) {
	if !j.Split.Whole() {
		return nil, nil
	}
	e, err := j.JoinEvent(Source)
	return &e, err
}

// makeSegment stores a segment and records it, even when the one who asked for it has gone.
func (f *function) makeSegment(ctx context.Context, j job.Job, t job.Turn, progress func(int)) (job.Job, error) {
	var samples int64
	info, err := f.write(ctx, j, fmt.Sprintf("%s, segment %d", mp3Name(j.Filename), t.Segment), func(video media.File, w media.Writer) (err error) {
		samples, err = f.engine.Segment(ctx, video, j.Options, *j.Split, t.Segment, w, progress)
		return err
	})
	if err != nil {
		return j, err
	}
	last, cancel := afterwards(ctx)
	defer cancel()
	now, err := f.jobs.FinishSegment(last, j.ID, t, job.Segment{FID: info.ID, Samples: samples})
	if errors.Is(err, job.ErrLost) {
		return f.settle(last, j.ID, info.ID, err)
	}
	return now, err
}

// join takes video.segments.converted. Its ack means what that of [function.convert] means.
func (f *function) join(ctx context.Context, e event.Event) (*event.Event, error) {
	p, err := eventing.Decode[eventing.SegmentsConverted](e)
	if err == nil {
		err = about(e, p.Reference)
	}
	if err != nil {
		return nil, err
	}
	j, err := f.jobs.Claim(ctx, p.VideoFID, f.worker, f.cfg.Lease)
	return f.claimed(ctx, j, err)
}

// makeOfSegments is make by the segments that are there.
func (f *function) makeOfSegments(ctx context.Context, j job.Job, progress func(int)) (job.MP3, error) {
	var frames []io.Reader
	for _, id := range j.Split.Files() {
		file, err := f.mp3s.Open(ctx, id)
		if err != nil {
			return job.MP3{}, passing(err, Storage, storageMessage)
		}
		defer file.Close()
		frames = append(frames, file)
	}
	return f.makeBy(ctx, j, func(video media.File, w media.Writer) (Result, error) {
		return f.engine.Join(ctx, video, j.Options, *j.Split, frames, w, progress)
	})
}
