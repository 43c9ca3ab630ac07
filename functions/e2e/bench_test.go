package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// TestBench measures the conversion from GridFS to GridFS in one run: convert, started for each video and ended after
// it, in turn with command plain, which does the same by a temporary file and ffmpeg, moviepy, or the two ffmpegs that
// moviepy runs. CPU time is that of the processes and their children; the store's is left out. Beside them stands
// ffmpeg on a local file.
//
// SOUNDSTRIP_BENCH is how often each is run; the medians are printed. FFMPEG is the one that convert runs; the others
// run that of the PATH. The videos are kept in the user's cache folder, and moviepy is installed there, where Python
// and its packages can be had.
func TestBench(t *testing.T) {
	runs, err := strconv.Atoi(cmp.Or(os.Getenv("SOUNDSTRIP_BENCH"), "0"))
	if err != nil || runs < 0 {
		t.Fatalf("SOUNDSTRIP_BENCH: %v: want how often to run each", err)
	}
	if runs == 0 {
		t.Skip("SOUNDSTRIP_BENCH is not set: make bench sets it")
	}
	b := newBench(t, runs)
	fmt.Printf("\nCPU seconds (wall seconds), medians of %d; RSS is that of convert and its child together.\n\n", runs)
	fmt.Print("| video | convert | temp file + ffmpeg | temp file + moviepy | its two ffmpegs | ffmpeg, local file |" +
		" CPU to ffmpeg's | to moviepy's | to its ffmpegs' | RSS, MB |\n| --- | --- | --- | --- | --- | --- | --- | --- " +
		"| --- | --- |\n")
	for _, v := range benchVideos {
		t.Run(v.name, func(t *testing.T) { b.compare(t, v) })
	}
	t.Run("chunks", b.chunks)
	t.Run("batch", b.batch)
}

// benchVideo is made of ten seconds of picture and a minute of sound, as often as it takes.
type benchVideo struct {
	name    string
	seconds int
	mbit    int      // of the picture, a second
	sound   string   // encoder
	args    []string // of the muxer
}

var benchVideos = []benchVideo{
	{"2min.mp4", 120, 2, "aac", []string{"-movflags", "+faststart"}},
	{"60min.mp4", 3600, 2, "aac", []string{"-movflags", "+faststart"}},
	fast,
	{"10min_moov_at_end.mp4", 600, 2, "aac", nil},
	{"10min_opus.mkv", 600, 2, "libopus", nil},
	{"10min_mp3.mp4", 600, 2, "libmp3lame", []string{"-movflags", "+faststart"}},
}

// fast has so much picture that the sound lies in few of the chunks; it is short, because a test server may keep it in
// memory.
var fast = benchVideo{"5min_20mbit.mp4", 300, 20, "aac", []string{"-movflags", "+faststart", "-chunk_duration",
	"1000000"}}

var small = benchVideo{"30s.mp4", 30, 2, "aac", []string{"-movflags", "+faststart"}}

// music is a beat, a melody, a chord and noise: what an encoder has to work on.
const music = "aevalsrc=d=60:s=48000:c=stereo:exprs=" +
	"'.5*exp(-9*mod(t,.5))*sin(2*PI*50*mod(t,.5))+.2*exp(-40*mod(t,.25))*(2*random(0)-1)+.2*exp(-3*mod(t,.5))*" +
	"(sin(st(0,2*PI*t*110*pow(2,mod(floor(2*t)*7,12)/12)))+sin(2*ld(0))/2+sin(3*ld(0))/3+sin(5*ld(0))/5)+" +
	".05*sin(2*PI*440*t)+.02*(2*random(1)-1)|" +
	".5*exp(-9*mod(t,.5))*sin(2*PI*50*mod(t,.5))+.1*exp(-40*mod(t,.25))*(2*random(2)-1)+.2*exp(-2*mod(t,1))*" +
	"(sin(st(1,2*PI*t*220*pow(2,mod(floor(t)*5,12)/12)))+sin(2*ld(1))/2+sin(4*ld(1))/4)+" +
	".05*sin(2*PI*554.4*t)+.02*(2*random(3)-1)'"

