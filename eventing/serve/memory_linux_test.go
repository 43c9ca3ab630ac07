package serve

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestHideMemory(t *testing.T) {
	t.Parallel()
	hideMemory()
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); n != 0 || err != nil {
		t.Errorf("the process's memory can be read: %d, %v", n, err)
	}
}
