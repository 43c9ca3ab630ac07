package eventing

import (
	"strings"
	"testing"
)

func TestSinkConfig(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", MinSecret)
	for _, tt := range []struct {
		name   string
		config SinkConfig
		faults []string
	}{
		{"good", SinkConfig{URL: "http://broker.soundstrip.svc", Secret: secret}, nil},
		{"no scheme", SinkConfig{URL: "broker:8080", Secret: secret}, []string{"K_SINK"}},
		{"all", SinkConfig{URL: "amqp://broker", Secret: secret[1:]}, []string{"K_SINK", "EVENT_SECRET"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.config.Validate()
			if (err == nil) != (len(tt.faults) == 0) {
				t.Fatalf("Validate() = %v, want faults of %v", err, tt.faults)
			}
			for _, name := range tt.faults {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("Validate() = %v, want %s in it", err, name)
				}
			}
			if err != nil && strings.Contains(err.Error(), secret[1:]) {
				t.Errorf("Validate() tells the secret: %v", err)
			}
		})
	}
}
