package main

import (
	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

type config struct {
	Serve   serve.Config
	MongoDB mongodb.Config
	Convert convert.Config
	Events  eventing.SourceConfig
	Sink    string `env:"K_SINK"` // needed with CONVERT_FANOUT only
}

func (c config) sink() eventing.SinkConfig {
	return eventing.SinkConfig{URL: c.Sink, Secret: c.Events.Secret}
}

// Validate reports a sink that is missing where sounds are to be shared.
func (c config) Validate() error {
	if c.Convert.Fanout < 2 {
		return nil
	}
	return c.sink().Validate()
}
