package media

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// draft is what a writer of any store knows of the file it makes.
type draft struct {
	info     Info
	sum      digest // of what was written; with reserved bytes Commit begins anew
	from, to int64  // the reserved bytes; none when equal
	err      error  // why nothing can be written any more
}

// digest is a SHA-256 that is calculated beside the writing.
type digest struct {
	hash    hash.Hash
	running *sync.WaitGroup
}

func newDigest() digest { return digest{hash: sha256.New(), running: &sync.WaitGroup{}} }

// Write returns when p is hashed.
func (d *digest) Write(p []byte) (int, error) {
	d.running.Wait()
	return d.hash.Write(p)
}

// begin does not wait for p to be hashed, unless that takes less than to begin it. Until wait has returned, or the next
// begin, p must stay as it is.
func (d *digest) begin(p []byte) {
	d.running.Wait()
	if len(p) < 32<<10 {
		_, _ = d.hash.Write(p) // has no error
		return
	}
	d.running.Go(func() { _, _ = d.hash.Write(p) })
}

func (d *digest) wait() { d.running.Wait() }

// Reset forgets what was written.
func (d *digest) Reset() {
	d.running.Wait()
	d.hash.Reset()
}

// String gives the digest in hex.
func (d *digest) String() string {
	d.running.Wait()
	return hex.EncodeToString(d.hash.Sum(nil))
}

// MarshalBinary gives the state of the calculation, as package crypto/sha256 has it.
func (d *digest) MarshalBinary() ([]byte, error) {
	d.running.Wait()
	return d.hash.(encoding.BinaryMarshaler).MarshalBinary()
}

// UnmarshalBinary goes on from such a state.
func (d *digest) UnmarshalBinary(state []byte) error {
	return d.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

var errClosed = errors.New("the file is committed or aborted")

func newDraft(info Info) draft {
	return draft{
		info: Info{ID: info.ID, Name: strings.ToValidUTF8(info.Name, "\uFFFD"), Owner: info.Owner},
		sum:  newDigest(),
	}
}

// state is what a suspended writer leaves to the one that goes on.
type state struct {
	Length int64  `bson:"length"`
	Sum    []byte `bson:"sum"`            // of crypto/sha256: see its MarshalBinary
	Tail   []byte `bson:"tail,omitempty"` // the last bytes, where the store keeps only whole chunks
}

// suspend ends the draft and encodes its state.
func (d *draft) suspend(tail []byte) ([]byte, error) {
	if d.to != 0 {
		return nil, d.fail("suspend", errors.New("it has reserved bytes"))
	}
	sum, err := d.sum.MarshalBinary()
	if err != nil {
		return nil, d.fail("suspend", err)
	}
	d.err = errClosed
	return bson.Marshal(state{Length: d.info.Length, Sum: sum, Tail: tail})
}

// resumeDraft goes on from a state; from none it begins.
func resumeDraft(info Info, encoded []byte) (d draft, tail []byte, err error) {
	d = newDraft(info)
	if len(encoded) == 0 {
		return d, nil, nil
	}
	var s state
	err = bson.Unmarshal(encoded, &s)
	if err == nil {
		err = d.sum.UnmarshalBinary(s.Sum)
	}
	if err != nil {
		return d, nil, fmt.Errorf("resume file %s: %w", info.ID, err)
	}
	d.info.Length = s.Length
	return d, s.Tail, nil
}

func (d *draft) fail(doing string, err error) error {
	d.err = fmt.Errorf("%s file %s: %w", doing, d.info.ID, err)
	return d.err
}

// reserve notes that the next n bytes come later.
func (d *draft) reserve(n int) error {
	switch {
	case d.err != nil:
		return d.err
	case n <= 0 || n > MaxReserve:
		return fmt.Errorf("reserve %d bytes: want 1 to %d", n, MaxReserve)
	case d.to != 0:
		return errors.New("reserve bytes: the file has reserved bytes already")
	}
	d.from, d.to = d.info.Length, d.info.Length+int64(n)
	return nil
}

// patchable says why p cannot fill the reserved bytes; nil when it can.
func (d *draft) patchable(p []byte) error {
	if d.err == nil && int64(len(p)) != d.to-d.from {
		return fmt.Errorf("patch %d bytes: %d are reserved", len(p), d.to-d.from)
	}
	return d.err
}

// overlaps reports whether the n bytes from off on hold reserved ones.
func (d *draft) overlaps(off int64, n int) bool { return off < d.to && d.from < off+int64(n) }

// hash adds p to the sum, as digest.begin does. When bytes are reserved, Commit hashes the whole file instead.
func (d *draft) hash(p []byte) {
	if d.to == 0 {
		d.sum.begin(p)
	}
}

// final completes the description of a file whose bytes are all there. Its times have the precision of BSON.
func (d *draft) final() Info {
	d.info.SHA256 = d.sum.String()
	d.info.Uploaded = time.Now().UTC().Truncate(time.Millisecond)
	return d.info
}
