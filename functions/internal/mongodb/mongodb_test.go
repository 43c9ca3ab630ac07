package mongodb

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// careless asks for reads that may be stale or rolled back, and for writes that may be lost.
const careless = "?readPreference=secondary&readPreferenceTags=dc:far&maxStalenessSeconds=600" +
	"&readConcernLevel=available&w=1&journal=false"

func TestConnect(t *testing.T) {
	t.Parallel()
	// Nothing listens there: making the client does not reach for the server.
	client, err := Connect(Config{URI: "mongodb://127.0.0.1:1/" + careless})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Disconnect(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Connect(Config{URI: "127.0.0.1"}); err == nil || !strings.Contains(err.Error(), "MONGODB_URI") {
		t.Errorf("Connect with a bad URI = %v, want an error that names the variable", err)
	}
}

// TestOtherMachines has a connection without TLS refused, unless it is asked for.
func TestOtherMachines(t *testing.T) {
	t.Parallel()
	plain := serve.StoresConfig{Plain: true}
	for _, tt := range []struct {
		uri     string
		stores  serve.StoresConfig
		refused bool
	}{
		{uri: "mongodb://mongodb:27017/", refused: true},
		{uri: "mongodb://127.0.0.1,192.0.2.1:27018/", refused: true},
		{uri: "mongodb://mongodb/?tls=false", refused: true},
		{uri: "mongodb://mongodb/?tls=true"},
		{uri: "mongodb://mongodb:27017/", stores: plain},
		{uri: "mongodb://localhost,[::1]:27018,127.0.0.2/"},
		{uri: "mongodb://%2Ftmp%2Fmongodb-27017.sock/"},
	} {
		client, err := Connect(Config{URI: tt.uri, Stores: tt.stores})
		if (err != nil) != tt.refused || err != nil && !strings.HasPrefix(err.Error(), "MONGODB_URI: ") {
			t.Errorf("Connect(%s) with STORES_PLAIN=%v = %v, want refused: %v", tt.uri, tt.stores.Plain, err, tt.refused)
		}
		if err == nil {
			_ = client.Disconnect(t.Context())
		}
	}
}

// TestWhoLogsIn has the URI's user before that of MONGODB_USER.
func TestWhoLogsIn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ uri, user, password, want string }{
		{"mongodb://127.0.0.1/", "upload", "secret", "upload"},
		{"mongodb://127.0.0.1/?authSource=admin", "upload", "secret", "upload"},
		{"mongodb://me:mine@127.0.0.1/", "upload", "secret", "me"},
		{"mongodb://127.0.0.1/", "upload", "", ""},
		{"mongodb://127.0.0.1/", "", "", ""},
	} {
		got := ""
		if o := clientOptions(Config{URI: tt.uri, User: tt.user, Password: tt.password}); o.Auth != nil {
			got = o.Auth.Username
		}
		if got != tt.want {
			t.Errorf("clientOptions(%s) with %q, %q logs in as %q, want %q", tt.uri, tt.user, tt.password, got, tt.want)
		}
	}
	if err := (&Config{Password: "secret"}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "MONGODB_USER") {
		t.Errorf("Validate() of a password without a user = %v", err)
	}
}

func TestClientOptions(t *testing.T) {
	t.Parallel()
	o := clientOptions(Config{URI: "mongodb://127.0.0.1:1/" + careless})
	if o.ReadPreference == nil || o.ReadPreference.Mode() != readpref.PrimaryMode || len(o.ReadPreference.TagSets()) > 0 {
		t.Errorf("reads go to %v, want the primary", o.ReadPreference)
	}
	if o.ReadConcern == nil || o.ReadConcern.Level != "majority" {
		t.Errorf("the read concern is %+v, want majority", o.ReadConcern)
	}
	if w := o.WriteConcern; w == nil || w.W != writeconcern.WCMajority || w.Journal == nil || !*w.Journal {
		t.Errorf("the write concern is %+v, want majority and journaled", w)
	}
	o = clientOptions(Config{URI: "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1000&timeoutMS=2000"})
	if *o.ServerSelectionTimeout != time.Second || *o.Timeout != 2*time.Second {
		t.Errorf("the deadlines are %v and %v, want the URI's", *o.ServerSelectionTimeout, *o.Timeout)
	}
}

