package main

import (
	"context"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

type config struct {
	Serve   serve.Config
	Token   token.VerifierConfig
	MongoDB mongodb.Config
	Sink    eventing.SinkConfig
}

type stores struct {
	videos, mp3s *media.GridFS
	jobs         *job.Mongo
	close        func(context.Context) error
}

func (c config) stores() (stores, error) {
	client, err := mongodb.Connect(c.MongoDB)
	if err != nil {
		return stores{}, err
	}
	return stores{
		videos: media.NewGridFS(client.Database(c.MongoDB.Videos)),
		mp3s:   media.NewGridFS(client.Database(c.MongoDB.MP3s)),
		jobs:   job.NewMongo(client.Database(c.MongoDB.Database)),
		close:  client.Disconnect,
	}, nil
}
