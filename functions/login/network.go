package login

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// network is what a request comes from, as far as it is counted: see networkOf.
func (h *handler) network(r *http.Request) string {
	n := networkOf(h.cfg.Proxies.ClientAddr(r))
	slog.DebugContext(r.Context(), "counted by network", "network", n, "hops", h.cfg.Proxies.Hops,
		"forwarded", r.Header.Values("X-Forwarded-For"), "from", r.RemoteAddr)
	return n.String()
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

// audit logs what was done to a user by whom, and how it went.
func (h *handler) audit(r *http.Request, event, user, actor string, err error) {
	outcome := "failed"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.As(err, new(*account.WaitError)):
		outcome = "throttled"
	case errors.Is(err, account.ErrBusy):
		outcome = "busy"
	}
	h.cfg.Proxies.Audit(r, event, user, actor, outcome)
}
