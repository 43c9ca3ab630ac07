package jobs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/golang-jwt/jwt/v5"
	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The jobs of the tests: their ids say their states.
const (
	stored     = "000000000000000000000001"
	converting = "000000000000000000000002"
	converted  = "000000000000000000000003"
	failed     = "000000000000000000000004"
	cancelled  = "000000000000000000000005"
	expired    = "000000000000000000000006"
	mp3Gone    = "000000000000000000000007"
	videoGone  = "000000000000000000000008"
	eves       = "000000000000000000000009"
	unknown    = "0000000000000000000000ff"

	theMP3     = "a00000000000000000000003"
	expiredMP3 = "a00000000000000000000006"
	goneMP3    = "a00000000000000000000007"
	evesMP3    = "a00000000000000000000009"
	strayMP3   = "a0000000000000000000000f" // which no job has
)

var (
	sound    = bytes.Repeat([]byte("0123456789"), 1000)
	uploaded = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	errStore = errors.New("server selection timeout: mongodb.internal:27017")
)

type verifier map[string]token.Claims

func (v verifier) Verify(_ context.Context, raw string) (token.Claims, error) {
	c, ok := v[raw]
	if !ok {
		return c, errors.New("bad signature")
	}
	return c, nil
}

var (
	testConfig = Config{Link: token.LinkConfig{Secret: strings.Repeat("s", 32)}}
	testLinks  = token.NewLinks(testConfig.Link)
)

var verify = verifier{"georgio": claimsOf("georgio"), "eve": claimsOf("eve"),
	"admin":  {Username: "root", Group: "admin", RegisteredClaims: jwt.RegisteredClaims{Subject: "root"}},
	"legacy": {Username: "georgio", Admin: true, RegisteredClaims: jwt.RegisteredClaims{Subject: "u_other"}},
	"reader": {Username: "georgio", Group: "admin", Scope: "read",
		RegisteredClaims: jwt.RegisteredClaims{Subject: "georgio"}},
	"sender": {Username: "georgio", Scope: "upload", RegisteredClaims: jwt.RegisteredClaims{Subject: "georgio"}},
	"star":   claimsOf("*"), "nobody": {}}

func claimsOf(owner string) token.Claims {
	return token.Claims{Username: owner, RegisteredClaims: jwt.RegisteredClaims{Subject: owner}}
}

// store keeps jobs in a map; before, when set, is asked before each call and may make it fail.
type store struct {
	jobs   map[string]job.Job
	before func(call, id string) error
}

func (s *store) ask(call, id string) error {
	if s.before == nil {
		return nil
	}
	return s.before(call, id)
}

func (s *store) Get(_ context.Context, id string) (job.Job, error) {
	if err := s.ask("Get", id); err != nil {
		return job.Job{}, err
	}
	j, ok := s.jobs[id]
	if !ok {
		return j, job.ErrNotFound
	}
	return j, nil
}

func (s *store) FindMP3(_ context.Context, fid string) (job.Job, error) {
	if err := s.ask("FindMP3", fid); err != nil {
		return job.Job{}, err
	}
	for _, j := range s.jobs {
		if j.MP3 != nil && j.MP3.FID == fid {
			return j, nil
		}
	}
	return job.Job{}, job.ErrNotFound
}

func (s *store) List(_ context.Context, q job.Query) (found []job.Job, err error) {
	if err := s.ask("List", ""); err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(s.jobs))) {
		j := s.jobs[id]
		if (q.Owner == "" || j.Owner == q.Owner) && (q.State == "" || j.State == q.State) &&
			(q.Before == "" || id < q.Before) && len(found) < q.Limit {
			found = append(found, j)
		}
	}
	return found, nil
}

func (s *store) Changed(context.Context, string, time.Time, int) ([]job.Job, error) {
	return nil, s.ask("Changed", "")
}

func (s *store) move(call, id string, to job.State, from ...job.State) (job.Job, error) {
	if err := s.ask(call, id); err != nil {
		return job.Job{}, err
	}
	j, ok := s.jobs[id]
	switch {
	case !ok:
		return job.Job{}, job.ErrNotFound
	case !slices.Contains(from, j.State):
		return job.Job{}, job.ErrState
	}
	j.State = to
	s.jobs[id] = j
	return j, nil
}

func (s *store) Queued(_ context.Context, id string) error {
	_, err := s.move("Queued", id, job.Queued, job.Stored)
	return err
}

