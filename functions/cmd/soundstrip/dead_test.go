package main

import (
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/convert"
)

// TestDead lists a dead letter of a folder, moves it back, and finds it in the queue.
func TestDead(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	env := envconfig.MapLookuper(map[string]string{"SOUNDSTRIP_DATA": dir})
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.db.Close() })
	q, err := f.queue(ctx, env, triggers(convert.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	e, err := eventing.New("/test", "v1", 1,
		eventing.VideoUploaded{Reference: eventing.Reference{VideoFID: "v1", Username: "ada@example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(ctx, e); err != nil {
		t.Fatal(err)
	}
	sub, err := q.Subscribe(ctx, "convert")
	if err != nil {
		t.Fatal(err)
	}
	m, err := sub.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Bury(ctx, "no converter"); err != nil {
		t.Fatal(err)
	}
	dead := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		if err := runDead(ctx, env, args, &out); err != nil {
			t.Fatalf("dead %q = %v", args, err)
		}
		return out.String()
	}
	list := dead("list")
	id, _, _ := strings.Cut(list, " ")
	if !strings.Contains(list, "convert  "+eventing.TypeVideoUploaded+" v1: no converter") ||
		!strings.Contains(dead("show", id), `"video_fid": "v1"`) {
		t.Errorf("dead list = %q, and show = %q, want the event and the reason", list, dead("show", id))
	}
	if got := dead("replay", id); !strings.HasSuffix(got, "1 moved back\n") {
		t.Errorf("dead replay = %q, want 1", got)
	}
	if got := dead("list"); got != "0 listed\n" {
		t.Errorf("dead list after that = %q, want none", got)
	}
	if m, err := sub.Next(ctx); err != nil || m.Event().ID() != e.ID() || m.Attempts() != 0 {
		t.Errorf("Next() = %v, %v, want the event, as if it were new", m, err)
	}
}
