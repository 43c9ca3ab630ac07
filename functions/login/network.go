package login

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
)

// network is what a request comes from, as far as it is counted: see clientAddr and networkOf.
func (h *handler) network(r *http.Request) string {
	n := networkOf(clientAddr(r, h.cfg.ProxyHops))
	slog.DebugContext(r.Context(), "counted by network", "network", n, "hops", h.cfg.ProxyHops,
		"forwarded", r.Header.Values("X-Forwarded-For"), "from", r.RemoteAddr)
	return n.String()
}

// clientAddr is the address that a request comes from: that of the connection, or with hops the one that the first of
// so many proxies added to X-Forwarded-For. Where there are fewer it is the first that there is: the request has come
// by a shorter way.
func clientAddr(r *http.Request, hops int) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	forwarded := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	if hops == 0 || forwarded == "" {
		return peer.Addr().Unmap()
	}
	chain := strings.Split(forwarded, ",")
	addr, err := netip.ParseAddr(strings.TrimSpace(chain[max(0, len(chain)-hops)]))
	if err != nil {
		return peer.Addr().Unmap()
	}
	return addr.Unmap()
}

// networkOf is what a provider gives to one customer: an IPv4 address, or 64 bits of an IPv6 address. The customer
// chooses the rest.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits) // without an address, all share the zero prefix
	return p
}
