package eventing

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestNetwork(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, peer, forwarded, want string }{
		{"direct", "198.51.100.7:1", "", "198.51.100.0/24"},
		{"IPv6", "[2001:db8:1:2::3%eth0]:1", "", "2001:db8:1::/48"},
		{"mapped", "[::ffff:198.51.100.7]:1", "", "198.51.100.0/24"},
		{"behind a proxy", "10.1.2.3:1", "203.0.113.9, 198.51.100.7", "198.51.100.0/24"},
		{"a client that says so", "198.51.100.7:1", "203.0.113.9", "198.51.100.0/24"},
		{"on this machine", "127.0.0.1:1", "", "127.0.0.0/24"},
		{"nonsense", "127.0.0.1:1", "me\nhere", "127.0.0.0/24"},
		{"no address", "@", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.peer
			if tt.forwarded != "" {
				r.Header["X-Forwarded-For"] = []string{tt.forwarded}
			}
			if got := network(r); got != tt.want {
				t.Errorf("network(%q, %q) = %q, want %q", tt.peer, tt.forwarded, got, tt.want)
			}
		})
	}
}
