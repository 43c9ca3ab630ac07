package job

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/soundstrip/soundstrip/eventing"
)

func usualQueued() usual {
	return usual{when: bson.M{"state": Stored, "attempts.0": bson.M{"$exists": false}},
		set: bson.M{"state": Queued, "waits": true}, news: true}
}

func usualResent() usual {
	silent := bson.M{"$dateDiff": bson.M{"startDate": "$updated", "endDate": "$$NOW", "unit": "millisecond"}}
	more := bson.M{"$min": bson.A{silent, maxSilence.Milliseconds()}}
	return usual{
		when: bson.M{"$or": bson.A{
			bson.M{"state": bson.M{"$ne": Stored}}, bson.M{"attempts.0": bson.M{"$exists": false}}}},
		set: bson.M{"state": ifStored(Queued, "$state"), "waits": ifStored(true, "$waits"),
			"since": bson.M{"$dateAdd": bson.M{"startDate": "$$NOW", "unit": "millisecond", "amount": more}}},
	}
}

// ifStored is one value for a Stored job, and another for any other.
func ifStored(then, otherwise any) bson.M {
	return bson.M{"$cond": bson.A{bson.M{"$eq": bson.A{"$state", Stored}}, then, otherwise}}
}

// usualClaim is for an unfinished job.
func usualClaim(turn, worker string, ttl time.Duration) usual {
	epoch := bson.M{"$add": bson.A{"$lease.epoch", 1}}
	attempt := bson.D{{Key: "epoch", Value: epoch}, {Key: "worker", Value: as(worker)}, {Key: "from", Value: "$$NOW"}}
	before := bson.M{"$ifNull": bson.A{ending("the worker went away"), bson.A{}}}
	return usual{
		when: bson.M{"state": bson.M{"$in": unfinished}, "$expr": over("lease.until")},
		set: bson.M{"state": Converting, "progress": 0, "turn": as(turn), "waits": false,
			"lease":    bson.D{{Key: "epoch", Value: epoch}, {Key: "until", Value: later(ttl)}},
			"attempts": bson.M{"$concatArrays": bson.A{before, bson.A{attempt}}}},
		news: true,
	}
}

// usualClaimWaiting is for a job that waits.
func usualClaimWaiting(turn, worker string, ttl time.Duration) usual {
	u := usualClaim(turn, worker, ttl)
	u.when["waits"] = true
	return u
}

func usualHeartbeat(epoch int, ttl time.Duration, progress int) usual {
	u := usualHeld(epoch)
	u.set = bson.M{"lease.until": later(ttl), "progress": bson.M{"$max": bson.A{"$progress", min(progress, most)}}}
	return u
}

// usualHeld is for the job of a worker that holds the epoch.
func usualHeld(epoch int) usual {
	return usual{when: bson.M{"lease.epoch": epoch, "state": Converting}, set: bson.M{}, news: true}
}

// ending is the attempts, of which the one that runs ends now. The rest is what else is to be said of it.
func ending(reason string, rest ...bson.E) bson.M {
	end := bson.D{{Key: "to", Value: "$$NOW"}}
	if reason != "" {
		end = append(end, bson.E{Key: "error", Value: as(reason)})
	}
	end = append(end, rest...)
	runs := bson.M{"$eq": bson.A{bson.M{"$ifNull": bson.A{"$$this.to", nil}}, nil}}
	ended := bson.M{"$map": bson.M{"input": "$attempts", "in": bson.M{"$cond": bson.A{
		runs, bson.M{"$mergeObjects": bson.A{"$$this", end}}, "$$this"}}}}
	return bson.M{"$cond": bson.A{bson.M{"$isArray": "$attempts"}, ended, "$$REMOVE"}}
}

// ends makes the change one that ends a job, of which the video is kept for a while, and the MP3 for as long as its
// owner likes.
func (u usual) ends(state State) usual {
	due := bson.M{"$dateAdd": bson.M{"startDate": "$$NOW", "unit": "second", "amount": "$keep.video"}}
	u.when["keep.video"], u.when["keep.mp3"] = bson.M{"$gt": 0}, bson.M{"$exists": false}
	u.when["expires"] = bson.M{"$exists": false}
	u.set["state"], u.set["waits"], u.set["video_expires"], u.set["due"] = state, false, due, due
	return u
}

