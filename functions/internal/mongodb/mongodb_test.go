package mongodb_test

import (
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	// Nothing listens there: making the client does not reach for the server.
	client, err := mongodb.Connect(mongodb.Config{URI: "mongodb://127.0.0.1:1/?w=1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Disconnect(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := mongodb.Connect(mongodb.Config{URI: "127.0.0.1"}); err == nil || !strings.Contains(err.Error(), "MONGODB_URI") {
		t.Errorf("Connect with a bad URI = %v, want an error that names the variable", err)
	}
}
