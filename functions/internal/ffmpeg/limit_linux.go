package ffmpeg

import (
	"time"

	"golang.org/x/sys/unix"
)

// maxMemory is the address space a run may use, in bytes: Debian's ffmpeg starts with less than 300 MiB of it.
const maxMemory = 2 << 30

// limit bounds a process that has not been fed yet.
func limit(pid int, cpu time.Duration) error {
	seconds := uint64(cpu/time.Second) + 1
	for _, l := range []struct {
		resource   int
		soft, hard uint64
	}{
		{unix.RLIMIT_AS, maxMemory, maxMemory},
		{unix.RLIMIT_CPU, seconds, seconds + 5}, // SIGXCPU at the one, SIGKILL at the other
		{unix.RLIMIT_FSIZE, 0, 0},
		{unix.RLIMIT_CORE, 0, 0},
		{unix.RLIMIT_NOFILE, 64, 64},
	} {
		if err := unix.Prlimit(pid, l.resource, &unix.Rlimit{Cur: l.soft, Max: l.hard}, nil); err != nil {
			return err
		}
	}
	return nil
}
