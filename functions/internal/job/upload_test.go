package job_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func TestSQLiteUploads(t *testing.T) {
	t.Parallel()
	testUploads(t, func(t *testing.T) job.Uploads {
		s, err := job.NewSQLiteUploads(t.Context(), openSQLite(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestMongoUploads(t *testing.T) {
	t.Parallel()
	testUploads(t, func(t *testing.T) job.Uploads { return job.NewMongoUploads(openMongo(t)) })
}

// testUploads holds a store to what job.Uploads promises.
func testUploads(t *testing.T, open func(t *testing.T) job.Uploads) {
	tests := []struct {
		name string
		test func(t *testing.T, s job.Uploads)
	}{
		{"begin", testBegin},
		{"an upload that is not there", testNoUpload},
		{"lock", testLock},
		{"lock by many", testLockByMany},
		{"a lost lease", testLostLease},
		{"save", testSave},
		{"keeps", testUploadsKept},
		{"expired", testExpired},
		{"usage", testUploadsUsage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, open(t))
		})
	}
}

func beginUpload(t *testing.T, s job.Uploads, ttl time.Duration) job.Upload {
	t.Helper()
	u, err := s.Begin(t.Context(), job.Upload{
		ID: newID(), Owner: "ann@example.com", Filename: "Käse.mp4", Options: eventing.Options{Mono: true},
		Webhook:  &job.Webhook{URL: "https://example.com/hook?key=1", Secret: "whsec_1"},
		Metadata: map[string]string{"filename": "Käse.mp4", "": "no name"}, Length: job.Unknown, Partial: true,
		Parts: []string{newID()},
	}, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func lock(t *testing.T, s job.Uploads, id string, lease time.Duration) job.Upload {
	t.Helper()
	u, err := s.Lock(t.Context(), id, lease)
	if err != nil {
		t.Fatalf("Lock(%s) = %v", id, err)
	}
	return u
}

func getUpload(t *testing.T, s job.Uploads, id string) job.Upload {
	t.Helper()
	u, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get(%s) = %v", id, err)
	}
	return u
}

func testBegin(t *testing.T, s job.Uploads) {
	u := beginUpload(t, s, time.Hour)
	if left := time.Until(u.Expires); left < 50*time.Minute || left > 70*time.Minute {
		t.Errorf("Begin with an hour gives one that ends in %v", left)
	}
	if diff := cmp.Diff(u, getUpload(t, s, u.ID), cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("Get differs from Begin (-begun +got):\n%s", diff)
	}
	_, err := s.Begin(t.Context(), u, time.Hour)
	wantErr(t, "Begin with an id that is taken", err, job.ErrExists)
}

func testNoUpload(t *testing.T, s job.Uploads) {
	ctx, id := t.Context(), newID()
	_, err := s.Get(ctx, id)
	wantErr(t, "Get", err, job.ErrNotFound)
	_, err = s.Lock(ctx, id, running)
	wantErr(t, "Lock", err, job.ErrNotFound)
	_, err = s.Hold(ctx, id, 1, running)
	wantErr(t, "Hold", err, job.ErrNotFound)
	wantErr(t, "Save", s.Save(ctx, job.Upload{ID: id}, time.Hour), job.ErrNotFound)
	wantErr(t, "Unlock", s.Unlock(ctx, id, 1), job.ErrNotFound)
	wantErr(t, "Delete", s.Delete(ctx, id), nil)
}

func testLock(t *testing.T, s job.Uploads) {
	ctx, id := t.Context(), beginUpload(t, s, time.Hour).ID
	u := lock(t, s, id, running)
	wanted := func(want bool) {
		t.Helper()
		if got, err := s.Hold(ctx, id, u.Lease.Epoch, running); got != want || err != nil {
			t.Errorf("Hold = %v, %v, want %v", got, err, want)
		}
	}
	wanted(false)
	for range 2 {
		_, err := s.Lock(ctx, id, running)
		wantBusy(t, "Lock", err)
	}
	wanted(true)
	if err := s.Unlock(ctx, id, u.Lease.Epoch); err != nil {
		t.Fatal(err)
	}
	old := u.Lease.Epoch
	u = lock(t, s, id, running)
	if u.Lease.Epoch <= old {
		t.Errorf("the epoch of the second lock is %d, not above %d", u.Lease.Epoch, old)
	}
	wanted(false)
	wantErr(t, "Unlock by who held it before", s.Unlock(ctx, id, old), nil)
	_, err := s.Lock(ctx, id, running)
	wantBusy(t, "Lock", err)
}

func testLockByMany(t *testing.T, s job.Uploads) {
	id := beginUpload(t, s, time.Hour).ID
	var wg sync.WaitGroup
	var won atomic.Int32
	for range 8 {
		wg.Go(func() {
			_, err := s.Lock(t.Context(), id, running)
			var busy *job.BusyError
			switch {
			case err == nil:
				won.Add(1)
			case !errors.As(err, &busy):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d of 8 got the lock, want 1", n)
	}
}

func testLostLease(t *testing.T, s job.Uploads) {
	ctx, id := t.Context(), beginUpload(t, s, time.Hour).ID
	lost := lock(t, s, id, over)
	lock(t, s, id, running)
	_, err := s.Hold(ctx, id, lost.Lease.Epoch, running)
	wantErr(t, "Hold", err, job.ErrLost)
	lost.Progress.Offset = 7
	wantErr(t, "Save", s.Save(ctx, lost, time.Hour), job.ErrLost)
	if got := getUpload(t, s, id).Progress.Offset; got != 0 {
		t.Errorf("the offset is %d, want 0", got)
	}
}

func testSave(t *testing.T, s job.Uploads) {
	id := beginUpload(t, s, time.Minute).ID
	u := lock(t, s, id, running)
	u.Length = 70
	u.Progress = job.Progress{Offset: 7, State: []byte{0, 255}, Head: []byte("\x00\xff"), Done: true}
	if err := s.Save(t.Context(), u, time.Hour); err != nil {
		t.Fatal(err)
	}
	got := getUpload(t, s, id)
	if left := got.Expires.Sub(u.Expires); left < 50*time.Minute {
		t.Errorf("Save prolongs the upload by %v, want about an hour", left)
	}
	got.Expires = u.Expires
	if diff := cmp.Diff(u, got); diff != "" {
		t.Errorf("Get differs from what was saved (-saved +got):\n%s", diff)
	}
}

func testUploadsKept(t *testing.T, s job.Uploads) {
	kept, unknown := beginUpload(t, s, time.Hour).ID, newID()
	gone := beginUpload(t, s, time.Hour).ID
	if err := s.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	got, err := s.Keeps(t.Context(), []string{kept, unknown, gone})
	if diff := cmp.Diff(map[string]bool{kept: true}, got); diff != "" || err != nil {
		t.Errorf("Keeps (%v) differs (-want +got):\n%s", err, diff)
	}
	if got, err := s.Keeps(t.Context(), nil); len(got) != 0 || err != nil {
		t.Errorf("Keeps of none = %v, %v", got, err)
	}
}

func testExpired(t *testing.T, s job.Uploads) {
	beginUpload(t, s, time.Hour)
	second, first := beginUpload(t, s, over), beginUpload(t, s, 2*over)
	for limit, want := range [][]string{1: {first.ID}, 2: {first.ID, second.ID}, 3: {first.ID, second.ID}} {
		if limit == 0 {
			continue
		}
		got, err := s.Expired(t.Context(), limit)
		var ids []string
		for _, u := range got {
			ids = append(ids, u.ID)
		}
		if diff := cmp.Diff(want, ids); diff != "" || err != nil {
			t.Errorf("Expired(%d) (%v) differs (-want +got):\n%s", limit, err, diff)
		}
	}
}

// testUploadsUsage counts what is under way, and its bytes.
func testUploadsUsage(t *testing.T, s job.Uploads) {
	ctx := t.Context()
	save := func(change func(u *job.Upload)) {
		t.Helper()
		u := lock(t, s, beginUpload(t, s, time.Hour).ID, running)
		u.Partial = false
		change(&u)
		if err := s.Save(ctx, u, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	save(func(u *job.Upload) { u.Progress.Offset = 100 })
	save(func(u *job.Upload) { u.Progress = job.Progress{Offset: 20, Done: true} }) // a part, which is kept
	save(func(u *job.Upload) { u.Job = newID() })                                   // an Idempotency-Key
	want := job.Usage{Uploads: 2, Bytes: 120}
	if got, err := s.Usage(ctx, "ann@example.com"); got != want || err != nil {
		t.Errorf("Usage = %+v, %v, want %+v", got, err, want)
	}
	if got, err := s.Usage(ctx, "bob@example.com"); got != (job.Usage{}) || err != nil {
		t.Errorf("another's Usage = %+v, %v, want none", got, err)
	}
}
