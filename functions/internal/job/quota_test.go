package job_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func TestQuotas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		want       job.Quotas
		err        string
	}{
		{"none", "", job.Quotas{}, ""},
		{"groups", " default bytes=50G jobs=200 uploads=20\tminutes=1440 ;admin; team bytes=7", job.Quotas{
			"default": {Bytes: 50e9, Jobs: 200, Uploads: 20, Minutes: 1440}, "admin": {}, "team": {Bytes: 7}}, ""},
		{"units", "a bytes=1k;b bytes=2M;c bytes=3T",
			job.Quotas{"a": {Bytes: 1e3}, "b": {Bytes: 2e6}, "c": {Bytes: 3e12}}, ""},
		{"unknown limit", "default files=3", nil, "bytes, jobs, minutes, uploads"},
		{"no number", "default jobs=many", nil, "above 0"},
		{"nothing", "default jobs", nil, "above 0"},
		{"zero", "default jobs=0", nil, "above 0"},
		{"another's unit", "default jobs=1k", nil, "above 0"},
		{"too much", "default bytes=99999999999T", nil, "above 0"},
		{"more than there is", "default bytes=10000000T", nil, "above 0"},
		{"two units", "default bytes=1Mk", nil, "above 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got job.Quotas
			err := got.UnmarshalText([]byte(tt.text))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("UnmarshalText(%q) = %v, want %q", tt.text, err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("UnmarshalText(%q) = %v (-want +got):\n%s", tt.text, err, diff)
			}
		})
	}
	q := job.Quotas{"default": {Jobs: 1}, "admin": {}}
	for group, want := range map[string]int{"": 1, "default": 1, "other": 1, "admin": 0} {
		if got := q.Of(group).Jobs; got != want {
			t.Errorf("Of(%q) has %d jobs, want %d", group, got, want)
		}
	}
}

// testUsage follows what the jobs of an owner keep.
func testUsage(t *testing.T, s job.Store) {
	ctx := t.Context()
	want := func(after string, want job.Usage) {
		t.Helper()
		if got, err := s.Usage(ctx, "ann"); got != want || err != nil {
			t.Errorf("after %s Usage = %+v, %v, want %+v", after, got, err, want)
		}
	}
	want("nothing", job.Usage{})
	ids := queue(t, s, "ann", 100, 200)
	queue(t, s, "bob", 7)
	want("two uploads", job.Usage{Bytes: 300, Jobs: 2})
	j, err := s.Claim(ctx, ids[0], "w", running)
	for range 2 { // it is counted once
		if err == nil {
			_, err = s.Finish(ctx, ids[0], j.Lease.Epoch, job.MP3{FID: ids[0], Length: 10, Duration: 90})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	want("a conversion", job.Usage{Bytes: 310, Jobs: 1, Minutes: 1.5})
	if err := s.Delete(ctx, ids[0]); err != nil {
		t.Fatal(err)
	}
	want("a deletion", job.Usage{Bytes: 200, Jobs: 1, Minutes: 1.5})
	if _, err := s.Cancel(ctx, ids[1]); err != nil {
		t.Fatal(err)
	}
	want("the end", job.Usage{Bytes: 200, Minutes: 1.5})
}