func (s *store) Cancel(_ context.Context, id string) (job.Job, error) {
	return s.move("Cancel", id, job.Cancelled, job.Stored, job.Queued, job.Converting)
}

func (s *store) Retry(_ context.Context, id string) (job.Job, error) {
	j, err := s.move("Retry", id, job.Stored, job.Failed, job.Cancelled)
	if err == nil {
		j.Round++
		j.Error = nil
		s.jobs[id] = j
	}
	return j, err
}

func (s *store) Delete(_ context.Context, id string) error {
	if err := s.ask("Delete", id); err != nil {
		return err
	}
	delete(s.jobs, id)
	return nil
}

// files is a media store that can be read and deleted from.
type files struct {
	media.Store
	infos  map[string]media.Info
	before func(call, id string) error
	opened atomic.Int32 // and not closed; a server closes a file when its client may have the answer already
}

type file struct {
	*bytes.Reader
	info  media.Info
	store *files
}

func (f *file) Info() media.Info { return f.info }
func (f *file) Close() error     { f.store.opened.Add(-1); return nil }

func (f *files) Open(_ context.Context, id string) (media.File, error) {
	if f.before != nil {
		if err := f.before("Open", id); err != nil {
			return nil, err
		}
	}
	info, ok := f.infos[id]
	if !ok {
		return nil, media.ErrNotFound
	}
	f.opened.Add(1)
	return &file{bytes.NewReader(sound), info, f}, nil
}

func (f *files) Delete(_ context.Context, id string) error {
	if f.before != nil {
		if err := f.before("Delete", id); err != nil {
			return err
		}
	}
	delete(f.infos, id)
	return nil
}

type senderFunc func(e event.Event) error

func (f senderFunc) Send(_ context.Context, e event.Event) error { return f(e) }

// feeds keeps the owners of feeds by hash; err, when set, is what every call says.
type feeds struct {
	owners map[string]string
	err    error
}

func (f *feeds) Replace(ctx context.Context, owner, hash string) error {
	if err := f.End(ctx, owner); err != nil {
		return err
	}
	f.owners[hash] = owner
	return nil
}

func (f *feeds) Owner(_ context.Context, hash string) (string, error) {
	owner, ok := f.owners[hash]
	if f.err == nil && !ok {
		return "", job.ErrNotFound
	}
	return owner, f.err
}

func (f *feeds) End(_ context.Context, owner string) error {
	maps.DeleteFunc(f.owners, func(_, of string) bool { return of == owner })
	return f.err
}

// webhooks keeps the webhooks of users; err, when set, is what every call says.
type webhooks struct {
	of  map[string]job.Webhook
	err error
}

func (h *webhooks) Set(ctx context.Context, owner string, w job.Webhook) (job.Webhook, error) {
	if h.of[owner].URL != w.URL {
		h.of[owner] = w
	}
	return h.Get(ctx, owner)
}

func (h *webhooks) Get(_ context.Context, owner string) (job.Webhook, error) {
	w, ok := h.of[owner]
	if h.err == nil && !ok {
		return w, job.ErrNotFound
	}
	return w, h.err
}

func (h *webhooks) End(_ context.Context, owner string) error {
	delete(h.of, owner)
	return h.err
}

type setup struct {
	jobs         *store
	feeds        *feeds
	webhooks     *webhooks
	videos, mp3s *files
	sent         []event.Event
	sendErr      error
	http.Handler
}

func newSetup() *setup {
	end := uploaded.Add(time.Minute)
	s := &setup{
		jobs: &store{jobs: map[string]job.Job{}}, feeds: &feeds{owners: map[string]string{}},
		webhooks: &webhooks{of: map[string]job.Webhook{}},
		videos:   &files{infos: map[string]media.Info{}}, mp3s: &files{infos: map[string]media.Info{}},
	}
	for _, j := range []job.Job{
		{ID: stored, State: job.Stored},
		{
			ID: converting, State: job.Converting, Progress: 40, Lease: job.Lease{Epoch: 77, Until: end},
			Attempts: []job.Attempt{{Epoch: 77, Worker: "convert-00001-abcde", From: uploaded, To: &end, Error: "interrupted"}},
		},
		{ID: converted, State: job.Converted, Progress: 100,
			MP3: &job.MP3{FID: theMP3, Length: int64(len(sound)), SHA256: "c0ffee"}},
		{ID: failed, State: job.Failed, Error: &eventing.Failure{Code: "no_audio", Message: "the video has no sound"}},
		{ID: cancelled, State: job.Cancelled},
		{ID: expired, State: job.Expired, MP3: &job.MP3{FID: expiredMP3}},
		{ID: mp3Gone, State: job.Notified, MP3: &job.MP3{FID: goneMP3}},
		{ID: videoGone, State: job.Failed},
		{ID: eves, State: job.Notified, Owner: "eve", MP3: &job.MP3{FID: evesMP3}},
	} {
		j.Owner, j.Filename, j.Round, j.Created = cmp.Or(j.Owner, "georgio"), "my video.mp4", 1, uploaded
		s.jobs.jobs[j.ID] = j
		if j.ID != videoGone {
			s.videos.infos[j.ID] = media.Info{ID: j.ID}
		}
	}
	for _, id := range []string{theMP3, expiredMP3, evesMP3, strayMP3} {
		s.mp3s.infos[id] = media.Info{ID: id, Length: int64(len(sound)), Uploaded: uploaded}
	}
	send := func(e event.Event) error {
		s.sent = append(s.sent, e)
		return s.sendErr
	}
	s.Handler = New(s.jobs, s.feeds, s.webhooks, s.videos, s.mp3s, senderFunc(send), verify, testConfig)
	return s
}