// TestStoresKeepConcerns looks at what the stores send to the server: no option of a database or a collection may undo
// the client's.
func TestStoresKeepConcerns(t *testing.T) {
	t.Parallel()
	uri := os.Getenv("TEST_MONGODB_URI")
	if uri == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("TEST_MONGODB_URI is not set")
		}
		t.Skip(`start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	name := "mongodb_test_" + bson.NewObjectID().Hex()
	c := Config{URI: uri + careless, Videos: name, MP3s: name, Database: name}
	sent := commands{}
	o := clientOptions(c).SetMonitor(&event.CommandMonitor{Started: sent.add})
	client, err := connect(o)
	if err != nil {
		t.Fatal(err)
	}
	stores := open(client, &wire{options: o}, c)
	t.Cleanup(func() {
		if err := client.Database(name).Drop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := stores.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	useFiles(t, stores.Videos)
	useJobs(t, stores.Jobs)

	sent.mu.Lock()
	defer sent.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range sent.events {
		seen[e.CommandName] = true
		switch e.CommandName {
		case "find", "aggregate", "count":
			if level, _ := e.Command.Lookup("readConcern", "level").StringValueOK(); level != "majority" {
				t.Errorf("%s reads with concern %q, want majority: %s", e.CommandName, level, e.Command)
			}
			// A server that stands alone is asked for primaryPreferred: there is no other.
			mode, _ := e.Command.Lookup("$readPreference", "mode").StringValueOK()
			if mode != "" && !strings.HasPrefix(mode, "primary") {
				t.Errorf("%s reads from the %s, want the primary: %s", e.CommandName, mode, e.Command)
			}
		case "insert", "update", "delete", "findAndModify", "createIndexes":
			w, _ := e.Command.Lookup("writeConcern", "w").StringValueOK()
			if j, _ := e.Command.Lookup("writeConcern", "j").BooleanOK(); w != "majority" || !j {
				t.Errorf("%s writes with concern %q, journaled: %t, want majority and true: %s", e.CommandName, w, j, e.Command)
			}
		}
	}
	want := []string{"find", "aggregate", "insert", "update", "delete", "findAndModify", "createIndexes"}
	for _, name := range want {
		if !seen[name] {
			t.Errorf("the stores sent no %s: the test does not reach it", name)
		}
	}
}

// commands are what a client sent.
type commands struct {
	mu     sync.Mutex
	events []*event.CommandStartedEvent
}

func (c *commands) add(_ context.Context, e *event.CommandStartedEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

func useFiles(t *testing.T, s media.Store) {
	t.Helper()
	ctx := t.Context()
	w, err := s.Create(ctx, media.Info{ID: media.NewID(), Name: "a.mp4", Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("video")); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Open(ctx, info.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	none := func(context.Context, []media.Info) (map[string]bool, error) { return nil, nil }
	if _, err := s.Sweep(ctx, time.Now().Add(time.Hour), none); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, info.ID); err != nil {
		t.Fatal(err)
	}
}

func useJobs(t *testing.T, s job.Store) {
	t.Helper()
	ctx := t.Context()
	j, err := s.Create(ctx, job.Job{ID: media.NewID(), Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if j, err = s.Claim(ctx, j.ID, "worker", time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(ctx, j.ID, j.Lease.Epoch, job.MP3{FID: media.NewID()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, j.ID); err != nil {
		t.Fatal(err)
	}
	if keep, err := s.Keeps(ctx, []string{j.ID}); err != nil || !keep[j.ID] {
		t.Fatalf("Keeps = %v, %v, want the job's video", keep, err)
	}
	if _, err := s.List(ctx, job.Query{Limit: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stuck(ctx, 0, 0, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expire(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, j.ID); err != nil {
		t.Fatal(err)
	}
}
