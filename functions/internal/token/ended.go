package token

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// pollEvery is the age at which what is known of ended tokens is fetched anew from another process.
	pollEvery = 10 * time.Second
	// mustKnow is how much older it may be before every request waits for that, so that a token ends within 30 s.
	mustKnow = 15 * time.Second
	// staleTimeout bounds the fetch when something is known.
	staleTimeout = 3 * time.Second
	// overlap is how much of what was fetched is asked for again, since changes are seen in another order than they begin.
	overlap = time.Minute
	maxList = 64 << 20 // bytes
)

// Ended says from when on the tokens of some users count.
type Ended struct {
	Now int64 `json:"now"` // by login's clock; Unix seconds, as are the others
	// TokensAfter has, by subject, the time before which a token must not have been given.
	TokensAfter map[string]int64 `json:"tokens_after"`
}

// Login is what a verifier asks of the login function.
type Login interface {
	// TokensAfter tells of the users whose tokens were ended at the Unix time since, or later.
	TokensAfter(ctx context.Context, since int64) (Ended, error)
	// Key tells what an API key stands for. [ErrKey] when it stands for nothing.
	Key(ctx context.Context, key string) (Claims, error)
}

// ErrKey says that an API key is not known, or has ended.
var ErrKey = errors.New("the API key does not count")

// WithLogin makes a verifier that accepts what v does, unless login says that the token was ended. It asks for that
// when a token comes and its knowledge is older than every; a quarter of a minute later all tokens wait for the answer.
// While login cannot be asked, what was known counts: no token outlives its expiry.
func WithLogin(v Verifier, login Login, every time.Duration) Verifier {
	keys, err := lru.New[[sha256.Size]byte, known](maxKnown)
	if err != nil {
		panic(err) // only a size below 1 is an error
	}
	return &guard{Verifier: v, login: login, every: every, now: time.Now, after: map[string]int64{}, keys: keys}
}

type guard struct {
	Verifier
	login Login
	every time.Duration
	now   func() time.Time
	keys  *lru.Cache[[sha256.Size]byte, known] // by hash

	fetching sync.Mutex // held while fetching
	tried    time.Time  // when the last attempt ended, for those who waited for it
	err      error      // its result

	mu      sync.RWMutex // guards what follows
	fetched time.Time    // when the last success began
	since   int64        // what to ask for next
	after   map[string]int64
}

// known is what login said of an API key.
type known struct {
	claims Claims
	err    error // ErrKey
	at     time.Time
}

const (
	maxKnown  = 10_000
	maxKey    = 100              // bytes
	keyHolds  = 20 * time.Second // what login said of a key
	keyWithin = 10 * time.Second // login answers
)

func (g *guard) key(ctx context.Context, key string) (Claims, error) {
	if len(key) > maxKey {
		return Claims{}, ErrKey
	}
	hash := sha256.Sum256([]byte(key))
	if k, ok := g.keys.Get(hash); ok && g.now().Sub(k.at) < keyHolds {
		return k.claims, k.err
	}
	begin := g.now()
	ctx, cancel := context.WithTimeout(ctx, keyWithin)
	defer cancel()
	c, err := g.login.Key(ctx, key)
	if err != nil && !errors.Is(err, ErrKey) {
		return Claims{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err == nil && c.Scope == "" {
		err = ErrKey // which would be good for everything
	}
	g.keys.Add(hash, known{c, err, begin})
	return c, err
}

// Verify is of [Verifier].
func (g *guard) Verify(ctx context.Context, raw string) (Claims, error) {
	if strings.HasPrefix(raw, KeyPrefix) {
		return g.key(ctx, raw)
	}
	c, err := g.Verifier.Verify(ctx, raw)
	if err != nil {
		return c, err
	}
	if err := g.refresh(ctx); err != nil {
		return Claims{}, err
	}
	g.mu.RLock()
	after, known := g.after[c.Subject]
	g.mu.RUnlock()
	if known && !c.GivenSince(after) {
		return Claims{}, fmt.Errorf("verify token of user %s: %w", c.Subject, ErrEnded)
	}
	return c, nil
}

// GivenSince reports whether a token was given at a Unix time or later.
func (c Claims) GivenSince(after int64) bool { return c.IssuedAt != nil && c.IssuedAt.Unix() >= after }

func (g *guard) age() (age time.Duration, known bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.now().Sub(g.fetched), !g.fetched.IsZero()
}

// refresh fetches what is new, when that is time. Its error says that nothing was ever fetched.
func (g *guard) refresh(ctx context.Context) error {
	age, known := g.age()
	switch {
	case known && age < g.every:
		return nil
	case known && age < g.every+mustKnow:
		if !g.fetching.TryLock() {
			return nil
		}
	default:
		g.fetching.Lock()
	}
	defer g.fetching.Unlock()
	if age, known = g.age(); known && age < g.every {
		return nil // somebody else has fetched meanwhile
	}
	if g.tried.IsZero() || g.now().Sub(g.tried) >= fetchGap {
		patience := fetchTimeout
		if known {
			patience = staleTimeout
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // others wait for this fetch
		g.err = g.fetch(ctx)
		cancel()
		g.tried = g.now()
		if g.err != nil && known {
			slog.WarnContext(ctx, "ended tokens not known", "for", age, "error", g.err)
		}
	}
	if g.err != nil && !known {
		return fmt.Errorf("%w: %w", ErrUnavailable, g.err)
	}
	return nil
}

func (g *guard) fetch(ctx context.Context) error {
	begin := g.now()
	ended, err := g.login.TokensAfter(ctx, g.since)
	if err != nil {
		return fmt.Errorf("fetch ended tokens: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for subject, after := range ended.TokensAfter {
		g.after[subject] = max(after, g.after[subject])
	}
	oldest := ended.Now - int64((MaxTTL + overlap).Seconds())
	for subject, after := range g.after {
		if after < oldest {
			delete(g.after, subject)
		}
	}
	g.since = ended.Now - int64(overlap.Seconds())
	g.fetched = begin
	return nil
}

// remoteLogin is the login function at an address.
type remoteLogin struct {
	url      string
	client   *http.Client
	verifier Verifier
}

// Key exchanges an API key for a token of a minute.
func (l remoteLogin) Key(ctx context.Context, key string) (Claims, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/token", http.NoBody)
	if err != nil {
		return Claims{}, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := l.client.Do(r)
	if err != nil {
		return Claims{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return Claims{}, ErrKey
	default:
		return Claims{}, fmt.Errorf("%s answers %s", l.url, resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxToken))
	if err != nil {
		return Claims{}, err
	}
	return l.verifier.Verify(ctx, string(raw))
}

func (l remoteLogin) TokensAfter(ctx context.Context, since int64) (e Ended, err error) {
	query := url.Values{"since": {strconv.FormatInt(since, 10)}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/.well-known/tokens-after?"+query.Encode(), nil)
	if err != nil {
		return e, err
	}
	resp, err := l.client.Do(r)
	if err != nil {
		return e, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return e, fmt.Errorf("%s answers %s", l.url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxList)).Decode(&e); err != nil {
		return e, err
	}
	if e.Now == 0 {
		return e, errors.New("the answer has no now")
	}
	return e, nil
}
