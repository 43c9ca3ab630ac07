package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

const (
	fetchTimeout = 10 * time.Second // long enough for a login that has to be started first
	fetchGap     = 5 * time.Second  // between two fetches at least, whatever tokens come
	maxAge       = 10 * time.Minute // keys older than this are fetched anew: one may have been withdrawn
	maxJWKS      = 1 << 20          // bytes
)

// newClient makes what asks login.
func newClient() *http.Client {
	return &http.Client{Timeout: fetchTimeout, Transport: telemetry.Transport(nil)}
}

// remote is a key set that is fetched when it is needed. The HTTP storage of jwkset is not used. It fetches when it is
// made, and when several requests meet a new key at once, it lets one of them fetch and fails the others.
type remote struct {
	*jwkset.MemoryJWKSet
	url    string
	client *http.Client
	now    func() time.Time

	fetched atomic.Int64 // when the last success began, in Unix nanoseconds

	fetching sync.Mutex // guards what follows, and is held while fetching
	tried    time.Time  // when the last attempt ended: those who waited for it share its result
	err      error      // its result
}

func newRemote(url string) *remote {
	return &remote{MemoryJWKSet: jwkset.NewMemoryStorage(), url: url, client: newClient(),
		now: time.Now}
}

// KeyRead finds a key. A known key is used while the set is fetched anew, and when that fails. A request with an
// unknown key waits for the fetch.
func (r *remote) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	key, missing := r.MemoryJWKSet.KeyRead(ctx, kid)
	if missing == nil && r.now().UnixNano()-r.fetched.Load() < maxAge.Nanoseconds() {
		return key, nil
	}
	if missing == nil && !r.fetching.TryLock() {
		return key, nil
	}
	if missing != nil {
		r.fetching.Lock()
	}
	defer r.fetching.Unlock()
	err := r.refresh(ctx)
	key, missing = r.MemoryJWKSet.KeyRead(ctx, kid)
	if missing != nil && err != nil {
		return jwkset.JWK{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return key, missing
}

// refresh fetches the set unless that was tried just now, and returns what came of the last attempt.
func (r *remote) refresh(ctx context.Context) error {
	begin := r.now()
	if !r.tried.IsZero() && begin.Sub(r.tried) < fetchGap {
		return r.err
	}
	// Others wait for this fetch, so it does not end with the request that began it.
	if r.err = r.fetch(context.WithoutCancel(ctx)); r.err == nil {
		r.fetched.Store(begin.UnixNano())
	}
	r.tried = r.now()
	return r.err
}

func (r *remote) fetch(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return fmt.Errorf("fetch keys: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("fetch keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch keys from %s: %s", r.url, resp.Status)
	}
	var set jwkset.JWKSMarshal
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxJWKS)).Decode(&set); err != nil {
		return fmt.Errorf("fetch keys from %s: %w", r.url, err)
	}
	var keys []jwkset.JWK
	for _, m := range set.Keys {
		key, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue // a key of a kind that is not known here is for others
		}
		method, _, err := identify(key.Key())
		if err == nil && m.KID != "" && m.USE != jwkset.UseEnc && (m.ALG == "" || m.ALG.String() == method.Alg()) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return errors.New("fetch keys from " + r.url + ": the set has no Ed25519 or RSA key with an id")
	}
	return r.KeyReplaceAll(ctx, keys)
}
