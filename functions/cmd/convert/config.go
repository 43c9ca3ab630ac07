package main

import (
	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

type config struct {
	Serve   serve.Config
	MongoDB mongodb.Config
	Convert convert.Config
	Engine  engine.Config
	Events  eventing.SourceConfig
}
