//go:build e2e

package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// testDomain gives the gateway a name of its own by config/tls, and sees that Knative accepts it. TLS is left out, and
// nothing is asked for at the name: both are the ingress's, and not every one (Traefik 3.7) serves such names.
func testDomain(t *testing.T, c *cluster, _ *person) {
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
}
