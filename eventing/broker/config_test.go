package broker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

func writeTriggers(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "triggers.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConfig(t *testing.T) {
	t.Parallel()
	file := writeTriggers(t, `
triggers:
- {name: convert, queue: video, subscriber: http://convert}
- {name: notify, queue: mp3, subscriber: http://notify}
- {name: other, subscriber: http://other}
`)
	env := map[string]string{
		"AMQP_URL": "amqp://localhost", "BROKER_TRIGGERS": file, "EVENT_SECRET": strings.Repeat("s", 32),
	}
	tests := []struct {
		name   string
		env    map[string]string
		queues []string
		err    []string
	}{
		{name: "queues of the file", queues: []string{"video", "mp3", "soundstrip.other"}},
		{name: "queues of the environment", env: map[string]string{"VIDEO_QUEUE": "v", "MP3_QUEUE": "m"},
			queues: []string{"v", "m", "soundstrip.other"}},
		{name: "one queue for both", env: map[string]string{"VIDEO_QUEUE": "mp3"}, err: []string{"VIDEO_QUEUE", "mp3"}},
		{name: "short secret", env: map[string]string{"EVENT_SECRET": "s"},
			err: []string{"EVENT_SECRET: want at least 32 bytes"}},
		{name: "another machine without TLS", env: map[string]string{"AMQP_URL": "amqp://u:hidden@host"},
			err: []string{"AMQP_URL: host is another machine: use amqps://, or set STORES_PLAIN=true"}},
		{name: "another machine", env: map[string]string{"AMQP_URL": "amqps://host"},
			queues: []string{"video", "mp3", "soundstrip.other"}},
		{name: "another machine without TLS on purpose",
			env:    map[string]string{"AMQP_URL": "amqp://host", "STORES_PLAIN": "true"},
			queues: []string{"video", "mp3", "soundstrip.other"}},
		{name: "no file", env: map[string]string{"BROKER_TRIGGERS": "/nowhere"},
			err: []string{"BROKER_TRIGGERS", "/nowhere"}},
		{name: "bad file", env: map[string]string{"BROKER_TRIGGERS": writeTriggers(t, "triggers: [{name: a}]")},
			err: []string{"BROKER_TRIGGERS", "trigger a: subscriber is missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var c Config
			var triggers Triggers
			all := envconfig.MultiLookuper(envconfig.MapLookuper(tt.env), envconfig.MapLookuper(env))
			err := serve.Load(t.Context(), all, &c)
			if err == nil {
				triggers, err = c.triggers()
			}
			for _, part := range tt.err {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("configuration = %v, want an error that says %q", err, part)
				}
			}
			if err != nil {
				if tt.err == nil {
					t.Errorf("configuration = %v, want nil", err)
				}
				return
			}
			var queues []string
			for _, tr := range triggers {
				queues = append(queues, tr.queue(c.Rabbit.Prefix))
			}
			if diff := cmp.Diff(tt.queues, queues); diff != "" {
				t.Errorf("queues (-want +got):\n%s", diff)
			}
		})
	}
}
