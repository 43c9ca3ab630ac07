package ffmpeg

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// forks are the calls that make a process and are no clone: none.
var forks []uint32
