//go:build amd64 || arm64

package ffmpeg

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sandbox confines a program to what it needs: its own file, its libraries, and what it was given to read and write. It
// cannot open anything else, connect, start another process, look into one or signal it. The zero value is ready.
//
// A process keeps what the thread that started it had given up, so no helper has to be started in between: a thread of
// its own gives it up (Landlock, seccomp, no-new-privs, each of which is per thread), starts the program, and ends.
// That takes a tenth of a millisecond.
type sandbox struct {
	once    sync.Once
	ruleset int // of Landlock; below 0 when there is none
	filter  []unix.SockFilter
}

// start starts the command.
func (s *sandbox) start(ctx context.Context, cmd *exec.Cmd) error {
	s.once.Do(func() { s.prepare(ctx, cmd.Path) })
	if s.filter == nil {
		return cmd.Start()
	}
	ruleset := s.ruleset
	var err error
	if in := regular(cmd.Stdin); in != nil && ruleset >= 0 { // which the program opens anew, as /dev/stdin
		if ruleset, err = newRuleset(cmd.Path, in); err != nil {
			return fmt.Errorf("landlock: %w", err)
		}
		defer func() { _ = unix.Close(ruleset) }() // the program has its own
	}
	onOwnThread(func() {
		if err = s.confine(ruleset); err == nil {
			err = cmd.Start()
		}
	})
	return err
}

// regular gives what is a file and no pipe; nil when it is none.
func regular(r io.Reader) *os.File {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return f
}

// onOwnThread calls f on a thread that ends afterwards. The first thread of a process does not end, and stands for all
// of it where others signal it: while it is held here, another goroutine has another thread.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		onOwnThread(f)
		runtime.UnlockOSThread()
	}()
	<-done
}

// prepare makes what is the same for every start. What the kernel lacks is logged once, and done without.
func (s *sandbox) prepare(ctx context.Context, program string) {
	s.ruleset = -1
	if isScript(program) {
		slog.WarnContext(ctx, "ffmpeg is a script, and runs without a sandbox", "program", program)
		return
	}
	s.filter = newFilter()
	var err error
	if s.ruleset, err = newRuleset(program); err != nil {
		s.ruleset = -1
		slog.WarnContext(ctx, "ffmpeg can read files: the kernel has no Landlock", "error", err)
	}
}

// isScript reports whether a program is run by another, which reads files and starts programs.
func isScript(program string) bool {
	f, err := os.Open(program)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	head := make([]byte, 2)
	_, _ = f.Read(head) // a shorter file is none
	return bytes.Equal(head, []byte("#!"))
}

// confine confines the calling thread.
func (s *sandbox) confine(ruleset int) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no-new-privs: %w", err)
	}
	if ruleset >= 0 {
		_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
		if errno != 0 {
			return fmt.Errorf("landlock: %w", errno)
		}
	}
	program := unix.SockFprog{Len: uint16(len(s.filter)), Filter: &s.filter[0]}
	//nolint:gosec // the kernel reads it
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) { // a kernel without
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

// libraries are where those of programs are.
var libraries = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"}

// newRuleset makes a ruleset of Landlock that allows to run the program, to read its libraries and the files, and
// nothing else that the kernel knows to forbid: https://docs.kernel.org/userspace-api/landlock.html.
func newRuleset(program string, files ...*os.File) (int, error) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return -1, errno
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_REFER - 1}
	for _, since := range []struct {
		abi uintptr
		add func()
	}{
		{2, func() { attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER }},
		{3, func() { attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE }},
		{4, func() {
			attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		}},
		{5, func() { attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV }},
		{6, func() { attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL }},
	} {
		if abi >= since.abi {
			since.add()
		}
	}
	size := unsafe.Offsetof(attr.Quiet_access_fs) // what newer kernels have besides is not asked for
	//nolint:gosec // the kernel reads it
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return -1, errno
	}
	ruleset := int(fd)
	const read, run = unix.LANDLOCK_ACCESS_FS_READ_FILE, unix.LANDLOCK_ACCESS_FS_EXECUTE
	allowed := map[string]uint64{program: read | run}
	if loader := loaderOf(program); loader != "" {
		allowed[loader] = read | run
		for _, path := range libraries {
			allowed[path] |= read
		}
	}
	for path, access := range allowed {
		if err := allow(ruleset, path, access); err != nil && !errors.Is(err, unix.ENOENT) {
			return -1, errors.Join(fmt.Errorf("%s: %w", path, err), unix.Close(ruleset))
		}
	}
	for _, f := range files {
		if err := allowAt(ruleset, int(f.Fd()), read); err != nil {
			return -1, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), unix.Close(ruleset))
		}
	}
	return ruleset, nil
}

// allow adds a rule for what lies beneath a path.
func allow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // it was only named
	return allowAt(ruleset, fd, access)
}

// allowAt is allow for an open file.
func allowAt(ruleset, fd int, access uint64) error {
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	//nolint:gosec // the kernel reads it
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// loaderOf gives the program that loads the libraries of another; empty when it has none.
func loaderOf(program string) string {
	f, err := elf.Open(program)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, p.Filesz)
			_, _ = p.ReadAt(name, 0) // or there is none
			return strings.TrimRight(string(name), "\x00")
		}
	}
	return ""
}

// forbidden are the system calls that no decoder needs: those to reach others, to look into them, to be somebody else,
// or to change the machine.
var forbidden = append([]uint32{
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT,
	unix.SYS_ACCEPT4,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
}, forks...)

// newFilter makes a filter of seccomp (classic BPF over struct seccomp_data) that answers forbidden calls with EPERM.
// Of clone, threads are allowed, and what Go starts a program by (CLONE_VM); clone3, whose arguments no filter sees, is
// not there: glibc takes clone then.
func newFilter() []unix.SockFilter {
	const (
		load       = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal      = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast    = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		set        = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret        = unix.BPF_RET | unix.BPF_K
		nr         = 0 // offsets of struct seccomp_data
		arch       = 4
		flags      = 16 // of clone: the low half of the first argument
		otherABI   = 1 << 30
		notThere   = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		notAllowed = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	)
	f := []unix.SockFilter{
		{Code: load, K: arch},
		{Code: equal, K: auditArch, Jt: 1},
		{Code: ret, K: notThere},
		{Code: load, K: nr},
		{Code: atLeast, K: otherABI, Jf: 1}, // x32
		{Code: ret, K: notThere},
		{Code: equal, K: unix.SYS_CLONE3, Jf: 1},
		{Code: ret, K: notThere},
	}
	for _, call := range forbidden {
		f = append(f, unix.SockFilter{Code: equal, K: call, Jf: 1}, unix.SockFilter{Code: ret, K: notAllowed})
	}
	return append(f,
		unix.SockFilter{Code: equal, K: unix.SYS_CLONE, Jf: 3},
		unix.SockFilter{Code: load, K: flags},
		unix.SockFilter{Code: set, K: unix.CLONE_VM, Jt: 1},
		unix.SockFilter{Code: ret, K: notAllowed},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}
