package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is where TestMain put the binaries.
var bin string

// mains are the commands that the tests run; sqlite links nowhere but into the last.
var mains = []string{
	"./functions/cmd/login", "./functions/cmd/validate", "./functions/cmd/upload", "./functions/cmd/convert",
	"./functions/cmd/notify",
	"./functions/cmd/jobs", "./functions/cmd/gateway", "./functions/cmd/sweep", "./eventing/cmd/broker",
	"./functions/cmd/soundstrip",
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "soundstrip-e2e-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		build := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", bin + "/"}, mains...)...)
		build.Dir = "../.."
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// need gives the value of a variable that names a test server, or skips; in CI a missing server is a failure.
func need(t testing.TB, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		skip(t, variable+` is not set: start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	return v
}

func needCommand(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		skip(t, name+" is not installed: apt-get install "+name)
	}
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// process is one running binary.
type process struct {
	t    testing.TB
	name string
	env  map[string]string
	cmd  *exec.Cmd
	url  string
	done chan struct{} // closed once it has ended and its output is read

	mu  sync.Mutex
	log bytes.Buffer
}

var listening = regexp.MustCompile(`"listening".*"address":"([^"]+)"`)

// start runs a binary on a free port with nothing but the given environment, and waits until it listens.
func start(t testing.TB, name string, env map[string]string, args ...string) *process {
	t.Helper()
	return startCommand(t, name, env, filepath.Join(bin, name), args...)
}

// startCommand is start for any program that says where it listens.
func startCommand(t testing.TB, name string, env map[string]string, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, env: env, done: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Dir = t.TempDir()
	all := map[string]string{"HOST": "127.0.0.1", "PORT": "0", "PATH": os.Getenv("PATH"), "DRAIN_TIMEOUT": "30s",
		"GODEBUG": "gctrace=1"}
	maps.Copy(all, env)
	p.cmd.Env = []string{ffmpeg()}
	for k, v := range all {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	w.Close()
	address := make(chan string, 1)
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.log.Write(append(lines.Bytes(), '\n'))
			p.mu.Unlock()
			if m := listening.FindSubmatch(lines.Bytes()); m != nil {
				select {
				case address <- string(m[1]):
				default:
				}
			}
		}
		r.Close()
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.output())
		}
	})
	select {
	case a := <-address:
		p.url = "http://" + a
	case <-p.done:
		t.Fatalf("%s ended at once:\n%s", name, p.output())
	case <-time.After(time.Minute):
		t.Fatalf("%s does not listen:\n%s", name, p.output())
	}
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// signal sends s and waits for the end.
func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.t.Errorf("%s did not end on %v", p.name, s)
	}
}

func (p *process) kill() { p.signal(syscall.SIGKILL) }

var gctrace = regexp.MustCompile(`(?m)^gc .* (\d+)->(\d+)->(\d+) MB`)

// peakHeap is the largest heap, in MiB, that the process's garbage collector saw at the beginning or end of a cycle.
func (p *process) peakHeap() int {
	peak := 0
	for _, m := range gctrace.FindAllStringSubmatch(p.output(), -1) {
		for _, s := range m[1:] {
			n, _ := strconv.Atoi(s)
			peak = max(peak, n)
		}
	}
	return peak
}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// ffmpeg gives the variable that names the ffmpeg under test: the one on the PATH, which makes the media as well,
// unless TEST_FFMPEG names another.
func ffmpeg() string { return "FFMPEG=" + cmp.Or(os.Getenv("TEST_FFMPEG"), "ffmpeg") }

// run runs a command line and gives its standard output.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

// curl runs curl and gives the status and the body.
func curl(t *testing.T, args ...string) (int, string) {
	t.Helper()
	out := run(t, "curl", append([]string{"-sS", "--max-time", "600", "-w", "\n%{http_code}"}, args...)...)
	i := strings.LastIndexByte(out, '\n')
	status, err := strconv.Atoi(out[i+1:])
	if err != nil {
		t.Fatalf("curl %q printed no status: %q", args, out)
	}
	return status, out[:i]
}

