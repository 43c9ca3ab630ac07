package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// freePort gives a port that nobody listens on. Another program may take it until it is used.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// testMetrics asks the program that has converted a video for every metric that there is.
func testMetrics(t *testing.T, port string) {
	notYet := map[string]bool{ // because nothing was refused or failed
		"soundstrip.quota.refusals": true, "soundstrip.dispatch.dead_letters": true,
		"soundstrip.sweep.items": true,
	}
	var text string
	eventually(t, "a sweep to be counted", func() bool {
		status, body := curl(t, "http://127.0.0.1:"+port+"/metrics")
		text = body
		return status == 200 && strings.Contains(body, "\nsoundstrip_sweeps_total{")
	})
	for _, m := range telemetry.Metrics() {
		want := "\n" + m.Series()
		if m.Kind == telemetry.Seconds {
			want += "_count"
		}
		if there := strings.Contains(text, want+"{") || strings.Contains(text, want+" "); there == notYet[m.Name] {
			t.Errorf("metric %s is there: %v, want %v", m.Series(), there, !notYet[m.Name])
		}
	}
	for _, line := range []string{
		`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="202",` +
			`http_route="/upload"} 1`,
		`soundstrip_converters_busy 0`,
		`soundstrip_conversions_total{outcome="converted",plan="mp4-index"} 1`,
		`soundstrip_dispatch_attempts_total{outcome="done",trigger="convert"} 1`,
		`soundstrip_notices_total{channel="email",outcome="sent"} 1`,
		`soundstrip_job_lag_seconds_count 1`,
		`soundstrip_queue_messages{state="dead",trigger="convert"} 0`,
		`soundstrip_sse_clients 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("metrics have no %s", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
