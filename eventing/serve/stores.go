package serve

import (
	"net/netip"
	"strings"
)

// StoresConfig says how stores on other machines are reached.
type StoresConfig struct {
	Plain bool `env:"STORES_PLAIN"` // without TLS too
}

// WantsTLS reports whether a connection to a host must have TLS: all but this machine does.
func (c StoresConfig) WantsTLS(host string) bool {
	ip, err := netip.ParseAddr(host)
	here := host == "localhost" || strings.HasSuffix(host, ".sock") || err == nil && ip.Unmap().IsLoopback()
	return !c.Plain && !here
}
