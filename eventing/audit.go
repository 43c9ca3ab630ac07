package eventing

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
)

// Audit logs, in one line, what somebody did that others may want to know later: the event, such as job.deleted, what
// it was done to, who did it by id, from which network, and how it went. No value may be a secret.
func Audit(r *http.Request, event, subject, actor, outcome string) {
	slog.InfoContext(r.Context(), "audit",
		"event", event, "subject", subject, "actor", actor, "network", network(r), "outcome", outcome)
}

// network is where a request comes from, as /24 of IPv4 or /48 of IPv6: by the last of X-Forwarded-For where a proxy of
// ours passed it on, which has a private address.
func network(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	a := peer.Addr().Unmap()
	if a.IsPrivate() || a.IsLoopback() {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if last, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1])); err == nil {
			a = last.Unmap()
		}
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}
