//go:build faults

package faults

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestRestore copies what the servers have while clients upload, in the order of config/README.md, and starts a system
// on the copy alone. What was acknowledged before the copy began is in it and comes to its end there, and so does each
// later job that is in it.
func TestRestore(t *testing.T) {
	made := clips(t)
	name := "restore_" + strings.ToLower(bson.NewObjectID().Hex())
	r := newRun(t, 1, made, deploy(t, name))
	r.before()
	r.some(6)
	early := len(r.attempts)
	more, enough := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(more)
		for {
			r.some(2)
			select {
			case <-enough:
				return
			default:
			}
		}
	}()
	copied := newServers(t, name+"_copy")
	for _, db := range []string{"", "_videos", "_mp3s"} { // jobs first, and users last
		copyDatabase(t, r.sys.mongo.Database(name+db), copied.mongo.Database(copied.vhost+db))
	}
	copyUsers(t, r.sys.servers, copied)
	for _, db := range []string{"_videos", "_mp3s"} {
		markAll(t, copied.mongo.Database(copied.vhost+db))
	}
	endLeases(t, copied.mongo.Database(copied.vhost))
	close(enough)
	<-more
	for _, p := range r.sys.all() {
		p.end(15)
	}

	sys := deployOn(t, copied)
	again := newRun(t, 1, made, sys)
	again.sounds = r.sounds
	kept := map[string]bool{}
	for _, j := range again.records() {
		kept[j.Filename] = true
	}
	for i, a := range r.attempts {
		if i < early || kept[a.name] {
			again.attempts = append(again.attempts, a)
		}
	}
	again.rest()
	// What was uploaded by tus may not be complete in the copy, or have its job in it: its time comes.
	if _, err := copied.mongo.Database(copied.vhost).Collection("uploads").UpdateMany(t.Context(), bson.M{},
		bson.M{"$set": bson.M{"expires": time.Now().Add(-time.Second)}}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d jobs are in the copy, of %d", len(kept), len(r.attempts))
	sys.sweepOnce(t, map[string]string{"SWEEP_GRACE": "1ms"})
	sys.mails.mails = slices.Concat(r.sys.mails.all(), sys.mails.all())
	again.ledger.allowed = len(again.attempts) // about what ended after the copy, on either side
	again.report()
}

// copyDatabase reads a database as mongodump does: one collection after the other, each as it is when it is read.
func copyDatabase(t *testing.T, from, to *mongo.Database) {
	t.Helper()
	ctx := context.Background()
	names, err := from.ListCollectionNames(ctx, bson.M{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		cur, err := from.Collection(name).Find(ctx, bson.M{}, options.Find().SetBatchSize(10))
		if err != nil {
			t.Fatal(err)
		}
		for cur.Next(ctx) {
			if _, err := to.Collection(name).InsertOne(ctx, cur.Current); err != nil {
				t.Fatal(err)
			}
		}
		if err := cur.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// markAll has the next sweep look at every file once: the mark of one that was begun while the copy was made may be
// missing in it.
func markAll(t *testing.T, db *mongo.Database) {
	t.Helper()
	long := bson.M{"$addFields": bson.M{"at": time.Unix(0, 0)}}
	merge := bson.M{"$merge": "fs.drafts"}
	for collection, pipeline := range map[string]bson.A{
		"fs.files":  {bson.M{"$project": bson.M{"_id": 1}}, long, merge},
		"fs.chunks": {bson.M{"$group": bson.M{"_id": "$files_id"}}, long, merge},
	} {
		cur, err := db.Collection(collection).Aggregate(t.Context(), pipeline)
		if err != nil {
			t.Fatal(err)
		}
		_ = cur.Close(t.Context())
	}
}

// endLeases has the time come, some minutes after the copy, when nobody is at a job or an upload any more that somebody
// was at in it.
func endLeases(t *testing.T, db *mongo.Database) {
	t.Helper()
	for _, collection := range []string{"jobs", "uploads"} {
		for _, field := range []string{"lease.until", "telling"} {
			now := time.Now()
			if _, err := db.Collection(collection).UpdateMany(t.Context(), bson.M{field: bson.M{"$gt": now}},
				bson.M{"$set": bson.M{field: now}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// copyUsers has mariadb-dump read the users, and mariadb restore them.
func copyUsers(t *testing.T, from, to *servers) {
	t.Helper()
	host, port, err := net.SplitHostPort(from.mysql.Addr)
	if err != nil {
		t.Fatal(err)
	}
	at := []string{"--no-defaults", "-h" + host, "-P" + port, "-u" + from.mysql.User, "-p" + from.mysql.Passwd}
	var text, said bytes.Buffer
	dump := exec.Command("mariadb-dump", append(at, "--single-transaction", from.vhost)...)
	restore := exec.Command("mariadb", append(at, to.vhost)...)
	dump.Stdout, restore.Stdin = &text, &text
	dump.Stderr, restore.Stderr = &said, &said
	for _, cmd := range []*exec.Cmd{dump, restore} {
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v: %s", cmd.Args[0], err, said.String())
		}
	}
}