func (s *setup) do(bearer, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		bearer         string
		method, target string
		status         int
		says           string
	}{
		{"list without a token", "", "GET", "/jobs", 401, "log in"},
		{"list with a bad token", "mallory", "GET", "/jobs", 403, "log in"},
		{"list someone else's", "georgio", "GET", "/jobs?owner=eve", 403, "admin"},
		{"the old gateway's admin is none here", "legacy", "GET", "/jobs?owner=*", 403, "admin"},
		{"whose address is another's owner", "legacy", "GET", "/jobs/" + converted, 404, "there is no job"},
		{"a key that may read", "reader", "GET", "/jobs/" + converted + "/mp3", 200, string(sound)},
		{"an admin's key is no admin", "reader", "GET", "/jobs?owner=*", 403, "admin"},
		{"a key may not delete", "reader", "DELETE", "/jobs/" + converted, 403, "API key"},
		{"a key may not see the webhook", "reader", "GET", "/users/me/webhook", 403, "API key"},
		{"a key that may only send", "sender", "GET", "/jobs/" + converted + "/mp3", 403, "scope read"},
		{"list everyone's", "georgio", "GET", "/jobs?owner=*", 403, "admin"},
		{"list by a token without a name", "nobody", "GET", "/jobs", 403, ""},
		{"list by an unknown state", "georgio", "GET", "/jobs?state=lost", 400, "stored queued converting"},
		{"list from no id", "georgio", "GET", "/jobs?before=x", 400, "before"},
		{"list none", "georgio", "GET", "/jobs?limit=0", 400, "1 to 200"},
		{"list too many", "georgio", "GET", "/jobs?limit=201", 400, "1 to 200"},
		{"list a word of", "georgio", "GET", "/jobs?limit=all", 400, "1 to 200"},
		{"list by POST", "georgio", "POST", "/jobs", 405, "GET, HEAD"},
		{"show", "georgio", "GET", "/jobs/" + converting, 200, "my video.mp4"},
		{"show to an admin", "admin", "GET", "/jobs/" + converting, 200, "my video.mp4"},
		{"show without a token", "", "GET", "/jobs/" + converting, 401, ""},
		{"show someone else's", "eve", "GET", "/jobs/" + converting, 404, "there is no job"},
		{"show an unknown one", "georgio", "GET", "/jobs/" + unknown, 404, unknown},
		{"show what is no id", "georgio", "GET", "/jobs/zzz", 404, "zzz"},
		{"change one by PUT", "georgio", "PUT", "/jobs/" + converting, 405, "DELETE"},
		{"retry a failed one", "georgio", "POST", "/jobs/" + failed + "/retry", 202, `"queued"`},
		{"retry a cancelled one", "georgio", "POST", "/jobs/" + cancelled + "/retry", 202, `"queued"`},
		{"retry a converting one", "georgio", "POST", "/jobs/" + converting + "/retry", 409, "converting"},
		{"retry a converted one", "georgio", "POST", "/jobs/" + converted + "/retry", 409, "converted"},
		{"retry without the video", "georgio", "POST", "/jobs/" + videoGone + "/retry", 410, "upload it again"},
		{"retry someone else's", "eve", "POST", "/jobs/" + failed + "/retry", 404, "there is no"},
		{"retry an unknown one", "georgio", "POST", "/jobs/" + unknown + "/retry", 404, ""},
		{"retry without a token", "", "POST", "/jobs/" + failed + "/retry", 401, ""},
		{"retry by GET", "georgio", "GET", "/jobs/" + failed + "/retry", 405, "POST"},
		{"cancel a converting one", "georgio", "POST", "/jobs/" + converting + "/cancel", 202, `"cancelled"`},
		{"cancel a converted one", "georgio", "POST", "/jobs/" + converted + "/cancel", 409, "finished"},
		{"cancel someone else's", "eve", "POST", "/jobs/" + converting + "/cancel", 404, "there is no"},
		{"cancel an unknown one", "georgio", "POST", "/jobs/" + unknown + "/cancel", 404, ""},
		{"delete someone else's", "eve", "DELETE", "/jobs/" + converted, 404, "there is no"},
		{"delete an unknown one", "georgio", "DELETE", "/jobs/" + unknown, 404, ""},
		{"delete without a token", "", "DELETE", "/jobs/" + converted, 401, ""},
		{"delete many without a token", "", "POST", "/jobs/delete?id=" + converted, 401, ""},
		{"MP3", "georgio", "GET", "/jobs/" + converted + "/mp3", 200, string(sound)},
		{"MP3 to an admin", "admin", "GET", "/jobs/" + converted + "/mp3", 200, string(sound)},
		{"MP3 that is not begun", "georgio", "GET", "/jobs/" + stored + "/mp3", 404, "stored, 0 percent"},
		{"MP3 that is not ready", "georgio", "GET", "/jobs/" + converting + "/mp3", 404, "converting, 40 percent"},
		{"MP3 of a failed job", "georgio", "GET", "/jobs/" + failed + "/mp3", 409, "the video has no sound"},
		{"MP3 of a cancelled job", "georgio", "GET", "/jobs/" + cancelled + "/mp3", 409, "cancelled"},
		{"MP3 of an expired job", "georgio", "GET", "/jobs/" + expired + "/mp3", 410, "upload the video again"},
		{"MP3 that is gone", "georgio", "GET", "/jobs/" + mp3Gone + "/mp3", 410, ""},
		{"MP3 of someone else", "eve", "GET", "/jobs/" + converted + "/mp3", 404, "there is no"},
		{"MP3 of an unknown job", "georgio", "GET", "/jobs/" + unknown + "/mp3", 404, ""},
		{"download", "georgio", "GET", "/download?fid=" + theMP3, 200, string(sound)},
		{"download by capital letters", "georgio", "GET", "/download?fid=" + strings.ToUpper(theMP3), 200, string(sound)},
		{"download to an admin", "admin", "GET", "/download?fid=" + evesMP3, 200, string(sound)},
		{"download without a token", "", "GET", "/download?fid=" + theMP3, 401, ""},
		{"download without an id", "georgio", "GET", "/download", 400, "fid is missing"},
		{"download a malformed id", "georgio", "GET", "/download?fid=zzz", 400, "24 hex digits"},
		{"download an unknown id", "georgio", "GET", "/download?fid=" + unknown, 404, ""},
		{"download by a video's id", "georgio", "GET", "/download?fid=" + converted, 404, ""},
		{"download someone else's", "georgio", "GET", "/download?fid=" + evesMP3, 404, "there is no"},
		{"download an expired one", "georgio", "GET", "/download?fid=" + expiredMP3, 410, ""},
		{"download one that is gone", "georgio", "GET", "/download?fid=" + goneMP3, 410, ""},
		{"download the old system's", "georgio", "GET", "/download?fid=" + strayMP3, 404, "there is no MP3"},
		{"download the old system's to an admin", "admin", "GET", "/download?fid=" + strayMP3, 200, string(sound)},
		{"download by POST", "georgio", "POST", "/download?fid=" + theMP3, 405, "GET, HEAD"},
		{"no such path", "georgio", "GET", "/jobs/" + stored + "/video", 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			w := s.do(tt.bearer, tt.method, tt.target)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%s %s = %d %.200s, want %d and %.50q in it", tt.method, tt.target, w.Code, w.Body, tt.status, tt.says)
			}
			if n := strings.Count(w.Body.String(), "\n"); w.Code >= 400 && n != 1 {
				t.Errorf("%s %s says %q, want one line", tt.method, tt.target, w.Body)
			}
			if s.mp3s.opened.Load()+s.videos.opened.Load() != 0 {
				t.Errorf("%s %s leaves files open", tt.method, tt.target)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, bearer, target string
		want                 []string
		next                 string
	}{
		{"one's own", "eve", "/jobs", []string{eves}, ""},
		{"one's own by name", "eve", "/jobs?owner=eve", []string{eves}, ""},
		{"first page", "georgio", "/jobs?limit=3", []string{videoGone, mp3Gone, expired}, expired},
		{"next page", "georgio", "/jobs?limit=3&before=" + expired, []string{cancelled, failed, converted}, converted},
		{"last page", "georgio", "/jobs?limit=3&before=" + converted, []string{converting, stored}, ""},
		{"a state", "georgio", "/jobs?state=failed", []string{videoGone, failed}, ""},
		{"an admin's own", "admin", "/jobs", []string{}, ""},
		{"another's to an admin", "admin", "/jobs?owner=eve", []string{eves}, ""},
		{"everyone's to an admin", "admin", "/jobs?owner=*&limit=1", []string{eves}, eves},
		{"a user by the name of everyone", "star", "/jobs", []string{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSetup().do(tt.bearer, "GET", tt.target)
			var page struct {
				Jobs []struct{ ID string }
				Next string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
				t.Fatalf("GET %s = %d %s", tt.target, w.Code, w.Body)
			}
			got := []string{}
			for _, j := range page.Jobs {
				got = append(got, j.ID)
			}
			if diff := gocmp.Diff(tt.want, got); diff != "" || page.Next != tt.next {
				t.Errorf("GET %s: next %q, want %q; jobs (-want +got):\n%s", tt.target, page.Next, tt.next, diff)
			}
			if strings.Contains(w.Body.String(), "null") {
				t.Errorf("GET %s = %s, want no null", tt.target, w.Body)
			}
		})
	}
}