func usualFinish(epoch int, mp3 MP3) usual {
	u := usualHeld(epoch).ends(Converted)
	u.set["lease.until"], u.set["attempts"] = time.Time{}, ending("")
	u.set["progress"], u.set["mp3"], u.set["notice"] = 100, as(mp3), "$$REMOVE"
	if mp3.Notice != "" {
		u.set["notice"] = as(mp3.Notice)
	}
	video := bson.M{"$cond": bson.A{"$video.deleted", int64(0), "$video.length"}}
	u.set["kept"] = bson.M{"$add": bson.A{video, mp3.Length}}
	return u
}

func usualFail(epoch int, f eventing.Failure) usual {
	u := usualHeld(epoch).ends(Failed)
	u.set["lease.until"], u.set["attempts"], u.set["error"] = time.Time{}, ending(f.Message), as(f)
	return u
}

func usualRelease(epoch int, reason string) usual {
	u := usualHeld(epoch)
	u.set["state"], u.set["lease.until"] = Queued, time.Time{}
	u.set["attempts"] = ending(reason, bson.E{Key: "released", Value: true})
	return u
}

// usualRevoke is for an unfinished job, whoever holds it, and ends it.
func usualRevoke(state State, reason string) usual {
	u := usual{when: bson.M{"state": bson.M{"$in": unfinished}}, set: bson.M{}, news: true}.ends(state)
	u.set["attempts"] = ending(reason)
	u.set["lease"] = bson.D{{Key: "epoch", Value: bson.M{"$add": bson.A{"$lease.epoch", 1}}},
		{Key: "until", Value: time.Time{}}}
	return u
}

func usualCancel() usual {
	u := usualRevoke(Cancelled, "cancelled")
	u.set["owes"] = false
	return u
}

func usualGiveUp(epoch int, f eventing.Failure) usual {
	u := usualRevoke(Failed, f.Message)
	u.when["lease.epoch"], u.when["$expr"], u.set["error"] = epoch, over("lease.until"), as(f)
	return u
}

// usualRetry is for a job without an MP3, which would be kept for as long as its owner likes.
func usualRetry() usual {
	return usual{
		when: bson.M{"state": bson.M{"$in": retried.from}, "keep.mp3": bson.M{"$exists": false},
			"video.deleted": bson.M{"$exists": false}, "mp3": bson.M{"$exists": false}},
		set: bson.M{"state": Stored, "owes": true, "progress": 0, "round": bson.M{"$add": bson.A{"$round", 1}},
			"lease.epoch": bson.M{"$add": bson.A{"$lease.epoch", 1}}, "attempts": "$$REMOVE", "error": "$$REMOVE",
			"turn": "$$REMOVE", "video_expires": "$$REMOVE", "due": "$$REMOVE"},
		news: true,
	}
}

// usualExpire is for a job of which nothing is kept any longer.
func usualExpire() usual {
	return usual{
		when: bson.M{"state": bson.M{"$in": expired.from}, "expires": bson.M{"$exists": true}, "due": bson.M{"$exists": true},
			"$expr": bson.M{"$and": bson.A{over("due"), over("expires")}}},
		set:  bson.M{"state": Expired, "owes": false, "video.deleted": true, "kept": int64(0)},
		news: true,
	}
}

// usualExpireVideo is for one whose video alone is not.
func usualExpireVideo() usual {
	return usual{
		when: bson.M{"state": bson.M{"$in": expired.from}, "expires": bson.M{"$exists": false},
			"due": bson.M{"$exists": true}, "video.deleted": bson.M{"$exists": false}, "$expr": over("due")},
		set:  bson.M{"video.deleted": true, "kept": bson.M{"$ifNull": bson.A{"$mp3.length", int64(0)}}},
		news: true,
	}
}

func usualSwept() usual {
	due := bson.M{"$cond": bson.A{bson.M{"$eq": bson.A{"$state", Expired}}, "$$REMOVE", "$expires"}}
	return usual{when: bson.M{"state": bson.M{"$nin": unfinished}, "video.deleted": true}, set: bson.M{"due": due}}
}

// usualHandOver is for a Queued job, which ends by it.
func usualHandOver() usual {
	u := usual{when: bson.M{"state": Queued}, set: bson.M{"owes": false}, news: true}
	return u.ends(HandedOver)
}

// usualHandOverMP3 is for a Converted one, which had ended.
func usualHandOverMP3() usual {
	return usual{when: bson.M{"state": Converted}, set: bson.M{"state": HandedOver, "owes": false}, news: true}
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
		u.when["round"] = n.Round
		u.set["state"], u.set["owes"] = Notified, false
	}
	return u
}
