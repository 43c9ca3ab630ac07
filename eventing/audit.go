package eventing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
)

// ProxyConfig says which proxies are before a function.
type ProxyConfig struct {
	// Hops is how many each add an address to X-Forwarded-For. The client's is that many before the last, which is the one
	// that the connection comes from; what stands before it the client may have written.
	Hops int `env:"PROXY_HOPS, default=0"`
}

// Validate reports a number that is none.
func (c *ProxyConfig) Validate() error {
	if c.Hops < 0 {
		return fmt.Errorf("PROXY_HOPS is %d: want the number of proxies before this function", c.Hops)
	}
	return nil
}

// ClientAddr is the address that a request comes from: that of the connection, or with hops the one that the first of
// so many proxies added to X-Forwarded-For. Where there are fewer it is the first that there is: the request has come
// by a shorter way.
func (c *ProxyConfig) ClientAddr(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	forwarded := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	if c.Hops == 0 || forwarded == "" {
		return peer.Addr().Unmap()
	}
	chain := strings.Split(forwarded, ",")
	addr, err := netip.ParseAddr(strings.TrimSpace(chain[max(0, len(chain)-c.Hops)]))
	if err != nil {
		return peer.Addr().Unmap()
	}
	return addr.Unmap()
}

// Audit logs what a client did, as [Audit] does.
func (c *ProxyConfig) Audit(r *http.Request, event, subject, actor, outcome string) {
	Audit(r.Context(), event, subject, actor, network(c.ClientAddr(r)), outcome)
}

// Audit logs, in one line, what somebody did that others may want to know later: the event, such as job.deleted, what
// it was done to, who did it by id, from which network, and how it went. No value may be a secret.
func Audit(ctx context.Context, event, subject, actor, from, outcome string) {
	slog.InfoContext(ctx, "audit",
		"event", event, "subject", subject, "actor", actor, "network", from, "outcome", outcome)
}

// network is the /24 of an IPv4 address, or the /48 of an IPv6 address.
func network(a netip.Addr) string {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.WithZone("").Prefix(bits)
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
