package convert

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// divided is a bench with a job that three converters share, and the events that ask for the segments.
func divided(t *testing.T) (b *bench, first event.Event, segments []event.Event) {
	t.Helper()
	b = newFanout(t, 3)
	first = uploaded(t, b.upload(t).ID, eventing.VideoUploaded{})
	if resp, _ := b.post(t.Context(), t, first); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("answer to %s is %d, want 204: others go on", first.Type(), resp.StatusCode)
	}
	if len(b.sent.events) != 3 || b.engine.calls.Load() != 0 {
		t.Fatalf("%d segments were asked for and %d conversions done, want 3 and none", len(b.sent.events), b.engine.calls.Load())
	}
	return b, first, b.sent.events
}

func (b *bench) wantStatus(t *testing.T, e event.Event, want int) *event.Event {
	t.Helper()
	resp, reply := b.post(t.Context(), t, e)
	if resp.StatusCode != want {
		t.Errorf("answer to %s is %d, want %d", e.ID(), resp.StatusCode, want)
	}
	return reply
}

// wantAlone checks that one converter made the MP3, and that nothing of the segments counts.
func (b *bench) wantAlone(t *testing.T, e event.Event) {
	t.Helper()
	reply := b.wantStatus(t, e, http.StatusOK)
	if reply == nil || reply.Type() != eventing.TypeAudioConverted {
		t.Fatalf("reply to %s is %v, want audio.converted", e.ID(), reply)
	}
	j := b.state(t, e.Subject())
	if got := string(b.mp3s.get(j.MP3.FID)); got != mp3Data || j.Split != nil || j.Progress != 100 {
		t.Errorf("MP3 is %q at %d percent, want one converter's", got, j.Progress)
	}
}

func TestShared(t *testing.T) {
	t.Parallel()
	b, first, segments := divided(t)
	ids := map[string]bool{}
	for _, e := range segments {
		ids[e.ID()] = true
	}
	if len(ids) != len(segments) {
		t.Errorf("ids of the segments' events are %v, want one each", ids)
	}
	b.wantStatus(t, segments[2], http.StatusNoContent)
	b.wantStatus(t, segments[2], http.StatusNoContent)
	b.wantStatus(t, segments[0], http.StatusNoContent)
	if got := b.state(t, first.Subject()); got.State != job.Converting || got.Progress != 66 || b.mp3s.len() != 2 {
		t.Errorf("after two of three segments the job is %s at %d percent with %d files, want converting at 66 with 2", got.State, got.Progress, b.mp3s.len())
	}
	join := b.wantStatus(t, segments[1], http.StatusOK)
	if again := b.wantStatus(t, segments[1], http.StatusOK); !cmp.Equal(join, again) || join.Type() != eventing.TypeSegmentsConverted {
		t.Fatalf("the last segment is answered %v and then %v, want %s twice", join, again, eventing.TypeSegmentsConverted)
	}
	reply := b.wantStatus(t, *join, http.StatusOK)
	if again := b.wantStatus(t, *join, http.StatusOK); !cmp.Equal(reply, again) || reply.Type() != eventing.TypeAudioConverted {
		t.Fatalf("joining is answered %v and then %v, want audio.converted twice", reply, again)
	}
	j := b.state(t, first.Subject())
	const want = "segment 0 of 3 at 1.5 dB, segment 1 of 3 at 1.5 dB, segment 2 of 3 at 1.5 dB, 3003 samples"
	if got := string(b.mp3s.get(j.MP3.FID)); got != want || j.MP3.Plan != PlanIndex+PlanFanout {
		t.Errorf("MP3 is %q by %s, want %q", got, j.MP3.Plan, want)
	}
	if b.mp3s.len() != 1 || b.engine.calls.Load() != 0 || j.Split != nil {
		t.Errorf("%d files are left, %d conversions were done, want the MP3 and none", b.mp3s.len(), b.engine.calls.Load())
	}
	b.wantStatus(t, segments[0], http.StatusNoContent)
	if again := b.wantStatus(t, first, http.StatusOK); !cmp.Equal(reply, again) {
		t.Errorf("a repeat of the first event is answered %v, want %v", again, reply)
	}
}

// TestSharedJoinEventLost checks that the event of the sweep, which knows of no segments, has them joined too.
func TestSharedJoinEventLost(t *testing.T) {
	t.Parallel()
	b, first, segments := divided(t)
	for _, e := range segments {
		b.post(t.Context(), t, e)
	}
	if b.wantStatus(t, first, http.StatusOK); b.engine.calls.Load() != 0 || b.mp3s.len() != 1 {
		t.Errorf("%d conversions, %d files, want the segments joined", b.engine.calls.Load(), b.mp3s.len())
	}
}

