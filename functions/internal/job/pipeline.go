package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/soundstrip/soundstrip/eventing"
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

func usualQueued() usual {
	return usual{when: bson.M{"state": Stored, "attempts.0": bson.M{"$exists": false}},
		set: bson.M{"state": Queued, "waits": true}, news: true}
}

// usualClaim is for a job that nobody has begun with, of which no attempt is to be ended.
func usualClaim(turn, worker string, ttl time.Duration) usual {
	epoch := bson.M{"$add": bson.A{"$lease.epoch", 1}}
	return usual{
		when: bson.M{"waits": true, "attempts.0": bson.M{"$exists": false}, "$expr": over("lease.until")},
		set: bson.M{"state": Converting, "progress": 0, "turn": as(turn), "waits": false,
			"lease": bson.D{{Key: "epoch", Value: epoch}, {Key: "until", Value: later(ttl)}},
			"attempts": bson.A{bson.D{{Key: "epoch", Value: epoch}, {Key: "worker", Value: as(worker)},
				{Key: "from", Value: "$$NOW"}}}},
		news: true,
	}
}

func usualHeartbeat(epoch int, ttl time.Duration, progress int) usual {
	return usual{
		when: bson.M{"lease.epoch": epoch, "state": Converting},
		set: bson.M{"lease.until": later(ttl),
			"progress": bson.M{"$max": bson.A{"$progress", min(progress, most)}}},
		news: true,
	}
}

// ending is the attempt of an epoch, as it ends, among the others. The rest is what else is to be said of it.
func ending(epoch int, reason string, rest ...bson.E) bson.M {
	end := bson.D{{Key: "to", Value: "$$NOW"}}
	if reason != "" {
		end = append(end, bson.E{Key: "error", Value: as(reason)})
	}
	end = append(end, rest...)
	return bson.M{"$map": bson.M{"input": "$attempts", "in": bson.M{"$cond": bson.A{
		bson.M{"$eq": bson.A{"$$this.epoch", epoch}}, bson.M{"$mergeObjects": bson.A{"$$this", end}}, "$$this"}}}}
}

// usualEnd is for a job of which the video is kept for a while, and the MP3 for as long as its owner likes.
func usualEnd(epoch int, state State, attempts bson.M) usual {
	due := bson.M{"$dateAdd": bson.M{"startDate": "$$NOW", "unit": "second", "amount": "$keep.video"}}
	return usual{
		when: bson.M{"lease.epoch": epoch, "state": Converting, "attempts.epoch": epoch, "keep.video": bson.M{"$gt": 0},
			"keep.mp3": bson.M{"$exists": false}, "expires": bson.M{"$exists": false}},
		set:  bson.M{"state": state, "lease.until": time.Time{}, "attempts": attempts, "video_expires": due, "due": due},
		news: true,
	}
}

func usualFinish(epoch int, mp3 MP3) usual {
	u := usualEnd(epoch, Converted, ending(epoch, ""))
	u.set["progress"], u.set["mp3"], u.set["notice"] = 100, as(mp3), "$$REMOVE"
	if mp3.Notice != "" {
		u.set["notice"] = as(mp3.Notice)
	}
	u.set["kept"] = bson.M{"$add": bson.A{"$video.length", mp3.Length}}
	return u
}

func usualFail(epoch int, f eventing.Failure) usual {
	u := usualEnd(epoch, Failed, ending(epoch, f.Message))
	u.set["error"] = as(f)
	return u
}

func usualRelease(epoch int, reason string) usual {
	return usual{
		when: bson.M{"lease.epoch": epoch, "state": Converting, "attempts.epoch": epoch},
		set: bson.M{"state": Queued, "lease.until": time.Time{},
			"attempts": ending(epoch, reason, bson.E{Key: "released", Value: true})},
		news: true,
	}
}

func usualTell(ttl time.Duration) usual {
	when := bson.M{}
	if ttl > 0 {
		when["$expr"] = over("telling")
	}
	return usual{when: when, set: bson.M{"telling": later(ttl)}}
}

// usualNoticed is for the last notice of a Converted job, or any before.
func usualNoticed(n Notice, done bool) usual {
	notice := bson.D{{Key: "event", Value: as(n.Event)}, {Key: "channel", Value: as(n.Channel)},
		{Key: "at", Value: "$$NOW"}}
	if n.Refused != "" {
		notice = append(notice, bson.E{Key: "refused", Value: as(n.Refused)})
	}
	before := bson.M{"$ifNull": bson.A{"$notices", bson.A{}}}
	u := usual{
		when: bson.M{"state": Converted,
			"notices": bson.M{"$not": bson.M{"$elemMatch": bson.M{"event": n.Event, "channel": n.Channel}}}},
		set:  bson.M{"notices": bson.M{"$concatArrays": bson.A{before, bson.A{notice}}}},
		news: true,
	}
	if done {
		u.set["state"], u.set["owes"] = Notified, false
	}
	return u
}

// pipelines knows whether the server takes update pipelines, with its clock in them. MongoDB does from 5.0 on, and what
// stands in for it may not. It is asked once.
type pipelines struct {
	mu    sync.Mutex
	asked bool
	taken bool
}

// by asks, and says so when it was: an answer that is none, as of a server that is away, is asked for again.
func (p *pipelines) by(ctx context.Context, c *mongo.Collection) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked {
		return p.taken
	}
	// No job has this id, so that nothing is changed.
	_, err := c.UpdateOne(ctx, bson.M{"_id": "", "$expr": over("none")},
		mongo.Pipeline{{{Key: "$set", Value: bson.M{"none": later(time.Second)}}}})
	refused := mongo.CommandError{}
	write := mongo.WriteException{}
	switch {
	case err == nil:
		p.asked, p.taken = true, true
	case errors.As(err, &refused) && !refused.HasErrorLabel("RetryableWriteError"), errors.As(err, &write):
		p.asked = true
	}
	return p.taken
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
