// Package mongodb connects to the server that keeps videos, MP3s and jobs.
package mongodb

import (
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
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
