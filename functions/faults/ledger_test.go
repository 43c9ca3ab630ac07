//go:build faults

package faults

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// record is a job as it is kept.
type record struct {
	ID       string `bson:"_id"`
	Filename string
	State    string
	Owes     bool
	Rev      int64
	MP3      *struct{ FID string }
	Lease    struct{ Until time.Time }
	Attempts []bson.M
	Notices  []struct{ Refused string }
	Error    bson.M
}

// ledger counts what became of the promises.
type ledger struct {
	attempted, acknowledged, recovered int
	mails, repeated, allowed           int // repeated ones are beyond the first about a job's end
	lost, doubled, unexpected          []string
}

func (l *ledger) String() string {
	return fmt.Sprintf("%d attempted, %d acknowledged, %d recovered, %d mails (%d repeated, %d allowed): "+
		"%d lost, %d doubled, %d unexpected", l.attempted, l.acknowledged, l.recovered, l.mails, l.repeated, l.allowed,
		len(l.lost), len(l.doubled), len(l.unexpected))
}

func (l *ledger) loses(format string, args ...any) {
	l.lost = append(l.lost, fmt.Sprintf(format, args...))
}
func (l *ledger) doubles(format string, args ...any) {
	l.doubled = append(l.doubled, fmt.Sprintf(format, args...))
}
func (l *ledger) wonders(format string, args ...any) {
	l.unexpected = append(l.unexpected, fmt.Sprintf(format, args...))
}

