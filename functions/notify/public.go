package notify

import (
	"net/netip"
	"syscall"
)

// refused are the unicast addresses that are not those of hosts on the Internet, beside what is not in 2000::/3: see
// the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890).
var refused = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
	"100.64.0.0/10",    // behind a provider's NAT (RFC 6598); one cloud's metadata at 100.100.100.200
	"192.0.0.0/24",     // of protocols; another's metadata at 192.0.0.192
	"168.63.129.16/32", // a third's, which is public by its number only
	"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "192.88.99.0/24",
	"224.0.0.0/4", "240.0.0.0/4",
	"2001::/23",     // of protocols; Teredo, which has an IPv4 address in it
	"2002::/16",     // 6to4, which has one as well
	"2001:db8::/32", // of documentation, as the next
	"3fff::/20",
)

var (
	global = netip.MustParsePrefix("2000::/3")
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052; that of RFC 8215, 64:ff9b:1::/48, is a network's own
)

func prefixes(all ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(all))
	for i, p := range all {
		parsed[i] = netip.MustParsePrefix(p)
	}
	return parsed
}

// Public reports whether an address is that of a host on the Internet, and not of this machine, its network, or what
// only its cloud can reach. One that stands for an IPv4 address is as that is; one with a zone is not public.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, p := range refused {
		if p.Contains(a) {
			return false
		}
	}
	return a.Is4() || global.Contains(a)
}

// publicOnly is for [net.Dialer]: it sees the address that is to be connected to, whatever it was found by.
func publicOnly(_, address string, _ syscall.RawConn) error {
	if a, err := netip.ParseAddrPort(address); err != nil || !Public(a.Addr()) {
		return &RefusedError{Reason: "the webhook's address is not a public one"}
	}
	return nil
}
