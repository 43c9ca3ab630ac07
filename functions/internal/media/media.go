// Package media stores videos and MP3s: in MongoDB GridFS, or in a folder.
package media

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// ErrNotFound says that no file has the id.
var ErrNotFound = errors.New("no such file")

// Unlimited is more than can be stored.
const Unlimited = math.MaxInt64

// NewID makes the id of a file to be: 24 hex digits of a MongoDB ObjectID.
func NewID() string { return bson.NewObjectID().Hex() }

// ValidID reports whether s has the form of an id.
func ValidID(s string) bool {
	_, err := bson.ObjectIDFromHex(s)
	return err == nil
}

// Info describes a file.
type Info struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`             // as its owner calls it
	Owner    string    `json:"owner,omitempty"`  // empty when the file was not made by us
	Length   int64     `json:"length"`           // bytes
	SHA256   string    `json:"sha256,omitempty"` // hex; empty when not known
	Uploaded time.Time `json:"uploaded"`
}

// Store keeps files. A file is visible from its Commit on. It is complete then, and never changes.
type Store interface {
	// Create begins a file; Info's ID, Name and Owner are kept. An id that is taken is an error. The context bounds the
	// writing.
	Create(ctx context.Context, info Info) (Writer, error)
	// Resume goes on with a file where [Writer.Suspend] gave the state; without a state it begins the file. What was
	// written after the Suspend is gone. The state is for one writer at a time: of two that use it, only one can commit.
	Resume(ctx context.Context, info Info, state []byte) (Writer, error)
	// Open gives a file, or ErrNotFound. The context bounds the reading.
	Open(ctx context.Context, id string) (File, error)
	// Delete removes a file; one that is not there is no error.
	Delete(ctx context.Context, id string) error
	// Sweep removes what a crash left behind and nobody has written to since the given time: what was never committed, and
	// files with an owner, unless known keeps them. It says how many it removed.
	Sweep(ctx context.Context, before time.Time, known Known) (int, error)
	// Free tells how many bytes can still be stored: [Unlimited] where nobody knows.
	Free(ctx context.Context) (int64, error)
	// Ping reports whether the store can be used.
	Ping(ctx context.Context) error
}

// Writer writes one file, start to end. After an error the file can only be aborted, or resumed from a state before.
type Writer interface {
	io.Writer
	// ReadFrom writes what it reads without the copies that Write makes. An error of the reader is no error of the file.
	io.ReaderFrom
	// Reserve writes n zero bytes, at most MaxReserve and once a file, whose content Patch gives later.
	Reserve(n int) error
	// Patch fills the reserved bytes.
	Patch(p []byte) error
	// Suspend makes durable what was written, ends the writer and gives the state for [Store.Resume]. The file stays
	// invisible. One with reserved bytes cannot be suspended.
	Suspend(ctx context.Context) (state []byte, err error)
	// Commit makes the file visible and durable. Without it there is no file. It goes on when ctx is over, and bounds its
	// time itself, because that grows with the file's length: what follows it needs a deadline of its own.
	Commit(ctx context.Context) (Info, error)
	// Abort removes what was written, also when ctx is over; after Commit it does nothing.
	Abort(ctx context.Context) error
}

// MaxReserve is the most that Reserve accepts, in bytes: the chapters of an MP3 and one frame are smaller.
const MaxReserve = 1 << 20

// File reads one file. ReadAt may be called from several goroutines, the others not.
type File interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.Closer
	Info() Info
}
