package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
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
	if err := slow.pipelines.asked.Do(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	document := func(m *Mongo, id string) bson.M {
		t.Helper()
		var d bson.M
		if err := m.jobs.FindOne(t.Context(), bson.M{"_id": id}).Decode(&d); err != nil {
			t.Fatal(err)
		}
		delete(d, "_id")
		delete(d, "turn") // the same id
		if mp3, ok := d["mp3"].(bson.D); ok && mp3[0].Key == "fid" {
			d["mp3"] = mp3[1:]
		}
		return d
	}
	start := time.Now()
	near := cmp.Comparer(func(x, y bson.DateTime) bool { // of some seconds; a zero time is not
		return x.Time().Sub(y.Time()).Abs() < time.Since(start)+time.Second
	})
	type step struct {
		name  string
		usual bool
		run   func(m *Mongo, id string) error
	}
	ctx := t.Context()
	create := func(keep Retention) step {
		return step{"create", false, func(m *Mongo, id string) error {
			_, err := m.Create(ctx, Job{ID: id, Owner: "$owner", Filename: "a.mp4", Video: Video{Length: 10}, Keep: keep})
			return err
		}}
	}
	is := func(_ Job, err error) error { return err }
	queue := step{"queue", true, func(m *Mongo, id string) error { return m.Queued(ctx, id) }}
	claim := step{"claim", true, func(m *Mongo, id string) error {
		return is(m.Claim(ctx, id, "$worker", time.Minute))
	}}
	release := func(epoch int) step {
		return step{"release", true, func(m *Mongo, id string) error { return m.Release(ctx, id, epoch, "$later") }}
	}
	heartbeat := func(progress int) step {
		return step{"heartbeat", true, func(m *Mongo, id string) error {
			return m.Heartbeat(ctx, id, 1, time.Hour, progress)
		}}
	}
	finish := func(epoch int, usual bool) step {
		return step{"finish", usual, func(m *Mongo, id string) error {
			return is(m.Finish(ctx, id, epoch, MP3{FID: bson.NewObjectID().Hex(), Length: 5, Duration: 1, Notice: "$notice"}))
		}}
	}
	failure := eventing.Failure{Code: "$code", Message: "$why"}
	fail := step{"fail", true, func(m *Mongo, id string) error { return is(m.Fail(ctx, id, 1, failure)) }}
	giveUp := func(epoch int) step {
		return step{"give up", true, func(m *Mongo, id string) error { return is(m.GiveUp(ctx, id, epoch, failure)) }}
	}
	cancel := step{"cancel", true, func(m *Mongo, id string) error { return is(m.Cancel(ctx, id)) }}
	retry := step{"retry", true, func(m *Mongo, id string) error { return is(m.Retry(ctx, id)) }}
	resend := step{"resend", true, func(m *Mongo, id string) error { return m.Resent(ctx, id) }}
	handOver := step{"hand over", true, func(m *Mongo, id string) error { return is(m.HandOver(ctx, id)) }}
	tell := func(ttl time.Duration) step {
		return step{"tell", true, func(m *Mongo, id string) error { return is(m.Tell(ctx, id, ttl)) }}
	}
	notice := func(n Notice, done bool) step {
		return step{"notice", true, func(m *Mongo, id string) error { return m.Noticed(ctx, id, n, done) }}
	}
	expire := func(usual bool) step {
		return step{"expire", usual, func(m *Mongo, id string) error {
			ended, err := m.expire(ctx, []Job{{ID: id}})
			if err == nil && len(ended) != 1 {
				err = errors.New("nothing is due")
			}
			return err
		}}
	}
	swept := step{"swept", true, func(m *Mongo, id string) error { return m.Swept(ctx, id) }}
	past := func(fields ...string) step {
		return step{"its time comes", false, func(m *Mongo, id string) error {
			set := bson.M{}
			for _, f := range fields {
				set[f] = time.Now().Add(-time.Second)
			}
			_, err := m.jobs.UpdateByID(ctx, id, bson.M{"$set": set})
			return err
		}}
	}
	once := func(s step) step { s.usual = false; return s }

	for i, life := range [][]step{
		{create(Retention{Video: 60}), queue, claim, heartbeat(50), heartbeat(40), heartbeat(100), fail, retry, queue, claim,
			release(3), claim, finish(4, true), tell(time.Minute),
			notice(Notice{Event: "$e", Channel: "webhook", Refused: "$no"}, false),
			once(notice(Notice{Event: "$d", Channel: "email", Round: 1}, true)),
			notice(Notice{Event: "$e", Channel: "email", Round: 2}, true), tell(0)},
		{create(Retention{Video: 60}), resend, resend, cancel, past("due", "video_expires"), expire(true), swept, swept},
		{create(Retention{Video: 60}), cancel, retry, claim, cancel, retry, queue, claim, past("lease.until"), claim,
			past("lease.until"), giveUp(7), past("due"), expire(true), expire(false), swept},
		{create(Retention{Video: 60}), queue, giveUp(0), retry, queue, handOver, retry, queue, handOver, once(claim),
			finish(4, true), handOver},
		{create(Retention{Video: 60, MP3: 70}), queue, claim, finish(1, false), past("due", "video_expires"), expire(false),
			swept, past("due", "expires"), expire(true), swept},
		{create(Retention{}), once(cancel), once(swept), retry},
		{create(Retention{Video: 60}), queue, handOver, past("due", "video_expires"), expire(true), once(claim),
			finish(1, true), past("due"), expire(false), swept},
	} {
		a, b := fmt.Sprintf("65f0c0ffee000000000000%da", i), fmt.Sprintf("65f0c0ffee000000000000%db", i)
		for n, step := range life {
			name := fmt.Sprintf("life %d, step %d, %s", i, n, step.name)
			made := false
			quick.steps.usually = func(ctx context.Context, id string, u usual) (j Job, is bool, err error) {
				j, is, err = quick.usually(ctx, id, u)
				made = made || is
				return j, is, err
			}
			if err := step.run(quick, a); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := step.run(slow, b); err != nil {
				t.Fatalf("%s by comparing: %v", name, err)
			}
			if want := step.usual && quick.pipelines.taken.Load(); made != want {
				t.Errorf("%s: the server made it by itself: %v, want %v", name, made, want)
			}
			if diff := cmp.Diff(document(slow, b), document(quick, a), near); diff != "" {
				t.Errorf("%s (-by comparing +by the server):\n%s", name, diff)
			}
		}
	}
	t.Logf("the server takes update pipelines: %v", quick.pipelines.taken.Load())
}

// seen is a context that tells when somebody waits for its end.
type seen struct {
	context.Context

	tell func()
}

func (s seen) Done() <-chan struct{} {
	s.tell()
	return s.Context.Done()
}

// TestUsualAway: while the server is away, nobody waits for as long as all those who came before.
func TestUsualAway(t *testing.T) {
	t.Parallel()
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=2000"))
	if err != nil {
		t.Fatal(err)
	}
	m := NewMongo(client.Database("jobs"))
	queued := func(ctx context.Context) <-chan error {
		ended := make(chan error, 1)
		go func() { ended <- m.Queued(ctx, "65f0c0ffee00000000000000") }()
		return ended
	}
	waiting := make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	first := queued(seen{ctx, sync.OnceFunc(func() { close(waiting) })})
	<-waiting
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	select {
	case err := <-queued(gone):
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Queued for one who has left = %v, want %v", err, context.Canceled)
		}
	case <-first:
		t.Fatal("Queued for one who has left waits for another")
	}
	leave()
	<-first
	m.pipelines.by(t.Context(), m.jobs) // waits for what the first has begun
	if err := client.Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
}
