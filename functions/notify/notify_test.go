package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/notify"
)

func TestMain(m *testing.M) {
	// A job's webhook is not told through a proxy: nobody listens there.
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}

// store is a real store of jobs, with answers of its own where a test wants them.
type store struct {
	*job.SQLite
	get     func(id string) (job.Job, error)
	noticed func(n job.Notice) error // called before the real one; its error comes instead of it
	webhook *job.Webhook             // of the jobs that job0 makes
	hooks   *webhooks                // of users
}

func (s *store) Get(ctx context.Context, id string) (job.Job, error) {
	if s.get != nil {
		return s.get(id)
	}
	return s.SQLite.Get(ctx, id)
}

func (s *store) Noticed(ctx context.Context, id string, n job.Notice, done bool) error {
	if s.noticed != nil {
		if err := s.noticed(n); err != nil {
			return err
		}
	}
	return s.SQLite.Noticed(ctx, id, n, done)
}

func newStore(t *testing.T) *store {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "soundstrip.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := job.NewSQLite(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := job.NewSQLiteWebhooks(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return &store{SQLite: s, hooks: &webhooks{SQLiteWebhooks: hooks}}
}

// webhooks is a real store of users' webhooks; err, when set, is what Get says.
type webhooks struct {
	*job.SQLiteWebhooks
	err error
}

func (h *webhooks) Get(ctx context.Context, owner string) (job.Webhook, error) {
	if h.err != nil {
		return job.Webhook{}, h.err
	}
	return h.SQLiteWebhooks.Get(ctx, owner)
}

// channel keeps what it is told, and answers by a function.
type channel struct {
	name string
	tell func(n int, o notify.Outcome) error // n counts the calls; nil takes everything

	mu    sync.Mutex
	calls int
	told  []notify.Outcome
}

func (c *channel) Name() string { return c.name }

func (*channel) For(job.Job) bool { return true }

func (c *channel) Tell(_ context.Context, o notify.Outcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.tell != nil {
		if err := c.tell(c.calls, o); err != nil {
			return err
		}
	}
	c.told = append(c.told, o)
	return nil
}

var config = notify.Config{PublicURL: "https://soundstrip.example.com/",
	Link: token.LinkConfig{Secret: strings.Repeat("s", 32)}}

