package jobs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func (s *setup) link(t *testing.T, id, query string) (address string, ends time.Time) {
	t.Helper()
	w := s.do("georgio", "POST", "/jobs/"+id+"/link"+query)
	var got struct {
		URL     string
		Expires time.Time
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusCreated ||
		w.Header().Get("Location") != got.URL {
		t.Fatalf("POST link%s = %d %v %s, want 201 and the URL as Location", query, w.Code, w.Header(), w.Body)
	}
	return got.URL, got.Expires
}

// TestLink gets an MP3 by its link, without a token or with another's.
func TestLink(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]time.Duration{
		"": 24 * time.Hour, "?for=1d": 24 * time.Hour, "?for=30d": 30 * 24 * time.Hour, "?for=90m": 90 * time.Minute,
		"?for=1h30m": 90 * time.Minute, "?for=720h": 720 * time.Hour,
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			before := time.Now()
			address, ends := s.link(t, converted, query)
			if ends.Before(before.Add(want-time.Second)) || ends.After(time.Now().Add(want)) {
				t.Errorf("it ends at %v, want %v from now", ends, want)
			}
			for _, bearer := range []string{"", "eve", "mallory"} {
				w := s.do(bearer, "GET", address)
				if w.Code != http.StatusOK || w.Body.String() != string(sound) {
					t.Errorf("GET %s by %q = %d %.100s, want the MP3", address, bearer, w.Code, w.Body)
				}
			}
			if w := s.do("", "HEAD", address); w.Code != http.StatusOK || w.Header().Get("Content-Length") != "10000" {
				t.Errorf("HEAD %s = %d %v, want 200 and the length", address, w.Code, w.Header())
			}
			if w := s.do("", "GET", address, "Range", "bytes=5-9"); w.Code != 206 || w.Body.String() != "56789" {
				t.Errorf("GET %s of a range = %d %s, want 206", address, w.Code, w.Body)
			}
		})
	}
}

func TestLinkRefuses(t *testing.T) {
	t.Parallel()
	s := newSetup()
	address, _ := s.link(t, converted, "")
	ended := "/jobs/" + converted + "/mp3?" + testLinks.Sign(converted, theMP3, time.Now().Add(-time.Second))
	signature := func(id, fid string) string { return testLinks.Sign(id, fid, time.Now().Add(time.Hour)) }
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	later := u.Query()
	later.Set("expires", "9999999999")
	for _, tt := range []struct {
		name, target string
		status       int
		says         string
	}{
		{"ended", ended, 410, "has ended"},
		{"prolonged", "/jobs/" + converted + "/mp3?" + later.Encode(), 403, "not valid"},
		{"cut off", address[:len(address)-1], 403, "not valid"},
		{"without its end", "/jobs/" + converted + "/mp3?signature=" + u.Query().Get("signature"), 403, "not valid"},
		{"empty", "/jobs/" + converted + "/mp3?signature=", 403, "not valid"},
		{"for another job", "/jobs/" + eves + "/mp3?" + u.RawQuery, 403, "not valid"},
		{"for an unknown job", "/jobs/" + unknown + "/mp3?" + signature(unknown, theMP3), 403, "not valid"},
		{"for a job without an MP3", "/jobs/" + converting + "/mp3?" + signature(converting, ""), 403, "not valid"},
		{"for the MP3 before", "/jobs/" + converted + "/mp3?" + signature(converted, goneMP3), 403, "not valid"},
		{"for an expired job", "/jobs/" + expired + "/mp3?" + signature(expired, expiredMP3), 410, "not kept any more"},
		{"for an MP3 that is gone", "/jobs/" + mp3Gone + "/mp3?" + signature(mp3Gone, goneMP3), 410, "not kept any more"},
		{"for something else", "/jobs/" + converted + "?" + u.RawQuery, 401, "log in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := s.do("", "GET", tt.target)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("GET %s = %d %s, want %d and %q in it", tt.target, w.Code, w.Body, tt.status, tt.says)
			}
		})
	}
}

func TestLinkIsNotMade(t *testing.T) {
	t.Parallel()
	link := func(id string) string { return "/jobs/" + id + "/link" }
	for _, tt := range []struct {
		name, bearer, target string
		status               int
		says                 string
	}{
		{"to another's", "eve", link(converted), 404, "there is no job"},
		{"without a token", "", link(converted), 401, "log in"},
		{"to an unknown one", "georgio", link(unknown), 404, unknown},
		{"before the MP3 is ready", "georgio", link(converting), 404, "not ready"},
		{"of a failed job", "georgio", link(failed), 409, "no sound"},
		{"of an expired job", "georgio", link(expired), 410, "not kept"},
		{"for too long", "georgio", link(converted) + "?for=31d", 400, "30d"},
		{"for too long in hours", "georgio", link(converted) + "?for=721h", 400, "30d"},
		{"for ages", "georgio", link(converted) + "?for=99999999999999999999d", 400, "30d"},
		{"for no time", "georgio", link(converted) + "?for=0d", 400, "30d"},
		{"for a time that was", "georgio", link(converted) + "?for=-1h", 400, "30d"},
		{"for days that were", "georgio", link(converted) + "?for=-1d", 400, "30d"},
		{"for something", "georgio", link(converted) + "?for=ever", 400, "ever"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSetup().do(tt.bearer, "POST", tt.target)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("POST %s = %d %s, want %d and %q in it", tt.target, w.Code, w.Body, tt.status, tt.says)
			}
		})
	}
}

// TestLinkEndsWithItsMP3 has a job be started anew, or deleted.
func TestLinkEndsWithItsMP3(t *testing.T) {
	t.Parallel()
	s := newSetup()
	address, _ := s.link(t, converted, "")
	j := s.jobs.jobs[converted]
	j.MP3 = &job.MP3{FID: strayMP3}
	s.jobs.jobs[converted] = j
	if w := s.do("", "GET", address); w.Code != http.StatusForbidden {
		t.Errorf("with another MP3: %d %.100s, want 403", w.Code, w.Body)
	}
	delete(s.jobs.jobs, converted)
	if w := s.do("", "GET", address); w.Code != http.StatusForbidden {
		t.Errorf("without the job: %d %.100s, want 403", w.Code, w.Body)
	}
	s = newSetup()
	s.jobs.before = func(string, string) error { return errStore }
	var w *httptest.ResponseRecorder
	if w = s.do("", "GET", address); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without the store: %d %.100s, want 503", w.Code, w.Body)
	}
}
