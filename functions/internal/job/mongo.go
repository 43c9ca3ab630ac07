package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/soundstrip/soundstrip/functions/internal/once"
)

// Mongo keeps the jobs in the collection jobs of a MongoDB database (4.2 or later). What steps usually change, the
// server does itself, by an update pipeline with its clock ($$NOW) in it, where it takes these (5.0 or later). Any
// other change reads the document together with the server's clock, and replaces it on the condition that it is still
// the one that was read.
type Mongo struct {
	steps
	jobs      *mongo.Collection
	hadTurns  *mongo.Collection // by owner
	sounds    *mongo.Collection // made today, by owner
	pipelines pipelines
	indexes
}

// NewMongo uses the database through a client whose writes are majority and journaled. It does not connect.
func NewMongo(db *mongo.Database) *Mongo {
	m := &Mongo{jobs: db.Collection("jobs"), hadTurns: db.Collection("turns"), sounds: db.Collection("made")}
	m.steps.change, m.steps.turns, m.steps.usually = m.change, m, m.usually
	return m
}

// index makes the indexes before the first job is kept.
func (m *Mongo) index(ctx context.Context) error {
	return m.make(ctx, m.jobs,
		mongo.IndexModel{Keys: bson.D{{Key: "owner", Value: 1}, {Key: "_id", Value: -1}}},
		mongo.IndexModel{Keys: bson.D{{Key: "updated", Value: 1}}},
		mongo.IndexModel{Keys: bson.D{{Key: "owner", Value: 1}, {Key: "updated", Value: 1}}},
		mongo.IndexModel{Keys: bson.D{{Key: "mp3.fid", Value: 1}}, Options: options.Index().SetSparse(true)},
		mongo.IndexModel{Keys: bson.D{{Key: "waits", Value: 1}, {Key: "owner", Value: 1}, {Key: "video.length", Value: 1}}},
		mongo.IndexModel{Keys: bson.D{{Key: "owner", Value: 1}, {Key: "state", Value: 1}, {Key: "kept", Value: 1}}},
		mongo.IndexModel{Keys: bson.D{{Key: "turn", Value: 1}}, Options: options.Index().SetSparse(true)},
		mongo.IndexModel{Keys: bson.D{{Key: "owes", Value: 1}, {Key: "since", Value: 1}}},
		mongo.IndexModel{Keys: bson.D{{Key: "due", Value: 1}}, Options: options.Index().SetSparse(true)},
	)
}

// indexes are made once a process, before the first document is kept.
type indexes struct{ made once.Once }

func (x *indexes) make(ctx context.Context, c *mongo.Collection, models ...mongo.IndexModel) error {
	err := x.made.Do(ctx, func(ctx context.Context) error {
		_, err := c.Indexes().CreateMany(ctx, models)
		return err
	})
	if err != nil {
		return fmt.Errorf("make the indexes of %s: %w", c.Name(), err)
	}
	return nil
}

// Create is of [Store].
func (m *Mongo) Create(ctx context.Context, j Job) (Job, error) {
	j.State, j.Round = Stored, 1
	kept, err := m.insert(ctx, j)
	if mongo.IsDuplicateKeyError(err) {
		return Job{}, fmt.Errorf("create job %s: %w", j.ID, ErrExists)
	}
	return kept, err
}

// Adopt is of [Store].
func (m *Mongo) Adopt(ctx context.Context, j Job) (Job, error) {
	kept, err := m.insert(ctx, j)
	if mongo.IsDuplicateKeyError(err) {
		return m.Get(ctx, j.ID)
	}
	return kept, err
}

// insert is an upsert that matches nothing, because a plain insert cannot ask for the server's clock.
func (m *Mongo) insert(ctx context.Context, j Job) (Job, error) {
	if err := m.index(ctx); err != nil {
		return Job{}, err
	}
	raw, err := bson.Marshal(begin(j))
	if err != nil {
		return Job{}, fmt.Errorf("encode job %s: %w", j.ID, err)
	}
	var doc bson.M
	if err := bson.Unmarshal(raw, &doc); err != nil {
		return Job{}, fmt.Errorf("encode job %s: %w", j.ID, err)
	}
	times := bson.M{}
	for _, name := range []string{"created", "updated", "since"} {
		delete(doc, name)
		times[name] = true
	}
	delete(doc, "_id")
	var r record
	err = m.jobs.FindOneAndUpdate(ctx,
		bson.M{"_id": j.ID, "state": bson.M{"$exists": false}},
		bson.M{"$setOnInsert": doc, "$currentDate": times},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&r)
	if err != nil {
		return Job{}, fmt.Errorf("keep job %s: %w", j.ID, err)
	}
	return r.Job, nil
}