// job0 makes a job and brings it into the state.
func (s *store) job0(t *testing.T, state job.State) job.Job {
	t.Helper()
	ctx := t.Context()
	j, err := s.Create(ctx, job.Job{ID: media.NewID(), Owner: "anna@example.com", Filename: "talk.mp4",
		Webhook: s.webhook})
	if err != nil {
		t.Fatal(err)
	}
	step := func(_ job.Job, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if state == job.Stored {
		return j
	}
	if state == job.Cancelled {
		step(s.Cancel(ctx, j.ID))
	} else {
		step(s.Claim(ctx, j.ID, "w", time.Minute))
	}
	switch state {
	case job.Failed:
		step(s.Fail(ctx, j.ID, 1, eventing.Failure{Code: "no_audio", Message: "the video has no sound"}))
	case job.Converted, job.Notified:
		step(s.Finish(ctx, j.ID, 1, job.MP3{FID: media.NewID(), Length: 1000, SHA256: strings.Repeat("ab", 32),
			Duration: 60}))
	}
	if j, err = s.SQLite.Get(ctx, j.ID); err != nil {
		t.Fatal(err)
	}
	return j
}

// event0 is what convert replies about the job.
func event0(t *testing.T, j job.Job) event.Event {
	t.Helper()
	e, err := j.Event("/soundstrip/convert")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// custom is an event with the given data.
func custom(t *testing.T, typ, subject, data string) event.Event {
	t.Helper()
	e := event.New()
	e.SetID("some id")
	e.SetSource("/somewhere")
	e.SetType(typ)
	e.SetSubject(subject)
	if err := e.SetData(event.ApplicationJSON, []byte(data)); err != nil {
		t.Fatal(err)
	}
	return e
}

// post gives the event to the function.
func post(t *testing.T, h http.Handler, e event.Event) (status int, reply *event.Event, body string) {
	t.Helper()
	r, err := eventing.NewRequest(t.Context(), "http://notify/", e)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	if resp.StatusCode == http.StatusOK {
		if reply, err = eventing.Reply(resp); err != nil || reply == nil {
			t.Fatalf("reply = %v, %v", reply, err)
		}
	}
	return resp.StatusCode, reply, w.Body.String()
}

func sent(t *testing.T, e *event.Event) eventing.NotificationSent {
	t.Helper()
	p, err := eventing.Decode[eventing.NotificationSent](*e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, state := range []job.State{job.Converted, job.Failed} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			s, mail, hook := newStore(t), &channel{name: "email"}, &channel{name: "webhook"}
			h := notify.New(s, s.hooks, nil, nil, []notify.Channel{mail, hook}, config)
			j := s.job0(t, state)
			e := event0(t, j)

			status, first, _ := post(t, h, e)
			if status != 200 || len(mail.told) != 1 || len(hook.told) != 1 {
				t.Fatalf("answer = %d, told %d and %d times, want 200, once each", status, len(mail.told), len(hook.told))
			}
			wantLinks := notify.Links{Home: "https://soundstrip.example.com/",
				Job: "https://soundstrip.example.com/jobs/" + j.ID}
			if state == job.Converted {
				wantLinks.MP3 = wantLinks.Job + "/mp3"
				wantLinks.Download = "https://soundstrip.example.com/download?fid=" + j.MP3.FID
			}
			want := notify.Outcome{ID: e.ID(), Job: j, Links: wantLinks}
			for _, c := range []*channel{mail, hook} {
				checkOpen(t, j, c.told[0].Links)
				if diff := cmp.Diff(want, c.told[0], cmpopts.IgnoreFields(job.Job{}, "Notices", "Updated"),
					cmpopts.IgnoreFields(notify.Links{}, "Open", "Ends"),
					cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s was told (-want +got):\n%s", c.name, diff)
				}
			}
			after := map[job.State]job.State{job.Converted: job.Notified, job.Failed: job.Failed}[state]
			now, err := s.Get(t.Context(), j.ID)
			if err != nil || now.State != after || len(now.Notices) != 2 {
				t.Errorf("job is %s with notices %v, %v, want %s with two", now.State, now.Notices, err, after)
			}
			if p := sent(t, first); p.Channel != "email" || p.VideoFID != j.ID || p.Username != j.Owner ||
				first.Subject() != j.ID || first.Source() != "/soundstrip/notify" {
				t.Errorf("reply = %+v of %v", p, first)
			}
			if stuck, err := s.Stuck(t.Context(), -time.Hour, -time.Hour, 10); err != nil || len(stuck) != 0 {
				t.Errorf("the job still owes an event: %v, %v", stuck, err)
			}

			status, second, _ := post(t, h, e)
			if status != 200 || len(mail.told) != 1 || len(hook.told) != 1 {
				t.Errorf("repeat: answer = %d, told %d and %d times, want 200, once each", status, len(mail.told), len(hook.told))
			}
			if second.ID() != first.ID() || !cmp.Equal(second.Data(), first.Data()) {
				t.Errorf("repeat: reply %v, want %v", second, first)
			}
		})
	}
}

// TestNothingToTell: what is deleted or goes on is acknowledged without a word, what is no event of ours refused.
func TestNothingToTell(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	stored, cancelled, failed, converted := s.job0(t, job.Stored), s.job0(t, job.Cancelled), s.job0(t, job.Failed),
		s.job0(t, job.Converted)
	deleted := media.NewID()
	whole := func(id string) string {
		return fmt.Sprintf(`{"video_fid":%q,"mp3_fid":%q,"username":"eve@example.com","duration":1,"bytes":1,"sha256":%q}`,
			id, media.NewID(), strings.Repeat("ab", 32))
	}
	fail := func(id string) string {
		return fmt.Sprintf(`{"video_fid":%q,"mp3_fid":null,"username":"eve@example.com","error":{"code":"x","message":"y"}}`,
			id)
	}
	for _, tt := range []struct {
		name, typ, subject, data string
		status                   int
	}{
		{"deleted", eventing.TypeAudioConverted, deleted, whole(deleted), 204},
		{"deleted and failed", eventing.TypeConversionFailed, deleted, fail(deleted), 204},
		{"deleted and failed with an MP3", eventing.TypeConversionFailed, deleted,
			strings.Replace(fail(deleted), "null", `"`+media.NewID()+`"`, 1), 204},
		{"runs again", eventing.TypeConversionFailed, stored.ID, fail(stored.ID), 204},
		{"cancelled", eventing.TypeAudioConverted, cancelled.ID, whole(cancelled.ID), 204},
		{"failed in truth", eventing.TypeAudioConverted, failed.ID, whole(failed.ID), 204},
		{"converted in truth", eventing.TypeConversionFailed, converted.ID, fail(converted.ID), 204},
		{"another type", eventing.TypeVideoUploaded, stored.ID, `{"video_fid":"1","mp3_fid":null,"username":"a"}`, 400},
		{"subject of another job", eventing.TypeAudioConverted, converted.ID, whole(failed.ID), 400},
		{"no id", eventing.TypeAudioConverted, "", whole("../../etc"), 400},
		{"no MP3", eventing.TypeAudioConverted, "", `{"video_fid":"` + converted.ID + `","mp3_fid":null,"username":"a"}`,
			400},
		{"no error", eventing.TypeConversionFailed, "", `{"video_fid":"` + failed.ID + `","mp3_fid":null,"username":"a"}`,
			400},
		{"no JSON object", eventing.TypeAudioConverted, "", `"x"`, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &channel{name: "email"}
			h := notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config)
			status, _, body := post(t, h, custom(t, tt.typ, tt.subject, tt.data))
			if status != tt.status || c.calls != 0 {
				t.Errorf("answer = %d %q, told %d times, want %d, not told", status, body, c.calls, tt.status)
			}
		})
	}
}

