//go:build e2e

package cluster

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// testDomain gives the gateway a name of its own by config/tls, without TLS: that is the ingress's.
func testDomain(t *testing.T, c *cluster, p *person) {
	text, err := os.ReadFile("../../config/tls/domain.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.ReplaceAll(text, []byte("  tls: {secretName: soundstrip-tls}\n"), nil)
	if len(plain) == len(text) {
		t.Fatal("config/tls/domain.yaml has no line of TLS to leave out")
	}
	file := filepath.Join(t.TempDir(), "domain.yaml")
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("kubectl", "apply", "-f", file)
	defer c.run("kubectl", "delete", "-f", file)
	c.run("kubectl", "-n", namespace, "wait", "--for=condition=Ready", "domainmapping/soundstrip.example.com",
		"--timeout="+patience.String())
	eventually(t, "the gateway to answer at its own name", func() bool {
		status, _, err := p.send(http.MethodGet, "http://soundstrip.example.com/jobs", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status == http.StatusOK
	})
}
