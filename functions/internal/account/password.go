package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/argon2"
)

// params are the least that the OWASP Password Storage Cheat Sheet asks for. The column holds 255 characters, a hash
// has 97.
var params = argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// maxParams bounds what a stored hash may make us spend: somebody else may have written it.
var maxParams = argon2id.Params{Memory: 64 << 10, Iterations: 16, Parallelism: 16, SaltLength: 64, KeyLength: 64}

const (
	hashPrefix = "$argon2id$"
	// maxGuess is the longest password, in bytes, that is compared. It is above maxPassword, since the old table may have
	// longer ones.
	maxGuess = 1024
)

// decoyOf gives a hash that no password has. It is compared where there is no other, so that an unknown user takes as
// long as a known one.
func decoyOf(p argon2id.Params) string {
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s",
		hashPrefix, argon2.Version, p.Memory, p.Iterations, p.Parallelism,
		base64.RawStdEncoding.EncodeToString(make([]byte, p.SaltLength)),
		base64.RawStdEncoding.EncodeToString(make([]byte, p.KeyLength)))
}

// hasher hashes as many passwords at once as there are processors, since more would only take more memory: 19 MiB each,
// and up to 64 MiB for a hash that was made elsewhere.
type hasher struct {
	slots   *slots
	params  argon2id.Params
	decoy   string
	compare func(password, hash string) (bool, error)
}

func newHasher(p argon2id.Params) hasher {
	return hasher{newSlots(runtime.GOMAXPROCS(0)), p, decoyOf(p), argon2id.ComparePasswordAndHash}
}

// hash makes the PHC string of a password.
func (h hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.slots.acquire(ctx, ""); err != nil {
		return "", err
	}
	defer h.slots.release("")
	return argon2id.CreateHash(password, &h.params)
}

// matches reports whether the password is the stored one, and whether it is stale: stored as plain text, or as a weaker
// hash. Each call takes the time of one hash, so that the time tells nothing. The exception is a plain password that
// matches: its hash is made when it is stored anew. A stored hash that cannot be used is ErrCredentials. Whoever calls
// it has a slot.
func (h hasher) matches(password, stored string) (ok, stale bool, err error) {
	if password == "" || len(password) > maxGuess {
		password, stored = "", h.decoy
	}
	if !strings.HasPrefix(stored, hashPrefix) {
		if equal(password, stored) {
			return true, true, nil
		}
		stored = h.decoy
	}
	p, _, _, err := argon2id.DecodeHash(stored)
	if err != nil {
		return false, false, refusal("stored password: " + err.Error())
	}
	if exceeds(*p) {
		return false, false, refusal("stored password: the hash asks for more memory or time than is given")
	}
	ok, err = h.compare(password, stored)
	return ok, p.Memory < h.params.Memory || p.Iterations < h.params.Iterations, err
}

// exceeds reports whether a hash is beyond the bounds, or below those at which the algorithm panics.
func exceeds(p argon2id.Params) bool {
	return p.Memory > maxParams.Memory || p.Iterations > maxParams.Iterations || p.Parallelism > maxParams.Parallelism ||
		p.SaltLength > maxParams.SaltLength || p.KeyLength > maxParams.KeyLength ||
		p.Iterations < 1 || p.Parallelism < 1 || p.KeyLength < 16
}

// equal compares in a time that depends neither on where a and b differ nor on their lengths.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
