package job_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// three is a sound in three segments.
func three() job.Split { return job.Split{Length: 490, Gain: -1.5, Segments: make([]job.Segment, 3)} }

// divide gives a job whose sound is divided, in the epoch 1.
func divide(t *testing.T, s job.Store) string {
	t.Helper()
	id := create(t, s).ID
	claim(t, s, id, running)
	if _, err := s.Divide(t.Context(), id, 1, three(), over); err != nil {
		t.Fatalf("Divide = %v", err)
	}
	return id
}

// makeSegment claims and finishes a segment.
func makeSegment(t *testing.T, s job.Store, id string, number int) (job.Job, string) {
	t.Helper()
	_, turn, err := s.ClaimSegment(t.Context(), id, job.Turn{Epoch: 1, Segment: number}, running)
	if err != nil {
		t.Fatalf("ClaimSegment(%d) = %v", number, err)
	}
	fid := newID()
	j, err := s.FinishSegment(t.Context(), id, turn, job.Segment{FID: fid, Samples: 1000})
	if err != nil {
		t.Fatalf("FinishSegment(%d) = %v", number, err)
	}
	return j, fid
}

func testDivide(t *testing.T, s job.Store) {
	ctx := t.Context()
	t.Run("and make", func(t *testing.T) {
		id := divide(t, s)
		j := get(t, s, id)
		want := three()
		if diff := cmp.Diff(&want, j.Split); diff != "" || j.State != job.Converting || j.Attempts[0].To == nil || j.Attempts[0].Error != "" {
			t.Errorf("Divide leaves %+v, want it divided and the attempt ended well:\n%s", j, diff)
		}
		var fids []string
		for i := range 3 {
			var fid string
			if j, fid = makeSegment(t, s, id, i); j.Split.Whole() != (i == 2) || j.Progress != 33*(i+1) {
				t.Errorf("after segment %d whole = %v at %d percent", i, j.Split.Whole(), j.Progress)
			}
			fids = append(fids, fid)
		}
		joining := claim(t, s, id, running)
		if diff := cmp.Diff(fids, joining.Split.Files()); diff != "" || joining.Progress != 99 || joining.Lease.Epoch != 2 {
			t.Errorf("Claim of all segments = %+v, want them kept (-want +got):\n%s", joining, diff)
		}
		if j, err := s.Finish(ctx, id, 2, job.MP3{FID: newID()}); err != nil || j.Split != nil {
			t.Errorf("Finish = %+v, %v, want the segments forgotten", j.Split, err)
		}
	})
	t.Run("and lose a segment", func(t *testing.T) {
		id := divide(t, s)
		_, turn, err := s.ClaimSegment(ctx, id, job.Turn{Epoch: 1, Segment: 1}, over)
		if err != nil {
			t.Fatal(err)
		}
		if j := claim(t, s, id, running); j.Split != nil || j.Progress != 0 || j.Lease.Epoch != 2 {
			t.Errorf("Claim = %+v, want the segments given up", j)
		}
		_, err = s.FinishSegment(ctx, id, turn, job.Segment{FID: newID()})
		wantErr(t, "FinishSegment of what was given up", err, job.ErrLost)
	})
	t.Run("and start anew", func(t *testing.T) {
		id := divide(t, s)
		if _, err := s.Cancel(ctx, id); err != nil {
			t.Fatal(err)
		}
		if j, err := s.Retry(ctx, id); err != nil || j.Split != nil {
			t.Errorf("Retry = %+v, %v, want no segments", j.Split, err)
		}
	})
}