// TestTrustsTheJobOnly: what the event says beside the job's id does not count.
func TestTrustsTheJobOnly(t *testing.T) {
	t.Parallel()
	s, c := newStore(t), &channel{name: "email"}
	j := s.job0(t, job.Converted)
	for _, sum := range []string{strings.Repeat("cd", 32), ""} {
		e := custom(t, eventing.TypeAudioConverted, j.ID,
			fmt.Sprintf(`{"video_fid":%q,"mp3_fid":%q,"username":"eve@example.com","filename":"evil","sha256":%q}`, j.ID,
				media.NewID(), sum))
		if status, reply, _ := post(t, notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config), e); status != 200 ||
			sent(t, reply).Username != "anna@example.com" {
			t.Errorf("answer = %d, reply %v", status, reply)
		}
	}
	if len(c.told) != 1 || c.told[0].Job.Owner != "anna@example.com" || c.told[0].Job.Filename != "talk.mp4" ||
		c.told[0].Job.MP3.FID != j.MP3.FID {
		t.Errorf("told %+v, want what is on record, once", c.told)
	}
}

// files are stores in a folder, as old programs leave them: a video and an MP3 of 26 frames, without owners.
type files struct {
	videos, mp3s media.Store
	video, mp3   media.Info
}

func newFiles(t *testing.T) (f files) {
	t.Helper()
	keep := func(name string, content []byte) (media.Store, media.Info) {
		s, err := media.NewFolder(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Create(t.Context(), media.Info{ID: media.NewID(), Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		info, err := w.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s, info
	}
	frame := make([]byte, 417)
	copy(frame, "\xff\xfb\x90\x00") // 128 kbit/s at 44,100 Hz
	f.videos, f.video = keep("lecture.mp4", []byte("a video"))
	f.mp3s, f.mp3 = keep("", bytes.Repeat(frame, 26))
	return f
}

// checkAdopted compares what is known of an old converter's MP3 with the file.
func (f files) checkAdopted(t *testing.T, j job.Job) {
	t.Helper()
	want := job.MP3{FID: f.mp3.ID, Length: f.mp3.Length, SHA256: f.mp3.SHA256, Duration: 26 * 1152 / 44100.}
	if diff := cmp.Diff(&want, j.MP3, cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		t.Errorf("the MP3 of the job (-want +got):\n%s", diff)
	}
}

// TestOldConverter: the message of a converter that keeps no jobs becomes one, so that its owner can download the MP3.
func TestOldConverter(t *testing.T) {
	t.Parallel()
	s, f, c := newStore(t), newFiles(t), &channel{name: "email"}
	h := notify.New(s, s.hooks, f.videos, f.mp3s, []notify.Channel{c}, config)
	e := custom(t, eventing.TypeAudioConverted, f.video.ID,
		fmt.Sprintf(`{"video_fid":%q,"mp3_fid":%q,"username":"anna@example.com"}`, f.video.ID, f.mp3.ID))
	for range 2 {
		if status, reply, body := post(t, h, e); status != 200 || *sent(t, reply).MP3FID != f.mp3.ID {
			t.Fatalf("answer = %d %s", status, body)
		}
	}
	if len(c.told) != 1 || c.told[0].Links.Download != "https://soundstrip.example.com/download?fid="+f.mp3.ID {
		t.Errorf("told %+v, want once, with the link", c.told)
	}
	j, err := s.FindMP3(t.Context(), f.mp3.ID)
	if err != nil || j.ID != f.video.ID || j.Owner != "anna@example.com" || j.State != job.Notified || j.Progress != 100 ||
		j.Filename != "lecture.mp4" || j.Video.Length != f.video.Length || j.Video.SHA256 != f.video.SHA256 {
		t.Errorf("FindMP3 = %+v, %v, want the job of the owner and the video, notified", j, err)
	}
	f.checkAdopted(t, j)

	for _, tt := range []struct {
		name, data string
		status     int
	}{
		{"another's MP3", fmt.Sprintf(`{"video_fid":%q,"mp3_fid":%q,"username":"eve@example.com"}`, media.NewID(), f.mp3.ID),
			400},
		{"no file's id", fmt.Sprintf(`{"video_fid":%q,"mp3_fid":"x/../y","username":"eve@example.com"}`, media.NewID()), 400},
		{"a video that was deleted", fmt.Sprintf(`{"video_fid":%q,"mp3_fid":%q,"username":"eve@example.com"}`, media.NewID(),
			media.NewID()), 204},
	} {
		if status, _, body := post(t, h, custom(t, eventing.TypeAudioConverted, "", tt.data)); status != tt.status ||
			len(c.told) != 1 {
			t.Errorf("%s: answer = %d %q, want %d", tt.name, status, body, tt.status)
		}
	}
	if j, err := s.FindMP3(t.Context(), f.mp3.ID); err != nil || j.Owner != "anna@example.com" {
		t.Errorf("the MP3 belongs to %q, %v", j.Owner, err)
	}
}

// TestOldConverterEnds: the broker tells that an old converter ends at a video, with a job of ours or without one.
func TestOldConverterEnds(t *testing.T) {
	t.Parallel()
	s, f, c := newStore(t), newFiles(t), &channel{name: "email"}
	h := notify.New(s, s.hooks, f.videos, f.mp3s, []notify.Channel{c}, config)
	for i, id := range []string{f.video.ID, s.job0(t, job.Stored).ID} {
		e := custom(t, eventing.TypeConversionFailed, id, fmt.Sprintf(
			`{"video_fid":%q,"mp3_fid":null,"username":"anna@example.com","error":{"code":"exhausted","message":"thrice"}}`, id))
		e.SetSource(eventing.LegacySource)
		for range 2 {
			if status, reply, body := post(t, h, e); status != 200 || sent(t, reply).MP3FID != nil {
				t.Fatalf("answer = %d %s", status, body)
			}
		}
		j, err := s.Get(t.Context(), id)
		if err != nil || j.State != job.Failed || j.Error.Code != "exhausted" || j.Owner != "anna@example.com" {
			t.Errorf("job %+v, %v, want the owner's, failed", j, err)
		}
		if len(c.told) != i+1 || c.told[i].Job.Error.Message != "thrice" {
			t.Errorf("told %d times, want %d", len(c.told), i+1)
		}
	}
}

// TestOldConverterOfOurUpload: an old converter may take the video of an upload of ours; its message finishes the job.
func TestOldConverterOfOurUpload(t *testing.T) {
	t.Parallel()
	s, f, c := newStore(t), newFiles(t), &channel{name: "email"}
	h := notify.New(s, s.hooks, f.videos, f.mp3s, []notify.Channel{c}, config)
	j := s.job0(t, job.Stored)
	e := custom(t, eventing.TypeAudioConverted, "",
		fmt.Sprintf(`{"video_fid":%q,"mp3_fid":%q,"username":"anna@example.com"}`, j.ID, f.mp3.ID))
	claimed, err := s.Claim(t.Context(), j.ID, "a converter of ours", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _ := post(t, h, e); status != 409 || c.calls != 0 {
		t.Errorf("answer = %d while a converter of ours is at it, told %d times, want 409, never", status, c.calls)
	}
	if err := s.Release(t.Context(), j.ID, claimed.Lease.Epoch, "lost"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status, _, body := post(t, h, e); status != 200 {
			t.Errorf("answer = %d %q, want 200", status, body)
		}
	}
	now, err := s.Get(t.Context(), j.ID)
	if err != nil || now.State != job.Notified || len(c.told) != 1 || c.told[0].Job.Filename != "talk.mp4" {
		t.Fatalf("job %+v, %v, told %d times, want it notified with the MP3, once", now, err, len(c.told))
	}
	f.checkAdopted(t, now)
	for _, state := range []job.State{job.Cancelled, job.Failed} {
		j := s.job0(t, state)
		e := custom(t, eventing.TypeAudioConverted, "",
			fmt.Sprintf(`{"video_fid":%q,"mp3_fid":%q,"username":"anna@example.com"}`, j.ID, media.NewID()))
		if status, _, _ := post(t, h, e); status != 204 || len(c.told) != 1 {
			t.Errorf("%s: answer = %d, told %d times, want 204, no more", state, status, len(c.told))
		}
	}
}

// TestOneChannelAway: the others tell meanwhile, and only that one tells later.
func TestOneChannelAway(t *testing.T) {
	t.Parallel()
	for _, away := range []string{"email", "webhook"} {
		t.Run(away, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			var channels []notify.Channel
			byName := map[string]*channel{}
			for _, name := range []string{"email", "webhook"} {
				c := &channel{name: name}
				if name == away {
					c.tell = func(n int, _ notify.Outcome) error {
						if n <= 2 {
							return errors.New("connection refused, for hunter2")
						}
						return nil
					}
				}
				byName[name] = c
				channels = append(channels, c)
			}
			h := notify.New(s, s.hooks, nil, nil, channels, config)
			j := s.job0(t, job.Converted)
			for range 2 {
				status, _, body := post(t, h, event0(t, j))
				if status != 503 || strings.Contains(body, "hunter2") {
					t.Errorf("answer = %d %q, want 503 that tells nothing", status, body)
				}
				if now, err := s.Get(t.Context(), j.ID); err != nil || now.State != job.Converted || len(now.Notices) != 1 {
					t.Errorf("job is %s with %d notices, %v, want converted with one", now.State, len(now.Notices), err)
				}
			}
			if status, _, _ := post(t, h, event0(t, j)); status != 200 {
				t.Errorf("answer = %d, want 200", status)
			}
			if now, err := s.Get(t.Context(), j.ID); err != nil || now.State != job.Notified || len(now.Notices) != 2 {
				t.Errorf("job is %s with %d notices, %v, want notified with two", now.State, len(now.Notices), err)
			}
			for name, c := range byName {
				if len(c.told) != 1 {
					t.Errorf("told by %s %d times, want once", name, len(c.told))
				}
			}
		})
	}
}

// TestChannelTakenAway: a channel that never told and is no longer configured does not keep the job waiting.
func TestChannelTakenAway(t *testing.T) {
	t.Parallel()
	s, mail := newStore(t), &channel{name: "email"}
	hook := &channel{name: "webhook", tell: func(int, notify.Outcome) error { return errors.New("away") }}
	j := s.job0(t, job.Converted)
	both := notify.New(s, s.hooks, nil, nil, []notify.Channel{mail, hook}, config)
	if status, _, _ := post(t, both, event0(t, j)); status != 503 {
		t.Fatalf("answer = %d, want 503", status)
	}
	one := notify.New(s, s.hooks, nil, nil, []notify.Channel{mail}, config)
	if status, _, _ := post(t, one, event0(t, j)); status != 200 {
		t.Errorf("answer = %d, want 200", status)
	}
	if now, err := s.Get(t.Context(), j.ID); err != nil || now.State != job.Notified || len(mail.told) != 1 {
		t.Errorf("job is %s, %v, told %d times, want notified, once", now.State, err, len(mail.told))
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	refuse := func(int, notify.Outcome) error {
		return &notify.RefusedError{Reason: "no such recipient", Err: errors.New("550 by mail.example.com")}
	}
	s, mail, hook := newStore(t), &channel{name: "email", tell: refuse}, &channel{name: "webhook"}
	j := s.job0(t, job.Converted)
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{mail, hook}, config)
	for range 2 {
		if status, reply, _ := post(t, h, event0(t, j)); status != 200 || sent(t, reply).Channel != "webhook" {
			t.Errorf("answer = %d, reply %v, want 200 about the webhook", status, reply)
		}
	}
	now, err := s.Get(t.Context(), j.ID)
	if err != nil || now.State != job.Notified || mail.calls != 1 {
		t.Errorf("job is %s, %v, tried %d times, want notified, once", now.State, err, mail.calls)
	}
	if n := now.Notices[0]; n.Refused != "no such recipient" || now.Notices[1].Refused != "" {
		t.Errorf("notices %+v, want the reason for the owner with the first", now.Notices)
	}

	only := s.job0(t, job.Failed)
	h = notify.New(s, s.hooks, nil, nil, []notify.Channel{mail}, config)
	for range 2 {
		if status, _, _ := post(t, h, event0(t, only)); status != 204 {
			t.Errorf("answer = %d when nobody was told, want 204", status)
		}
	}
	if stuck, err := s.Stuck(t.Context(), -time.Hour, -time.Hour, 10); err != nil || len(stuck) != 0 || mail.calls != 2 {
		t.Errorf("still owed: %v, %v, tried %d times, want nothing, twice", stuck, err, mail.calls)
	}
}

// TestSideBySide: while one delivery of an event tells it, another has to wait, and then has nothing left to tell.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	entered, release := make(chan struct{}), make(chan struct{})
	c := &channel{name: "email", tell: func(n int, _ notify.Outcome) error {
		if n == 1 {
			close(entered)
			<-release
		}
		return nil
	}}
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config)
	e := event0(t, s.job0(t, job.Converted))
	first := make(chan int)
	go func() {
		status, _, _ := post(t, h, e)
		first <- status
	}()
	<-entered
	other := &channel{name: "email"}
	if status, _, body := post(t, notify.New(s, s.hooks, nil, nil, []notify.Channel{other}, config), e); status != 409 {
		t.Errorf("answer beside = %d %q, want 409", status, body)
	}
	close(release)
	if status := <-first; status != 200 {
		t.Errorf("answer = %d, want 200", status)
	}
	if status, _, _ := post(t, h, e); status != 200 || c.calls != 1 || other.calls != 0 {
		t.Errorf("answer afterwards = %d, told %d and %d times, want 200, once and never", status, c.calls, other.calls)
	}
}

// TestNextRound: a job that is started anew and fails again is told again.
func TestNextRound(t *testing.T) {
	t.Parallel()
	s, c := newStore(t), &channel{name: "email"}
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config)
	j := s.job0(t, job.Failed)
	first := event0(t, j)
	post(t, h, first)
	ctx := t.Context()
	if _, err := s.Retry(ctx, j.ID); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := post(t, h, first); status != 204 {
		t.Errorf("late event of the first round: %d, want 204", status)
	}
	claimed, err := s.Claim(ctx, j.ID, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if j, err = s.Fail(ctx, j.ID, claimed.Lease.Epoch, eventing.Failure{Code: "no_audio",
		Message: "still none"}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []event.Event{event0(t, j), first, event0(t, j)} {
		if status, _, _ := post(t, h, e); status != 200 {
			t.Errorf("answer = %d, want 200", status)
		}
	}
	if len(c.told) != 2 || c.told[0].ID == c.told[1].ID {
		t.Errorf("told %d times, want twice with ids of their own", len(c.told))
	}
}

// TestNextRoundMeanwhile: a failure is told slowly, and its owner starts the job anew, which comes to an MP3 before
// that is on record. The MP3 is told as well.
func TestNextRoundMeanwhile(t *testing.T) {
	t.Parallel()
	s, ctx := newStore(t), t.Context()
	j := s.job0(t, job.Failed)
	c := &channel{name: "email", tell: func(n int, _ notify.Outcome) error {
		if n > 1 {
			return nil
		}
		_, err := s.Retry(ctx, j.ID)
		claimed, claimErr := s.Claim(ctx, j.ID, "w", time.Minute)
		_, finishErr := s.Finish(ctx, j.ID, claimed.Lease.Epoch, job.MP3{FID: media.NewID()})
		if err := errors.Join(err, claimErr, finishErr); err != nil {
			t.Error(err)
		}
		return nil
	}}
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config)
	if status, _, _ := post(t, h, event0(t, j)); status != 200 {
		t.Fatalf("answer = %d, want 200", status)
	}
	made, err := s.Get(ctx, j.ID)
	if err != nil || made.State != job.Converted {
		t.Fatalf("the job is %s, %v, want converted", made.State, err)
	}
	if status, _, _ := post(t, h, event0(t, made)); status != 200 || len(c.told) != 2 || c.told[1].ID == c.told[0].ID {
		t.Errorf("answer = %d, told %d times, want 200, twice with ids of their own", status, len(c.told))
	}
}

// TestGoesOnMeanwhile: a job that its owner starts anew while the event is looked at is not told about.
func TestGoesOnMeanwhile(t *testing.T) {
	t.Parallel()
	s, c := newStore(t), &channel{name: "email"}
	j := s.job0(t, job.Failed)
	e := event0(t, j)
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config)
	s.get = func(string) (job.Job, error) {
		_, err := s.Retry(t.Context(), j.ID)
		return j, err
	}
	if status, _, _ := post(t, h, e); status != 503 || c.calls != 0 {
		t.Errorf("answer = %d, told %d times, want 503, never", status, c.calls)
	}
	s.get = nil
	if status, _, _ := post(t, h, e); status != 204 || c.calls != 0 {
		t.Errorf("answer = %d, told %d times, want 204, never", status, c.calls)
	}
}