func (r *run) records() (all []record) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cur, err := r.sys.mongo.Database(r.sys.vhost).Collection("jobs").Find(ctx, bson.M{})
	if err == nil {
		err = cur.All(ctx, &all)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// ready counts the messages that lie in the queues, those that wait for another try included, and the dead letters.
func (r *run) ready() (waiting, dead int) {
	conn, err := amqp.Dial(r.sys.amqp.String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	names := slices.Clone(queues)
	for _, d := range []string{"1s", "2s", "5s", "10s", "30s", "1m", "2m", "5m", "10m", "30m"} {
		names = append(names, "soundstrip.retry."+d)
	}
	for _, name := range queues {
		names = append(names, name+".dead")
	}
	for _, name := range names {
		ch, err := conn.Channel()
		if err != nil {
			r.t.Fatal(err)
		}
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasSuffix(name, ".dead") {
			dead += q.Messages
		} else {
			waiting += q.Messages
		}
		_ = ch.Close()
	}
	return waiting, dead
}

// quiet waits until all that the broker took is done. A job whose event it had, and that waits when nothing happens any
// more, has none: sweep would send it again, but it was lost.
func (r *run) quiet() {
	const enough = 20 * time.Second // longer than a lease, or any wait for another try
	was, since := "", time.Now()
	for {
		waiting, _ := r.ready()
		now, owing := fmt.Sprint(waiting), []record{}
		for _, j := range r.records() {
			if j.Owes && j.State != "stored" {
				owing = append(owing, j)
				now += fmt.Sprint(" ", j.ID, j.Rev)
			}
		}
		switch {
		case waiting == 0 && len(owing) == 0:
			return
		case now != was:
			was, since = now, time.Now()
		case waiting == 0 && time.Since(since) > enough && r.held() == 0:
			for _, j := range owing {
				r.ledger.wonders("the event of job %s (%s), which is %s, was lost", j.ID, j.Filename, j.State)
			}
			return
		}
		<-time.After(200 * time.Millisecond)
	}
}

// held counts the messages that brokers hold, as RabbitMQ tells it every few seconds.
func (r *run) held() (n int) {
	var found []struct {
		Held int `json:"messages_unacknowledged"`
	}
	if err := json.Unmarshal(r.sys.management(r.t, http.MethodGet, "/queues/"+r.sys.vhost), &found); err != nil {
		r.t.Fatal(err)
	}
	for _, q := range found {
		n += q.Held
	}
	return n
}

// rest lets the system come to rest: sweeps run as by the CronJob until every job has ended and its owner is told.
func (r *run) rest() {
	ok := holds(func() bool {
		r.sys.sweepOnce(r.t, nil)
		for _, j := range r.records() {
			if j.Owes {
				return false
			}
		}
		waiting, _ := r.ready()
		return waiting == 0
	})
	if !ok {
		waiting, _ := r.ready()
		r.ledger.wonders("no rest: %d messages wait", waiting)
		for _, j := range r.records() {
			if j.Owes {
				r.ledger.wonders("no rest: job %s (%s) is %s", j.ID, j.Filename, j.State)
			}
		}
	}
}

// count is called at rest.
func (r *run) count() *ledger {
	l := r.ledger
	for _, b := range r.sys.brokers {
		b.end(15) // it returns what it holds
	}
	if waiting, dead := r.ready(); waiting != 0 || dead != r.poison {
		l.wonders("%d messages and %d dead letters, want none and %d", waiting, dead, r.poison)
	}
	jobs := map[string][]record{}
	videos, mp3s := map[string]bool{}, map[string]bool{}
	for _, j := range r.records() {
		jobs[j.Filename] = append(jobs[j.Filename], j)
		videos[j.ID] = true
		if j.MP3 != nil {
			mp3s[j.MP3.FID] = true
		}
		if time.Until(j.Lease.Until) > 0 {
			l.wonders("job %s is %s and has a lease", j.ID, j.State)
		}
	}
	r.countFiles("videos", videos)
	r.countFiles("mp3s", mp3s)
	mails := r.countMails()
	for _, a := range r.attempts {
		l.attempted++
		found := jobs[a.name]
		delete(jobs, a.name)
		if len(found) > 1 {
			l.doubles("%s (%s) has %d jobs", a.name, a.way, len(found))
		}
		if a.acknowledged() {
			l.acknowledged++
			r.check(a, found, mails[a.name])
			continue
		}
		// A refusal for a reason of the client's leaves nothing. Any other end of a request leaves it open whether the
		// video is there: when it is, all holds for it as well.
		if len(found) > 0 && a.status/100 == 4 {
			l.wonders("%s was answered %d and has a job", a.name, a.status)
		} else if len(found) > 0 {
			l.recovered++
			r.check(a, found, mails[a.name])
		}
	}
	for name := range jobs {
		l.wonders("a job of %q, which nobody uploaded", name)
	}
	if l.repeated > l.allowed {
		l.doubles("%d mails were sent again, want %d at most", l.repeated, l.allowed)
	}
	return l
}

// check tells whether a video has come to the end that was promised.
func (r *run) check(a *attempt, found []record, mails int) {
	l := r.ledger
	if len(found) == 0 {
		if !a.deleted && !(a.asked) {
			l.loses("%s (%s, answered %d, when %s): no job", a.name, a.way, a.status, a.fault)
		}
		return
	}
	j := found[0]
	switch {
	case a.deleted:
		l.wonders("%s was deleted and is there: %s", a.name, j.State)
	case a.job != "" && j.ID != a.job:
		l.wonders("%s is job %s, and its client was told %s", a.name, j.ID, a.job)
	case j.State == "cancelled" && (a.cancelled || a.asked):
	case a.clip.failing && j.State == "failed", !a.clip.failing && j.State == "notified":
		refused := len(j.Notices) > 0 && j.Notices[len(j.Notices)-1].Refused != ""
		if mails == 0 && !refused {
			l.loses("%s is %s, and nobody was told", a.name, j.State)
		}
		if !a.clip.failing {
			r.sound(a, j)
		}
	default:
		l.loses("%s (%s, answered %d, when %s) is %s: %v after %v", a.name, a.way, a.status, a.fault, j.State, j.Error,
			j.Attempts)
	}
}

// sound compares the MP3 with that of the first of the same clip.
func (r *run) sound(a *attempt, j record) {
	id, err := bson.ObjectIDFromHex(j.MP3.FID)
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.New()
	bucket := r.sys.mongo.Database(r.sys.vhost + "_mp3s").GridFSBucket()
	if _, err := bucket.DownloadToStream(context.Background(), id, sum); err != nil {
		r.ledger.loses("the MP3 of %s: %v", a.name, err)
		return
	}
	got := hex.EncodeToString(sum.Sum(nil))
	if want := r.sounds[a.clip.name]; want == "" {
		r.sounds[a.clip.name] = got
	} else if got != want {
		r.ledger.wonders("the MP3 of %s is not that of the other videos with the same sound", a.name)
	}
}

// countFiles compares the files of a store with those that jobs name: after a sweep with no grace there are no others.
func (r *run) countFiles(store string, named map[string]bool) {
	ctx := context.Background()
	for collection, field := range map[string]string{"fs.files": "_id", "fs.chunks": "files_id"} {
		ids := r.sys.mongo.Database(r.sys.vhost+"_"+store).Collection(collection).Distinct(ctx, field, bson.M{})
		var found []bson.ObjectID
		if err := ids.Decode(&found); err != nil {
			r.t.Fatal(err)
		}
		for _, id := range found {
			if !named[id.Hex()] {
				r.ledger.wonders("%s has %s in %s, which is of no job", store, id.Hex(), collection)
			}
		}
	}
}

// countMails gives the number of mails about each file, by its name.
func (r *run) countMails() map[string]int {
	byName, byID := map[string]int{}, map[string]int{}
	kinds := map[string]map[string]bool{}
	for _, m := range r.sys.mails.all() {
		r.ledger.mails++
		if byID[m.id]++; byID[m.id] > 1 {
			r.ledger.repeated++
		}
		text := strings.ReplaceAll(m.text, "=\r\n", "")
		for _, a := range r.attempts {
			if !strings.Contains(text, a.stem()) {
				continue
			}
			if byName[a.name]++; kinds[a.name] == nil {
				kinds[a.name] = map[string]bool{}
			}
			if kinds[a.name][m.id] = true; len(kinds[a.name]) > 1 && !a.asked {
				r.ledger.doubles("%s has %d different mails", a.name, len(kinds[a.name]))
			}
		}
	}
	return byName
}
