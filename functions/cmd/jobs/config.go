package main

import (
	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/jobs"
)

type config struct {
	Serve   serve.Config
	Token   token.VerifierConfig
	Jobs    jobs.Config
	MongoDB mongodb.Config
	Sink    eventing.SinkConfig
}
