package ffmpeg

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// probe is a program that tries what an ffmpeg might that a file has taken over. It says what worked.
const probe = `$| = 1;
my ($parent, $secret, $port) = @ARGV;
sub can { my ($name, $did) = @_; print "$name\n" if $did }
sub reads { my ($name, $path) = @_; my $f; can($name, open($f, "<", $path) && defined(readline($f))) }
reads("environ", "/proc/$parent/environ");
reads("secret", $secret);
reads("passwd", "/etc/passwd");
reads("status", "/proc/self/status");
can("writes", open(my $w, ">", "$secret.new"));
can("lists", opendir(my $d, "/"));
my ($inet, $unix);
can("socket", socket($inet, 2, 1, 0));
can("connects", defined(fileno($inet)) && connect($inet, pack("S n C4 x8", 2, $port, 127, 0, 0, 1)));
can("unix socket", socket($unix, 1, 1, 0));
my $pid = fork();
exit if defined($pid) && $pid == 0;
can("forks", defined($pid));
can("signals", kill(0, $parent));
can("starts", system("/bin/true") == 0);
print "ran\n";
exec("/bin/echo", "executes");
`

// TestSandbox: nothing of what a taken-over ffmpeg may try works, and all of it does without.
func TestSandbox(t *testing.T) {
	t.Parallel()
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip("perl is not installed")
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	args := []string{"-", fmt.Sprint(os.Getpid()), secret, port}
	cmd := exec.CommandContext(t.Context(), perl, args...)
	cmd.Stdin = strings.NewReader(probe)
	free, err := cmd.Output()
	for _, want := range []string{"environ", "secret", "passwd", "status", "writes", "lists", "connects", "unix socket",
		"forks", "signals", "starts", "executes"} {
		if !strings.Contains(string(free), want) {
			t.Errorf("without a sandbox the probe says %q, %v, want %q in it", free, err, want)
		}
	}
	var said []byte
	tool := &Tool{cpu: time.Minute}
	feed := Input{Feed: func(w io.Writer) error {
		_, err := io.WriteString(w, probe)
		return err
	}}
	err = tool.run(t.Context(), perl, feed, args, func(r io.Reader) (err error) {
		said, err = io.ReadAll(r)
		return err
	}, func(s string) { t.Log(s) })
	if diff := cmp.Diff("ran\n", string(said)); diff != "" {
		t.Errorf("in the sandbox, %v, the probe does (-want +got):\n%s", err, diff)
	}
	// This process, and its threads, are as they were.
	if _, err := os.ReadFile("/etc/passwd"); err != nil {
		t.Errorf("the sandbox is around this process as well: %v", err)
	}
}

// BenchmarkStart tells what a sandbox adds to a start.
func BenchmarkStart(b *testing.B) {
	var box sandbox
	for name, start := range map[string]func(*exec.Cmd) error{
		"plain":   (*exec.Cmd).Start,
		"sandbox": func(cmd *exec.Cmd) error { return box.start(context.Background(), cmd) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.CommandContext(context.Background(), "/bin/true")
				cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
				if err := start(cmd); err != nil {
					b.Fatal(err)
				}
				if err := cmd.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
