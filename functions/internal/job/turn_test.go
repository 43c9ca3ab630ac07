package job_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// queue keeps jobs of an owner whose events are sent, one for each length of a video.
func queue(t *testing.T, s job.Store, owner string, lengths ...int64) (ids []string) {
	t.Helper()
	for _, n := range lengths {
		j, err := s.Create(t.Context(), job.Job{ID: newID(), Owner: owner, Video: job.Video{Length: n}})
		if err == nil {
			err = s.Queued(t.Context(), j.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	return ids
}

func take(t *testing.T, s job.Store, turn string) job.Job {
	t.Helper()
	j, err := s.Take(t.Context(), turn, "w", running)
	if err != nil {
		t.Fatalf("Take(%s) = %v", turn, err)
	}
	return j
}

// testTake delivers events in the order in which the jobs were made.
func testTake(t *testing.T, s job.Store) {
	ctx := t.Context()
	ann := queue(t, s, "ann", 30, 10, 20, 40)
	bob := queue(t, s, "bob", 90)
	eve := queue(t, s, "eve", 50, 5)
	var got []string
	turns := append(append(append([]string{}, ann...), bob...), eve...)
	for _, turn := range turns {
		j := take(t, s, turn)
		if j.State != job.Converting || len(j.Attempts) != 1 {
			t.Errorf("Take gives a job that is %s with %d attempts, want it converting with one", j.State, len(j.Attempts))
		}
		got = append(got, j.ID)
	}
	// Ann's shortest, bob's only one, eve's shortest, and again.
	want := []string{ann[1], bob[0], eve[1], ann[2], eve[0], ann[0], ann[3]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the order of jobs (-want +got):\n%s", diff)
	}

	// Ann's first event is delivered again: its worker died, and the lease has ended.
	_, err := s.Take(ctx, turns[0], "w", running)
	wantBusy(t, "Take in a turn that another worker has", err)
	if err := s.Heartbeat(ctx, got[0], 1, over, 0); err != nil {
		t.Fatal(err)
	}
	waits := queue(t, s, "dan", 1)[0]
	if j := take(t, s, turns[0]); j.ID != got[0] || j.Lease.Epoch != 2 {
		t.Errorf("Take in a turn that was broken off gives %s, epoch %d, want %s again", j.ID, j.Lease.Epoch, got[0])
	}
	// It is given back, and comes again before what waits.
	if err := s.Release(ctx, got[0], 2, "away"); err != nil {
		t.Fatal(err)
	}
	if j := take(t, s, turns[0]); j.ID != got[0] {
		t.Errorf("Take in a turn whose job was given back gives %s, want %s again", j.ID, got[0])
	}
	if j, err := s.Finish(ctx, got[0], 3, job.MP3{FID: newID()}); err != nil || j.State != job.Converted {
		t.Fatalf("Finish = %v, %v", j.State, err)
	}
	// Its worker died before it could say so.
	j, err := s.Take(ctx, turns[0], "w", running)
	wantErr(t, "Take in a turn whose job has ended", err, job.ErrState)
	if j.ID != got[0] {
		t.Errorf("Take in a turn whose job has ended gives %q, want %s", j.ID, got[0])
	}
	if err := s.Noticed(ctx, got[0], job.Notice{Event: "1", Channel: "email", Round: 1}, true); err != nil {
		t.Fatal(err)
	}
	// A repeat of an event whose turn is over is a turn as well, where somebody waits.
	if j := take(t, s, turns[0]); j.ID != waits {
		t.Errorf("Take in a turn that is over gives %s, want %s, which waits", j.ID, waits)
	}
	_, err = s.Take(ctx, turns[0], "w", running)
	wantBusy(t, "Take again in that turn", err)
	last := queue(t, s, "zoe", 1)[0]
	if _, err := s.Finish(ctx, take(t, s, last).ID, 1, job.MP3{FID: newID()}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Take(ctx, last, "w", running)
	wantErr(t, "Take for a job that has ended when none waits", err, job.ErrState)
	_, err = s.Take(ctx, newID(), "w", running)
	wantErr(t, "Take for no job", err, job.ErrNotFound)
	gone := newID()
	_, err = s.TakeNext(ctx, gone, "w", running)
	wantErr(t, "TakeNext when none waits", err, job.ErrNotFound)
	kim := queue(t, s, "kim", 1)[0]
	if j, err := s.TakeNext(ctx, gone, "w", running); err != nil || j.ID != kim {
		t.Errorf("TakeNext = %q, %v, want %s, which waits", j.ID, err, kim)
	}
	_, err = s.Take(ctx, gone, "w", running)
	wantBusy(t, "Take again in the turn of a job that is deleted", err)
}

// testTakeAnew: the event of a later round is another turn than that of the first, in which another job was taken whose
// owner is not told yet. It is answered for the job that was taken in it, as the first one is.
func testTakeAnew(t *testing.T, s job.Store) {
	ctx := t.Context()
	ann := queue(t, s, "ann", 2, 1)
	long, short := ann[0], ann[1]
	if j := take(t, s, long); j.ID != short {
		t.Fatalf("Take(%s) gives %s, want the shorter %s", long, j.ID, short)
	}
	if _, err := s.Finish(ctx, short, 1, job.MP3{FID: newID()}); err != nil {
		t.Fatal(err)
	}
	failure := eventing.Failure{Code: "no_audio", Message: "no sound"}
	if _, err := s.Fail(ctx, take(t, s, short).ID, 1, failure); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retry(ctx, long); err != nil {
		t.Fatal(err)
	}
	anew := job.Turn(long, 2)
	j := take(t, s, anew)
	if j.ID != long {
		t.Fatalf("Take(%s) gives %s, want its own job", anew, j.ID)
	}
	if _, err := s.Fail(ctx, long, j.Lease.Epoch, failure); err != nil {
		t.Fatal(err)
	}
	queue(t, s, "bob", 1)
	j, err := s.Take(ctx, anew, "w", running)
	wantErr(t, "Take in a turn whose job has ended", err, job.ErrState)
	if j.ID != long {
		t.Errorf("Take(%s) when its job has ended gives %q, want that", anew, j.ID)
	}
}

// testTakeStored: a job whose event was not sent takes no other's turn, and has its own when its event comes.
func testTakeStored(t *testing.T, s job.Store) {
	unsent, err := s.Create(t.Context(), job.Job{ID: newID(), Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	sent := queue(t, s, "bob", 1)[0]
	if j := take(t, s, sent); j.ID != sent {
		t.Errorf("Take(%s) gives %s, whose event was not sent", sent, j.ID)
	}
	if j := take(t, s, unsent.ID); j.ID != unsent.ID {
		t.Errorf("Take(%s) gives %s", unsent.ID, j.ID)
	}
}

// testTakeHandedOver: an event that comes when its job was handed over is that job's only one, whoever waits.
func testTakeHandedOver(t *testing.T, s job.Store) {
	ids := queue(t, s, "ann", 2, 1)
	if _, err := s.HandOver(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if j := take(t, s, id); j.ID != id {
			t.Errorf("Take(%s) gives %s", id, j.ID)
		}
	}
}

// testTakeByMany: each job is taken once, and none is left.
func testTakeByMany(t *testing.T, s job.Store) {
	ids := append(queue(t, s, "ann", 3, 2, 1, 3, 2, 1), queue(t, s, "bob", 1, 2)...)
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]int{}
	for _, id := range ids {
		wg.Go(func() {
			j, err := s.Take(t.Context(), id, "w", time.Minute)
			mu.Lock()
			defer mu.Unlock()
			taken[j.ID]++
			if err != nil {
				t.Errorf("Take(%s) = %v", id, err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if taken[id] != 1 {
			t.Errorf("job %s was taken %d times, want once", id, taken[id])
		}
	}
}
