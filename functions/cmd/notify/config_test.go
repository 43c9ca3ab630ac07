package main

import (
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 32)
	base := map[string]string{"MONGODB_URI": "mongodb://127.0.0.1", "EVENT_SECRET": secret, "LINK_SECRET": secret,
		"PUBLIC_URL": "https://soundstrip.example.com"}
	mail := map[string]string{"SMTP_HOST": "mail.example.com", "SMTP_FROM": "soundstrip@example.com"}
	hook := map[string]string{"WEBHOOK_URL": "https://example.com/hook", "WEBHOOK_SECRET": secret}
	for _, tt := range []struct {
		name     string
		env      []map[string]string
		channels []string
		faults   []string
	}{
		{name: "mail", env: []map[string]string{base, mail}, channels: []string{"email", "job_webhook"}},
		{name: "webhook", env: []map[string]string{base, hook}, channels: []string{"webhook", "job_webhook"}},
		{name: "both", env: []map[string]string{base, mail, hook}, channels: []string{"email", "webhook", "job_webhook"}},
		{name: "no way to tell", env: []map[string]string{base},
			faults: []string{"SMTP_HOST: is not set, and neither is WEBHOOK_URL"}},
		{name: "nothing", faults: []string{"MONGODB_URI: is not set", "PUBLIC_URL: is not set", "EVENT_SECRET: is not set",
			"LINK_SECRET: is not set", "SMTP_HOST"}},
		{name: "all wrong", env: []map[string]string{base, {"EVENT_SECRET": "short", "LINK_SECRET": "short",
			"PUBLIC_URL": "x", "SMTP_HOST": "x",
			"SMTP_PORT": "smtp", "SMTP_FROM": "x", "SMTP_TLS": "ssl", "WEBHOOK_URL": "x"}},
			faults: []string{"PUBLIC_URL", "SMTP_PORT", "SMTP_FROM", "SMTP_TLS", "WEBHOOK_URL", "WEBHOOK_SECRET",
				"EVENT_SECRET", "LINK_SECRET"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			for _, e := range tt.env {
				for k, v := range e {
					env[k] = v
				}
			}
			var c config
			err := serve.Load(t.Context(), envconfig.MapLookuper(env), &c)
			if tt.faults != nil {
				if err == nil {
					t.Fatalf("Load = nil, want %q", tt.faults)
				}
				lines := strings.Split(err.Error(), "\n")[1:]
				if len(lines) != len(tt.faults) {
					t.Errorf("Load = %q, want %d faults", lines, len(tt.faults))
				}
				for _, want := range tt.faults {
					if !strings.Contains(err.Error(), "\n"+want) {
						t.Errorf("Load = %q, want %q", lines, want)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			channels, err := c.channels()
			if err != nil || len(channels) != len(tt.channels) {
				t.Fatalf("channels = %v, %v, want %q", channels, err, tt.channels)
			}
			for i, want := range tt.channels {
				if got := channels[i].Name(); got != want {
					t.Errorf("channel %d = %q, want %q", i, got, want)
				}
			}
		})
	}
}
