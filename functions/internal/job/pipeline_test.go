package job

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/soundstrip/soundstrip/eventing"
)

// TestUsual makes the same steps on two jobs, of which one is changed by the server itself where it takes pipelines.
// The documents are the same but for their times, and none of those is the process's own.
func TestUsual(t *testing.T) {
	t.Parallel()
	uri := os.Getenv("TEST_MONGODB_URI")
	if uri == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("TEST_MONGODB_URI is not set")
		}
		t.Skip(`start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database("usual_" + bson.NewObjectID().Hex())
	t.Cleanup(func() {
		_ = db.Drop(context.Background())
		_ = client.Disconnect(context.Background())
	})
	quick, slow := NewMongo(db), NewMongo(db)
	slow.pipelines.asked = true
	const a, b = "65f0c0ffee0000000000000a", "65f0c0ffee0000000000000b"
	document := func(m *Mongo, id string) bson.M {
		t.Helper()
		var d bson.M
		if err := m.jobs.FindOne(t.Context(), bson.M{"_id": id}).Decode(&d); err != nil {
			t.Fatal(err)
		}
		delete(d, "_id")
		delete(d, "turn") // the same id
		return d
	}
	start := time.Now()
	near := cmp.Comparer(func(x, y bson.DateTime) bool { // of some seconds; a zero time is not
		return x.Time().Sub(y.Time()).Abs() < time.Since(start)+time.Second
	})
	for _, step := range []struct {
		name  string
		usual bool
		run   func(m *Mongo, id string) error
	}{
		{"create", false, func(m *Mongo, id string) error {
			_, err := m.Create(t.Context(), Job{ID: id, Owner: "$owner", Filename: "a.mp4", Video: Video{Length: 10},
				Keep: Retention{Video: 60}})
			return err
		}},
		{"queued", true, func(m *Mongo, id string) error { return m.Queued(t.Context(), id) }},
		{"claim", true, func(m *Mongo, id string) error {
			_, err := m.Claim(t.Context(), id, "$worker", time.Minute)
			return err
		}},
		{"heartbeat", true, func(m *Mongo, id string) error { return m.Heartbeat(t.Context(), id, 1, time.Hour, 50) }},
		{"less", true, func(m *Mongo, id string) error { return m.Heartbeat(t.Context(), id, 1, time.Hour, 40) }},
		{"most", true, func(m *Mongo, id string) error { return m.Heartbeat(t.Context(), id, 1, time.Hour, 100) }},
		{"fail", true, func(m *Mongo, id string) error {
			_, err := m.Fail(t.Context(), id, 1, eventing.Failure{Code: "$code", Message: "$why"})
			return err
		}},
		{"retry", false, func(m *Mongo, id string) error {
			_, err := m.Retry(t.Context(), id)
			return err
		}},
		{"queued again", true, func(m *Mongo, id string) error { return m.Queued(t.Context(), id) }},
		{"claimed again", true, func(m *Mongo, id string) error {
			_, err := m.Claim(t.Context(), id, "$worker", time.Minute)
			return err
		}},
		{"release", true, func(m *Mongo, id string) error { return m.Release(t.Context(), id, 3, "$later") }},
		{"claimed by another", false, func(m *Mongo, id string) error {
			_, err := m.Claim(t.Context(), id, "another", time.Minute)
			return err
		}},
		{"finish", true, func(m *Mongo, id string) error {
			_, err := m.Finish(t.Context(), id, 4,
				MP3{FID: "65f0c0ffee0000000000000c", Length: 5, Duration: 1, Notice: "$notice"})
			return err
		}},
		{"tell", true, func(m *Mongo, id string) error {
			_, err := m.Tell(t.Context(), id, time.Minute)
			return err
		}},
		{"noticed", true, func(m *Mongo, id string) error {
			return m.Noticed(t.Context(), id, Notice{Event: "$e", Channel: "webhook", Refused: "$no"}, false)
		}},
		{"done", true, func(m *Mongo, id string) error {
			return m.Noticed(t.Context(), id, Notice{Event: "$e", Channel: "email"}, true)
		}},
		{"given back", true, func(m *Mongo, id string) error {
			_, err := m.Tell(t.Context(), id, 0)
			return err
		}},
	} {
		made := false
		quick.steps.usually = func(ctx context.Context, id string, u usual) (j Job, is bool, err error) {
			j, is, err = quick.usually(ctx, id, u)
			made = made || is
			return j, is, err
		}
		if err := step.run(quick, a); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err := step.run(slow, b); err != nil {
			t.Fatalf("%s by comparing: %v", step.name, err)
		}
		if want := step.usual && quick.pipelines.taken; made != want {
			t.Errorf("%s: the server made it by itself: %v, want %v", step.name, made, want)
		}
		if diff := cmp.Diff(document(slow, b), document(quick, a), near); diff != "" {
			t.Errorf("%s (-by comparing +by the server):\n%s", step.name, diff)
		}
	}
	t.Logf("the server takes update pipelines: %v", quick.pipelines.taken)
}
