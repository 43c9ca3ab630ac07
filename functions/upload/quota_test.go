package upload

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// limited serves with limits for the group default, of a user who has jobs of so many bytes each.
func limited(t *testing.T, limits job.Limits, lengths ...int64) *tusSetup {
	t.Helper()
	s := newTusSetup(t, 1<<30)
	s.serve(t, s.videos, Config{MaxBytes: 1 << 30, Expires: time.Hour, Quotas: job.Quotas{"default": limits}})
	for i, n := range lengths {
		_, err := s.jobs.Create(t.Context(), job.Job{ID: strings.Repeat("a", 23) + string(rune('0'+i)), Owner: owner,
			Video: job.Video{Length: n}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestQuota refuses what a quota has no room for before its first byte, whichever way it comes.
func TestQuota(t *testing.T) {
	t.Parallel()
	n := int64(len(video))
	form, kind := newForm(t, part{"file", string(video), `filename="a.mp4"`})
	for _, tt := range []struct {
		name    string
		limits  job.Limits
		lengths []int64
		status  int // 0 when it is taken
		words   string
	}{
		{"no limits", job.Limits{}, []int64{1 << 40}, 0, ""},
		{"room", job.Limits{Bytes: 1<<20 + n, Jobs: 2}, []int64{1 << 19}, 0, ""},
		{"bytes", job.Limits{Bytes: 1<<20 + n}, []int64{1<<20 + 1}, 507, "are left"},
		{"no bytes at all", job.Limits{Bytes: 1 << 20}, []int64{1 << 21}, 507, "0 are left"},
		{"jobs", job.Limits{Jobs: 2}, []int64{1, 1}, 429, "2 unfinished jobs"},
	} {
		for _, way := range []struct {
			method, target string
			body           []byte
			headers
			taken int
		}{
			{"POST", "/upload", form, headers{"Content-Type": kind, "Tus-Resumable": ""}, 202},
			{"PUT", "/upload/a.mp4", video, headers{"Tus-Resumable": ""}, 202},
			{"POST", "/files", nil, headers{"Upload-Length": "160018"}, 201},
		} {
			t.Run(tt.name+" "+way.target, func(t *testing.T) {
				t.Parallel()
				s := limited(t, tt.limits, tt.lengths...)
				res := s.call(t, way.method, way.target, way.body, way.headers)
				said, _ := io.ReadAll(res.Body)
				want := tt.status
				if want == 0 {
					want = way.taken
				}
				if res.StatusCode != want || !strings.Contains(string(said), tt.words) {
					t.Errorf("%s %s = %d %s, want %d and %q", way.method, way.target, res.StatusCode, said, want, tt.words)
				}
				if limited := tt.limits != (job.Limits{}); (res.Header.Get("RateLimit-Policy") != "") != limited {
					t.Errorf("RateLimit-Policy is %q", res.Header.Values("RateLimit-Policy"))
				}
				if want == 429 && res.Header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
			})
		}
	}
}

// TestQuotaWhileItComes: what does not tell its length is refused when it is too much.
func TestQuotaWhileItComes(t *testing.T) {
	t.Parallel()
	s := limited(t, job.Limits{Bytes: 100_000})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+"/upload/a.mp4",
		io.NopCloser(strings.NewReader(string(video)))) // chunked
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+owner)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if jobs, _ := s.count(t); res.StatusCode != 507 || jobs != 0 {
		t.Errorf("PUT of more than the quota without a length = %d and %d jobs, want 507 and none", res.StatusCode, jobs)
	}
	path := s.want(t, http.StatusCreated, http.MethodPost, "/files", nil, headers{"Upload-Defer-Length": "1"}).
		Header.Get("Location")
	s.patch(t, path, 0, video[:90_000])
	s.patch(t, path, 90_000, video[90_000:120_000]) // the last that is taken: nobody knew
	s.want(t, http.StatusInsufficientStorage, http.MethodPatch, path, video[120_000:], at(120_000))
}

// TestQuotaUploads counts the uploads in one request and in several.
func TestQuotaUploads(t *testing.T) {
	t.Parallel()
	s := limited(t, job.Limits{Uploads: 2})
	path := s.begin(t, len(video), nil)
	body, sent := io.Pipe()
	done := make(chan int, 1)
	go func() {
		status, _, _ := s.put(t, "k", "/upload/a.mp4", owner, body)
		done <- status
	}()
	if _, err := sent.Write(video[:9000]); err != nil {
		t.Fatal(err)
	}
	usage := func() (u struct {
		Used   job.Usage
		Limits job.Limits
	}) {
		t.Helper()
		res := s.want(t, http.StatusOK, http.MethodGet, "/users/me/usage", nil, nil)
		if err := json.NewDecoder(res.Body).Decode(&u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	for usage().Used.Uploads < 2 {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	res := s.want(t, http.StatusTooManyRequests, http.MethodPost, "/files", nil, headers{"Upload-Length": "9"})
	if got, want := res.Header.Values("RateLimit"), []string{`"uploads";r=0`}; !cmp.Equal(got, want) {
		t.Errorf("RateLimit is %q, want %q", got, want)
	}
	if _, err := sent.Write(video[9000:]); err != nil {
		t.Fatal(err)
	}
	_ = sent.Close()
	if status := <-done; status != 202 {
		t.Errorf("the upload that was under way = %d, want 202", status)
	}
	s.want(t, http.StatusNoContent, http.MethodDelete, path, nil, nil)
	u := usage()
	if u.Used.Uploads != 0 || u.Used.Bytes != int64(len(video)) || u.Used.Jobs != 1 || u.Limits.Uploads != 2 {
		t.Errorf("usage is %+v, want one job and no upload", u)
	}
}
