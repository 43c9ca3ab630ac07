package jobs

import (
	"encoding/json"
	"maps"
	"os"
	"path"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// schema is what the test looks at of a JSON schema.
type schema struct {
	Ref        string `json:"$ref"`
	Properties map[string]schema
	Items      *schema
}

// TestDescribedJob compares a job that has everything with the gateway's OpenAPI document.
func TestDescribedJob(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../gateway/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct{ Schemas map[string]schema }
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	all, err := json.Marshal(viewOf(job.Job{
		ID: stored, Owner: "u_1", Username: "georgio", Filename: "talk.mp4", State: job.Failed, Round: 1, Progress: 1,
		Options: eventing.Options{
			Bitrate: 1, Quality: new(int), Start: 1, End: 2, Mono: true, Normalize: true, Track: "de",
			Partial: true, Title: "t", Artist: "a", Album: "a",
		},
		Notice:   "n",
		Webhook:  &job.Webhook{URL: "https://example.com/hook", Secret: "s"},
		Video:    job.Video{Length: 1, SHA256: "aa", Deleted: true},
		Keep:     job.Retention{Video: 1, MP3: 2},
		MP3:      &job.MP3{FID: theMP3, Length: 1, SHA256: "aa", Duration: 1, Plan: "pipe"},
		Attempts: []job.Attempt{{Epoch: 1, Worker: "w", From: now, To: &now, Error: "e"}},
		Error:    &eventing.Failure{Code: "c", Message: "m"},
		Notices:  []job.Notice{{Channel: "email", At: now, Refused: "r"}},
		Expires:  &now, VideoExpires: &now,
	}))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(all, &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "links") // which depend on the state
	var compare func(name string, got map[string]any, s schema)
	compare = func(name string, got map[string]any, s schema) {
		want := maps.Clone(s.Properties)
		delete(want, "links")
		if diff := gocmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("%s (-described +given):\n%s", name, diff)
		}
		for key, value := range got {
			s := s.Properties[key]
			if s.Ref != "" {
				s = document.Components.Schemas[path.Base(s.Ref)]
			}
			if list, ok := value.([]any); ok && s.Items != nil {
				value, s = list[0], *s.Items
			}
			if inner, ok := value.(map[string]any); ok {
				compare(name+"."+key, inner, s)
			}
		}
	}
	compare("job", got, document.Components.Schemas["Job"])
}
