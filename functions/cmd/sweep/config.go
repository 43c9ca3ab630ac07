package main

import (
	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/sweep"
)

type config struct {
	Serve   serve.Config
	MongoDB mongodb.Config
	Sink    eventing.SinkConfig
	Sweep   sweep.Config
	Login   sweep.LoginConfig
}
