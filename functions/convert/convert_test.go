package convert

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

var noAudio = &engine.Failure{Failure: eventing.Failure{Code: engine.NoAudio, Message: "the video has no sound"}}

const mp3Data = "the frames of an MP3"

// fakeEngine is an engine that writes mp3Data, unless convert is not nil.
type fakeEngine struct {
	calls   atomic.Int32
	convert func(ctx context.Context, progress func(int)) error
}

func (e *fakeEngine) Convert(ctx context.Context, _ io.ReaderAt, _ int64, _ eventing.Options, dst engine.Destination,
	progress func(int)) (engine.Result, error) {
	e.calls.Add(1)
	if e.convert != nil {
		if err := e.convert(ctx, progress); err != nil {
			return engine.Result{}, err
		}
	}
	_, err := io.WriteString(dst, mp3Data)
	return engine.Result{Duration: 90 * time.Second, Plan: engine.PlanIndex}, err
}

// fakeJobs are jobs whose answers can be changed.
type fakeJobs struct {
	*job.SQLite
	heartbeat func() error
	finish    func(recorded job.Job, err error) (job.Job, error)
}

func (f *fakeJobs) Heartbeat(ctx context.Context, id string, epoch int, ttl time.Duration, progress int) error {
	if f.heartbeat != nil {
		return f.heartbeat()
	}
	return f.SQLite.Heartbeat(ctx, id, epoch, ttl, progress)
}

func (f *fakeJobs) Finish(ctx context.Context, id string, epoch int, mp3 job.MP3) (job.Job, error) {
	j, err := f.SQLite.Finish(ctx, id, epoch, mp3)
	if f.finish != nil {
		return f.finish(j, err)
	}
	return j, err
}

// bench is the function with what it works on.
type bench struct {
	jobs         *fakeJobs
	videos, mp3s *memory
	engine       *fakeEngine
	handler      http.Handler
}

func newBench(t testing.TB) *bench {
	t.Helper()
	return newBenchFor(t, 5*time.Minute)
}

// newBenchFor is newBench where a conversion may take so long.
func newBenchFor(t testing.TB, timeout time.Duration) *bench {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "jobs.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	jobs, err := job.NewSQLite(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{jobs: &fakeJobs{SQLite: jobs}, videos: newMemory(), mp3s: newMemory(), engine: &fakeEngine{}}
	b.handler = New(b.jobs, b.videos, b.mp3s, b.engine, Config{Timeout: timeout, Lease: 3 * time.Second})
	return b
}

// upload stores a video and its job.
func (b *bench) upload(t *testing.T) job.Job {
	t.Helper()
	id := b.videos.put([]byte("a video"), media.Info{Name: "holiday.mp4", Owner: "ann@example.com"})
	j, err := b.jobs.Create(t.Context(), job.Job{ID: id, Owner: "ann@example.com", Filename: "holiday.mp4",
		Options: eventing.Options{Mono: true}})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (b *bench) state(t *testing.T, id string) job.Job {
	t.Helper()
	j, err := b.jobs.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// uploaded is the event about a job.
func uploaded(t testing.TB, id string, p eventing.VideoUploaded) event.Event {
	t.Helper()
	p.VideoFID = id
	if p.Username == "" {
		p.Username = "mallory@example.com" // not trusted
	}
	e, err := eventing.New("/soundstrip/upload", id, 1, p)
	if err != nil {
		t.Fatal(err)
	}
	e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return e
}

// post delivers an event and gives status and reply.
func (b *bench) post(ctx context.Context, t testing.TB, e event.Event) (*http.Response, *event.Event) {
	t.Helper()
	r, err := eventing.NewRequest(ctx, "/", e)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	resp := w.Result()
	if resp.StatusCode != http.StatusOK {
		return resp, nil
	}
	reply, err := eventing.Reply(resp)
	if err != nil {
		t.Fatal(err)
	}
	return resp, reply
}

func TestConverted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	e := uploaded(t, j.ID, eventing.VideoUploaded{})
	_, first := b.post(t.Context(), t, e)
	p, err := eventing.Decode[eventing.AudioConverted](*first)
	if err != nil {
		t.Fatal(err)
	}
	stored := b.state(t, j.ID)
	if stored.State != job.Converted || stored.MP3 == nil || stored.MP3.Plan != engine.PlanIndex {
		t.Fatalf("job is %+v, want it converted by the index", stored)
	}
	info := b.mp3s.files[stored.MP3.FID].info
	want := eventing.AudioConverted{
		Reference: eventing.Reference{VideoFID: j.ID, MP3FID: &info.ID, Username: "ann@example.com"},
		Filename:  "holiday.mp4", Options: j.Options, Duration: 90, Bytes: int64(len(mp3Data)), SHA256: info.SHA256,
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("reply differs (-want +got):\n%s", diff)
	}
	if info.Name != "holiday.mp3" || info.Owner != "ann@example.com" || string(b.mp3s.get(info.ID)) != mp3Data {
		t.Errorf("MP3 is %+v, want ann's holiday.mp3", info)
	}

	_, second := b.post(t.Context(), t, e)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("a repeat is answered differently (-first +second):\n%s", diff)
	}
	if n := b.engine.calls.Load(); n != 1 || b.mp3s.len() != 1 {
		t.Errorf("delivered twice: %d conversions and %d MP3s, want one", n, b.mp3s.len())
	}
}

