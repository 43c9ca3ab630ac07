// Package mongodb connects to the server that keeps videos, MP3s and jobs.
package mongodb

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// Config says where MongoDB is and how its databases are called.
type Config struct {
	URI      string `env:"MONGODB_URI, required"`
	Videos   string `env:"MONGODB_VIDEOS_DB, default=videos"` // GridFS
	MP3s     string `env:"MONGODB_MP3S_DB, default=mp3s"`     // GridFS
	Database string `env:"MONGODB_DB, default=soundstrip"`    // jobs
}

// Connect makes a client, which reaches for the server when it is first used. Its writes count when a majority has them in the
// journal, whatever the URI says; the deadlines are the URI's (serverSelectionTimeoutMS, timeoutMS) or 10 and 30 seconds.
func Connect(c Config) (*mongo.Client, error) {
	journal := true
	client, err := mongo.Connect(options.Client().
		SetAppName("soundstrip").
		SetServerSelectionTimeout(10 * time.Second).
		SetTimeout(30 * time.Second).
		ApplyURI(c.URI).
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal}))
	if err != nil {
		return nil, fmt.Errorf("MONGODB_URI: %w", err)
	}
	return client, nil
}

// Stores are what the server keeps.
type Stores struct {
	Videos, MP3s *media.GridFS
	Jobs         *job.Mongo
	Close        func(context.Context) error // ends the connections
}

// Open makes the stores of one client; like [Connect] it does not wait for the server.
func Open(c Config) (Stores, error) {
	client, err := Connect(c)
	if err != nil {
		return Stores{}, err
	}
	return Stores{
		Videos: media.NewGridFS(client.Database(c.Videos)),
		MP3s:   media.NewGridFS(client.Database(c.MP3s)),
		Jobs:   job.NewMongo(client.Database(c.Database)),
		Close:  client.Disconnect,
	}, nil
}