func (m *Mongo) change(ctx context.Context, id string, f change) (Job, error) {
	r, err := changeDocument(ctx, m.jobs, id, func(r *record, now time.Time) error { return r.apply(f, now) })
	return r.Job, err
}

// changeDocument makes one change as [Mongo] says. f may be called several times; errSame says that there is nothing to
// do.
func changeDocument[R any, P interface {
	*R
	version() *version
}](
	ctx context.Context, c *mongo.Collection, id string, f func(P, time.Time) error,
) (R, error) {
	for {
		r, err := readDocument[R](ctx, c, id)
		if err != nil {
			return r, err
		}
		v := P(&r).version()
		seen, now := v.Rev, v.Now
		v.Now = time.Time{}
		if err := f(&r, now); errors.Is(err, errSame) {
			return r, nil
		} else if err != nil {
			return r, err
		}
		v.Rev++
		res, err := c.ReplaceOne(ctx, bson.M{"_id": id, "rev": seen}, r)
		if err != nil {
			return r, fmt.Errorf("change %s of %s: %w", id, c.Name(), err)
		}
		if res.MatchedCount == 1 {
			return r, nil
		}
		// Somebody else changed it in between, so the next round sees other facts.
	}
}

// readDocument gives a document and the server's clock.
func readDocument[R any](ctx context.Context, c *mongo.Collection, id string) (R, error) {
	cur, err := c.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$match", Value: bson.M{"_id": id}}},
		{{Key: "$addFields", Value: bson.M{"now": "$$NOW"}}},
	})
	var found []R
	if err == nil {
		err = cur.All(ctx, &found)
	}
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return *new(R), fmt.Errorf("read %s of %s: %w", id, c.Name(), err)
	}
	return found[0], nil
}

// Get is of [Store].
func (m *Mongo) Get(ctx context.Context, id string) (Job, error) { return m.one(ctx, "_id", id) }

// FindMP3 is of [Store].
func (m *Mongo) FindMP3(ctx context.Context, fid string) (Job, error) {
	return m.one(ctx, "mp3.fid", fid)
}

func (m *Mongo) one(ctx context.Context, field, value string) (Job, error) {
	var j Job
	err := m.jobs.FindOne(ctx, bson.M{field: value}).Decode(&j)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return Job{}, fmt.Errorf("job with %s %q: %w", field, value, ErrNotFound)
	}
	if err != nil {
		return Job{}, fmt.Errorf("read job with %s %q: %w", field, value, err)
	}
	return j, nil
}

