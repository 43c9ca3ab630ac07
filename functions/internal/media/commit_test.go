package media

import (
	"testing"
	"time"
)

func TestCommitTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		length int64
		want   time.Duration
	}{
		{0, 30 * time.Second},
		{100 << 20, 55 * time.Second},
		{2 << 30, 30*time.Second + 512*time.Second},
	} {
		if got := commitTime(tt.length); got != tt.want {
			t.Errorf("commitTime(%d) = %v, want %v", tt.length, got, tt.want)
		}
	}
}
