package jobs

import (
	"testing"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"": true, "https://soundstrip.example.com": true, "http://127.0.0.1:8080/": true,
		"soundstrip.example.com": false, "ftp://x": false, "https://": false, "https://x?y": false, "https://x#y": false,
	} {
		if err := (Config{PublicURL: address}).Validate(); (err == nil) != want {
			t.Errorf("Validate of PUBLIC_URL=%s: %v, want that it is good: %v", address, err, want)
		}
	}
}
