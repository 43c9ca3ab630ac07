package media_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// wire is a media.Wire.
type wire func(ctx context.Context, message []byte) error

func (w wire) RoundTrip(ctx context.Context, message []byte) error { return w(ctx, message) }

// TestInsertion has the driver insert what was sent in vain, and only that.
func TestInsertion(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for _, tt := range []struct {
		name   string
		insert int // how many of the documents are there nevertheless
		err    error
		fails  bool
	}{
		{name: "nothing was done", err: errors.Join(lost, media.ErrSent)},
		{name: "half was done", insert: 2, err: errors.Join(lost, media.ErrSent)},
		{name: "all was done", insert: 5, err: errors.Join(lost, media.ErrSent)},
		{name: "nothing was sent", err: lost, fails: true},
		{name: "no error", insert: 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := database(t)
			content := noise(4*chunk + 7)
			s := media.NewGridFS(db, wire(func(ctx context.Context, message []byte) error {
				command, docs := parse(t, message)
				w, _ := command.Lookup("writeConcern", "w").StringValueOK()
				if j, _ := command.Lookup("writeConcern", "j").BooleanOK(); w != "majority" || !j {
					t.Errorf("the write concern is %s", command.Lookup("writeConcern"))
				}
				if to := command.Lookup("$db").StringValue(); to != db.Name() || len(docs) != 5 {
					t.Errorf("%d documents are for %s, want 5 for %s", len(docs), to, db.Name())
				}
				if tt.insert > 0 {
					insert(ctx, t, db, docs[:tt.insert])
				}
				return tt.err
			}))
			id, w := begin(t, s, "ann")
			_, err := io.Copy(w, bytes.NewReader(content))
			if err == nil {
				_, err = w.Commit(t.Context())
			}
			if tt.fails {
				if !errors.Is(err, lost) {
					t.Errorf("Commit = %v, want the error of the wire", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(open(t, s, id)); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the file has %d bytes, %v, want the %d that were written", len(got), err, len(content))
			}
		})
	}
}

// parse takes an OP_MSG apart.
func parse(t *testing.T, message []byte) (command bson.Raw, docs []bson.Raw) {
	t.Helper()
	length, _, _, code, rest, ok := wiremessage.ReadHeader(message)
	if !ok || code != wiremessage.OpMsg || int(length) != len(message) {
		t.Fatalf("a message of %d bytes says that it has %d, and is of %v", len(message), length, code)
	}
	_, rest, _ = wiremessage.ReadMsgFlags(rest)
	_, rest, _ = wiremessage.ReadMsgSectionType(rest)
	body, rest, _ := wiremessage.ReadMsgSectionSingleDocument(rest)
	_, rest, _ = wiremessage.ReadMsgSectionType(rest)
	name, sequence, rest, ok := wiremessage.ReadMsgSectionDocumentSequence(rest)
	if !ok || name != "documents" || len(rest) > 0 {
		t.Fatalf("the message has a sequence %q, %v, and %d bytes after it", name, ok, len(rest))
	}
	for _, d := range sequence {
		docs = append(docs, bson.Raw(d))
	}
	return bson.Raw(body), docs
}

func insert(ctx context.Context, t *testing.T, db *mongo.Database, docs []bson.Raw) {
	t.Helper()
	if _, err := db.Collection("fs.chunks").InsertMany(ctx, docs); err != nil {
		t.Error(err)
	}
}
