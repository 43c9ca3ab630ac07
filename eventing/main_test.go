package eventing_test

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // refused requests are logged, and the tables refuse many
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}
