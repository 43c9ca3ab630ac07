package main

import (
	"context"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/upload"
)

type config struct {
	Serve   serve.Config
	Token   token.VerifierConfig
	MongoDB mongodb.Config
	Sink    eventing.SinkConfig
	Upload  upload.Config
}

type stores struct {
	videos *media.GridFS
	jobs   *job.Mongo
	close  func(context.Context) error
}

func (c config) stores() (stores, error) {
	client, err := mongodb.Connect(c.MongoDB)
	if err != nil {
		return stores{}, err
	}
	return stores{
		videos: media.NewGridFS(client.Database(c.MongoDB.Videos)),
		jobs:   job.NewMongo(client.Database(c.MongoDB.Database)),
		close:  client.Disconnect,
	}, nil
}
