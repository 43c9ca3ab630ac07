package engine

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// made is where the tests' media lie; they are made once.
var made struct {
	sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "engine-test-")
	if err != nil {
		panic(err)
	}
	made.dir = dir
	code := m.Run()
	if err := errorsOf(os.RemoveAll(dir), goleak.Find()); err != "" && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func errorsOf(errs ...error) (s string) {
	for _, err := range errs {
		if err != nil {
			s += err.Error() + "\n"
		}
	}
	return s
}

// everything tells whether the largest tables are to be tried whole, which takes minutes of CPU time. CI does so where
// it names an ffmpeg; without, each format is tried once.
func everything() bool { return os.Getenv("TEST_FFMPEG") != "" }

const (
	picture = "testsrc2=s=160x90:r=25:d=4"
	tone    = "sine=f=440:b=2:r=44100:d=4.0123"
)

// makeFiles makes files of the inputs, by name with ffmpeg's arguments, unless they are there. It does so in one run:
// Debian's ffmpeg takes a tenth of a second to start.
func makeFiles(t *testing.T, inputs []string, files map[string][]string) {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	args := append([]string{"-nostdin", "-v", "error"}, inputs...)
	before := len(args)
	for name, output := range files {
		path := filepath.Join(made.dir, name)
		if _, err := os.Stat(path); err != nil {
			args = append(append(args, output...), path)
		}
	}
	if len(args) > before {
		run(t, "ffmpeg", args...)
	}
}

// makeFile gives a file that ffmpeg makes with the arguments, inputs and all, and that all tests share.
func makeFile(t *testing.T, name string, args ...string) string {
	t.Helper()
	makeFiles(t, nil, map[string][]string{name: args})
	return filepath.Join(made.dir, name)
}

// videos makes files of moving picture and a tone.
func videos(t *testing.T, files map[string][]string) {
	t.Helper()
	outputs := map[string][]string{}
	for name, args := range files {
		outputs[name] = append([]string{"-c:v", "mpeg4"}, args...)
	}
	makeFiles(t, []string{"-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone}, outputs)
}

// video gives one of [videos].
func video(t *testing.T, name string, args ...string) string {
	t.Helper()
	videos(t, map[string][]string{name: args})
	return filepath.Join(made.dir, name)
}

// run runs a program that must succeed, and gives what it writes.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: apt-get install ffmpeg", program)
		}
		t.Skipf("%s is missing: apt-get install ffmpeg", program)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// runStderr is run for a program that tells by its standard error.
func runStderr(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}

// compress puts a box into a cmov (QuickTime File Format, compressed movie resources).
func compress(t *testing.T, moov []byte) []byte {
	t.Helper()
	box := func(kind string, body ...[]byte) []byte {
		b := bytes.Join(body, nil)
		return append(binary.BigEndian.AppendUint32(nil, uint32(8+len(b))), append([]byte(kind), b...)...)
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write(moov); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	size := binary.BigEndian.AppendUint32(nil, uint32(len(moov)))
	return box("moov", box("cmov", box("dcom", []byte("zlib")), box("cmvd", size, z.Bytes())))
}

// samples counts the samples of one channel that a file decodes to.
func samples(t *testing.T, path string, args ...string) int {
	t.Helper()
	out := run(t, "ffmpeg", append(append([]string{"-nostdin", "-v", "error", "-i", path, "-map", "0:a:0"}, args...),
		"-ac", "1", "-f", "s16le", "-")...)
	return len(out) / 2
}

// probed is what ffprobe tells about a file.
type probed struct {
	Format struct {
		Duration string
		Tags     map[string]string
	}
	Streams []struct {
		CodecName  string `json:"codec_name"`
		SampleRate string `json:"sample_rate"`
		Channels   int
		BitRate    string `json:"bit_rate"`
		StartTime  string `json:"start_time"`
	}
	Chapters []struct {
		StartTime string `json:"start_time"`
		EndTime   string `json:"end_time"`
		Tags      map[string]string
	}
}

func probe(t *testing.T, path string) (p probed) {
	t.Helper()
	out := run(t, "ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", "-show_chapters", path)
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// rate is the number of samples a second of an MP3.
func rate(t *testing.T, path string) int {
	t.Helper()
	h, _, err := mp3.NewReader(bytes.NewReader(read(t, path))).Next()
	if err != nil {
		t.Fatal(err)
	}
	return h.Rate
}

// testConfig has the ffmpeg under test: the one on the PATH, which makes the media as well, unless TEST_FFMPEG names
// another.
var testConfig = Config{
	FFmpeg:      cmp.Or(os.Getenv("TEST_FFMPEG"), "ffmpeg"),
	MaxDuration: time.Hour,
	MaxBytes:    1 << 30,
}

func newEngine(t *testing.T, c Config) *Engine {
	t.Helper()
	run(t, "ffmpeg", "-version") // or skip
	e, err := New(c, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// memory is a destination in memory.
type memory struct {
	bytes.Buffer
	write    func(p []byte) error // fails Write, when not nil
	from, to int                  // what is reserved
}

func (m *memory) Write(p []byte) (int, error) {
	if m.write != nil {
		if err := m.write(p); err != nil {
			return 0, err
		}
	}
	return m.Buffer.Write(p)
}

func (m *memory) Reserve(n int) error {
	if m.to != 0 {
		return errors.New("not the first time")
	}
	m.from, m.to = m.Len(), m.Len()+n
	_, err := m.Write(make([]byte, n))
	return err
}

func (m *memory) Patch(p []byte) error {
	if copy(m.Bytes()[m.from:m.to], p) != m.to-m.from {
		return errors.New("patch does not fill what was reserved")
	}
	return nil
}

// convert runs the engine and gives the MP3 as a file.
func convert(t *testing.T, e *Engine, data []byte, o eventing.Options) (Result, string, error) {
	t.Helper()
	var dst memory
	r, err := e.Convert(t.Context(), bytes.NewReader(data), int64(len(data)), o, &dst, func(int) {})
	if err != nil {
		return r, "", err
	}
	path := filepath.Join(t.TempDir(), "out.mp3")
	if err := os.WriteFile(path, dst.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return r, path, nil
}