func (m *Mongo) find(ctx context.Context, filter bson.M, sort bson.D, limit int) ([]Job, error) {
	if limit <= 0 {
		return nil, nil // to MongoDB 0 means no limit
	}
	cur, err := m.jobs.Find(ctx, filter, options.Find().SetSort(sort).SetLimit(int64(limit)))
	var found []Job
	if err == nil {
		err = cur.All(ctx, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("find jobs: %w", err)
	}
	return found, nil
}

// Keeps is of [Store].
func (m *Mongo) Keeps(ctx context.Context, ids []string) (map[string]bool, error) {
	if len(ids) == 0 {
		return nil, nil // $in wants a list
	}
	in := bson.M{"$in": ids}
	cur, err := m.jobs.Find(ctx, bson.M{"$or": bson.A{bson.M{"_id": in}, bson.M{"mp3.fid": in}},
		"state": bson.M{"$ne": Expired}},
		options.Find().SetProjection(bson.M{"mp3.fid": 1}))
	var found []Job
	if err == nil {
		err = cur.All(ctx, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("look for the jobs of %d files: %w", len(ids), err)
	}
	return filesOf(found), nil
}

// List is of [Store].
func (m *Mongo) List(ctx context.Context, q Query) ([]Job, error) {
	filter := bson.M{}
	if q.Owner != "" {
		filter["owner"] = q.Owner
	}
	if q.State != "" {
		filter["state"] = q.State
	}
	if q.Before != "" {
		filter["_id"] = bson.M{"$lt": q.Before}
	}
	return m.find(ctx, filter, bson.D{{Key: "_id", Value: -1}}, q.Limit)
}

// Changed is of [Store].
func (m *Mongo) Changed(ctx context.Context, owner string, since time.Time, limit int) ([]Job, error) {
	filter := bson.M{"updated": bson.M{"$gte": since}}
	if owner != "" {
		filter["owner"] = owner
	}
	return m.find(ctx, filter, bson.D{{Key: "updated", Value: 1}}, limit)
}

func (m *Mongo) taken(ctx context.Context, turn string) (string, error) {
	return m.id(ctx, bson.M{"turn": turn, "state": bson.M{"$in": unfinished}}, nil)
}

func (m *Mongo) answered(ctx context.Context, turn string) (string, error) {
	return m.id(ctx, bson.M{"turn": turn, "state": bson.M{"$in": bson.A{Converted, Failed}}, "owes": true}, nil)
}

// id gives the id of the first job that matches; empty when there is none.
func (m *Mongo) id(ctx context.Context, filter bson.M, sort bson.D) (string, error) {
	var j Job
	o := options.FindOne().SetProjection(bson.M{"_id": 1})
	if sort != nil {
		o.SetSort(sort)
	}
	err := m.jobs.FindOne(ctx, filter, o).Decode(&j)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return "", fmt.Errorf("look for a job: %w", err)
	}
	return j.ID, nil
}

func (m *Mongo) next(ctx context.Context) (string, error) {
	for {
		owner, err := m.nextOwner(ctx)
		if err != nil || owner == "" {
			return "", err
		}
		id, err := m.id(ctx, bson.M{"waits": true, "owner": owner},
			bson.D{{Key: "video.length", Value: 1}, {Key: "_id", Value: 1}})
		if err != nil || id != "" {
			return id, err
		}
		// The owner's last one was taken in between, and others may have some that wait.
	}
}

// nextOwner is whose turn it is of those who have a job that waits; empty when nobody has.
func (m *Mongo) nextOwner(ctx context.Context) (string, error) {
	type owner struct {
		Name  string `bson:"_id"`
		First string `bson:"first"`
	}
	var waiting []owner
	cur, err := m.jobs.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$match", Value: bson.M{"waits": true}}},
		{{Key: "$group", Value: bson.M{"_id": "$owner", "first": bson.M{"$min": "$_id"}}}},
	})
	if err == nil {
		err = cur.All(ctx, &waiting)
	}
	if err != nil {
		return "", fmt.Errorf("look for owners whose jobs wait: %w", err)
	}
	if len(waiting) == 0 {
		return "", nil
	}
	owners := make([]string, len(waiting))
	for i, w := range waiting {
		owners[i] = w.Name
	}
	var had []struct {
		Owner string `bson:"_id"`
		At    int64  `bson:"at"`
	}
	if cur, err = m.hadTurns.Find(ctx, bson.M{"_id": bson.M{"$in": owners}}); err == nil {
		err = cur.All(ctx, &had)
	}
	if err != nil {
		return "", fmt.Errorf("look for a job: %w", err)
	}
	last := map[string]int64{}
	for _, h := range had {
		last[h.Owner] = h.At
	}
	turn := slices.MinFunc(waiting, func(a, b owner) int {
		return cmp.Or(cmp.Compare(last[a.Name], last[b.Name]), cmp.Compare(a.First, b.First))
	})
	return turn.Name, nil
}

func (m *Mongo) had(ctx context.Context, owner string) error {
	_, err := m.hadTurns.UpdateByID(ctx, owner, bson.M{"$set": bson.M{"at": time.Now().UnixNano()}},
		options.UpdateOne().SetUpsert(true))
	if err != nil {
		return fmt.Errorf("record a turn: %w", err)
	}
	return nil
}

