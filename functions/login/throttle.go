package login

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxKeys is how many accounts and addresses a throttle remembers; the one that was not seen for longest is forgotten.
const maxKeys = 10_000

// throttle counts failed attempts by a key: burst of them at once, and another each interval. Each process counts its
// own.
type throttle[K comparable] struct {
	interval time.Duration
	burst    int
	limiters *lru.Cache[K, *rate.Limiter]
}

func newThrottle[K comparable](interval time.Duration, burst int) *throttle[K] {
	limiters, err := lru.New[K, *rate.Limiter](maxKeys)
	if err != nil {
		panic(err) // only a size below 1 is an error
	}
	return &throttle[K]{interval: interval, burst: burst, limiters: limiters}
}

// wait says how long the key has to wait for its next attempt.
func (t *throttle[K]) wait(key K, now time.Time) time.Duration {
	l, ok := t.limiters.Get(key)
	if !ok {
		return 0
	}
	return time.Duration(max(0, 1-l.TokensAt(now)) * float64(t.interval))
}

// charge counts a failed attempt. Attempts that were let through at the same moment are all counted: the next wait is
// longer.
func (t *throttle[K]) charge(key K, now time.Time) {
	l := rate.NewLimiter(rate.Every(t.interval), t.burst)
	if known, ok, _ := t.limiters.PeekOrAdd(key, l); ok {
		l = known
	}
	l.ReserveN(now, 1)
}

// waitError says that an attempt comes too early.
type waitError struct{ d time.Duration }

func (e *waitError) Error() string { return fmt.Sprintf("too many failed attempts: wait %v", e.d) }

// accountKey is the hash of an e-mail address: it has a fixed length, and the address is not kept.
type accountKey [sha256.Size]byte

func keyOf(email string) accountKey {
	return sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(email))))
}

// clientAddr is the address that a request comes from. If that is a trusted proxy, it is the address that the proxy
// added to X-Forwarded-For, its last; and so on from right to left. What stands further left the client may have
// written itself.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isIn(addr, trusted); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
	}
	return addr
}

func isIn(addr netip.Addr, networks []netip.Prefix) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// network is what a provider gives to one customer: an IPv4 address, or 64 bits of an IPv6 address. The customer
// chooses the rest.
func network(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // without an address, all share the zero prefix
	return p
}
