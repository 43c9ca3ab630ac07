package job

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/soundstrip/soundstrip/functions/internal/once"
)

// usual is the change that a step usually makes, as MongoDB makes it by itself: of a job that matches when, it sets the
// fields. It equals what the step's [change] does to such a job, and may leave out what is seldom: of a job that does
// not match, the step does what it does without.
type usual struct {
	when bson.M
	set  bson.M
	news bool // whether it is a [steps.step]
}

// later is the server's clock and a time more.
func later(d time.Duration) bson.M {
	return bson.M{"$dateAdd": bson.M{"startDate": "$$NOW", "unit": "millisecond", "amount": d.Milliseconds()}}
}

// over matches jobs with a time that is not there, or has come by the server's clock.
func over(field string) bson.M {
	return bson.M{"$lte": bson.A{bson.M{"$ifNull": bson.A{"$" + field, time.Time{}}}, "$$NOW"}}
}

// as is a value that the server does not take for an expression.
func as(v any) bson.M { return bson.M{"$literal": v} }

// pipelines knows whether the server takes update pipelines, with its clock in them. MongoDB does from 5.0 on, and what
// stands in for it may not. It is asked once.
type pipelines struct {
	asked once.Once
	taken atomic.Bool
}

// by asks, unless it was: an answer that is none, as of a server that is away, is asked for again.
func (p *pipelines) by(ctx context.Context, c *mongo.Collection) bool {
	_ = p.asked.Do(ctx, func(ctx context.Context) error { return p.ask(ctx, c) })
	return p.taken.Load()
}

// ask gives the error of an answer that is none.
func (p *pipelines) ask(ctx context.Context, c *mongo.Collection) error {
	// No job has this id, so that nothing is changed.
	_, err := c.UpdateOne(ctx, bson.M{"_id": "", "$expr": over("none")},
		mongo.Pipeline{{{Key: "$set", Value: bson.M{"none": later(time.Second)}}}})
	refused := mongo.CommandError{}
	write := mongo.WriteException{}
	switch {
	case err == nil:
		p.taken.Store(true)
	case errors.As(err, &refused) && !refused.HasErrorLabel("RetryableWriteError"), errors.As(err, &write):
	default:
		return err
	}
	return nil
}

// usually makes the usual change in one go. It reports false when the job is no usual one, or the server cannot.
func (m *Mongo) usually(ctx context.Context, id string, u usual) (j Job, made bool, err error) {
	if !m.pipelines.by(ctx, m.jobs) {
		return j, false, nil
	}
	u.when["_id"] = id
	u.set["rev"] = bson.M{"$add": bson.A{"$rev", 1}}
	if u.news {
		u.set["updated"], u.set["since"] = "$$NOW", "$$NOW"
	}
	var r record
	err = m.jobs.FindOneAndUpdate(ctx, u.when, mongo.Pipeline{{{Key: "$set", Value: u.set}}},
		options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&r)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return j, false, nil
	case err != nil:
		return j, false, fmt.Errorf("change %s of %s: %w", id, m.jobs.Name(), err)
	}
	return r.Job, true, nil
}