func TestConversionFailed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	b.engine.convert = func(context.Context, func(int)) error { return noAudio }
	e := uploaded(t, j.ID, eventing.VideoUploaded{})
	_, first := b.post(t.Context(), t, e)
	p, err := eventing.Decode[eventing.ConversionFailed](*first)
	if err != nil {
		t.Fatal(err)
	}
	if p.Error != noAudio.Failure || b.state(t, j.ID).State != job.Failed {
		t.Errorf("reply has %+v, job is %s, want %s, failed", p.Error, b.state(t, j.ID).State, engine.NoAudio)
	}
	_, second := b.post(t.Context(), t, e)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("a repeat is answered differently (-first +second):\n%s", diff)
	}
	if n := b.engine.calls.Load(); n != 1 || b.mp3s.len() != 0 || b.mp3s.aborted != 1 {
		t.Errorf("%d conversions, %d MP3s, %d aborted, want 1, 0, 1", n, b.mp3s.len(), b.mp3s.aborted)
	}
}

func TestVideoGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	_ = b.videos.Delete(t.Context(), j.ID)
	_, reply := b.post(t.Context(), t, uploaded(t, j.ID, eventing.VideoUploaded{}))
	if p, err := eventing.Decode[eventing.ConversionFailed](*reply); err != nil || p.Error.Code != engine.Gone {
		t.Errorf("reply is %+v, %v, want %s", p, err, engine.Gone)
	}
}

// TestPassing checks that a passing failure leaves nothing behind, and the job to the next delivery.
func TestPassing(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for _, tt := range []struct {
		name    string
		arrange func(b *bench)
		lost    bool // where not even giving back the job works
	}{
		{name: "engine", arrange: func(b *bench) {
			b.engine.convert = func(context.Context, func(int)) error {
				return &engine.Failure{Failure: eventing.Failure{Code: engine.Killed}, Passing: true, Err: away}
			}
		}},
		{name: "engine, without a word", arrange: func(b *bench) {
			b.engine.convert = func(context.Context, func(int)) error { return away }
		}},
		{name: "opening", arrange: func(b *bench) { b.videos.open = func(string) error { return away } }},
		{name: "commit", arrange: func(b *bench) { b.mp3s.commit = func() error { return away } }},
		{name: "finish", arrange: func(b *bench) {
			b.jobs.heartbeat = func() error { return nil }
			b.jobs.finish = func(job.Job, error) (job.Job, error) { return job.Job{}, away }
		}, lost: true},
		{name: "heartbeats", arrange: func(b *bench) {
			b.jobs.heartbeat = func() error { return away }
			b.engine.convert = func(ctx context.Context, _ func(int)) error { <-ctx.Done(); return ctx.Err() }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			j := b.upload(t)
			tt.arrange(b)
			e := uploaded(t, j.ID, eventing.VideoUploaded{})
			resp, _ := b.post(t.Context(), t, e)
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("answer is %d, Retry-After %q, want 503 with it", resp.StatusCode, resp.Header.Get("Retry-After"))
			}
			if !tt.lost && (b.state(t, j.ID).State != job.Queued || b.mp3s.len() != 0) {
				t.Errorf("job is %s, %d MP3s, want it queued and none", b.state(t, j.ID).State, b.mp3s.len())
			}
			b.engine.convert, b.videos.open, b.mp3s.commit, b.jobs.finish, b.jobs.heartbeat = nil, nil, nil, nil, nil
			if _, reply := b.post(t.Context(), t, e); reply == nil || reply.Type() != eventing.TypeAudioConverted ||
				b.mp3s.len() != 1 {
				t.Errorf("next delivery: reply %v, %d MP3s, want it converted", reply, b.mp3s.len())
			}
		})
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	if _, err := b.jobs.Claim(t.Context(), j.ID, "another", time.Minute); err != nil {
		t.Fatal(err)
	}
	resp, _ := b.post(t.Context(), t, uploaded(t, j.ID, eventing.VideoUploaded{}))
	if resp.StatusCode != http.StatusConflict || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answer is %d, Retry-After %q, want 409 with it", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	if b.engine.calls.Load() != 0 {
		t.Error("converted what another worker holds")
	}
}

