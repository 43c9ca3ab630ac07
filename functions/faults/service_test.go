//go:build faults

package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is where TestMain put the binaries.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "soundstrip-faults-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		if err = build("../..", bin); err == nil && formerRef() != "" {
			err = buildFormer()
		}
		if err == nil {
			err = buildAhead()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// build makes the binaries of a tree.
func build(tree, to string, more ...string) error {
	args := append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", to + "/"}, more...)
	args = append(args, "./eventing/cmd/broker")
	for _, name := range []string{"login", "validate", "upload", "convert", "notify", "jobs", "gateway", "sweep"} {
		args = append(args, "./functions/cmd/"+name)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// formerRef is the commit of another release, for a rolling update from it and back; none without FORMER.
func formerRef() string { return os.Getenv("FORMER") }

// buildFormer makes the binaries of the other release.
func buildFormer() error {
	tree := filepath.Join(bin, "tree")
	script := `git -C ../.. archive "$1" | tar -x -C "$2"`
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("sh", "-ec", script, "sh", formerRef(), tree).CombinedOutput(); err != nil {
		return fmt.Errorf("FORMER=%s: %w\n%s", formerRef(), err, out)
	}
	return build(tree, filepath.Join(bin, otherRelease))
}

// The builds that a process may be of: a folder of bin with a slash.
const (
	thisRelease  = ""
	otherRelease = "former/"
	clockAhead   = "ahead/" // this release, and its clock is 5 minutes ahead
)

// buildAhead makes the binaries whose clock is ahead, by another time.Now: Go asks the kernel's page for the time, and
// none of what changes a clock for one process reaches that.
func buildAhead() error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	now, ours := filepath.Join(strings.TrimSpace(string(root)), "src/time/time.go"), filepath.Join(bin, "time.go")
	source, err := os.ReadFile(now)
	if err != nil {
		return err
	}
	const read = "sec, nsec, mono := runtimeNow()\n"
	if !bytes.Contains(source, []byte(read)) {
		return fmt.Errorf("%s: time.Now is not as it was in Go 1.26", now)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{now: ours}})
	if err == nil {
		err = os.WriteFile(ours, bytes.ReplaceAll(source, []byte(read), []byte(read+"\tsec += 5 * 60\n")), 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "overlay.json"), overlay, 0o600)
	}
	if err != nil {
		return err
	}
	return build("../..", filepath.Join(bin, clockAhead), "-overlay", filepath.Join(bin, "overlay.json"))
}

// service is one process of a function, which may die and come again: its address stays, since a tap has it.
type service struct {
	t     *testing.T
	name  string // of the binary
	env   map[string]string
	front *tap

	mongo, amqp, mysql *tap // those that it has

	mu     sync.Mutex
	url    string // the process's own host:port
	cmd    *exec.Cmd
	done   chan struct{}
	killed bool // by us
	frozen bool
	build  string
	log    bytes.Buffer
}

func newService(t *testing.T, name string) *service {
	t.Helper()
	s := &service{t: t, name: name}
	s.front = newTap(t, s, httpProtocol, func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.url
	})
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		if t.Failed() && os.Getenv("FAULTS_LOGS") != "" {
			_ = os.WriteFile(filepath.Join(os.Getenv("FAULTS_LOGS"), s.name+s.front.address()+".log"), []byte(s.output()), 0o600)
		}
	})
	return s
}

func (s *service) address() string { return "http://" + s.front.address() }

// command is a binary with nothing but the variables.
func command(name string, env map[string]string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, name))
	cmd.Env = []string{"HOST=127.0.0.1", "PORT=0", "PATH=" + os.Getenv("PATH"), "SHUTDOWN_DELAY=0s"}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}

var listening = regexp.MustCompile(`"listening".*"address":"([^"]+)"`)

// start runs the binary with nothing but its environment, and waits until it listens.
func (s *service) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = command(s.build+s.name, s.env)
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Error(err)
		return
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		s.t.Errorf("start %s: %v", s.name, err)
		return
	}
	w.Close()
	s.done, s.killed = make(chan struct{}), false
	address := make(chan string, 1)
	go s.watch(s.cmd, r, address, s.done)
	select {
	case s.url = <-address:
	case <-s.done:
		s.t.Errorf("%s ended at once", s.name)
	case <-time.After(time.Minute):
		s.t.Errorf("%s does not listen", s.name)
	}
}

func (s *service) watch(cmd *exec.Cmd, r *os.File, address chan<- string, done chan<- struct{}) {
	defer close(done)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	found := false
	for lines.Scan() {
		if m := listening.FindSubmatch(lines.Bytes()); m != nil && !found {
			found = true
			address <- string(m[1])
			continue
		}
		if found {
			s.mu.Lock()
			s.log.Write(append(lines.Bytes(), '\n'))
			s.mu.Unlock()
		}
	}
	r.Close()
	err := cmd.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.killed && found {
		s.t.Errorf("%s ended by itself: %v", s.name, err)
	}
	const others = "WT_PANIC: WiredTiger library panic" // MongoDB's
	if strings.Contains(strings.ReplaceAll(s.log.String(), others, ""), "panic") {
		s.t.Errorf("%s panicked", s.name)
	}
}

func (s *service) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// end sends a signal and waits for the end.
func (s *service) end(signal syscall.Signal) {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.killed = true
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	if signal == syscall.SIGKILL {
		for _, child := range children(cmd.Process.Pid) { // as with a container
			_ = syscall.Kill(child, signal)
		}
	}
	_ = cmd.Process.Signal(signal)
	select {
	case <-done:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-done
		s.t.Errorf("%s did not end on %v", s.name, signal)
	}
}

func (s *service) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = signal == syscall.SIGSTOP
	_ = s.cmd.Process.Signal(signal)
}

// kill ends the process as a lost machine would, and starts it again.
func (s *service) kill() {
	s.end(syscall.SIGKILL)
	s.start()
}

// children gives the processes that a process has started.
func children(parent int) (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, task := range tasks {
		list, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(list)) {
			var pid int
			if _, err := fmt.Sscan(f, &pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}
