package jobs

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestAudit: what others may want to know later is on record, once each, and nothing else.
func TestAudit(t *testing.T) { //nolint:paralleltest // the log is everyone's
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	defer slog.SetDefault(before)
	s := newSetup()
	for _, call := range []struct{ bearer, method, target string }{
		{"georgio", http.MethodGet, "/jobs"},
		{"georgio", http.MethodGet, "/jobs/" + converted},
		{"eve", http.MethodGet, "/jobs/" + converted},
		{"admin", http.MethodGet, "/jobs?owner=georgio"},
		{"admin", http.MethodGet, "/jobs?owner=*"},
		{"admin", http.MethodGet, "/jobs/" + converted},
		{"admin", http.MethodGet, "/jobs/" + converted + "/mp3"},
		{"admin", http.MethodGet, "/download?fid=" + theMP3},
		{"admin", http.MethodGet, "/jobs/mp3s.zip?id=" + converted},
		{"georgio", http.MethodDelete, "/jobs/" + failed},
	} {
		s.do(call.bearer, call.method, call.target)
	}
	s.videos.before = func(string, string) error { return errStore }
	s.do("georgio", http.MethodDelete, "/jobs/"+converted)
	type line struct{ Msg, Event, Subject, Actor, Network, Outcome string }
	var got []line
	for text := range bytes.Lines(log.Bytes()) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
		if l.Msg == "audit" {
			got = append(got, l)
		}
	}
	const network = "192.0.2.0/24"
	looked := func(subject string) line { return line{"audit", "admin.looked", subject, "root", network, "ok"} }
	want := []line{
		looked("jobs of georgio"), looked("jobs of *"),
		looked(converted), looked(converted), looked(converted), looked(converted),
		{"audit", "job.deleted", failed, "georgio", network, "ok"},
		{"audit", "job.deleted", converted, "georgio", network, "failed"},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}