// TestLost checks that who lost the job leaves nothing behind and says nothing.
func TestLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		during  func(ctx context.Context, t *testing.T, b *bench, j job.Job)
		noticed bool // by a heartbeat, while the work goes on
		want    job.State
	}{
		{"cancelled", func(ctx context.Context, t *testing.T, b *bench, j job.Job) {
			if _, err := b.jobs.Cancel(ctx, j.ID); err != nil {
				t.Error(err)
			}
		}, true, job.Cancelled},
		{"cancelled at the last moment", func(ctx context.Context, t *testing.T, b *bench, j job.Job) {
			if _, err := b.jobs.Cancel(ctx, j.ID); err != nil {
				t.Error(err)
			}
		}, false, job.Cancelled},
		{"taken over", func(ctx context.Context, t *testing.T, b *bench, j job.Job) {
			if err := b.jobs.Release(ctx, j.ID, 1, ""); err != nil {
				t.Error(err)
			}
			if _, err := b.jobs.Claim(ctx, j.ID, "another", time.Minute); err != nil {
				t.Error(err)
			}
		}, false, job.Converting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			j := b.upload(t)
			b.engine.convert = func(ctx context.Context, _ func(int)) error {
				tt.during(context.WithoutCancel(ctx), t, b, j)
				if tt.noticed {
					<-ctx.Done()
					return context.Cause(ctx)
				}
				return nil
			}
			resp, _ := b.post(t.Context(), t, uploaded(t, j.ID, eventing.VideoUploaded{}))
			if resp.StatusCode != http.StatusNoContent {
				t.Errorf("answer is %d, want 204", resp.StatusCode)
			}
			if got := b.state(t, j.ID).State; got != tt.want || b.mp3s.len() != 0 {
				t.Errorf("job is %s, %d MP3s, want %s and none", got, b.mp3s.len(), tt.want)
			}
		})
	}
}

// TestLeaseWhileStored checks that the lease is kept while an MP3 is stored that was made just before the time was
// over.
func TestLeaseWhileStored(t *testing.T) {
	t.Parallel()
	b := newBenchFor(t, time.Millisecond)
	j := b.upload(t)
	b.engine.convert = func(ctx context.Context, _ func(int)) error { <-ctx.Done(); return nil }
	beats := make(chan struct{})
	b.jobs.heartbeat = func() error {
		select {
		case beats <- struct{}{}:
		default:
		}
		return nil
	}
	b.mp3s.commit = func() error {
		for range 2 {
			select {
			case <-beats:
			case <-time.After(time.Minute):
				return errors.New("no heartbeat")
			}
		}
		return nil
	}
	_, reply := b.post(t.Context(), t, uploaded(t, j.ID, eventing.VideoUploaded{}))
	if reply == nil || reply.Type() != eventing.TypeAudioConverted {
		t.Errorf("reply is %v, want audio.converted", reply)
	}
}