// TestSharedFallsBack are segments that are lost in one way or another: one converter makes it all.
func TestSharedFallsBack(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for _, tt := range []struct {
		name  string
		lose  func(t *testing.T, b *bench, segments []event.Event)
		extra int // files that the sweep is to remove
	}{
		{name: "none arrived", lose: func(*testing.T, *bench, []event.Event) {}},
		{name: "one did not arrive", lose: func(t *testing.T, b *bench, segments []event.Event) {
			b.wantStatus(t, segments[0], http.StatusNoContent)
			b.wantStatus(t, segments[1], http.StatusNoContent)
		}, extra: 2},
		{name: "one kept failing", lose: func(t *testing.T, b *bench, segments []event.Event) {
			b.engine.segment = func(context.Context, int) error { return away }
			b.wantStatus(t, segments[0], http.StatusServiceUnavailable)
			b.wantStatus(t, segments[0], http.StatusServiceUnavailable)
		}},
		{name: "a file is gone", lose: func(t *testing.T, b *bench, segments []event.Event) {
			for _, e := range segments {
				b.post(t.Context(), t, e)
			}
			_ = b.mp3s.Delete(t.Context(), b.state(t, segments[0].Subject()).Split.Segments[1].FID)
		}},
		{name: "they do not fit", lose: func(t *testing.T, b *bench, segments []event.Event) {
			for _, e := range segments {
				b.post(t.Context(), t, e)
			}
			b.engine.join = func() error { return away }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, first, segments := divided(t)
			tt.lose(t, b, segments)
			var resp *http.Response
			for resp == nil || resp.StatusCode == http.StatusConflict { // until the leases have ended
				resp, _ = b.post(t.Context(), t, first)
			}
			b.wantAlone(t, first)
			b.engine.segment = nil
			for _, e := range segments {
				b.wantStatus(t, e, http.StatusNoContent)
			}
			if b.mp3s.len() != 1+tt.extra {
				t.Errorf("%d files are left, want the MP3 and %d for the sweep", b.mp3s.len(), tt.extra)
			}
		})
	}
}

// TestSharedNotAsked checks that the job is one converter's when the segments cannot be asked for, whatever was sent already.
func TestSharedNotAsked(t *testing.T) {
	t.Parallel()
	b := newFanout(t, 3)
	first := uploaded(t, b.upload(t).ID, eventing.VideoUploaded{})
	b.sent.send = func() error {
		if len(b.sent.events) == 2 {
			return errors.New("away")
		}
		return nil
	}
	b.wantStatus(t, first, http.StatusServiceUnavailable)
	b.wantStatus(t, b.sent.events[0], http.StatusNoContent)
	b.wantAlone(t, first)
	b.wantStatus(t, b.sent.events[1], http.StatusNoContent)
	if b.mp3s.len() != 1 {
		t.Errorf("%d files are stored, want the MP3", b.mp3s.len())
	}
}

// TestSegmentBusy checks that a segment, and its job, are left alone while a worker has them.
func TestSegmentBusy(t *testing.T) {
	t.Parallel()
	b, first, segments := divided(t)
	b.engine.segment = func(ctx context.Context, _ int) error {
		for range 3 { // longer than a lease
			for _, e := range []event.Event{first, segments[1]} {
				if resp, _ := b.post(ctx, t, e); resp.StatusCode != http.StatusConflict || resp.Header.Get("Retry-After") == "" {
					t.Errorf("answer to %s is %d, want 409 with Retry-After", e.ID(), resp.StatusCode)
				}
			}
			until := b.state(t, first.Subject()).Lease.Until
			for b.state(t, first.Subject()).Lease.Until.Equal(until) {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
		}
		return nil
	}
	b.wantStatus(t, segments[1], http.StatusNoContent)
}

func TestSegmentFails(t *testing.T) {
	t.Parallel()
	b, first, segments := divided(t)
	b.engine.segment = func(context.Context, int) error { return noAudio() }
	reply := b.wantStatus(t, segments[1], http.StatusOK)
	if p, err := eventing.Decode[eventing.ConversionFailed](*reply); err != nil || p.Error.Code != NoAudio {
		t.Errorf("reply is %v, %v, want %s", p, err, NoAudio)
	}
	b.wantStatus(t, segments[0], http.StatusNoContent)
	if again := b.wantStatus(t, first, http.StatusOK); !cmp.Equal(reply, again) || b.mp3s.len() != 0 {
		t.Errorf("a repeat is answered %v, %d files, want %v and none", again, b.mp3s.len(), reply)
	}
}

// TestSegmentTriedAgain checks that a passing failure leaves the segment to the next delivery.
func TestSegmentTriedAgain(t *testing.T) {
	t.Parallel()
	b, _, segments := divided(t)
	b.engine.segment = func(context.Context, int) error { return passing(nil, Killed, "stopped") }
	b.wantStatus(t, segments[0], http.StatusServiceUnavailable)
	b.engine.segment = nil
	for i, want := range []int{http.StatusNoContent, http.StatusNoContent, http.StatusOK} {
		b.wantStatus(t, segments[i], want)
	}
}

// TestSegmentLost checks that who lost the job while at a segment leaves nothing behind.
func TestSegmentLost(t *testing.T) {
	t.Parallel()
	b, first, segments := divided(t)
	b.engine.segment = func(ctx context.Context, _ int) error {
		if _, err := b.jobs.Cancel(context.WithoutCancel(ctx), first.Subject()); err != nil {
			t.Error(err)
		}
		return nil
	}
	b.wantStatus(t, segments[0], http.StatusNoContent)
	b.wantStatus(t, segments[1], http.StatusNoContent)
	if b.mp3s.len() != 0 {
		t.Errorf("%d files are left, want none", b.mp3s.len())
	}
}

// TestSegmentTakenOver checks that of two workers at one segment the later one counts.
func TestSegmentTakenOver(t *testing.T) {
	t.Parallel()
	b, first, segments := divided(t)
	b.engine.segment = func(ctx context.Context, _ int) error {
		b.engine.segment = nil
		id := first.Subject()
		if err := b.jobs.ReleaseSegment(ctx, id, job.Turn{Epoch: 1, Segment: 0, Lease: 1}); err != nil {
			t.Error(err)
		}
		_, _, err := b.jobs.ClaimSegment(ctx, id, job.Turn{Epoch: 1, Segment: 0}, time.Minute)
		return err
	}
	b.wantStatus(t, segments[0], http.StatusNoContent)
	if got := b.state(t, first.Subject()).Split.Segments[0]; got.FID != "" || b.mp3s.len() != 0 {
		t.Errorf("segment is %+v, %d files, want it still the other worker's", got, b.mp3s.len())
	}
}
