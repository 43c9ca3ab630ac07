package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

// folder is the data folder with its one database, in which whatever has no server of its own is kept.
type folder struct {
	path string
	db   *sql.DB
}

// database is the name of its file in the folder.
const database = "soundstrip.db"

func openFolder(path string) (*folder, error) {
	f, err := newFolder(path)
	if err != nil {
		return nil, err
	}
	return f, f.open()
}

// newFolder makes the folder where it is not there; [folder.open] opens its database.
func newFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("SOUNDSTRIP_DATA: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("SOUNDSTRIP_DATA: %w", err)
	}
	return &folder{path: path}, nil
}

func (f *folder) open() (err error) {
	f.db, err = sqlite.Open(filepath.Join(f.path, database))
	return err
}

// lock makes sure that one process at a time serves from the folder: its queue knows what is in flight by memory alone.
func (f *folder) lock() (*flock.Flock, error) {
	l := flock.New(filepath.Join(f.path, "lock"))
	switch ok, err := l.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", f.path, err)
	case !ok:
		return nil, fmt.Errorf("another soundstrip serves from %s: stop it, or set SOUNDSTRIP_DATA to another folder", f.path)
	}
	return l, nil
}

// accounts opens the users: in MySQL when MYSQL_HOST is set.
func (f *folder) accounts(ctx context.Context, c account.Config) (*account.Store, func(context.Context) error, error) {
	if c.Host == "" {
		s, err := account.NewSQLite(ctx, f.db)
		return s, func(context.Context) error { return nil }, err
	}
	db, err := account.Open(c)
	if err != nil {
		return nil, nil, err
	}
	s, err := account.NewMySQL(ctx, db)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	s.LeavePlain = !c.Rehash
	return s, func(context.Context) error { return db.Close() }, nil
}

// stores keep the jobs and their files.
type stores struct {
	jobs         job.Store
	feeds        job.Feeds
	webhooks     job.Webhooks
	uploads      job.Uploads
	videos, mp3s media.Store
	close        func(context.Context) error
}

// set reports whether a variable is given, itself or as a file.
func set(env envconfig.Lookuper, name string) bool {
	v, _ := env.Lookup(name)
	file, _ := env.Lookup(name + "_FILE")
	return v != "" || file != ""
}

// media opens the jobs and their files: in MongoDB when MONGODB_URI is set.
func (f *folder) media(ctx context.Context, env envconfig.Lookuper) (s stores, err error) {
	if set(env, "MONGODB_URI") {
		var c mongodb.Config
		if err := serve.Load(ctx, env, &c); err != nil {
			return s, err
		}
		m, err := mongodb.Open(c)
		return stores{jobs: m.Jobs, feeds: m.Feeds, webhooks: m.Webhooks, uploads: m.Uploads, videos: m.Videos, mp3s: m.MP3s,
			close: m.Close}, err
	}
	s.close = func(context.Context) error { return nil }
	if s.jobs, err = job.NewSQLite(ctx, f.db); err != nil {
		return s, err
	}
	if s.feeds, err = job.NewSQLiteFeeds(ctx, f.db); err != nil {
		return s, err
	}
	if s.webhooks, err = job.NewSQLiteWebhooks(ctx, f.db); err != nil {
		return s, err
	}
	if s.uploads, err = job.NewSQLiteUploads(ctx, f.db); err != nil {
		return s, err
	}
	if s.videos, err = media.NewFolder(filepath.Join(f.path, "media", "videos")); err != nil {
		return s, err
	}
	s.mp3s, err = media.NewFolder(filepath.Join(f.path, "media", "mp3s"))
	return s, err
}

// queue is where events wait.
type queue interface {
	broker.Queue
	Ping(ctx context.Context) error
	Close(ctx context.Context) error
}

// queue opens the queue: in RabbitMQ when AMQP_URL is set.
func (f *folder) queue(ctx context.Context, env envconfig.Lookuper, ts broker.Triggers) (queue, error) {
	if set(env, "AMQP_URL") {
		var c broker.RabbitConfig
		if err := serve.Load(ctx, env, &c); err != nil {
			return nil, err
		}
		return broker.NewRabbit(c, ts)
	}
	q, err := broker.NewSQLite(ctx, f.db, ts)
	return sqliteQueue{q, f}, err
}

// sqliteQueue is as reachable as the folder's database, and closed with it.
type sqliteQueue struct {
	*broker.SQLite
	f *folder
}

func (q sqliteQueue) Ping(ctx context.Context) error { return q.f.db.PingContext(ctx) }

func (sqliteQueue) Close(context.Context) error { return nil }
