package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

func TestRun(t *testing.T) {
	t.Parallel()
	uri := os.Getenv("TEST_MONGODB_URI")
	if uri == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("TEST_MONGODB_URI is not set")
		}
		t.Skip(`start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	client, err := mongodb.Connect(mongodb.Config{URI: uri})
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database("sweep_test_" + bson.NewObjectID().Hex())
	t.Cleanup(func() {
		if err := errors.Join(db.Drop(context.Background()), client.Disconnect(context.Background())); err != nil {
			t.Error(err)
		}
	})
	jobs := job.NewMongo(db)
	lost, err := jobs.Create(t.Context(), job.Job{ID: media.NewID(), Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}

	const secret = "0123456789abcdef0123456789abcdef"
	var got []string
	sink := httptest.NewServer(eventing.Authenticated([]byte(secret), "broker",
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.Header.Get("Ce-Subject"))
			w.WriteHeader(http.StatusAccepted)
		})))
	t.Cleanup(sink.Close)
	if err := run(t.Context(), envconfig.MapLookuper(map[string]string{
		"MONGODB_URI": uri, "MONGODB_DB": db.Name(), "MONGODB_VIDEOS_DB": db.Name(), "MONGODB_MP3S_DB": db.Name(),
		"K_SINK": sink.URL, "EVENT_SECRET": secret, "SWEEP_STUCK": "1ns",
	})); err != nil {
		t.Fatalf("run = %v", err)
	}
	if len(got) == 0 || got[0] != lost.ID {
		t.Errorf("the sink got events about %q, want one about %s", got, lost.ID)
	}
	if j, err := jobs.Get(t.Context(), lost.ID); err != nil || j.State != job.Queued {
		t.Errorf("the job is %s, %v, want queued", j.State, err)
	}
}

func TestRunWithoutConfiguration(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), envconfig.MapLookuper(map[string]string{"SWEEP_STUCK": "-1s"}))
	for _, name := range []string{"MONGODB_URI", "K_SINK", "EVENT_SECRET", "SWEEP_STUCK"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("run = %v, want a line about %s", err, name)
		}
	}
}
