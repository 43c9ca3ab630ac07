package jobs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func (s *setup) post(bearer, target, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestDeleteMany(t *testing.T) {
	t.Parallel()
	all := []string{converted, eves, unknown, converting, converted}
	asJSON, err := json.Marshal(map[string]any{"ids": all})
	if err != nil {
		t.Fatal(err)
	}
	form := "id=" + strings.Join(all, "&id=")
	want := []deletion{{ID: converted, Result: "deleted"}, {ID: eves, Result: "not_found"},
		{ID: unknown, Result: "not_found"}, {ID: converting, Result: "deleted"}}
	for _, tt := range []struct{ name, target, kind, body string }{
		{"JSON", "/jobs/delete", "application/json; charset=utf-8", string(asJSON)},
		{"form", "/jobs/delete", "application/x-www-form-urlencoded", form},
		{"query", "/jobs/delete?" + form, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			w := s.post("georgio", tt.target, tt.kind, tt.body)
			var got struct{ Results []deletion }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("POST = %d %s, want 200", w.Code, w.Body)
			}
			if diff := gocmp.Diff(want, got.Results); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			for id, there := range map[string]bool{converted: false, converting: false, eves: true, failed: true} {
				_, job := s.jobs.jobs[id]
				_, video := s.videos.infos[id]
				if job != there || video != there {
					t.Errorf("job %s is there: %v, its video: %v, want %v", id, job, video, there)
				}
			}
			if _, ok := s.mp3s.infos[theMP3]; ok {
				t.Error("the MP3 is still there")
			}
		})
	}
}

// TestDeleteOnFullDisk: a job cannot be written until its video is gone.
func TestDeleteOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, id := range []string{converting, converted} {
		s := newSetup()
		full := true
		s.videos.before = func(call, _ string) error {
			full = full && call != "Delete"
			return nil
		}
		s.jobs.before = func(call, _ string) error {
			if full && (call == "Cancel" || call == "Delete") {
				return errStore
			}
			return nil
		}
		w := s.post("georgio", "/jobs/delete?id="+id, "", "")
		_, left := s.jobs.jobs[id]
		_, video := s.videos.infos[id]
		if !strings.Contains(w.Body.String(), `"deleted"`) || left || video {
			t.Errorf("POST /jobs/delete of %s = %s; the job is there: %v, its video: %v, want neither", id, w.Body, left, video)
		}
	}
}

// TestDeleteManyGoesOn has the deletion of one fail: its job stays, and the others go.
func TestDeleteManyGoesOn(t *testing.T) {
	t.Parallel()
	s := newSetup()
	s.videos.before = func(call, id string) error {
		if call == "Delete" && id == converted {
			return errStore
		}
		return nil
	}
	w := s.post("georgio", "/jobs/delete?id="+converted+"&id="+failed, "", "")
	if body := w.Body.String(); w.Code != http.StatusOK ||
		!strings.Contains(body, `"error","detail":"the store cannot be`) || strings.Contains(body, "mongodb") ||
		!strings.Contains(body, `"id":"`+failed+`","result":"deleted"`) {
		t.Errorf("POST = %d %s, want an error of one, and the other deleted", w.Code, w.Body)
	}
	_, kept := s.jobs.jobs[converted]
	_, other := s.jobs.jobs[failed]
	if !kept || other {
		t.Errorf("the job that failed is there: %v, want true; the other: %v, want false", kept, other)
	}
}

func TestDeleteManyRefuses(t *testing.T) {
	t.Parallel()
	const form, asJSON = "application/x-www-form-urlencoded", "application/json"
	many := "id=x"
	for i := range maxBatch {
		many += "&id=" + strconv.Itoa(i)
	}
	for _, tt := range []struct {
		name, kind, body string
		status           int
		says             string
	}{
		{"none", form, "", 400, "which jobs?"},
		{"none in JSON", asJSON, `{}`, 400, "which jobs?"},
		{"no JSON", asJSON, `id=1`, 400, "cannot be read"},
		{"ids that are none", asJSON, `{"ids": [1]}`, 400, "cannot be read"},
		{"no form", form, "id=%zz", 400, "cannot be read"},
		{"too many", form, many, 400, "these are 1001 jobs"},
		{"too long", form, "id=" + strings.Repeat("1", maxNaming), 413, "1000 jobs at most"},
		{"too long JSON", asJSON, `{"ids": ["` + strings.Repeat("1", maxNaming) + `"]}`, 413, "1000 jobs at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSetup().post("georgio", "/jobs/delete", tt.kind, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("POST %.40s = %d %s, want %d and %q in it", tt.body, w.Code, w.Body, tt.status, tt.says)
			}
		})
	}
}
