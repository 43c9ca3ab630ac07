package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is the table that TestLoad prints.
type load struct {
	videos int // at once
	jobs   int // in the store, at most
	table  bytes.Buffer
}

func (l *load) row(what, beside, format string, args ...any) {
	fmt.Fprintf(&l.table, "| %s | %s | %s |\n", what, fmt.Sprintf(format, args...), beside)
}

// TestLoad measures the whole path on real servers, and prints a table for README.md beside it, which has the commands.
// SOUNDSTRIP_LOAD is how many videos are uploaded at once; without it nothing is measured. SOUNDSTRIP_LOAD_JOBS is how
// many jobs are in the store at most, and SOUNDSTRIP_BIG how long the file is that is downloaded.
//
// It fails when something is lost, and never because it is slow.
func TestLoad(t *testing.T) {
	if os.Getenv("SOUNDSTRIP_LOAD") == "" {
		t.Skip("SOUNDSTRIP_LOAD is not set: make load sets it")
	}
	var l load
	for variable, n := range map[string]*int{"SOUNDSTRIP_LOAD": &l.videos, "SOUNDSTRIP_LOAD_JOBS": &l.jobs} {
		var err error
		if *n, err = strconv.Atoi(cmp.Or(os.Getenv(variable), "100000")); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
	}
	busy := loadAverage()
	t.Run("events", l.events)
	t.Run("uploads", l.uploads)
	t.Run("rest", l.rest)
	t.Run("system", func(t *testing.T) {
		s := deploy(t)
		token := login(t, s.url, georgio)
		t.Run("crowd", func(t *testing.T) { l.crowd(t, s, token) })
		t.Run("downloads", func(t *testing.T) { l.downloads(t, s, token) })
		var peaks []string
		for _, p := range s.processes {
			peaks = append(peaks, fmt.Sprintf("%s %.0f", p.name, highest(p)))
		}
		l.row("largest resident memory of each process under that, MB", "", "%s", strings.Join(peaks, ", "))
	})
	t.Run("growth", l.growth)
	fmt.Printf("\n%d CPUs, load average %s before and %s after.\n\n", runtime.NumCPU(), busy, loadAverage())
	fmt.Printf("| | Soundstrip | beside it |\n| --- | --- | --- |\n%s\n", &l.table)
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	average, _, _ := strings.Cut(string(b), " ")
	return average
}

var tusResult = regexp.MustCompile(`BenchmarkTus/(\w+)\S*\s+\d+\s+([\d.]+) cpu-s/GiB\s+([\d.]+) s/GiB`)

// uploads runs BenchmarkTus, which measures ours beside tusd.
func (l *load) uploads(t *testing.T) {
	out := run(t, "go", "test", "../upload", "-run", "^$", "-bench", "Tus", "-benchtime", "1x")
	said := map[string]string{}
	for _, m := range tusResult.FindAllStringSubmatch(out, -1) {
		seconds, _ := strconv.ParseFloat(m[3], 64)
		said[m[1]] = fmt.Sprintf("%s, %.0f", m[2], float64(1<<30)/1e6/seconds)
	}
	if said["tusd"] == "" || said["folder"] == "" || said["gridfs"] == "" {
		t.Fatalf("BenchmarkTus measured %v, want tusd, folder and gridfs:\n%s", said, out)
	}
	beside := fmt.Sprintf("tusd %s; nginx's WebDAV %s; SHA-256 alone, which those two do not calculate, %s", said["tusd"],
		cmp.Or(said["nginx"], "is not here"), said["sha256"])
	l.row("upload into a folder: CPU s a GiB, MB/s", beside, "%s", said["folder"])
	l.row("upload into GridFS: CPU s a GiB, MB/s", beside, "%s", said["gridfs"])
}

// lastByte notes when the last byte of a video was read.
type lastByte struct {
	video *bytes.Reader
	at    time.Time
}

func (b *lastByte) Read(p []byte) (int, error) {
	n, err := b.video.Read(p)
	if n > 0 {
		b.at = time.Now()
	}
	return n, err
}

// sendVideo uploads a video, and gives when its last byte left.
func sendVideo(ctx context.Context, url, token string, video []byte) (left time.Time, err error) {
	body := &lastByte{video: bytes.NewReader(video)}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url+"/upload/clip.mp4", body)
	if err != nil {
		return left, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return left, err
	}
	defer resp.Body.Close()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("PUT /upload: %s: %s", resp.Status, said)
	}
	return body.at, err
}

// clip makes a video of ten seconds.
func clip(t *testing.T) []byte {
	t.Helper()
	return read(t, video(t, "clip.mp4", 10, "-c:a", "aac"))
}

func (m *mailSink) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mails)
}

