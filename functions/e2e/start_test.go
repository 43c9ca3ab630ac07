package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkStart measures from the start of each function's process until it listens, with no server to connect to, and
// prints the size of its binary.
func BenchmarkStart(b *testing.B) {
	secret := strings.Repeat("x", 64)
	env := map[string]string{
		"JWT_SECRET": secret, "LINK_SECRET": secret, "EVENT_SECRET": secret, "K_SINK": "http://127.0.0.1:1",
		"MONGODB_URI": "mongodb://127.0.0.1:1",
		"MYSQL_HOST":  "127.0.0.1", "MYSQL_PORT": "1", "MYSQL_USER": "app", "MYSQL_PASSWORD": "app", "MYSQL_DB": "auth",
		"AMQP_URL": "amqp://127.0.0.1:1", "SMTP_HOST": "127.0.0.1", "SMTP_FROM": "soundstrip@email.com", "SMTP_TLS": "none",
		"PUBLIC_URL": "http://127.0.0.1",
		"LOGIN_URL":  "http://127.0.0.1:1", "VALIDATE_URL": "http://127.0.0.1:1", "UPLOAD_URL": "http://127.0.0.1:1",
		"JOBS_URL":        "http://127.0.0.1:1",
		"BROKER_TRIGGERS": triggersFile(b, "http://127.0.0.1:1", "http://127.0.0.1:1"),
	}
	for _, name := range []string{"login", "validate", "upload", "convert", "notify", "jobs", "gateway", "broker"} {
		b.Run(name, func(b *testing.B) {
			info, err := os.Stat(filepath.Join(bin, name))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				p := start(b, name, env)
				b.StopTimer()
				p.kill()
				b.StartTimer()
			}
			b.ReportMetric(float64(info.Size())/1e6, "MB")
		})
	}
}
