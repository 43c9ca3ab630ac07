package job_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ job.Store = (*job.Mongo)(nil)
	_ job.Store = (*job.SQLite)(nil)
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	testStore(t, func(t *testing.T) job.Store {
		s, err := job.NewSQLite(t.Context(), openSQLite(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func openSQLite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "soundstrip.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestMongo(t *testing.T) {
	t.Parallel()
	testStore(t, func(t *testing.T) job.Store { return job.NewMongo(openMongo(t)) })
}

// openMongo gives an empty database of the server that the environment names.
func openMongo(t *testing.T) *mongo.Database {
	t.Helper()
	uri := os.Getenv("TEST_MONGODB_URI")
	if uri == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("TEST_MONGODB_URI is not set")
		}
		t.Skip(`start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	client, err := mongodb.Connect(mongodb.Config{URI: uri})
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database("job_test_" + bson.NewObjectID().Hex())
	t.Cleanup(func() {
		if err := errors.Join(db.Drop(context.Background()), client.Disconnect(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return db
}

const (
	running = time.Minute  // a lease that does not run out within a test
	over    = -time.Second // a lease that has run out as soon as it is given
)

var failure = eventing.Failure{Code: "no_audio", Message: "the video has no sound"}

// testStore holds a store to what job.Store promises.
func testStore(t *testing.T, open func(t *testing.T) job.Store) {
	tests := []struct {
		name string
		test func(t *testing.T, s job.Store)
	}{
		{"create", testCreate},
		{"adopt", testAdopt},
		{"a job that is not there", testNotFound},
		{"list", testList},
		{"queued", testQueued},
		{"claim", testClaim},
		{"claim by many", testClaimByMany},
		{"changes by many", testChangesByMany},
		{"heartbeat", testHeartbeat},
		{"finish", testFinish},
		{"keeps", testKeeps},
		{"fail", testFail},
		{"release", testRelease},
		{"a lost epoch", testLost},
		{"give up", testGiveUp},
		{"tell", testTell},
		{"noticed", testNoticed},
		{"cancel", testCancel},
		{"retry", testRetry},
		{"stuck", testStuck},
		{"resent", testResent},
		{"handed over", testHandedOver},
		{"expire", testExpire},
		{"take", testTake},
		{"take when one is not sent", testTakeStored},
		{"take anew", testTakeAnew},
		{"take when one is handed over", testTakeHandedOver},
		{"usage", testUsage},
		{"take by many", testTakeByMany},
		{"changed", testChanged},
		{"a cancelled context", testContext},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, open(t))
		})
	}
}

func newID() string { return bson.NewObjectID().Hex() }

func create(t *testing.T, s job.Store) job.Job {
	t.Helper()
	quality := 0
	j, err := s.Create(t.Context(), job.Job{
		ID: newID(), Owner: "ann@example.com", Filename: "Käse \"1\".mp4",
		Options: eventing.Options{Quality: &quality, Start: 1.5},
		Webhook: &job.Webhook{URL: "https://example.com/hook?key=1", Secret: "whsec_1"},
		Video:   job.Video{Length: 5 << 30, SHA256: "aa"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func claim(t *testing.T, s job.Store, id string, ttl time.Duration) job.Job {
	t.Helper()
	j, err := s.Claim(t.Context(), id, "w", ttl)
	if err != nil {
		t.Fatalf("Claim(%s) = %v", id, err)
	}
	return j
}

func get(t *testing.T, s job.Store, id string) job.Job {
	t.Helper()
	j, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get(%s) = %v", id, err)
	}
	return j
}

func wantState(t *testing.T, s job.Store, id string, want job.State) {
	t.Helper()
	if got := get(t, s, id).State; got != want {
		t.Errorf("state of the job is %s, want %s", got, want)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func wantBusy(t *testing.T, what string, err error) {
	t.Helper()
	var busy *job.BusyError
	if !errors.As(err, &busy) || busy.For <= 0 || busy.For > running {
		t.Errorf("%s = %v, want a BusyError for at most %v", what, err, running)
	}
}

func testCreate(t *testing.T, s job.Store) {
	j := create(t, s)
	if j.State != job.Stored || j.Round != 1 || j.Created.IsZero() || j.Updated.IsZero() {
		t.Errorf("Create = %+v, want a Stored job of round 1 with its times", j)
	}
	if diff := cmp.Diff(j, get(t, s, j.ID)); diff != "" {
		t.Errorf("Get is not what Create gave (-created +got):\n%s", diff)
	}
	_, err := s.Create(t.Context(), job.Job{ID: j.ID, Owner: "eve"})
	wantErr(t, "Create of an id that is taken", err, job.ErrExists)
	if diff := cmp.Diff(j, get(t, s, j.ID)); diff != "" {
		t.Errorf("the second Create changed the job (-before +after):\n%s", diff)
	}
	if err := s.Delete(t.Context(), j.ID); err != nil {
		t.Errorf("Delete = %v", err)
	}
	_, err = s.Get(t.Context(), j.ID)
	wantErr(t, "Get after Delete", err, job.ErrNotFound)
	if err := s.Delete(t.Context(), j.ID); err != nil {
		t.Errorf("second Delete = %v", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
}

func testAdopt(t *testing.T, s job.Store) {
	id := newID()
	first, err := s.Adopt(t.Context(), job.Job{ID: id, Owner: "ann", State: job.Queued})
	if err != nil || first.State != job.Queued || first.Round != 1 {
		t.Fatalf("Adopt = %+v, %v, want a Queued job of round 1", first, err)
	}
	claim(t, s, id, running)
	again, err := s.Adopt(t.Context(), job.Job{ID: id, Owner: "eve", State: job.Queued})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(get(t, s, id), again); diff != "" || again.Owner != "ann" || again.State != job.Converting {
		t.Errorf("second Adopt = %+v, want the job that is kept:\n%s", again, diff)
	}
}

func testNotFound(t *testing.T, s job.Store) {
	id, ctx := newID(), t.Context()
	for what, call := range map[string]func() error{
		"Get":     func() error { _, err := s.Get(ctx, id); return err },
		"FindMP3": func() error { _, err := s.FindMP3(ctx, id); return err },
		"Queued":  func() error { return s.Queued(ctx, id) },
		"Resent":  func() error { return s.Resent(ctx, id) },
		"Claim":   func() error { _, err := s.Claim(ctx, id, "w", running); return err },
		"GiveUp":  func() error { _, err := s.GiveUp(ctx, id, 0, failure); return err },
		"Tell":    func() error { _, err := s.Tell(ctx, id, running); return err },
		"Noticed": func() error { return s.Noticed(ctx, id, job.Notice{}, true) },
		"Cancel":  func() error { _, err := s.Cancel(ctx, id); return err },
		"Retry":   func() error { _, err := s.Retry(ctx, id); return err },
	} {
		wantErr(t, what, call(), job.ErrNotFound)
	}
	// To a worker a deleted job is a lost one.
	for what, call := range heldCalls(ctx, s, id, 1) {
		wantErr(t, what, call(), job.ErrLost)
	}
}

// heldCalls are the calls that only the holder of the epoch may make.
func heldCalls(ctx context.Context, s job.Store, id string, epoch int) map[string]func() error {
	return map[string]func() error{
		"Heartbeat": func() error { return s.Heartbeat(ctx, id, epoch, running, 1) },
		"Finish":    func() error { _, err := s.Finish(ctx, id, epoch, job.MP3{FID: newID()}); return err },
		"Fail":      func() error { _, err := s.Fail(ctx, id, epoch, failure); return err },
		"Release":   func() error { return s.Release(ctx, id, epoch, "r") },
	}
}

func testList(t *testing.T, s job.Store) {
	ctx := t.Context()
	var all []string // newest first
	for i := range 5 {
		j, err := s.Create(ctx, job.Job{ID: newID(), Owner: []string{"ann", "bob"}[i%2]})
		if err != nil {
			t.Fatal(err)
		}
		all = slices.Insert(all, 0, j.ID)
	}
	if _, err := s.Cancel(ctx, all[0]); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		q    job.Query
		want []string
	}{
		{"everything", job.Query{Limit: 10}, all},
		{"of one owner", job.Query{Owner: "bob", Limit: 10}, []string{all[1], all[3]}},
		{"in one state", job.Query{State: job.Cancelled, Limit: 10}, all[:1]},
		{"of an owner in a state", job.Query{Owner: "bob", State: job.Cancelled, Limit: 10}, nil},
		{"the first page", job.Query{Limit: 2}, all[:2]},
		{"the next page", job.Query{Before: all[1], Limit: 2}, all[2:4]},
		{"none", job.Query{}, nil},
		{"of an owner who is a query", job.Query{Owner: "' OR '' = '", Limit: 10}, nil},
	}
	for _, tt := range tests {
		found, err := s.List(ctx, tt.q)
		var got []string
		for _, j := range found {
			got = append(got, j.ID)
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("List(%+v), %s = %v, %v (-want +got):\n%s", tt.q, tt.name, got, err, diff)
		}
	}
}

func testQueued(t *testing.T, s job.Store) {
	j := create(t, s)
	for range 2 {
		if err := s.Queued(t.Context(), j.ID); err != nil {
			t.Errorf("Queued = %v", err)
		}
		wantState(t, s, j.ID, job.Queued)
	}
	claim(t, s, j.ID, running)
	if err := s.Queued(t.Context(), j.ID); err != nil {
		t.Errorf("Queued of a Converting job = %v", err)
	}
	wantState(t, s, j.ID, job.Converting)
}

func testClaim(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	j := claim(t, s, id, over)
	if j.State != job.Converting || j.Lease.Epoch != 1 || len(j.Attempts) != 1 || j.Attempts[0].Worker != "w" ||
		j.Attempts[0].Epoch != 1 {
		t.Errorf("Claim = %+v, want a Converting job with one attempt, in epoch 1", j)
	}
	if diff := cmp.Diff(j, get(t, s, id)); diff != "" {
		t.Errorf("Get is not what Claim gave (-claimed +got):\n%s", diff)
	}
	j = claim(t, s, id, running)
	if j.Lease.Epoch != 2 || len(j.Attempts) != 2 || j.Attempts[0].To == nil || j.Attempts[0].Error == "" ||
		j.Attempts[1].To != nil {
		t.Errorf("Claim after a lease that ran out = %+v, want epoch 2, and the first attempt ended", j)
	}
	_, err := s.Claim(ctx, id, "other", running)
	wantBusy(t, "Claim while a lease runs", err)
	if _, err := s.Finish(ctx, id, 2, job.MP3{FID: newID()}); err != nil {
		t.Fatal(err)
	}
	done, err := s.Claim(ctx, id, "other", running)
	wantErr(t, "Claim of a finished job", err, job.ErrState)
	if done.State != job.Converted || done.MP3 == nil {
		t.Errorf("Claim of a finished job gives %+v, want the job", done)
	}
}

func testClaimByMany(t *testing.T, s job.Store) {
	const workers, epochs = 8, 5
	id := create(t, s).ID
	for epoch := 1; epoch <= epochs; epoch++ {
		var wg sync.WaitGroup
		errs := make([]error, workers)
		won := make([]job.Job, workers)
		for w := range workers {
			wg.Go(func() { won[w], errs[w] = s.Claim(t.Context(), id, fmt.Sprint(w), running) })
		}
		wg.Wait()
		winner := slices.Index(errs, nil)
		if winner < 0 {
			t.Fatalf("epoch %d has no winner: %v", epoch, errs)
		}
		for w, err := range errs {
			if w != winner {
				wantBusy(t, fmt.Sprintf("epoch %d is won by worker %d, Claim by worker %d", epoch, winner, w), err)
			}
		}
		if got := won[winner]; got.Lease.Epoch != epoch || len(got.Attempts) != epoch {
			t.Errorf("the winner holds epoch %d after %d attempts, want %d", got.Lease.Epoch, len(got.Attempts), epoch)
		}
		if err := s.Heartbeat(t.Context(), id, epoch, over, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// testChangesByMany sees that no change overwrites another that happens at the same time.
func testChangesByMany(t *testing.T, s job.Store) {
	id := create(t, s).ID
	claim(t, s, id, running)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			if err := s.Noticed(t.Context(), id, job.Notice{Event: "e", Channel: fmt.Sprint(n)}, false); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := s.Heartbeat(t.Context(), id, 1, running, n*10); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if j := get(t, s, id); len(j.Notices) != 8 || j.Progress != 70 {
		t.Errorf("%d notices and %d percent are left, want 8 and 70", len(j.Notices), j.Progress)
	}
}

func testHeartbeat(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	before := claim(t, s, id, over)
	for _, tt := range []struct{ progress, want int }{{10, 10}, {5, 10}, {60, 60}, {0, 60}, {100, 99}} {
		if err := s.Heartbeat(ctx, id, 1, running, tt.progress); err != nil {
			t.Fatalf("Heartbeat(%d) = %v", tt.progress, err)
		}
		j := get(t, s, id)
		if j.Progress != tt.want {
			t.Errorf("after Heartbeat(%d) the job is at %d percent, want %d", tt.progress, j.Progress, tt.want)
		}
		if !j.Lease.Until.After(before.Lease.Until) {
			t.Errorf("the lease runs until %v, before the heartbeat until %v", j.Lease.Until, before.Lease.Until)
		}
	}
	_, err := s.Claim(ctx, id, "other", running)
	wantBusy(t, "Claim after a heartbeat", err)
	if err := s.Heartbeat(ctx, id, 1, over, 0); err != nil {
		t.Fatal(err)
	}
	if j := claim(t, s, id, running); j.Progress != 0 {
		t.Errorf("a new epoch begins at %d percent, want 0", j.Progress)
	}
}

func testFinish(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	claim(t, s, id, running)
	mp3 := job.MP3{FID: newID(), Length: 12, SHA256: "bb", Duration: 3.5, Plan: "pipe"}
	made := mp3
	made.Notice = "the recording ends abruptly at 3.5 s"
	j, err := s.Finish(ctx, id, 1, made)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&mp3, j.MP3); diff != "" || j.State != job.Converted || j.Progress != 100 ||
		j.Notice != made.Notice || j.Attempts[0].To == nil || j.Attempts[0].Error != "" {
		t.Errorf("Finish = %+v, want a Converted job with its MP3:\n%s", j, diff)
	}
	// The worker whose answer was lost asks again; it must not believe that it lost, and delete the MP3.
	again, err := s.Finish(ctx, id, 1, made)
	if diff := cmp.Diff(j, again); err != nil || diff != "" {
		t.Errorf("the same Finish again = %v (-first +again):\n%s", err, diff)
	}
	_, err = s.Finish(ctx, id, 1, job.MP3{FID: newID()})
	wantErr(t, "Finish with another MP3", err, job.ErrLost)
	found, err := s.FindMP3(ctx, mp3.FID)
	if diff := cmp.Diff(j, found); err != nil || diff != "" {
		t.Errorf("FindMP3 = %v (-want +got):\n%s", err, diff)
	}
	wantErr(t, "Heartbeat after Finish", s.Heartbeat(ctx, id, 1, running, 1), job.ErrLost)
}

// testKeeps asks for the files of jobs: videos and MP3s, but not those of an expired job.
func testKeeps(t *testing.T, s job.Store) {
	ctx := t.Context()
	video, mp3, expired := create(t, s).ID, newID(), newID()
	old, err := s.Adopt(ctx, job.Job{ID: newID(), Owner: "ann", State: job.Converted, MP3: &job.MP3{FID: mp3}})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := s.Adopt(ctx, job.Job{ID: newID(), Owner: "ann", State: job.Expired, MP3: &job.MP3{FID: expired}})
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{video, mp3, expired, gone.ID, newID()}
	for range 400 {
		ids = append(ids, newID())
	}
	keep, err := s.Keeps(ctx, ids)
	if err != nil || !keep[video] || !keep[mp3] || keep[expired] || keep[gone.ID] || keep[ids[4]] {
		t.Errorf("Keeps = %v, %v, want %s and %s (of job %s)", keep, err, video, mp3, old.ID)
	}
	if keep, err := s.Keeps(ctx, nil); err != nil || len(keep) > 0 {
		t.Errorf("Keeps of nothing = %v, %v, want nothing", keep, err)
	}
}

func testFail(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	claim(t, s, id, running)
	j, err := s.Fail(ctx, id, 1, failure)
	if err != nil || j.State != job.Failed || j.Error == nil || *j.Error != failure ||
		j.Attempts[0].Error != failure.Message {
		t.Fatalf("Fail = %+v, %v, want a Failed job with the reason", j, err)
	}
	again, err := s.Fail(ctx, id, 1, failure)
	if diff := cmp.Diff(j, again); err != nil || diff != "" {
		t.Errorf("the same Fail again = %v (-first +again):\n%s", err, diff)
	}
	_, err = s.Finish(ctx, id, 1, job.MP3{FID: newID()})
	wantErr(t, "Finish after Fail", err, job.ErrLost)
}

func testRelease(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	claim(t, s, id, running)
	for range 2 {
		if err := s.Release(ctx, id, 1, "the disk is full"); err != nil {
			t.Fatalf("Release = %v", err)
		}
	}
	j := get(t, s, id)
	if j.State != job.Queued || len(j.Attempts) != 1 || j.Attempts[0].To == nil ||
		j.Attempts[0].Error != "the disk is full" {
		t.Errorf("after Release the job is %+v, want Queued with the reason", j)
	}
	wantErr(t, "Heartbeat after Release", s.Heartbeat(ctx, id, 1, running, 1), job.ErrLost)
	if j := claim(t, s, id, running); j.Lease.Epoch != 2 {
		t.Errorf("Claim after Release gives epoch %d, want 2", j.Lease.Epoch)
	}
}

func testLost(t *testing.T, s job.Store) {
	ctx := t.Context()
	tests := []struct {
		name string
		take func(id string) error // takes the job from epoch 1
	}{
		{"to the next claim", func(id string) error { _, err := s.Claim(ctx, id, "w2", running); return err }},
		{"to a cancel", func(id string) error { _, err := s.Cancel(ctx, id); return err }},
		{"to a cancel and a retry", func(id string) error {
			_, err := s.Cancel(ctx, id)
			if err == nil {
				_, err = s.Retry(ctx, id)
			}
			return errors.Join(err, s.Queued(ctx, id))
		}},
		{"to the sweeper", func(id string) error { _, err := s.GiveUp(ctx, id, 1, failure); return err }},
		{"to a delete", func(id string) error { return s.Delete(ctx, id) }},
	}
	for _, tt := range tests {
		id := create(t, s).ID
		claim(t, s, id, over)
		if err := tt.take(id); err != nil {
			t.Fatal(err)
		}
		before, _ := s.Get(ctx, id)
		for what, call := range heldCalls(ctx, s, id, 1) {
			wantErr(t, what+" of an epoch lost "+tt.name, call(), job.ErrLost)
		}
		after, _ := s.Get(ctx, id)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("an epoch lost %s changed the job (-before +after):\n%s", tt.name, diff)
		}
	}
}

func testGiveUp(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	claim(t, s, id, running)
	_, err := s.GiveUp(ctx, id, 1, failure)
	wantBusy(t, "GiveUp while a lease runs", err)
	wantState(t, s, id, job.Converting)
	if err := s.Heartbeat(ctx, id, 1, over, 0); err != nil {
		t.Fatal(err)
	}
	_, err = s.GiveUp(ctx, id, 0, failure)
	wantErr(t, "GiveUp of a job that another has held since", err, job.ErrState)
	wantState(t, s, id, job.Converting)
	j, err := s.GiveUp(ctx, id, 1, failure)
	if err != nil || j.State != job.Failed || j.Error == nil || *j.Error != failure || j.Attempts[0].To == nil {
		t.Errorf("GiveUp = %+v, %v, want a Failed job with the reason", j, err)
	}
	_, err = s.GiveUp(ctx, id, 1, failure)
	wantErr(t, "GiveUp of a finished job", err, job.ErrState)
}

func testTell(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	var wg sync.WaitGroup
	var mine, busy atomic.Int32
	for range 8 {
		wg.Go(func() {
			j, err := s.Tell(ctx, id, running)
			var b *job.BusyError
			switch {
			case err == nil && j.ID == id:
				mine.Add(1)
			case errors.As(err, &b) && b.For > 0 && b.For <= running:
				busy.Add(1)
			default:
				t.Errorf("Tell = %+v, %v", j, err)
			}
		})
	}
	wg.Wait()
	if mine.Load() != 1 || busy.Load() != 7 {
		t.Errorf("of 8 callers %d may tell and %d may not, want 1 and 7", mine.Load(), busy.Load())
	}
	for range 2 {
		if _, err := s.Tell(ctx, id, 0); err != nil {
			t.Errorf("giving back = %v", err)
		}
	}
	if _, err := s.Tell(ctx, id, time.Millisecond); err != nil {
		t.Errorf("Tell after giving back = %v", err)
	}
	// Who had it died, and its time runs out.
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err := s.Tell(ctx, id, running)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Tell after the time of another = %v", err)
		}
	}
}

func testNoticed(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	claim(t, s, id, running)
	if _, err := s.Finish(ctx, id, 1, job.MP3{FID: newID()}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		notice  job.Notice
		done    bool
		notices int
		want    job.State
	}{
		{job.Notice{Event: "e1", Channel: "webhook", Refused: "gone"}, false, 1, job.Converted},
		{job.Notice{Event: "e1", Channel: "webhook"}, false, 1, job.Converted},
		{job.Notice{Event: "e1", Channel: "email"}, false, 2, job.Converted},
		{job.Notice{Event: "e0", Channel: "email"}, true, 3, job.Converted}, // of a round before
		{job.Notice{Event: "e1", Channel: "email", Round: 1}, true, 3, job.Notified},
		{job.Notice{Event: "e2", Channel: "email", Round: 1}, true, 4, job.Notified},
	}
	for _, tt := range tests {
		if err := s.Noticed(ctx, id, tt.notice, tt.done); err != nil {
			t.Fatalf("Noticed(%+v, %v) = %v", tt.notice, tt.done, err)
		}
		j := get(t, s, id)
		if len(j.Notices) != tt.notices || j.State != tt.want || !j.Told(tt.notice.Event, tt.notice.Channel) {
			t.Errorf("after Noticed(%+v, %v) the job is %+v, want %s with %d notices", tt.notice, tt.done, j, tt.want,
				tt.notices)
		}
	}
	if n := get(t, s, id).Notices[0]; n.At.IsZero() || n.Refused != "gone" {
		t.Errorf("the notice is kept as %+v, want the time and the refusal", n)
	}
}

func testCancel(t *testing.T, s job.Store) {
	ctx := t.Context()
	id := create(t, s).ID
	claim(t, s, id, running)
	j, err := s.Cancel(ctx, id)
	if err != nil || j.State != job.Cancelled || j.Attempts[0].To == nil {
		t.Errorf("Cancel = %+v, %v, want a Cancelled job whose attempt has ended", j, err)
	}
	wantErr(t, "Heartbeat after Cancel", s.Heartbeat(ctx, id, 1, running, 50), job.ErrLost)
	_, err = s.Cancel(ctx, id)
	wantErr(t, "second Cancel", err, job.ErrState)
	_, err = s.Claim(ctx, id, "w", running)
	wantErr(t, "Claim of a cancelled job", err, job.ErrState)
}

func testRetry(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	_, err := s.Retry(ctx, id)
	wantErr(t, "Retry of a Stored job", err, job.ErrState)
	claim(t, s, id, running)
	if _, err := s.Fail(ctx, id, 1, failure); err != nil {
		t.Fatal(err)
	}
	j, err := s.Retry(ctx, id)
	if err != nil || j.State != job.Stored || j.Round != 2 || j.Error != nil || j.Attempts != nil || j.Progress != 0 {
		t.Errorf("Retry = %+v, %v, want a Stored job of round 2 without error and attempts", j, err)
	}
	if diff := cmp.Diff(j, get(t, s, id)); diff != "" {
		t.Errorf("Get is not what Retry gave (-retried +got):\n%s", diff)
	}
	if j := claim(t, s, id, running); j.Lease.Epoch <= 1 {
		t.Errorf("Claim after Retry gives epoch %d, want one above those before", j.Lease.Epoch)
	}
}

func testStuck(t *testing.T, s job.Store) {
	ctx := t.Context()
	var want []string // in order of their last change
	step := func(owes bool, do func(id string) error) {
		t.Helper()
		id := create(t, s).ID
		if do != nil {
			if err := do(id); err != nil {
				t.Fatal(err)
			}
		}
		if owes {
			want = append(want, id)
		}
	}
	finish := func(id string) error {
		_, err := s.Finish(ctx, id, claim(t, s, id, running).Lease.Epoch, job.MP3{FID: newID()})
		return err
	}
	fail := func(id string) error {
		_, err := s.Fail(ctx, id, claim(t, s, id, running).Lease.Epoch, failure)
		return err
	}
	step(true, nil)
	step(true, func(id string) error { return s.Queued(ctx, id) })
	step(false, func(id string) error { claim(t, s, id, running); return nil })
	step(true, func(id string) error { claim(t, s, id, over); return nil })
	step(true, func(id string) error { claim(t, s, id, running); return s.Release(ctx, id, 1, "r") })
	step(true, finish)
	step(false, func(id string) error {
		return errors.Join(finish(id), s.Noticed(ctx, id, job.Notice{Event: "e", Channel: "email", Round: 1}, true))
	})
	step(true, fail)
	step(true, func(id string) error {
		return errors.Join(fail(id), s.Noticed(ctx, id, job.Notice{Event: "e", Channel: "webhook"}, false))
	})
	step(false, func(id string) error {
		return errors.Join(fail(id), s.Noticed(ctx, id, job.Notice{Event: "e", Channel: "email", Round: 1}, true))
	})
	step(true, func(id string) error {
		err := errors.Join(fail(id), s.Noticed(ctx, id, job.Notice{Event: "e", Channel: "email", Round: 1}, true))
		_, err2 := s.Retry(ctx, id)
		return errors.Join(err, err2, fail(id))
	})
	step(false, func(id string) error { _, err := s.Cancel(ctx, id); return err })

	stuck, err := s.Stuck(ctx, 0, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, j := range stuck {
		got = append(got, j.ID)
		if i > 0 && j.Updated.Before(stuck[i-1].Updated) {
			t.Errorf("the job unchanged since %v comes after the one since %v", j.Updated, stuck[i-1].Updated)
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("Stuck(0) (-want +got):\n%s", diff)
	}
	if some, err := s.Stuck(ctx, 0, 0, 2); err != nil || len(some) != 2 {
		t.Errorf("Stuck(0, 2) = %d jobs, %v, want 2", len(some), err)
	}
	for _, tt := range []struct {
		unsent, silent time.Duration
		want           int
	}{{0, time.Hour, 1}, {time.Hour, 0, len(want) - 1}} {
		if found, err := s.Stuck(ctx, tt.unsent, tt.silent, 100); err != nil || len(found) != tt.want {
			t.Errorf("Stuck(%v, %v) = %d jobs, %v, want %d", tt.unsent, tt.silent, len(found), err, tt.want)
		}
	}
	if young, err := s.Stuck(ctx, time.Hour, time.Hour, 100); err != nil || len(young) != 0 {
		t.Errorf("Stuck(1h) = %d jobs, %v, want none", len(young), err)
	}
}

func testResent(t *testing.T, s job.Store) {
	id, ctx := create(t, s).ID, t.Context()
	before := get(t, s, id)
	// It is silent as long again as it was unchanged, which must be some time.
	deadline := time.Now().Add(10 * time.Second)
	for stuck := 0; stuck == 0; {
		if time.Now().After(deadline) {
			t.Fatal("a job that nobody touches does not get stuck")
		}
		found, err := s.Stuck(ctx, 500*time.Millisecond, 500*time.Millisecond, 1)
		if err != nil {
			t.Fatal(err)
		}
		stuck = len(found)
	}
	if err := s.Resent(ctx, id); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Stuck(ctx, 0, 0, 1); err != nil || len(found) != 0 {
		t.Errorf("Stuck(0) right after Resent = %v, %v, want none", found, err)
	}
	after := get(t, s, id)
	if after.State != job.Queued || !after.Updated.Equal(before.Updated) {
		t.Errorf("after Resent the job is %s, changed at %v, want queued and %v", after.State, after.Updated, before.Updated)
	}
	claim(t, s, id, over)
	if found, err := s.Stuck(ctx, 0, 0, 1); err != nil || len(found) != 1 {
		t.Errorf("Stuck(0) after a change that follows Resent = %v, %v, want the job", found, err)
	}
}

// testChanged sees jobs in the order of their last change, those of others left out.
func testChanged(t *testing.T, s job.Store) {
	ctx := t.Context()
	first, second := create(t, s), create(t, s)
	if _, err := s.Create(ctx, job.Job{ID: newID(), Owner: "eve"}); err != nil {
		t.Fatal(err)
	}
	// The clock has milliseconds: the first job changes until that is later than the second's.
	for last := second.Updated; !get(t, s, first.ID).Updated.After(last); {
		j := claim(t, s, first.ID, over)
		if err := s.Heartbeat(ctx, first.ID, j.Lease.Epoch, over, 1); err != nil {
			t.Fatal(err)
		}
	}
	changed := func(owner string, since time.Time, limit int) (ids []string) {
		t.Helper()
		found, err := s.Changed(ctx, owner, since, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range found {
			ids = append(ids, j.ID)
		}
		return ids
	}
	last := get(t, s, first.ID).Updated
	for _, tt := range []struct {
		name  string
		owner string
		since time.Time
		limit int
		want  []string
	}{
		{"from before all", first.Owner, first.Created, 10, []string{second.ID, first.ID}},
		{"one", first.Owner, first.Created, 1, []string{second.ID}},
		{"from the last", first.Owner, last, 10, []string{first.ID}},
		{"after all", first.Owner, last.Add(time.Millisecond), 10, nil},
	} {
		if diff := cmp.Diff(tt.want, changed(tt.owner, tt.since, tt.limit)); diff != "" {
			t.Errorf("Changed %s (-want +got):\n%s", tt.name, diff)
		}
	}
	if all := changed("", first.Created, 10); len(all) != 3 || all[2] != first.ID {
		t.Errorf("Changed of everyone = %v, want three, %s last", all, first.ID)
	}
}

// testHandedOver has an event come late, and the owner try again, when an old program has the job.
func testHandedOver(t *testing.T, s job.Store) {
	ctx := t.Context()
	for _, made := range []bool{false, true} {
		id, want := create(t, s).ID, error(nil)
		wantErr(t, "Queued", s.Queued(ctx, id), nil)
		if made {
			_, err := s.Finish(ctx, id, claim(t, s, id, running).Lease.Epoch, job.MP3{FID: newID()})
			wantErr(t, "Finish", err, nil)
			want = job.ErrState // another MP3 would take the place of this one, whose file nobody would know any more
		}
		_, err := s.HandOver(ctx, id)
		wantErr(t, "HandOver", err, nil)
		before := get(t, s, id)
		if l := before.Links(); (l.Retry == "") != made || (l.MP3 == "") == made {
			t.Errorf("Links of a job that was handed over, with an MP3: %v, = %+v", made, l)
		}
		j, err := s.Claim(ctx, id, "w", over)
		wantErr(t, fmt.Sprintf("Claim of a job that was handed over, with an MP3: %v,", made), err, want)
		if diff := cmp.Diff(before, j); made && diff != "" {
			t.Errorf("Claim gave another job (-want +got):\n%s", diff)
		}
		if !made {
			wantErr(t, "Release", s.Release(ctx, id, j.Lease.Epoch, "away"), nil)
			_, err = s.HandOver(ctx, id)
			wantErr(t, "HandOver", err, nil)
		}
		_, err = s.Retry(ctx, id)
		wantErr(t, fmt.Sprintf("Retry of a job that was handed over, with an MP3: %v,", made), err, want)
	}
}

func testExpire(t *testing.T, s job.Store) {
	ctx := t.Context()
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	add := func(j job.Job, finished bool) string {
		t.Helper()
		j.ID, j.Owner = newID(), "ann"
		j, err := s.Create(ctx, j)
		if err != nil {
			t.Fatal(err)
		}
		if finished {
			if _, err := s.Cancel(ctx, j.ID); err != nil {
				t.Fatal(err)
			}
		}
		return j.ID
	}
	due, video := add(job.Job{Expires: &past}, true), add(job.Job{VideoExpires: &past, Expires: &future}, true)
	unfinished, later, never := add(job.Job{Expires: &past}, false), add(job.Job{Expires: &future}, true),
		add(job.Job{}, true)
	expire := func(want map[string]bool) {
		t.Helper()
		got := map[string]bool{}
		ended, err := s.Expire(ctx, 10)
		for _, j := range ended {
			got[j.ID] = j.State == job.Expired
			if !j.Video.Deleted {
				t.Errorf("Expire gives %+v, want that its video is marked", j)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Expire, %v, gives the jobs, by whether they are expired (-want +got):\n%s", err, diff)
		}
	}
	for range 2 { // they come again until they are swept
		expire(map[string]bool{due: true, video: false})
	}
	wantErr(t, "Swept", s.Swept(ctx, video), nil)
	expire(map[string]bool{due: true})
	wantErr(t, "Swept", s.Swept(ctx, due), nil)
	expire(map[string]bool{})
	wantErr(t, "Swept of no job", s.Swept(ctx, newID()), job.ErrNotFound)
	_, err := s.Retry(ctx, video)
	wantErr(t, "Retry of a job whose video is deleted", err, job.ErrState)
	wantState(t, s, due, job.Expired)
	wantState(t, s, video, job.Cancelled)
	wantState(t, s, unfinished, job.Stored)
	wantState(t, s, later, job.Cancelled)
	wantState(t, s, never, job.Cancelled)
	j, err := s.Create(ctx, job.Job{ID: newID(), Owner: "ann", Keep: job.Retention{Video: 3600, MP3: 7200}})
	if err == nil {
		j, err = s.Cancel(ctx, j.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	if j.VideoExpires == nil || j.Expires == nil || j.VideoExpires.Sub(j.Updated) != time.Hour ||
		j.Expires.Sub(j.Updated) != 2*time.Hour {
		t.Errorf("a job whose files are kept for one and two hours, ended at %v, has them until %v and %v", j.Updated,
			j.VideoExpires, j.Expires)
	}
	if j, err = s.Retry(ctx, j.ID); err != nil || j.VideoExpires != nil || j.Expires != nil {
		t.Errorf("a job that is begun anew, %v, has its files until %v and %v, want no end", err, j.VideoExpires, j.Expires)
	}
}

func testContext(t *testing.T, s job.Store) {
	id := create(t, s).ID
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Claim(ctx, id, "w", running); !errors.Is(err, context.Canceled) {
		t.Errorf("Claim with a cancelled context = %v, want context.Canceled", err)
	}
	wantState(t, s, id, job.Stored)
}

// TestSQLiteOldTable opens a table as it was made until November 2026.
func TestSQLiteOldTable(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "jobs.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE jobs (id TEXT PRIMARY KEY, owner TEXT NOT NULL,
		state TEXT NOT NULL, mp3 TEXT, owes INTEGER NOT NULL, since INTEGER NOT NULL, leased INTEGER NOT NULL,
		expires INTEGER, doc TEXT NOT NULL) STRICT`); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to add
		s, err := job.NewSQLite(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		j := create(t, s)
		if found, err := s.Changed(t.Context(), "", j.Updated, 10); err != nil || len(found) == 0 {
			t.Errorf("Changed = %v, %v, want the job", found, err)
		}
	}
}
