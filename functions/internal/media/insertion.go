package media

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// Wire sends messages to MongoDB as they are.
type Wire interface {
	// RoundTrip sends a command to the primary, and gives the error with which it is answered. It is [ErrSent] as well
	// unless nothing was sent. The message is an OP_MSG:
	// https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md
	RoundTrip(ctx context.Context, message []byte) error
}

// ErrSent is what a command failed with that may have been done.
var ErrSent = errors.New("the command was sent")

// insertion is the command to insert chunks of a file, in the bytes that go over the wire. What is uploaded is read
// into its place there: the driver copies each document four times on its way, which takes as long as to send it.
type insertion struct {
	message  []byte
	sequence int32         // where the length of the documents is
	first    int           // where they begin
	next     int64         // the number of the first chunk
	data     []int         // where the data of each chunk begin
	doc      int32         // where the document begins that is being filled; 0 if none is
	id       bson.ObjectID // of the last chunk that was begun
}

// newInsertion begins a command for the collection, with the write concern that package mongodb gives its clients.
func newInsertion(chunks *mongo.Collection) (*insertion, error) {
	command := bson.D{
		{Key: "insert", Value: chunks.Name()}, {Key: "$db", Value: chunks.Database().Name()},
		{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}, {Key: "j", Value: true}}},
	}
	body, err := bson.Marshal(command)
	if err != nil {
		return nil, err
	}
	var i insertion
	_, m := wiremessage.AppendHeaderStart(nil, 0, 0, wiremessage.OpMsg)
	m = wiremessage.AppendMsgFlags(m, 0)
	m = append(wiremessage.AppendMsgSectionType(m, wiremessage.SingleDocument), body...)
	i.sequence, m = bsoncore.ReserveLength(wiremessage.AppendMsgSectionType(m, wiremessage.DocumentSequence))
	i.message = append(m, "documents\x00"...)
	i.first = len(i.message)
	return &i, nil
}

// begin begins a chunk, as the specification of GridFS has it.
func (i *insertion) begin(file bson.ObjectID, n int64) {
	const fields = 64 // a little more than all but the data take
	if len(i.data) == 0 {
		i.next = n
	}
	more := 1
	if len(i.data) == 1 {
		more = batch - 1 // a file of several chunks soon has as many
	}
	m := slices.Grow(i.message, more*(fields+chunkSize))
	i.doc, m = bsoncore.AppendDocumentStart(m)
	i.id = bson.NewObjectID()
	m = bsoncore.AppendObjectIDElement(m, "_id", i.id)
	m = bsoncore.AppendObjectIDElement(m, "files_id", file)
	m = bsoncore.AppendInt32Element(m, "n", int32(n))
	_, m = bsoncore.ReserveLength(bsoncore.AppendHeader(m, bsoncore.TypeBinary, "data"))
	i.message = append(m, bson.TypeBinaryGeneric)
	i.data = append(i.data, len(i.message))
}

// space gives where to read the rest of the chunk to, and extend takes the first n bytes of it.
func (i *insertion) space() []byte {
	return i.message[len(i.message) : i.data[len(i.data)-1]+chunkSize]
}

func (i *insertion) extend(n int) { i.message = i.message[:len(i.message)+n] }

// chunk gives the data of the k-th chunk.
func (i *insertion) chunk(k int) []byte {
	begin, end := i.data[k], len(i.message)
	if !i.open() || k < len(i.data)-1 {
		end = begin + int(binary.LittleEndian.Uint32(i.message[begin-5:]))
	}
	return i.message[begin:end]
}

// open reports whether a chunk is being filled, and last gives what it has.
func (i *insertion) open() bool { return i.doc != 0 }

func (i *insertion) last() []byte {
	if !i.open() {
		return nil
	}
	return i.chunk(len(i.data) - 1)
}

// end completes the chunk.
func (i *insertion) end() {
	begin := i.data[len(i.data)-1]
	i.message = bsoncore.UpdateLength(i.message, int32(begin-5), int32(len(i.message)-begin))
	i.message, _ = bsoncore.AppendDocumentEnd(i.message, i.doc) // fails for an index that is too high
	i.doc = 0
}

// cut takes the chunk out again that is being filled.
func (i *insertion) cut() {
	if i.open() {
		i.message, i.data, i.doc = i.message[:i.doc], i.data[:len(i.data)-1], 0
	}
}

// reset takes all chunks out, and keeps the buffer.
func (i *insertion) reset() { i.message, i.data, i.doc = i.message[:i.first], i.data[:0], 0 }

// insert inserts the chunks, by the wire if there is one. What may have been done by it the driver does again: it knows
// when to try again, and what an error is called. That a chunk is there by then, with its id, is no error: the server
// has answered for its write concern.
func (s *GridFS) insert(ctx context.Context, i *insertion) error {
	if s.wire == nil {
		_, err := s.chunks.InsertMany(ctx, i.documents())
		return err
	}
	m := bsoncore.UpdateLength(i.message, i.sequence, int32(len(i.message))-i.sequence)
	binary.LittleEndian.PutUint32(m[4:], uint32(wiremessage.NextRequestID()))
	err := s.wire.RoundTrip(ctx, bsoncore.UpdateLength(m, 0, int32(len(m))))
	if !errors.Is(err, ErrSent) || ctx.Err() != nil {
		return err
	}
	docs := i.documents()
	_, err = s.chunks.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	var refused mongo.BulkWriteException
	if !errors.As(err, &refused) || refused.WriteConcernError != nil {
		return err
	}
	there, unknown := s.has(ctx, docs)
	if there {
		return nil
	}
	return errors.Join(err, unknown)
}

// documents gives those of the chunks, which are complete.
func (i *insertion) documents() []bson.Raw {
	docs := make([]bson.Raw, 0, len(i.data))
	for rest := i.message[i.first:]; len(rest) > 0; {
		doc, after, _ := bsoncore.ReadDocument(rest) // we wrote it
		docs, rest = append(docs, bson.Raw(doc)), after
	}
	return docs
}

// has reports whether the chunks are there.
func (s *GridFS) has(ctx context.Context, docs []bson.Raw) (bool, error) {
	ids := make([]bson.RawValue, len(docs))
	for k, d := range docs {
		ids[k] = d.Lookup("_id")
	}
	n, err := s.chunks.CountDocuments(ctx, bson.M{"_id": bson.M{"$in": ids}})
	return n == int64(len(docs)), err
}
