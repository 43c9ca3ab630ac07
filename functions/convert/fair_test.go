package convert

import (
	"errors"
	"strconv"
	"testing"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// crowd stores jobs of one owner, and then one of another, and gives their ids in this order.
func (b *bench) crowd(t testing.TB, n int) (ids []string) {
	t.Helper()
	for i := range n + 1 {
		owner := "many@example.com"
		if i == n {
			owner = "one@example.com"
		}
		id := b.videos.put([]byte("a video"), media.Info{Name: strconv.Itoa(i), Owner: owner})
		_, err := b.jobs.Create(t.Context(), job.Job{ID: id, Owner: owner, Video: job.Video{Length: 7}})
		if err = errors.Join(err, b.jobs.Queued(t.Context(), id)); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// wait delivers events in order until the last job is converted, and tells how many that took.
func (b *bench) wait(t testing.TB, ids []string) int {
	t.Helper()
	last := ids[len(ids)-1]
	for i, id := range ids {
		if _, reply := b.post(t.Context(), t, uploaded(t, id, eventing.VideoUploaded{})); reply == nil {
			t.Fatalf("event %d has no reply", i)
		} else if reply.Subject() == last {
			return i + 1
		}
	}
	t.Fatal("the last job was not converted")
	return 0
}

// TestFair: who has one video does not wait behind all of somebody else's.
func TestFair(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ids := b.crowd(t, 20)
	if n := b.wait(t, ids); n > 2 {
		t.Errorf("the only video of an owner was number %d behind 20 of another, want 2 at most", n)
	}
	// Each other event still has its job.
	for _, id := range ids {
		b.post(t.Context(), t, uploaded(t, id, eventing.VideoUploaded{}))
	}
	for _, id := range ids {
		if got := b.state(t, id).State; got != job.Converted {
			t.Errorf("job %s is %s, want it converted", id, got)
		}
	}
	if n := int(b.engine.calls.Load()); n != len(ids) {
		t.Errorf("%d conversions of %d videos", n, len(ids))
	}
}

// TestTurnOfDeleted: the event of a job that is deleted is a turn of another. Here it is the last event that there is,
// since the other's own was the turn of the deleted one.
func TestTurnOfDeleted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, second := b.upload(t), b.upload(t)
	if err := errors.Join(b.jobs.Queued(t.Context(), first.ID), b.jobs.Queued(t.Context(), second.ID)); err != nil {
		t.Fatal(err)
	}
	if _, reply := b.post(t.Context(), t, uploaded(t, second.ID, eventing.VideoUploaded{})); reply.Subject() != first.ID {
		t.Fatalf("the first event converted %s, want %s", reply.Subject(), first.ID)
	}
	if err := errors.Join(b.jobs.Delete(t.Context(), first.ID), b.videos.Delete(t.Context(), first.ID)); err != nil {
		t.Fatal(err)
	}
	b.post(t.Context(), t, uploaded(t, first.ID, eventing.VideoUploaded{}))
	if got := b.state(t, second.ID).State; got != job.Converted {
		t.Errorf("the job that waited is %s, want it converted", got)
	}
}

// BenchmarkFair tells how many conversions a single video waits for behind a thousand of another owner.
func BenchmarkFair(b *testing.B) {
	for b.Loop() {
		x := newBench(b)
		b.ReportMetric(float64(x.wait(b, x.crowd(b, 1000))), "conversions")
	}
}