// TestToldMeanwhile: another delivery records the last channel, and not that the job is told, while this one looks at
// the job. This one records it.
func TestToldMeanwhile(t *testing.T) {
	t.Parallel()
	s, c := newStore(t), &channel{name: "email"}
	j := s.job0(t, job.Converted)
	e := event0(t, j)
	s.get = func(string) (job.Job, error) {
		return j, s.Noticed(t.Context(), j.ID, job.Notice{Event: e.ID(), Channel: "email", Round: j.Round}, false)
	}
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config)
	if status, _, _ := post(t, h, e); status != 200 || c.calls != 0 {
		t.Errorf("answer = %d, told %d times, want 200, never", status, c.calls)
	}
	s.get = nil
	if now, err := s.Get(t.Context(), j.ID); err != nil || now.State != job.Notified {
		t.Errorf("job is %s, %v, want notified", now.State, err)
	}
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	s, c := newStore(t), &channel{name: "email"}
	j := s.job0(t, job.Converted)
	e := event0(t, j)
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{c}, config)
	s.get = func(string) (job.Job, error) { return job.Job{}, errors.New("no server at mongodb://hunter2") }
	if status, _, body := post(t, h, e); status != 503 || strings.Contains(body, "hunter2") || c.calls != 0 {
		t.Errorf("answer = %d %q, want 503 that tells nothing", status, body)
	}
}

