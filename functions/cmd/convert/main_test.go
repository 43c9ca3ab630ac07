package main

import (
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"
)

// TestImageWithoutFFmpeg sees that what a crash on a cluster says is of use there.
func TestImageWithoutFFmpeg(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), envconfig.MapLookuper(map[string]string{
		"K_SERVICE": "convert", "FFMPEG": "/usr/bin/no-ffmpeg", "MONGODB_URI": "mongodb://127.0.0.1:1",
		"EVENT_SECRET": strings.Repeat("0123456789abcdef", 2),
	}))
	if err == nil || !strings.Contains(err.Error(), ".ko.yaml") || strings.Contains(err.Error(), "apt-get") {
		t.Errorf("run without ffmpeg on Knative = %v, want what to do about the image", err)
	}
}