// TestFinishRepeated is a write that counted although its answer was lost, and that finds itself when it is repeated.
func TestFinishRepeated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	b.jobs.finish = func(job.Job, error) (job.Job, error) { return job.Job{}, job.ErrLost }
	_, reply := b.post(t.Context(), t, uploaded(t, j.ID, eventing.VideoUploaded{}))
	if reply == nil || reply.Type() != eventing.TypeAudioConverted || b.mp3s.len() != 1 {
		t.Errorf("reply is %v, %d MP3s, want audio.converted and the MP3 kept", reply, b.mp3s.len())
	}
}

// TestClientGone checks that work that nobody waits for is given back at once.
func TestClientGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.engine.convert = func(ctx context.Context, _ func(int)) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	b.post(ctx, t, uploaded(t, j.ID, eventing.VideoUploaded{}))
	if got := b.state(t, j.ID); got.State != job.Queued || b.mp3s.aborted != 1 {
		t.Errorf("job is %s, %d aborted, want it queued and one", got.State, b.mp3s.aborted)
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.videos.put([]byte("an old gateway's video"), media.Info{Name: "old.mov"})
	legacy := uploaded(t, id, eventing.VideoUploaded{Reference: eventing.Reference{Username: "bob@example.com"}})
	legacy.SetSource("/soundstrip/legacy")
	_, first := b.post(t.Context(), t, legacy)
	p, err := eventing.Decode[eventing.AudioConverted](*first)
	if err != nil {
		t.Fatal(err)
	}
	if p.Username != "bob@example.com" || p.Filename != "old.mov" {
		t.Errorf("reply is to %s about %s, want bob@example.com about old.mov", p.Username, p.Filename)
	}
	if _, second := b.post(t.Context(), t, legacy); !cmp.Equal(first, second) || b.engine.calls.Load() != 1 {
		t.Errorf("a repeat is answered %v after %d conversions, want %v after one", second, b.engine.calls.Load(), first)
	}
}

// TestNothingToDo are events that are acknowledged without a reply.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cancelled := b.upload(t)
	if _, err := b.jobs.Cancel(t.Context(), cancelled.ID); err != nil {
		t.Fatal(err)
	}
	segment, segments := uploaded(t, cancelled.ID, eventing.VideoUploaded{}), uploaded(t, cancelled.ID,
		eventing.VideoUploaded{})
	segment.SetType(eventing.TypeSegmentRequested)
	segments.SetType(eventing.TypeSegmentsConverted)
	for name, e := range map[string]event.Event{
		"cancelled":               uploaded(t, cancelled.ID, eventing.VideoUploaded{}),
		"deleted":                 uploaded(t, media.NewID(), eventing.VideoUploaded{}),
		"a version before: one":   segment,
		"a version before: joins": segments,
	} {
		if resp, _ := b.post(t.Context(), t, e); resp.StatusCode != http.StatusNoContent {
			t.Errorf("%s: answer is %d, want 204", name, resp.StatusCode)
		}
	}
	if b.engine.calls.Load() != 0 || b.mp3s.len() != 0 {
		t.Error("converted what nobody waits for")
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	other := uploaded(t, j.ID, eventing.VideoUploaded{})
	other.SetSubject(media.NewID())
	for name, e := range map[string]event.Event{
		"an id that is none":     uploaded(t, "../../etc/passwd", eventing.VideoUploaded{}),
		"subject of another job": other,
		"an event of another use": func() event.Event {
			e := uploaded(t, j.ID,
				eventing.VideoUploaded{})
			e.SetType("x")
			return e
		}(),
	} {
		if resp, _ := b.post(t.Context(), t, e); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: answer is %d, want 400", name, resp.StatusCode)
		}
	}
}

// TestProgress checks that progress is on record before the next heartbeat is due.
func TestProgress(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.upload(t)
	b.engine.convert = func(ctx context.Context, progress func(int)) error {
		progress(42)
		for b.state(t, j.ID).Progress != 42 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	if _, reply := b.post(t.Context(), t, uploaded(t, j.ID, eventing.VideoUploaded{})); reply == nil {
		t.Error("progress was not recorded")
	}
	if got := b.state(t, j.ID).Progress; got != 100 {
		t.Errorf("progress of a stored MP3 is %d, want 100", got)
	}
}