func (m *Mongo) made(ctx context.Context, owner string, seconds float64) error {
	today := bson.M{"_id": owner, "day": dayOf(time.Now())}
	res, err := m.sounds.UpdateOne(ctx, today, bson.M{"$inc": bson.M{"seconds": seconds}})
	if err == nil && res.MatchedCount == 0 { // two that come here at once at the beginning of a day count as one
		today["seconds"] = seconds
		_, err = m.sounds.ReplaceOne(ctx, bson.M{"_id": owner}, today, options.Replace().SetUpsert(true))
	}
	return err
}

// Usage is of [Store].
func (m *Mongo) Usage(ctx context.Context, owner string) (u Usage, err error) {
	var states []struct {
		State State `bson:"_id"`
		Jobs  int   `bson:"jobs"`
		Kept  int64 `bson:"kept"`
	}
	cur, err := m.jobs.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$match", Value: bson.M{"owner": owner}}},
		{{Key: "$group", Value: bson.M{"_id": "$state", "jobs": bson.M{"$sum": 1}, "kept": bson.M{"$sum": "$kept"}}}},
	})
	if err == nil {
		err = cur.All(ctx, &states)
	}
	var today struct {
		Seconds float64 `bson:"seconds"`
	}
	if err == nil {
		err = m.sounds.FindOne(ctx, bson.M{"_id": owner, "day": dayOf(time.Now())}).Decode(&today)
		if errors.Is(err, mongo.ErrNoDocuments) {
			err = nil
		}
	}
	if err != nil {
		return u, fmt.Errorf("usage of an owner: %w", err)
	}
	for _, s := range states {
		u.Bytes += s.Kept
		if !s.State.Finished() {
			u.Jobs += s.Jobs
		}
	}
	u.Minutes = today.Seconds / 60
	return u, nil
}

// serverTime is the clock of the server, as its greeting tells it: a filter with $$NOW would read all documents, since
// no index leads to what it compares. The command is the one that drivers greet every server with.
func serverTime(ctx context.Context, db *mongo.Database) (time.Time, error) {
	var greeting struct {
		LocalTime time.Time `bson:"localTime"`
	}
	err := db.RunCommand(ctx, bson.D{{Key: "isMaster", Value: 1}}).Decode(&greeting)
	if err == nil && greeting.LocalTime.IsZero() {
		err = errors.New("it has no localTime")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the clock of MongoDB: %w", err)
	}
	return greeting.LocalTime, nil
}

// Delete is of [Store].
func (m *Mongo) Delete(ctx context.Context, id string) error {
	if _, err := m.jobs.DeleteOne(ctx, bson.M{"_id": id}); err != nil {
		return fmt.Errorf("delete job %s: %w", id, err)
	}
	return nil
}

// Stuck is of [Store].
func (m *Mongo) Stuck(ctx context.Context, unsent, silent time.Duration, limit int) ([]Job, error) {
	now, err := serverTime(ctx, m.jobs.Database())
	if err != nil {
		return nil, err
	}
	since := bson.M{"$lte": now.Add(-min(unsent, silent))} // for the index
	return m.find(ctx, bson.M{"owes": true, "since": since, "lease.until": bson.M{"$lte": now}, "$or": bson.A{
		bson.M{"state": Stored, "since": bson.M{"$lte": now.Add(-unsent)}},
		bson.M{"state": bson.M{"$ne": Stored}, "since": bson.M{"$lte": now.Add(-silent)}},
	}}, bson.D{{Key: "since", Value: 1}}, limit)
}

// Expire is of [Store].
func (m *Mongo) Expire(ctx context.Context, limit int) ([]Job, error) {
	now, err := serverTime(ctx, m.jobs.Database())
	if err != nil {
		return nil, err
	}
	due, err := m.find(ctx, bson.M{"due": bson.M{"$lte": now}}, bson.D{{Key: "due", Value: 1}}, limit)
	if err != nil {
		return nil, err
	}
	return m.expire(ctx, due)
}

// Ping is of [Store].
func (m *Mongo) Ping(ctx context.Context) error {
	return m.jobs.Database().Client().Ping(ctx, readpref.Primary())
}