// TestView pins what a client sees of a job, and so that nothing of the lease is in it.
func TestView(t *testing.T) {
	t.Parallel()
	w := newSetup().do("georgio", "GET", "/jobs/"+converting)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	self := "/jobs/" + converting
	want := map[string]any{
		"id": converting, "owner": "georgio", "filename": "my video.mp4", "options": map[string]any{}, "state": "converting",
		"round": 1., "video": map[string]any{"length": 0.}, "progress": 40.,
		"created": "2026-03-01T12:00:00Z", "updated": "0001-01-01T00:00:00Z",
		"attempts": []any{map[string]any{
			"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T12:01:00Z", "error": "interrupted"}},
		"links": map[string]any{"self": self, "mp3": self + "/mp3", "cancel": self + "/cancel"},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("GET %s (-want +got):\n%s", self, diff)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		sendErr error
		want    job.State
	}{
		{"taken", nil, job.Queued},
		{"sink down", errors.New("connection refused"), job.Stored},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			s.sendErr = tt.sendErr
			w := s.do("georgio", "POST", "/jobs/"+failed+"/retry")
			if w.Code != http.StatusAccepted || !strings.Contains(w.Body.String(), fmt.Sprintf(`"state":%q`, tt.want)) {
				t.Errorf("POST = %d %s, want 202 and state %s", w.Code, w.Body, tt.want)
			}
			if got := s.jobs.jobs[failed].State; got != tt.want {
				t.Errorf("the job is %s, want %s", got, tt.want)
			}
			if len(s.sent) != 1 || s.sent[0].Type() != eventing.TypeVideoUploaded ||
				s.sent[0].ID() != failed+"/"+eventing.TypeVideoUploaded+"/2" {
				t.Errorf("events %v, want one of round 2", s.sent)
			}
		})
	}
}

