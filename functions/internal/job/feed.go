package job

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Feeds is what [MongoFeeds] and [SQLiteFeeds] both do: they keep whose feed of jobs a secret opens. They are beside
// the jobs, and not with the users, so that the users may be in any store. Of a secret they get a hash.
type Feeds interface {
	// Replace makes the owner's feed, and ends the one that there was.
	Replace(ctx context.Context, owner, hash string) error
	// Owner says whose feed it is. ErrNotFound when it is nobody's.
	Owner(ctx context.Context, hash string) (string, error)
	// End ends the owner's feed; when there is none it is no error.
	End(ctx context.Context, owner string) error
}

type feed struct {
	Owner string `bson:"_id"`
	Hash  string `bson:"hash"`
}

// MongoFeeds keeps the feeds in the collection feeds.
type MongoFeeds struct {
	feeds *mongo.Collection
	indexes
}

// NewMongoFeeds is as [NewMongo].
func NewMongoFeeds(db *mongo.Database) *MongoFeeds { return &MongoFeeds{feeds: db.Collection("feeds")} }

// Replace is of [Feeds].
func (m *MongoFeeds) Replace(ctx context.Context, owner, hash string) error {
	if err := m.make(ctx, m.feeds, mongo.IndexModel{Keys: bson.D{{Key: "hash", Value: 1}}}); err != nil {
		return err
	}
	_, err := m.feeds.ReplaceOne(ctx, bson.M{"_id": owner}, feed{owner, hash}, options.Replace().SetUpsert(true))
	if err != nil {
		return fmt.Errorf("keep a feed: %w", err)
	}
	return nil
}

// Owner is of [Feeds].
func (m *MongoFeeds) Owner(ctx context.Context, hash string) (string, error) {
	var f feed
	err := m.feeds.FindOne(ctx, bson.M{"hash": hash}).Decode(&f)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("find a feed: %w", err)
	}
	return f.Owner, nil
}

// End is of [Feeds].
func (m *MongoFeeds) End(ctx context.Context, owner string) error {
	if _, err := m.feeds.DeleteOne(ctx, bson.M{"_id": owner}); err != nil {
		return fmt.Errorf("end a feed: %w", err)
	}
	return nil
}

// SQLiteFeeds keeps the feeds in a table.
type SQLiteFeeds struct{ db *sql.DB }

// NewSQLiteFeeds is as [NewSQLite].
func NewSQLiteFeeds(ctx context.Context, db *sql.DB) (*SQLiteFeeds, error) {
	_, err := db.ExecContext(ctx, `
CREATE TABLE IF NOT EXISTS feeds (
	owner TEXT PRIMARY KEY,
	hash  TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS feeds_hash ON feeds (hash)`)
	if err != nil {
		return nil, fmt.Errorf("make the table of feeds: %w", err)
	}
	return &SQLiteFeeds{db}, nil
}

// Replace is of [Feeds].
func (s *SQLiteFeeds) Replace(ctx context.Context, owner, hash string) error {
	_, err := s.db.ExecContext(ctx, "INSERT OR REPLACE INTO feeds (owner, hash) VALUES (?, ?)", owner, hash)
	if err != nil {
		return fmt.Errorf("keep a feed: %w", err)
	}
	return nil
}

// Owner is of [Feeds].
func (s *SQLiteFeeds) Owner(ctx context.Context, hash string) (owner string, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT owner FROM feeds WHERE hash = ?", hash).Scan(&owner)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("find a feed: %w", err)
	}
	return owner, nil
}

// End is of [Feeds].
func (s *SQLiteFeeds) End(ctx context.Context, owner string) error {
	if _, err := s.db.ExecContext(ctx, "DELETE FROM feeds WHERE owner = ?", owner); err != nil {
		return fmt.Errorf("end a feed: %w", err)
	}
	return nil
}
