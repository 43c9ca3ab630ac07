package serve

import "golang.org/x/sys/unix"

// hideMemory keeps other processes of the same user from looking into this one, and into its environment.
func hideMemory() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) } // with these arguments it cannot fail