func testSegment(t *testing.T, s job.Store) {
	id, ctx := divide(t, s), t.Context()
	asked := job.Turn{Epoch: 1, Segment: 1}
	for _, bad := range []job.Turn{{Epoch: 2}, {Epoch: 1, Segment: 3}, {Epoch: 1, Segment: -1}} {
		_, _, err := s.ClaimSegment(ctx, id, bad, running)
		wantErr(t, "ClaimSegment of another split", err, job.ErrLost)
	}
	j, turn, err := s.ClaimSegment(ctx, id, asked, running)
	if err != nil || turn != (job.Turn{Epoch: 1, Segment: 1, Lease: 1}) || !j.Lease.Until.Equal(j.Split.Segments[1].Lease.Until) {
		t.Fatalf("ClaimSegment = %+v, %+v, %v", j, turn, err)
	}
	_, _, err = s.ClaimSegment(ctx, id, asked, running)
	wantBusy(t, "ClaimSegment of a segment that is held", err)
	_, err = s.Claim(ctx, id, "other", running)
	wantBusy(t, "Claim while a segment is held", err)

	for _, tt := range []struct{ progress, want int }{{30, 10}, {10, 10}, {100, 33}} {
		if err := s.HeartbeatSegment(ctx, id, turn, running, tt.progress); err != nil {
			t.Fatalf("HeartbeatSegment = %v", err)
		}
		if got := get(t, s, id).Progress; got != tt.want {
			t.Errorf("after HeartbeatSegment(%d) the job is at %d percent, want %d", tt.progress, got, tt.want)
		}
	}
	if err := s.ReleaseSegment(ctx, id, turn); err != nil {
		t.Fatal(err)
	}
	_, second, err := s.ClaimSegment(ctx, id, asked, running)
	if err != nil || second.Lease != 2 {
		t.Fatalf("ClaimSegment after ReleaseSegment = %+v, %v, want lease 2", second, err)
	}
	first := turn
	wantErr(t, "HeartbeatSegment of the first worker", s.HeartbeatSegment(ctx, id, first, running, 1), job.ErrLost)
	wantErr(t, "ReleaseSegment of the first worker", s.ReleaseSegment(ctx, id, first), job.ErrLost)
	_, err = s.FinishSegment(ctx, id, first, job.Segment{FID: newID()})
	wantErr(t, "FinishSegment of the first worker", err, job.ErrLost)

	made := job.Segment{FID: newID(), Samples: 1152}
	done, err := s.FinishSegment(ctx, id, second, made)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.FinishSegment(ctx, id, second, made)
	if diff := cmp.Diff(done, again); err != nil || diff != "" {
		t.Errorf("the same FinishSegment again = %v (-first +again):\n%s", err, diff)
	}
	_, err = s.FinishSegment(ctx, id, second, job.Segment{FID: newID()})
	wantErr(t, "FinishSegment with other frames", err, job.ErrLost)
	wantErr(t, "HeartbeatSegment of a segment that is done", s.HeartbeatSegment(ctx, id, second, running, 1), job.ErrLost)
	j, _, err = s.ClaimSegment(ctx, id, asked, running)
	if wantErr(t, "ClaimSegment of a segment that is done", err, job.ErrState); j.Split == nil || j.Split.Segments[1].FID != made.FID {
		t.Errorf("it comes with %+v, want the job", j)
	}
}

// testSegmentsByMany has several workers finish segments at once: exactly one sees them all there first.
func testSegmentsByMany(t *testing.T, s job.Store) {
	id := divide(t, s)
	var last atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			_, turn, err := s.ClaimSegment(t.Context(), id, job.Turn{Epoch: 1, Segment: i % 3}, running)
			busy := (*job.BusyError)(nil)
			if errors.As(err, &busy) || errors.Is(err, job.ErrState) {
				return
			}
			j, err := s.FinishSegment(t.Context(), id, turn, job.Segment{FID: newID()})
			if err != nil {
				t.Errorf("FinishSegment(%+v) = %v", turn, err)
			}
			if j.Split.Whole() {
				last.Add(1)
			}
		})
	}
	wg.Wait()
	if last.Load() != 1 {
		t.Errorf("%d workers saw the last segment, want 1", last.Load())
	}
}