// checkOpen sees that the address which needs no token is signed for the job's MP3, and ends with the job.
func checkOpen(t *testing.T, j job.Job, l notify.Links) {
	t.Helper()
	if j.MP3 == nil {
		if l.Open != "" {
			t.Errorf("without an MP3 there is the link %s", l.Open)
		}
		return
	}
	address, query, _ := strings.Cut(l.Open, "?")
	values, err := url.ParseQuery(query)
	if err == nil {
		err = token.NewLinks(config.Link).Verify(j.ID, j.MP3.FID, values)
	}
	if err != nil || address != l.MP3 || values.Get("expires") != strconv.FormatInt(l.Ends.Unix(), 10) {
		t.Errorf("the link is %s until %v (%v), want %s, signed", l.Open, l.Ends, err, l.MP3)
	}
	if left := time.Until(l.Ends); left > token.MaxLink || j.Expires == nil && left < token.MaxLink-time.Hour {
		t.Errorf("the link ends in %v, want %v", left, token.MaxLink)
	}
	if j.Expires != nil && l.Ends.After(*j.Expires) {
		t.Errorf("the link ends at %v, want at most %v", l.Ends, j.Expires)
	}
}

// TestLinkEndsWithJob has a job whose files are not kept for as long as a link may be valid.
func TestLinkEndsWithJob(t *testing.T) {
	t.Parallel()
	s, mail := newStore(t), &channel{name: "email"}
	expires := time.Now().Add(time.Hour)
	j, err := s.Adopt(t.Context(), job.Job{ID: media.NewID(), Owner: "anna@example.com", State: job.Converted, Round: 1,
		MP3: &job.MP3{FID: media.NewID(), SHA256: strings.Repeat("ab", 32), Duration: 60}, Expires: &expires})
	if err != nil {
		t.Fatal(err)
	}
	status, _, _ := post(t, notify.New(s, s.hooks, nil, nil, []notify.Channel{mail}, config), event0(t, j))
	if status != http.StatusOK || len(mail.told) != 1 {
		t.Fatalf("answer = %d, told %d times, want 200, once", status, len(mail.told))
	}
	checkOpen(t, j, mail.told[0].Links)
}