// rest uploads clips to the program for a laptop, each when the mail about the one before has come.
func (l *load) rest(t *testing.T) {
	const clips = 20
	mails, port := mailServer(t)
	s := laptop(t, t.TempDir(), "SMTP_HOST=127.0.0.1", "SMTP_PORT="+port, "SMTP_TLS=none",
		"SMTP_FROM=soundstrip@email.com", "PUBLIC_URL=http://127.0.0.1")
	token := login(t, s.url, georgio)
	clip := clip(t)
	var took []time.Duration
	for n := range clips {
		left, err := sendVideo(t.Context(), s.url, token, clip)
		if err != nil {
			t.Fatal(err)
		}
		for mails.count() == n {
			if <-time.After(time.Millisecond); time.Since(left) > time.Minute {
				t.Fatal("no mail in a minute")
			}
		}
		took = append(took, time.Since(left))
	}
	l.row(fmt.Sprintf("laptop, a clip of 10 s at rest: from its last byte to the mail; median, p90 of %d, ms", clips), "",
		"%.0f, %.0f", quantile(took, 0.5), quantile(took, 0.9))
	l.row("largest resident memory of the laptop's program, MB", "", "%.0f", highest(s))
}

// crowd uploads the clip many times at once, and waits until all mails are there.
func (l *load) crowd(t *testing.T, s *system, token string) {
	clip := clip(t)
	mails := s.mails.count()
	conversions, all := cpu(t, s.converters...), cpu(t, s.processes...)
	begin := time.Now()
	var g errgroup.Group
	g.SetLimit(16) // more would only wait
	for range l.videos {
		g.Go(func() error { _, err := sendVideo(t.Context(), s.url, token, clip); return err })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	uploaded := time.Since(begin)
	for n := s.mails.count(); n < mails+l.videos; n = s.mails.count() {
		eventually(t, "another mail", func() bool { return s.mails.count() > n })
	}
	wall := time.Since(begin)
	conversions, all = cpu(t, s.converters...)-conversions, cpu(t, s.processes...)-all
	of := fmt.Sprintf("%d such clips at once, %d converters", l.videos, len(s.converters))
	l.row(of+": uploaded, all told, s", fmt.Sprintf("the conversions' CPU %.1f s", conversions.Seconds()), "%.1f, %.1f",
		uploaded.Seconds(), wall.Seconds())
	l.row("CPU of the other functions and the broker, to the conversions'", "", "%.2f",
		(all-conversions).Seconds()/conversions.Seconds())
	l.row("time × converters, to the conversions' CPU", "", "%.2f",
		wall.Seconds()*float64(len(s.converters))/conversions.Seconds())
}

// downloads fetches a large MP3, and parts of it.
func (l *load) downloads(t *testing.T, s *system, token string) {
	const parts, part = 100, 1_000_000
	size := bigSize(t, 500_000_000)
	from := s.url + "/download?fid=" + bigMP3(t, s, size)
	fetch := func(first, bytes int64) time.Duration {
		out := run(t, "curl", "-sSf", "-o", os.DevNull, "-w", "%{size_download} %{time_total}", "-H",
			"Authorization: Bearer "+token, "-r", fmt.Sprintf("%d-%d", first, first+bytes-1), from)
		var n int64
		var seconds float64
		if _, err := fmt.Sscan(out, &n, &seconds); err != nil || n != bytes {
			t.Fatalf("curl -r says %q, want %d bytes", out, bytes)
		}
		return time.Duration(seconds * float64(time.Second))
	}
	before := cpu(t, s.processes...)
	took := fetch(0, size)
	used := cpu(t, s.processes...) - before
	gb := float64(size) / 1e9
	l.row("download from GridFS, through jobs and gateway: MB/s, CPU s a GB", "", "%.0f, %.1f",
		1000*gb/took.Seconds(), used.Seconds()/gb)
	var times []time.Duration
	for range parts {
		times = append(times, fetch(rand.Int64N(size-part), part))
	}
	l.row("a Range of 1 MB somewhere in it: median, p99, ms", "", "%.0f, %.0f", quantile(times, 0.5),
		quantile(times, 0.99))
}

// cpu adds up what processes, and their children that have ended, have used.
func cpu(t *testing.T, ps ...*process) (used time.Duration) {
	t.Helper()
	for _, p := range ps {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")   // after the name
		for _, f := range strings.Fields(rest)[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			used += time.Duration(n) * time.Second / 100 // USER_HZ, which is 100 on Linux
		}
	}
	return used
}

// highest is the largest resident set that a process has had, in MB.
func highest(p *process) float64 {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return float64(peakRSS(now, p.cmd.Process.Pid)) / 1e6
}

// quantile gives the time, in milliseconds, below which the part q of all lies.
func quantile(all []time.Duration, q float64) float64 {
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000
}
