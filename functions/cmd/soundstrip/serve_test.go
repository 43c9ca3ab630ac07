package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestLoopback: who sees the mailbox sees everybody's mail.
func TestLoopback(t *testing.T) {
	t.Parallel()
	h := loopback(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "https://soundstrip.example.com/x")
	for _, tt := range []struct {
		name, peer, host, header string
		status                   int
	}{
		{"this machine", "127.0.0.1:9", "127.0.0.1:8080", "", 200},
		{"by name", "[::1]:9", "localhost:8080", "", 200},
		{"IPv6", "[::1]:9", "[::1]:8080", "", 200},
		{"the public name", "127.0.0.1:9", "soundstrip.example.com", "", 200},
		{"another machine", "192.0.2.1:9", "127.0.0.1:8080", "", 403},
		{"another site's name that leads here", "127.0.0.1:9", "evil.example.com:8080", "", 403},
		{"no name", "127.0.0.1:9", "", "", 403},
		{"a proxy", "127.0.0.1:9", "localhost", "X-Forwarded-For", 403},
		{"another proxy", "127.0.0.1:9", "localhost", "Forwarded", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/mailbox", nil)
			r.RemoteAddr, r.Host = tt.peer, tt.host
			if tt.header != "" {
				r.Header.Set(tt.header, "for=192.0.2.1")
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("GET /mailbox by %s as %q = %d, want %d", tt.peer, tt.host, w.Code, tt.status)
			}
		})
	}
}
