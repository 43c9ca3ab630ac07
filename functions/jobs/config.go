package jobs

import (
	"errors"
	"net/url"
	"strings"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// Config is what the function is told.
type Config struct {
	Link token.LinkConfig
	// PublicURL is the address of the gateway, for what needs a whole address. Without it the request tells.
	PublicURL string `env:"PUBLIC_URL"`
	// Legacy gives an MP3 that the old system made to whoever has its id and a token, as the old gateway does.
	Legacy  bool `env:"LEGACY"`
	Proxies eventing.ProxyConfig
}

// Validate reports every fault by variable name.
func (c Config) Validate() error {
	if c.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		strings.ContainsAny(c.PublicURL, "?#") {
		return errors.New("PUBLIC_URL: want the address of the gateway, such as https://soundstrip.example.com")
	}
	return nil
}