// TestRetryTwice has another request be faster between the look at the job and its retry.
func TestRetryTwice(t *testing.T) {
	t.Parallel()
	s := newSetup()
	s.jobs.before = func(call, id string) error {
		if call == "Retry" {
			s.jobs.before = nil
			_, err := s.jobs.Retry(t.Context(), id)
			return err
		}
		return nil
	}
	if w := s.do("georgio", "POST", "/jobs/"+failed+"/retry"); w.Code != http.StatusConflict || len(s.sent) != 0 {
		t.Errorf("POST = %d %s and %d events, want 409 and none", w.Code, w.Body, len(s.sent))
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, id  string
		cancelled bool
	}{
		{"converted", converted, false},
		{"converting", converting, true},
		{"failed", failed, false},
		{"without its files", mp3Gone, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			wasCancelled := false
			s.jobs.before = func(call, _ string) error {
				wasCancelled = wasCancelled || call == "Cancel"
				return nil
			}
			mp3 := s.jobs.jobs[tt.id].MP3
			if w := s.do("georgio", "DELETE", "/jobs/"+tt.id); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
				t.Fatalf("DELETE = %d %s, want 204", w.Code, w.Body)
			}
			if wasCancelled != tt.cancelled {
				t.Errorf("cancelled: %v, want %v", wasCancelled, tt.cancelled)
			}
			if _, ok := s.jobs.jobs[tt.id]; ok {
				t.Error("the job is still there")
			}
			if _, ok := s.videos.infos[tt.id]; ok {
				t.Error("the video is still there")
			}
			if mp3 != nil {
				if _, ok := s.mp3s.infos[mp3.FID]; ok {
					t.Error("the MP3 is still there")
				}
			}
			if w := s.do("georgio", "DELETE", "/jobs/"+tt.id); w.Code != http.StatusNotFound {
				t.Errorf("second DELETE = %d %s, want 404", w.Code, w.Body)
			}
		})
	}
}

