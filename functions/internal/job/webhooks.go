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

// Webhooks is what [MongoWebhooks] and [SQLiteWebhooks] both do: they keep the webhooks of users, each of which is told
// of those of its owner's jobs that have no webhook. They are beside the jobs, as [Feeds] are.
type Webhooks interface {
	// Set makes w the owner's webhook, and gives what is kept: a webhook that has the same URL already keeps its secret.
	Set(ctx context.Context, owner string, w Webhook) (Webhook, error)
	// Get gives the owner's webhook. ErrNotFound when there is none.
	Get(ctx context.Context, owner string) (Webhook, error)
	// End ends the owner's webhook; when there is none it is no error.
	End(ctx context.Context, owner string) error
}

// MongoWebhooks keeps the webhooks in the collection webhooks.
type MongoWebhooks struct{ webhooks *mongo.Collection }

// NewMongoWebhooks is as [NewMongo].
func NewMongoWebhooks(db *mongo.Database) *MongoWebhooks {
	return &MongoWebhooks{db.Collection("webhooks")}
}

// Set is of [Webhooks].
func (m *MongoWebhooks) Set(ctx context.Context, owner string, w Webhook) (Webhook, error) {
	// With the same URL, this is an insert of an id that is there.
	_, err := m.webhooks.UpdateOne(ctx, bson.M{"_id": owner, "url": bson.M{"$ne": w.URL}}, bson.M{"$set": w},
		options.UpdateOne().SetUpsert(true))
	if err != nil && !mongo.IsDuplicateKeyError(err) {
		return Webhook{}, fmt.Errorf("keep a webhook: %w", err)
	}
	return m.Get(ctx, owner)
}

// Get is of [Webhooks].
func (m *MongoWebhooks) Get(ctx context.Context, owner string) (w Webhook, err error) {
	err = m.webhooks.FindOne(ctx, bson.M{"_id": owner}).Decode(&w)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = ErrNotFound
	}
	if err != nil {
		return Webhook{}, fmt.Errorf("find a webhook: %w", err)
	}
	return w, nil
}

// End is of [Webhooks].
func (m *MongoWebhooks) End(ctx context.Context, owner string) error {
	if _, err := m.webhooks.DeleteOne(ctx, bson.M{"_id": owner}); err != nil {
		return fmt.Errorf("end a webhook: %w", err)
	}
	return nil
}

// SQLiteWebhooks keeps the webhooks in a table.
type SQLiteWebhooks struct{ db *sql.DB }

// NewSQLiteWebhooks is as [NewSQLite].
func NewSQLiteWebhooks(ctx context.Context, db *sql.DB) (*SQLiteWebhooks, error) {
	_, err := db.ExecContext(ctx, `
CREATE TABLE IF NOT EXISTS webhooks (
	owner  TEXT PRIMARY KEY,
	url    TEXT NOT NULL,
	secret TEXT NOT NULL
) STRICT`)
	if err != nil {
		return nil, fmt.Errorf("make the table of webhooks: %w", err)
	}
	return &SQLiteWebhooks{db}, nil
}

// Set is of [Webhooks].
func (s *SQLiteWebhooks) Set(ctx context.Context, owner string, w Webhook) (Webhook, error) {
	_, err := s.db.ExecContext(ctx, `INSERT INTO webhooks (owner, url, secret) VALUES (?, ?, ?)
ON CONFLICT (owner) DO UPDATE SET url = excluded.url, secret = excluded.secret WHERE url <> excluded.url`,
		owner, w.URL, w.Secret)
	if err != nil {
		return Webhook{}, fmt.Errorf("keep a webhook: %w", err)
	}
	return s.Get(ctx, owner)
}

// Get is of [Webhooks].
func (s *SQLiteWebhooks) Get(ctx context.Context, owner string) (w Webhook, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT url, secret FROM webhooks WHERE owner = ?", owner).Scan(&w.URL, &w.Secret)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Webhook{}, fmt.Errorf("find a webhook: %w", err)
	}
	return w, nil
}

// End is of [Webhooks].
func (s *SQLiteWebhooks) End(ctx context.Context, owner string) error {
	if _, err := s.db.ExecContext(ctx, "DELETE FROM webhooks WHERE owner = ?", owner); err != nil {
		return fmt.Errorf("end a webhook: %w", err)
	}
	return nil
}
