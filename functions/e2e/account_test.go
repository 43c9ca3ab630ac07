package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// user runs soundstrip user on a data folder.
func user(t *testing.T, data, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "soundstrip"), append([]string{"user"}, args...)...)
	cmd.Env = []string{"SOUNDSTRIP_DATA=" + data}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("soundstrip user %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// status asks for something with a token.
func status(t *testing.T, method, url, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestTokensEnd takes from users what they had, with another program than the one that has to learn of it.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := laptop(t, data)
	user(t, data, "Violet-Harbour-7", "add", "--password-stdin", "other@email.com")
	other := login(t, s.url, "other@email.com:Violet-Harbour-7")
	for _, tt := range []struct {
		name, stdin string
		args        []string
	}{
		{name: "a demoted admin", args: []string{"demote", "georgio@email.com"}},
		{name: "another password", stdin: "Violet-Harbour-8", args: []string{"passwd", "--password-stdin", "georgio@email.com"}},
		{name: "a disabled user", args: []string{"disable", "georgio@email.com"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			password := "Admin123"
			if tt.args[0] == "disable" {
				password = "Violet-Harbour-8"
			}
			token := login(t, s.url, "georgio@email.com:"+password)
			if got := status(t, "GET", s.url+"/jobs", token); got != 200 {
				t.Fatalf("GET /jobs = %d before, want 200", got)
			}
			user(t, data, tt.stdin, tt.args...)
			eventually(t, "the token to end", func() bool { return status(t, "GET", s.url+"/jobs", token) == 403 })
			for _, try := range []string{"POST /upload", "DELETE /jobs/6b0c20eaffffffffffffffff", "POST /validate", "POST /token"} {
				method, path, _ := strings.Cut(try, " ")
				if got := status(t, method, s.url+path, token); got != 403 {
					t.Errorf("%s by %s = %d, want 403", try, tt.name, got)
				}
			}
		})
	}
	if got := status(t, "GET", s.url+"/jobs", other); got != 200 {
		t.Errorf("GET /jobs of another user = %d, want 200", got)
	}
}
