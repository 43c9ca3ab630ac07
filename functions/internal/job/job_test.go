package job_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func TestEvent(t *testing.T) {
	t.Parallel()
	j := job.Job{ID: "v1", Owner: "ann", Filename: "a.mp4", Round: 2,
		MP3:   &job.MP3{FID: "m1", Length: 7, SHA256: "cc", Duration: 1.5},
		Error: &eventing.Failure{Code: "no_audio", Message: "no sound"}}
	uploaded := map[string]any{"video_fid": "v1", "mp3_fid": "m1", "username": "ann", "filename": "a.mp4"}
	with := func(more map[string]any) map[string]any {
		m := map[string]any{}
		for _, from := range []map[string]any{uploaded, more} {
			for k, v := range from {
				m[k] = v
			}
		}
		return m
	}
	converted := with(map[string]any{"duration": 1.5, "bytes": 7.0, "sha256": "cc"})
	tests := []struct {
		state job.State
		typ   string
		data  map[string]any
	}{
		{job.Stored, eventing.TypeVideoUploaded, uploaded},
		{job.Queued, eventing.TypeVideoUploaded, uploaded},
		{job.Converting, eventing.TypeVideoUploaded, uploaded},
		{job.Converted, eventing.TypeAudioConverted, converted},
		{job.Notified, eventing.TypeAudioConverted, converted},
		{job.Failed, eventing.TypeConversionFailed, with(map[string]any{"error": map[string]any{"code": "no_audio",
			"message": "no sound"}})},
	}
	for _, tt := range tests {
		j.State = tt.state
		e, err := j.Event("/soundstrip/upload")
		if err != nil {
			t.Errorf("Event of a %s job = %v", tt.state, err)
			continue
		}
		if e.Type() != tt.typ || e.ID() != "v1/"+tt.typ+"/2" || e.Subject() != "v1" || e.Source() != "/soundstrip/upload" {
			t.Errorf("Event of a %s job = %v, want a %s", tt.state, e, tt.typ)
		}
		var got map[string]any
		if err := json.Unmarshal(e.Data(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.data, got); diff != "" {
			t.Errorf("data of the event of a %s job (-want +got):\n%s", tt.state, diff)
		}
	}
	for _, state := range []job.State{job.Cancelled, job.Expired} {
		j.State = state
		if _, err := j.Event("/soundstrip/upload"); !errors.Is(err, job.ErrState) {
			t.Errorf("Event of a %s job = %v, want %v", state, err, job.ErrState)
		}
	}
}
