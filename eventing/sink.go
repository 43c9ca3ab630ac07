package eventing

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// SinkConfig says where a function sends its events: to the broker, by the variable that Knative's SinkBinding sets.
type SinkConfig struct {
	URL    string `env:"K_SINK, required"`
	Secret string `env:"EVENT_SECRET, required"` // signs the posts
}

// Validate reports a URL that nothing can be posted to and a secret that is too short.
func (c SinkConfig) Validate() error {
	var errs []error
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		errs = append(errs, fmt.Errorf("K_SINK is %q: want an http or https URL", c.URL))
	}
	if len(c.Secret) < MinSecret {
		errs = append(errs, fmt.Errorf("EVENT_SECRET: want at least %d bytes", MinSecret))
	}
	return errors.Join(errs...)
}

// Sender makes what posts to the sink.
func (c SinkConfig) Sender() *HTTPSender {
	client := &http.Client{Timeout: 10 * time.Second, Transport: telemetry.Transport(nil)}
	return &HTTPSender{URL: c.URL, Client: client, Secret: []byte(c.Secret)}
}