// login gives a token, by the old system's own command.
func login(t *testing.T, url, credentials string) string {
	t.Helper()
	status, body := curl(t, "-X", "POST", url+"/login", "-u", credentials)
	if status != 200 || strings.Count(body, ".") != 2 {
		t.Fatalf("POST /login = %d %q, want 200 and a JWT", status, body)
	}
	return body
}

type view struct {
	JobID    string `json:"job_id"`
	ID       string `json:"id"`
	State    string `json:"state"`
	Progress int    `json:"progress"`
	Filename string `json:"filename"`
	Options  struct{ Bitrate int }
	Video    struct{ SHA256 string }
	MP3      *struct {
		FID      string  `json:"fid"`
		Duration float64 `json:"duration"`
		Length   int64   `json:"length"`
		Plan     string  `json:"plan"`
	} `json:"mp3"`
	Error    *struct{ Code, Message string } `json:"error"`
	Attempts []struct {
		Error string
		From  time.Time
	} `json:"attempts"`
}

// upload uploads by the old system's own command and gives the job's id.
func upload(t *testing.T, url, token, file string, options ...string) string {
	t.Helper()
	args := []string{"-X", "POST"}
	for _, o := range options {
		args = append(args, "-F", o)
	}
	status, body := curl(t, append(args, "-F", "file=@"+file, "-H", "Authorization: Bearer "+token, url+"/upload")...)
	var v view
	if err := json.Unmarshal([]byte(body), &v); status != 202 || err != nil || v.JobID == "" {
		t.Fatalf("POST /upload = %d %q, want 202 and a job", status, body)
	}
	return v.JobID
}

func getJob(t *testing.T, url, token, id string) view {
	t.Helper()
	status, body := curl(t, "-H", "Authorization: Bearer "+token, url+"/jobs/"+id)
	var v view
	if err := json.Unmarshal([]byte(body), &v); status != 200 || err != nil {
		t.Fatalf("GET /jobs/%s = %d %q", id, status, body)
	}
	return v
}

// await polls a job until it is in one of the states.
func await(t *testing.T, url, token, id string, states ...string) (v view) {
	t.Helper()
	eventually(t, fmt.Sprintf("job %s to be %v", id, states), func() bool {
		v = getJob(t, url, token, id)
		return slices.Contains(states, v.State)
	})
	return v
}

// probe gives what ffprobe says of a file's sound.
func probe(t *testing.T, file string) (codec string, seconds float64) {
	t.Helper()
	var p struct {
		Streams []struct {
			CodecName string `json:"codec_name"`
		}
		Format struct{ Duration string }
	}
	out := run(t, "ffprobe", "-v", "error", "-select_streams", "a", "-show_entries", "stream=codec_name:format=duration",
		"-of", "json", file)
	if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Streams) != 1 {
		t.Fatalf("ffprobe %s: %v %s", file, err, out)
	}
	seconds, _ = strconv.ParseFloat(p.Format.Duration, 64)
	return p.Streams[0].CodecName, seconds
}

// video makes a test video of the given length, in seconds; a long one repeats its first two minutes.
func video(t *testing.T, name string, seconds int, args ...string) string {
	t.Helper()
	const longest = 120
	file := filepath.Join(t.TempDir(), name)
	d := strconv.Itoa(min(seconds, longest))
	all := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=5:d=" + d, "-f", "lavfi", "-i",
		"sine=f=440:d=" + d, "-c:v", "mpeg4"}
	run(t, "ffmpeg", append(append(all, args...), "-y", file)...)
	if seconds <= longest {
		return file
	}
	return repeat(t, file, seconds, name)
}

// repeat makes a file of so many seconds that has what another has again and again.
func repeat(t *testing.T, file string, seconds int, name string, args ...string) string {
	t.Helper()
	long := filepath.Join(t.TempDir(), name)
	all := []string{"-v", "error", "-stream_loop", "-1", "-i", file, "-map", "0", "-c", "copy", "-strict", "-2", "-t",
		strconv.Itoa(seconds)}
	run(t, "ffmpeg", append(append(all, args...), long)...)
	return long
}

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// cut copies the first part of a file.
func cut(t *testing.T, file string, n int64) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cut.mp4", b)
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return c
}
