// Package mongodb connects to the server that keeps videos, MP3s and jobs.
package mongodb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// Config says where MongoDB is and how its databases are called.
type Config struct {
	URI string `env:"MONGODB_URI, required"`
	// Whom to log in as, where the URI names nobody and there is a password.
	User     string `env:"MONGODB_USER"`
	Password string `env:"MONGODB_PASSWORD"`
	Stores   serve.StoresConfig

	Videos   string `env:"MONGODB_VIDEOS_DB, default=videos"` // GridFS
	MP3s     string `env:"MONGODB_MP3S_DB, default=mp3s"`     // GridFS
	Database string `env:"MONGODB_DB, default=soundstrip"`    // jobs, uploads, feeds and webhooks
}

// Connect makes a client, which reaches for the server when it is first used. The deadlines are the URI's
// (serverSelectionTimeoutMS, timeoutMS), or 10 and 30 seconds. The URI does not change how reads and writes are made
// safe:
//
//   - A write counts when a majority of the servers has it in the journal.
//   - Reads go to the primary. A secondary may be late: sweep would not find a job there, and would delete its video.
//   - Reads see only what a majority has (read concern majority). A failover can undo the rest, but not what we did
//     because of it: a job that was to be deleted comes back, and sweep has deleted its video.
//
// With both at majority on the primary, a process reads its own writes. Those of others it may read late, so package
// job changes a job only if it still is as it was read. Source:
// https://www.mongodb.com/docs/manual/reference/read-concern-majority/
//
// Without TLS it connects to this machine only, unless STORES_PLAIN says otherwise.
func Connect(c Config) (*mongo.Client, error) {
	o, err := checkedOptions(c)
	if err != nil {
		return nil, err
	}
	return connect(o)
}

func checkedOptions(c Config) (*options.ClientOptions, error) {
	o := clientOptions(c)
	for _, address := range o.Hosts {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address // without a port
		}
		if o.TLSConfig == nil && c.Stores.WantsTLS(host) {
			return nil, fmt.Errorf("MONGODB_URI: %s is another machine: add tls=true, or set STORES_PLAIN=true", address)
		}
	}
	if telemetry.Tracing() {
		o.SetMonitor(monitor())
	}
	return o, nil
}

func connect(o *options.ClientOptions) (*mongo.Client, error) {
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("MONGODB_URI: %w", err)
	}
	return client, nil
}

func clientOptions(c Config) *options.ClientOptions {
	journal := true
	o := options.Client().
		SetAppName("soundstrip").
		SetServerSelectionTimeout(10 * time.Second).
		SetTimeout(30 * time.Second).
		ApplyURI(c.URI).
		SetReadPreference(readpref.Primary()).
		SetReadConcern(readconcern.Majority()).
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal})
	if o.Auth == nil && c.Password != "" {
		o.SetAuth(options.Credential{Username: c.User, Password: c.Password})
	}
	return o
}

// Validate reports a password that is nobody's.
func (c *Config) Validate() error {
	if c.Password != "" && c.User == "" {
		return errors.New("MONGODB_USER is not set, and MONGODB_PASSWORD is")
	}
	return nil
}

// Stores are what the server keeps.
type Stores struct {
	Videos, MP3s *media.GridFS
	Jobs         *job.Mongo
	Uploads      *job.MongoUploads
	Feeds        *job.MongoFeeds
	Webhooks     *job.MongoWebhooks
	Close        func(context.Context) error // ends the connections
}

// Open makes the stores of one client; like [Connect] it does not wait for the server.
func Open(c Config) (Stores, error) {
	o, err := checkedOptions(c)
	if err != nil {
		return Stores{}, err
	}
	client, err := connect(o)
	if err != nil {
		return Stores{}, err
	}
	return open(client, &wire{options: o}, c), nil
}

func open(client *mongo.Client, w *wire, c Config) Stores {
	return Stores{
		Videos:   media.NewGridFS(client.Database(c.Videos), w),
		MP3s:     media.NewGridFS(client.Database(c.MP3s), w),
		Jobs:     job.NewMongo(client.Database(c.Database)),
		Uploads:  job.NewMongoUploads(client.Database(c.Database)),
		Feeds:    job.NewMongoFeeds(client.Database(c.Database)),
		Webhooks: job.NewMongoWebhooks(client.Database(c.Database)),
		Close: func(ctx context.Context) error {
			return errors.Join(w.close(ctx), client.Disconnect(ctx))
		},
	}
}