// make gives the file, from the cache if it is there.
func (v benchVideo) make(t *testing.T, dir string) string {
	t.Helper()
	once := func(name string, args ...string) string {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		part := filepath.Join(dir, "part-"+name)
		run(t, "ffmpeg", append(append([]string{"-nostdin", "-v", "error", "-y"}, args...), part)...)
		if err := os.Rename(part, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rate := strconv.Itoa(v.mbit) + "M"
	picture := once(rate+".mp4", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=10,noise=alls=20:allf=t", "-c:v",
		"libx264", "-preset", "ultrafast",
		"-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate,
		"-g", "50", "-x264-params", "nal-hrd=cbr", "-pix_fmt", "yuv420p")
	sound := once(v.sound+".mka", "-f", "lavfi", "-i", music, "-c:a", v.sound, "-b:a", "128k")
	return once(v.name, append([]string{"-stream_loop", "-1", "-i", picture, "-stream_loop", "-1", "-i", sound, "-map",
		"0:v", "-map", "1:a",
		"-c", "copy", "-t", strconv.Itoa(v.seconds)}, v.args...)...)
}

type bench struct {
	runs         int
	dir          string
	plain        string // the command
	python       string // the folder of one that has moviepy; empty without
	env          map[string]string
	client       *mongo.Client
	videos, mp3s *media.GridFS
}

func newBench(t *testing.T, runs int) *bench {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{runs: runs, dir: filepath.Join(cache, "soundstrip", "bench"), plain: filepath.Join(bin, "plain")}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.plain, "./plain")
	b.python = installMoviepy(filepath.Join(cache, "soundstrip", "moviepy"))
	b.client, b.env = databases(t, "bench_"+strings.ToLower(bson.NewObjectID().Hex()))
	b.env = with(b.env, map[string]string{"EVENT_SECRET": secret, "FFMPEG": cmp.Or(os.Getenv("FFMPEG"), "ffmpeg"),
		"GODEBUG": "", "CONVERT_TIMEOUT": "1h",
		"FFMPEG_BINARY": "ffmpeg"}) // else moviepy takes one of its own
	b.videos = media.NewGridFS(b.client.Database(b.env["MONGODB_VIDEOS_DB"]), nil)
	b.mp3s = media.NewGridFS(b.client.Database(b.env["MONGODB_MP3S_DB"]), nil)
	return b
}

// installMoviepy installs moviepy in a folder, unless it is there, and gives that of its Python; or it says why it
// cannot.
func installMoviepy(dir string) (programs string) {
	programs = filepath.Join(dir, "bin")
	python := filepath.Join(programs, "python3")
	for _, args := range [][]string{
		{"python3", "-m", "venv", dir},
		{python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", "plain/requirements.txt"},
	} {
		if exec.Command(python, "-c", "import moviepy.editor").Run() == nil {
			break
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			fmt.Printf("\nWithout moviepy: %q: %v: %s\n", args, err, out)
			return ""
		}
	}
	return programs
}

const secret = "0123456789abcdef0123456789abcdef"

// put stores a file and gives its id; the file is deleted after the test.
func (b *bench) put(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id := media.NewID()
	w, err := b.videos.Create(t.Context(), media.Info{ID: id, Name: filepath.Base(path), Owner: "bench"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.videos.Delete(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
	if _, err := io.Copy(w, f); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return id
}

// cost is what a way to convert took.
type cost struct {
	cpu, wall time.Duration
	rss       int64 // bytes, of the process and its largest child; 0 when not measured
}

// of reads the CPU time of a process that has ended, and of its children.
func (c *cost) of(s *os.ProcessState) { c.cpu = s.UserTime() + s.SystemTime() }

func (c cost) String() string {
	if c == (cost{}) {
		return "not there"
	}
	return fmt.Sprintf("%.2f (%.1f)", c.cpu.Seconds(), c.wall.Seconds())
}

// to gives the CPU time as a ratio to another's.
func (c cost) to(other cost) string {
	if other == (cost{}) {
		return ""
	}
	return fmt.Sprintf("%.2f", float64(c.cpu)/float64(other.cpu))
}

func (b *bench) compare(t *testing.T, v benchVideo) {
	path := v.make(t, b.dir)
	id := b.put(t, path)
	out := filepath.Join(t.TempDir(), "out.mp3")
	ways := []func() cost{
		func() cost { return b.ours(t, 1, id) },
		func() cost { return b.command(t, b.plain, "ffmpeg", id) },
		func() cost {
			if b.python == "" {
				return cost{}
			}
			return b.command(t, b.plain, "moviepy", id)
		},
		func() cost { return b.command(t, b.plain, "pcm", id) },
		func() cost {
			return b.command(t, "ffmpeg", "-nostdin", "-v", "error", "-y", "-i", path, "-vn", "-q:a", "2", out)
		},
	}
	costs := make([][]cost, len(ways))
	for range b.runs {
		for i, way := range ways {
			costs[i] = append(costs[i], way())
			b.forget(t)
		}
	}
	m := medians(costs)
	fmt.Printf("| %s | %v | %v | %v | %v | %v | %s | %s | %s | %.0f |\n", v.name, m[0], m[1], m[2], m[3], m[4],
		m[0].to(m[1]), m[0].to(m[2]), m[0].to(m[3]), float64(m[0].rss)/1e6)
}

func medians(of [][]cost) (m []cost) {
	for _, costs := range of {
		var c cost
		slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.wall, b.wall) })
		c.wall = costs[len(costs)/2].wall
		slices.SortFunc(costs, func(a, b cost) int { return cmp.Compare(a.cpu, b.cpu) })
		c.cpu = costs[len(costs)/2].cpu
		for _, one := range costs {
			c.rss = max(c.rss, one.rss)
		}
		m = append(m, c)
	}
	return m
}

// forget drops what the last run stored.
func (b *bench) forget(t *testing.T) {
	t.Helper()
	for _, db := range []string{"MONGODB_MP3S_DB", "MONGODB_DB"} {
		if err := b.client.Database(b.env[db]).Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// command measures a command that does its work and ends.
func (b *bench) command(t *testing.T, name string, args ...string) (c cost) {
	t.Helper()
	cmd := exec.Command(name, args...)
	for k, v := range b.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Env = append(cmd.Env, "PATH="+b.python+string(os.PathListSeparator)+os.Getenv("PATH"))
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	c.wall = time.Since(began)
	c.of(cmd.ProcessState)
	return c
}

// ours measures convert from its start, with so many events at once, to its end.
func (b *bench) ours(t *testing.T, atOnce int, ids ...string) (c cost) {
	t.Helper()
	began := time.Now()
	p := start(t, "convert", b.env)
	sampling, stop := context.WithCancel(t.Context())
	peak := make(chan int64, 1)
	go func() { peak <- peakRSS(sampling, p.cmd.Process.Pid) }()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, id := range ids {
		g.Go(func() error { return post(t.Context(), p.url, id) })
	}
	err := g.Wait()
	c.wall = time.Since(began)
	stop()
	c.rss = <-peak
	p.signal(syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	c.of(p.cmd.ProcessState)
	return c
}

// post tells convert of a video, and waits for its MP3.
func post(ctx context.Context, url, id string) error {
	e, err := eventing.New("/bench", id, 1, eventing.VideoUploaded{Reference: eventing.Reference{VideoFID: id,
		Username: "bench"}})
	if err != nil {
		return err
	}
	r, err := eventing.NewRequest(ctx, url, e)
	if err != nil {
		return err
	}
	if err := eventing.Authorize(r, []byte(secret), "convert"); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reply, err := eventing.Reply(resp)
	if err == nil && (reply == nil || reply.Type() != eventing.TypeAudioConverted) {
		err = fmt.Errorf("convert answered %s %v, want %s", resp.Status, reply, eventing.TypeAudioConverted)
	}
	return err
}

var highWater = regexp.MustCompile(`(?m)^Name:\t(.*)$[\s\S]*^VmHWM:\s+(\d+) kB$`)

// peakRSS follows a process until ctx ends: its own peak, and the largest of the sums of its children's, which were not
// all at once. Both are the kernel's own peaks, so that none is missed between two looks.
func peakRSS(ctx context.Context, pid int) int64 {
	peak := func(pid int) (name string, bytes int64) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
		if m := highWater.FindSubmatch(status); m != nil {
			kb, _ := strconv.ParseInt(string(m[2]), 10, 64)
			return string(m[1]), kb << 10
		}
		return "", 0
	}
	var own, children int64
	for {
		name, bytes := peak(pid)
		own = max(own, bytes)
		var sum int64
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, list := range lists {
			pids, _ := os.ReadFile(list)
			for child := range strings.FieldsSeq(string(pids)) {
				n, _ := strconv.Atoi(child)
				if what, bytes := peak(n); what != name { // else it is not yet what it is to be
					sum += bytes
				}
			}
		}
		children = max(children, sum)
		select {
		case <-ctx.Done():
			return own + children
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// chunks counts the chunks of a video with much picture that the engine reads.
func (b *bench) chunks(t *testing.T) {
	id := b.put(t, fast.make(t, b.dir))
	var read atomic.Int64
	database := b.env["MONGODB_VIDEOS_DB"]
	client, err := mongo.Connect(options.Client().ApplyURI(b.env["MONGODB_URI"]).SetMonitor(&event.CommandMonitor{
		Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) {
			var reply struct {
				Cursor struct {
					NS         string
					FirstBatch []bson.Raw `bson:"firstBatch"`
					NextBatch  []bson.Raw `bson:"nextBatch"`
				}
			}
			if err := bson.Unmarshal(e.Reply, &reply); err == nil && reply.Cursor.NS == database+".fs.chunks" {
				read.Add(int64(len(reply.Cursor.FirstBatch) + len(reply.Cursor.NextBatch)))
			}
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	video, err := media.NewGridFS(client.Database(database), nil).Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer video.Close()
	e, err := engine.New(engine.Config{FFmpeg: b.env["FFMPEG"], MaxDuration: time.Hour, MaxBytes: 1 << 30}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := b.mp3s.Create(t.Context(), media.Info{ID: media.NewID()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Convert(t.Context(), video, video.Info().Length, eventing.Options{}, dst, func(int) {})
	if err := dst.Abort(context.Background()); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := (video.Info().Length + 255<<10 - 1) / (255 << 10)
	fmt.Printf("\n%s: %d of %d chunks read, %.1f%%\n", fast.name, read.Load(), all, 100*float64(read.Load())/float64(all))
}

// batch converts 50 small videos: one convert with one and with two of them at once, and one plain, one after the
// other.
func (b *bench) batch(t *testing.T) {
	path := small.make(t, b.dir)
	var ids []string
	for range 50 {
		ids = append(ids, b.put(t, path))
	}
	ways := []func() cost{
		func() cost { return b.ours(t, 2, ids...) },
		func() cost { return b.ours(t, 1, ids...) },
		func() cost { return b.command(t, b.plain, append([]string{"ffmpeg"}, ids...)...) },
	}
	costs := make([][]cost, len(ways))
	for range b.runs {
		for i, way := range ways {
			costs[i] = append(costs[i], way())
			b.forget(t)
		}
	}
	m := medians(costs)
	var table bytes.Buffer
	fmt.Fprintf(&table, "\n| %d × %s | CPU s | wall s | throughput | RSS, MB |\n| --- | --- | --- | --- | --- |\n",
		len(ids), small.name)
	for i, name := range []string{"convert, two at once", "convert, one after the other",
		"temp file + ffmpeg, one after the other"} {
		fmt.Fprintf(&table, "| %s | %.1f | %.1f | %.2f | %.0f |\n", name, m[i].cpu.Seconds(), m[i].wall.Seconds(),
			float64(m[2].wall)/float64(m[i].wall), float64(m[i].rss)/1e6)
	}
	fmt.Print(table.String())
}
