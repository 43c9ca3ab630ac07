package eventing

import (
	"net/http"
	"net/netip"
	"testing"
)

// TestClientAddr has clients lie, who can only write at the front.
func TestClientAddr(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		hops      int
		forwarded []string
		want      string
	}{
		{name: "no proxy", want: "10.0.0.1"},
		{name: "no proxy, and the client writes the header", forwarded: []string{"203.0.113.1"}, want: "10.0.0.1"},
		{name: "one proxy", hops: 1, forwarded: []string{"203.0.113.1"}, want: "203.0.113.1"},
		{name: "one proxy, and the client writes the header", hops: 1, forwarded: []string{"198.51.100.1, 203.0.113.1"},
			want: "203.0.113.1"},
		{name: "the client writes addresses of ours", hops: 1, forwarded: []string{"10.0.0.9, 10.0.0.8, 203.0.113.1"},
			want: "203.0.113.1"},
		{name: "three proxies and several headers", hops: 3, forwarded: []string{"198.51.100.1, 203.0.113.1, 10.0.0.2",
			"10.0.0.3"}, want: "203.0.113.1"},
		{name: "fewer than there should be", hops: 3, forwarded: []string{"203.0.113.1"}, want: "203.0.113.1"},
		{name: "none", hops: 3, want: "10.0.0.1"},
		{name: "junk", hops: 1, forwarded: []string{"203.0.113.1, unknown"}, want: "10.0.0.1"},
		{name: "IPv4 in IPv6", hops: 1, forwarded: []string{"::ffff:203.0.113.1"}, want: "203.0.113.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{RemoteAddr: "[::ffff:10.0.0.1]:1", Header: http.Header{"X-Forwarded-For": tt.forwarded}}
			if got := (&ProxyConfig{tt.hops}).ClientAddr(r).String(); got != tt.want {
				t.Errorf("ClientAddr(%q, %d) = %s, want %s", tt.forwarded, tt.hops, got, tt.want)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"198.51.100.7": "198.51.100.0/24", "2001:db8:1:2::3%eth0": "2001:db8:1::/48",
	} {
		if got := network(netip.MustParseAddr(addr)); got != want {
			t.Errorf("network(%s) = %s, want %s", addr, got, want)
		}
	}
	if got := network(netip.Addr{}); got != "" {
		t.Errorf("network() without an address = %q, want none", got)
	}
}
