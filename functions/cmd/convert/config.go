package main

import (
	"errors"
	"fmt"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

type config struct {
	Serve   serve.Config
	MongoDB mongodb.Config
	Convert convert.Config
	Secret  string `env:"EVENT_SECRET, required"` // that events are signed with
}

// Validate reports every fault by variable name.
func (c *config) Validate() error {
	err := c.Convert.Validate()
	if len(c.Secret) < eventing.MinSecret {
		err = errors.Join(err, fmt.Errorf("EVENT_SECRET: want at least %d bytes", eventing.MinSecret))
	}
	return err
}
