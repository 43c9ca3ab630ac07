package job

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// MongoUploads keeps the uploads in the collection uploads, as [Mongo] keeps the jobs.
type MongoUploads struct {
	uploadSteps
	uploads *mongo.Collection
	indexes
}

// NewMongoUploads is as [NewMongo].
func NewMongoUploads(db *mongo.Database) *MongoUploads {
	m := &MongoUploads{uploads: db.Collection("uploads")}
	m.uploadSteps.change = m.change
	return m
}

func (m *MongoUploads) change(
	ctx context.Context, id string, f func(r *uploadRecord, now time.Time) error,
) (Upload, error) {
	r, err := changeDocument(ctx, m.uploads, id, f)
	return r.Upload, err
}

// Begin is of [Uploads]. The time at which an upload ends is the server's, and so a change of what is kept. When there
// is none, because we died in between, it has ended already.
func (m *MongoUploads) Begin(ctx context.Context, u Upload, ttl time.Duration) (Upload, error) {
	if err := m.make(ctx, m.uploads, mongo.IndexModel{Keys: bson.D{{Key: "expires", Value: 1}}},
		mongo.IndexModel{Keys: bson.D{{Key: "owner", Value: 1}}}); err != nil {
		return Upload{}, err
	}
	if _, err := m.uploads.InsertOne(ctx, uploadRecord{Upload: u}); mongo.IsDuplicateKeyError(err) {
		return Upload{}, fmt.Errorf("keep upload %s: %w", u.ID, ErrExists)
	} else if err != nil {
		return Upload{}, fmt.Errorf("keep upload %s: %w", u.ID, err)
	}
	return m.expireAfter(ctx, u.ID, ttl)
}

// Get is of [Uploads].
func (m *MongoUploads) Get(ctx context.Context, id string) (Upload, error) {
	r, err := readDocument[uploadRecord](ctx, m.uploads, id)
	return r.Upload, err
}

// Delete is of [Uploads].
func (m *MongoUploads) Delete(ctx context.Context, id string) error {
	if _, err := m.uploads.DeleteOne(ctx, bson.M{"_id": id}); err != nil {
		return fmt.Errorf("delete upload %s: %w", id, err)
	}
	return nil
}

func (m *MongoUploads) find(ctx context.Context, filter bson.M, o *options.FindOptionsBuilder) ([]Upload, error) {
	cur, err := m.uploads.Find(ctx, filter, o.SetProjection(bson.M{"progress.state": 0}))
	var found []Upload
	if err == nil {
		err = cur.All(ctx, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("find uploads: %w", err)
	}
	return found, nil
}

// Usage is of [Uploads].
func (m *MongoUploads) Usage(ctx context.Context, owner string) (u Usage, err error) {
	found, err := m.find(ctx, bson.M{"owner": owner}, options.Find())
	for _, upload := range found {
		if n := (&uploadRecord{Upload: upload}).kept(); n >= 0 {
			u.Uploads++
			u.Bytes += n
		}
	}
	return u, err
}

// Keeps is of [Uploads].
func (m *MongoUploads) Keeps(ctx context.Context, ids []string) (map[string]bool, error) {
	if len(ids) == 0 {
		return nil, nil // $in wants a list
	}
	found, err := m.find(ctx, bson.M{"_id": bson.M{"$in": ids}}, options.Find())
	return idsOf(found), err
}

// Expired is of [Uploads].
func (m *MongoUploads) Expired(ctx context.Context, limit int) ([]Upload, error) {
	now, err := serverTime(ctx, m.uploads.Database())
	if err != nil {
		return nil, err
	}
	return m.find(ctx, bson.M{"expires": bson.M{"$lte": now}},
		options.Find().SetSort(bson.M{"expires": 1}).SetLimit(int64(limit)))
}
