//go:build browser

package browser

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	georgio  = "georgio@email.com"
	password = "Admin123"

	patience = 2 * time.Minute // for what will come
)

var (
	bin     string          // the program under test, which TestMain builds
	browser context.Context // the one browser
	axe     string          // the source of axe-core
)

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	source, err := os.ReadFile(os.Getenv("TEST_AXE"))
	if err != nil {
		return 1, fmt.Errorf("TEST_AXE: %w: make browser installs axe-core and sets it", err)
	}
	axe = string(source)
	dir, err := os.MkdirTemp("", "soundstrip-browser-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin = filepath.Join(dir, "soundstrip")
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "../cmd/soundstrip")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w\n%s", err, out)
	}

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.ExecPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium")),
		chromedp.Flag("autoplay-policy", "document-user-activation-required"), // as a person's browser has it
		chromedp.Flag("mute-audio", true))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which Chromium refuses root
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel := chromedp.NewContext(allocator)
	defer cancel()
	browser = ctx //nolint:fatcontext // the tests' functions take nothing but their t
	if err := chromedp.Do(browser); err != nil {
		return 1, fmt.Errorf("start Chromium: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(browser, 20*time.Second)
		defer cancel()
		err = errors.Join(err, chromedp.Cancel(ctx))
	}()
	return m.Run(), nil
}

// service is the program on a data folder of its own, with georgio as the first user.
type service struct {
	t    testing.TB
	url  string
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and its output is read

	mu    sync.Mutex
	log   bytes.Buffer
	token string
}

var listening = regexp.MustCompile(`"listening".*"address":"([^"]+)"`)

// serve starts the program on a free port and waits until it listens.
func serve(t testing.TB, env map[string]string) *service {
	t.Helper()
	s := &service{t: t, done: make(chan struct{})}
	all := map[string]string{"HOST": "127.0.0.1", "PORT": "0", "PATH": os.Getenv("PATH"), "SOUNDSTRIP_DATA": t.TempDir(),
		"SOUNDSTRIP_USER": georgio, "SOUNDSTRIP_PASSWORD": password}
	maps.Copy(all, env)
	s.cmd = exec.Command(bin)
	s.cmd.Dir = t.TempDir()
	for k, v := range all {
		s.cmd.Env = append(s.cmd.Env, k+"="+v)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	address := make(chan string, 1)
	go s.read(r, address)
	t.Cleanup(s.stop)
	select {
	case a := <-address:
		s.url = "http://" + a + "/"
	case <-s.done:
		t.Fatal("soundstrip ended at once")
	case <-time.After(patience):
		t.Fatal("soundstrip does not listen")
	}
	return s
}

func (s *service) read(r *os.File, address chan<- string) {
	defer close(s.done)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		s.mu.Lock()
		s.log.Write(append(lines.Bytes(), '\n'))
		s.mu.Unlock()
		if m := listening.FindSubmatch(lines.Bytes()); m != nil {
			select {
			case address <- string(m[1]):
			default:
			}
		}
	}
	r.Close()
	_ = s.cmd.Wait()
}

func (s *service) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.done
		s.t.Error("soundstrip did not end")
	}
	if s.t.Failed() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.t.Logf("log of soundstrip:\n%s", &s.log)
	}
}

// ask sends a request as georgio, beside the browser, and gives the answer's body.
func (s *service) ask(method, path string, header http.Header, body []byte) []byte {
	s.t.Helper()
	for {
		fresh := s.token == ""
		if fresh {
			req, err := http.NewRequest(http.MethodPost, s.url+"login", nil)
			if err != nil {
				s.t.Fatal(err)
			}
			req.SetBasicAuth(georgio, password)
			_, token := s.do(req)
			s.token = string(token)
		}
		req, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		if header != nil {
			req.Header = header
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		status, answer := s.do(req)
		if status < 300 {
			return answer
		}
		if status != http.StatusForbidden || fresh {
			s.t.Fatalf("%s %s = %d %q", method, path, status, answer)
		}
		s.token = "" // it has expired
	}
}

func (s *service) do(req *http.Request) (int, []byte) {
	s.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, b
}

// view is a job as the API shows it.
type view struct {
	ID       string                          `json:"id"`
	State    string                          `json:"state"`
	Filename string                          `json:"filename"`
	Options  map[string]any                  `json:"options"`
	Round    int                             `json:"round"`
	Video    struct{ Length int64 }          `json:"video"`
	MP3      *struct{ Duration float64 }     `json:"mp3"`
	Error    *struct{ Code, Message string } `json:"error"`
}

// jobs gives the newest jobs, the newest first.
func (s *service) jobs() []view {
	s.t.Helper()
	var list struct{ Jobs []view }
	if err := json.Unmarshal(s.ask("GET", "jobs?limit=200", nil, nil), &list); err != nil {
		s.t.Fatal(err)
	}
	return list.Jobs
}

// ended waits until there are n jobs and all have ended.
func (s *service) ended(n int) (all []view) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d jobs to end", n), func() (string, bool) {
		all = s.jobs()
		return fmt.Sprintf("%+v", all), len(all) == n && !slices.ContainsFunc(all, func(v view) bool {
			return v.State != "notified" && v.State != "failed"
		})
	})
	return all
}

// mp3 gives the MP3 of a job.
func (s *service) mp3(id string) []byte {
	s.t.Helper()
	return s.ask("GET", "jobs/"+id+"/mp3", nil, nil)
}

// eventually polls until ok holds; when it gives up, it tells what it saw last.
func eventually(t testing.TB, what string, ok func() (string, bool)) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		saw, done := ok()
		if done {
			return
		}
		if time.Now().After(deadline) || t.Context().Err() != nil {
			t.Fatalf("gave up waiting for %s; last was %s", what, saw)
		}
		<-time.After(50 * time.Millisecond)
	}
}