// TestDeleteMeetsWorker has a conversion finish just before the job is cancelled: its MP3 goes, too.
func TestDeleteMeetsWorker(t *testing.T) {
	t.Parallel()
	s := newSetup()
	s.jobs.before = func(call, id string) error {
		if call == "Cancel" {
			j := s.jobs.jobs[id]
			j.State, j.MP3 = job.Converted, &job.MP3{FID: strayMP3}
			s.jobs.jobs[id] = j
		}
		return nil
	}
	if w := s.do("georgio", "DELETE", "/jobs/"+converting); w.Code != http.StatusNoContent {
		t.Fatalf("DELETE = %d %s, want 204", w.Code, w.Body)
	}
	if _, ok := s.mp3s.infos[strayMP3]; ok {
		t.Error("the MP3 is still there")
	}
}

// TestDeleteBreaksOff has each step fail in turn: the job is there as long as anything of it is, so that it can be
// deleted again.
func TestDeleteBreaksOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(s *setup, fail func(call, id string) error)
	}{
		{"MP3", func(s *setup, fail func(call, id string) error) { s.mp3s.before = fail }},
		{"video", func(s *setup, fail func(call, id string) error) { s.videos.before = fail }},
		{"job", func(s *setup, fail func(call, id string) error) { s.jobs.before = fail }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			broken := true
			tt.prepare(s, func(call, _ string) error {
				if call == "Delete" && broken {
					return errStore
				}
				return nil
			})
			if w := s.do("georgio", "DELETE", "/jobs/"+converted); w.Code != http.StatusServiceUnavailable ||
				w.Header().Get("Retry-After") == "" {
				t.Fatalf("DELETE = %d %s, want 503 with Retry-After", w.Code, w.Body)
			}
			if _, ok := s.jobs.jobs[converted]; !ok {
				t.Error("the job went before its files")
			}
			broken = false
			if w := s.do("georgio", "DELETE", "/jobs/"+converted); w.Code != http.StatusNoContent {
				t.Errorf("DELETE again = %d %s, want 204", w.Code, w.Body)
			}
		})
	}
}

func TestStoreDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, method, target string }{
		{"list", "GET", "/jobs"},
		{"show", "GET", "/jobs/" + converted},
		{"retry", "POST", "/jobs/" + failed + "/retry"},
		{"cancel", "POST", "/jobs/" + converting + "/cancel"},
		{"delete", "DELETE", "/jobs/" + converted},
		{"MP3", "GET", "/jobs/" + converted + "/mp3"},
		{"download", "GET", "/download?fid=" + theMP3},
		{"zip", "GET", "/jobs/mp3s.zip?id=" + converted},
		{"zip of all", "GET", "/jobs/mp3s.zip?state=converted"},
	} {
		for _, part := range []string{"jobs", "all but Get", "media"} {
			t.Run(tt.name+" without "+part, func(t *testing.T) {
				t.Parallel()
				s := newSetup()
				fail := func(call, _ string) error {
					if call == "Get" && part != "jobs" {
						return nil
					}
					return errStore
				}
				if part == "media" {
					s.mp3s.before, s.videos.before = fail, fail
				} else {
					s.jobs.before = fail
				}
				w := s.do("georgio", tt.method, tt.target)
				if w.Code/100 == 2 {
					return // the call has no need of that part
				}
				if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" ||
					strings.Contains(w.Body.String(), "mongodb") {
					t.Errorf("%s %s = %d %v %s, want 503 with Retry-After and no word of the store", tt.method, tt.target, w.Code,
						w.Header(), w.Body)
				}
			})
		}
	}
}
