package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

const georgio = "georgio@email.com:Admin123"

// laptop starts the all-in-one on a data folder, with georgio as the first user.
func laptop(t *testing.T, data string, env ...string) *process {
	t.Helper()
	all := map[string]string{"SOUNDSTRIP_DATA": data, "SOUNDSTRIP_USER": "georgio@email.com",
		"SOUNDSTRIP_PASSWORD": "Admin123"}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		all[k] = v
	}
	p := start(t, "soundstrip", all)
	p.url = described(t, p.url)
	return p
}

// TestLaptop walks the whole path on the embedded stores by the old system's own commands.
func TestLaptop(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	data := t.TempDir()
	metrics := freePort(t)
	collector, endpoint := newCollector(t)
	s := laptop(t, data, "WEBHOOK_ALLOW_PRIVATE=true", "METRICS_PORT="+metrics, "SWEEP_INTERVAL=1s",
		"OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint["OTEL_EXPORTER_OTLP_ENDPOINT"])
	token := login(t, s.url, georgio)
	live := exec.CommandContext(t.Context(), "curl", "-sSN", "-H", "Authorization: Bearer "+token, s.url+"/jobs/events")
	events, err := live.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := live.Start(); err != nil {
		t.Fatal(err)
	}
	id := upload(t, s.url, token, video(t, "test.mp4", 3))
	j := await(t, s.url, token, id, "notified", "failed")
	if j.MP3 == nil {
		t.Fatalf("job ended %s %+v, want an MP3", j.State, j.Error)
	}

	out := filepath.Join(t.TempDir(), "out.mp3")
	run(t, "curl", "-sS", "--fail", "--output", out, "-X", "GET", "-H", "Authorization: Bearer "+token,
		s.url+"/download?fid="+j.MP3.FID)
	if codec, seconds := probe(t, out); codec != "mp3" || seconds < 2.9 || seconds > 3.1 {
		t.Errorf("the download is %s of %v s, want mp3 of 3 s", codec, seconds)
	}

	if status, body := curl(t, s.url+"/mailbox"); status != 200 || !strings.Contains(body, "Your MP3 is ready") {
		t.Errorf("GET /mailbox = %d %q, want the mail", status, body)
	}

	t.Run("metrics", func(t *testing.T) { testMetrics(t, metrics) })

	t.Run("webhooks", func(t *testing.T) { testWebhook(t, s.url, token) })

	// A restart keeps what was answered: the account, the job and its file.
	told := false
	lines := bufio.NewScanner(events)
	for !told && lines.Scan() {
		told = strings.Contains(lines.Text(), `"state":"notified"`)
	}
	s.signal(syscall.SIGTERM)
	testFlushed(t, collector)
	for lines.Scan() {
	}
	if err := live.Wait(); err != nil || !told {
		t.Errorf("curl -N of the events ends with %v, told %v, want that it tells of the mail and ends", err, told)
	}
	s = laptop(t, data)
	token = login(t, s.url, georgio)
	again := filepath.Join(t.TempDir(), "again.mp3")
	run(t, "curl", "-sS", "--fail", "--output", again, "-H", "Authorization: Bearer "+token, s.url+"/jobs/"+id+"/mp3")
	if !bytes.Equal(read(t, out), read(t, again)) {
		t.Error("the download differs after a restart")
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRestarted ends the all-in-one in the middle of a conversion; the next start finishes it, and leaves nothing
// behind.
func TestRestarted(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	long := video(t, "long.mp4", 900, "-c:a", "aac", "-b:a", "64k", "-ar", "22050")
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			data := t.TempDir()
			env := []string{"CONVERT_LEASE=3s", "SWEEP_INTERVAL=1s", "SWEEP_STUCK=3s", "SWEEP_GRACE=1s", "DRAIN_TIMEOUT=5s"}
			s := laptop(t, data, env...)
			token := login(t, s.url, georgio)
			id := upload(t, s.url, token, long)
			eventually(t, "the conversion to run", func() bool {
				v := getJob(t, s.url, token,
					id)
				return v.State == "converting" && v.Progress > 0
			})
			s.signal(signal)

			s = laptop(t, data, env...)
			token = login(t, s.url, georgio)
			if j := await(t, s.url, token, id, "notified", "failed"); j.State != "notified" || j.MP3.Duration < 899 ||
				j.MP3.Duration > 901 {
				t.Fatalf("after %v the job ended %+v, want an MP3 of a quarter of an hour", signal, j)
			}
			eventually(t, "the sweep to leave one video and one MP3", func() bool {
				return len(mediaFiles(t, data, "videos")) == 1 && len(mediaFiles(t, data, "mp3s")) == 1
			})
		})
	}
}

// mediaFiles lists the data files of an embedded media store: those beside which, and not in which, its records are
// kept.
func mediaFiles(t *testing.T, data, store string) (files []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(data, "media", store, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if filepath.Ext(f) != ".json" {
			files = append(files, f)
		}
	}
	return files
}

// TestBadInput sends what should not be sent; each gets its status and a line that helps, and the converter lives on.
func TestBadInput(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	data := t.TempDir()
	s := laptop(t, data, "SWEEP_INTERVAL=1s", "SWEEP_GRACE=1s")
	token := login(t, s.url, georgio)
	if status, body := curl(t, "-X", "POST", s.url+"/users", "-H", "Authorization: Bearer "+token, "-H",
		"Content-Type: application/json",
		"-d", `{"email":"eve@email.com","password":"correct horse"}`); status != 201 {
		t.Fatalf("POST /users by the first user = %d %q, want 201", status, body)
	}
	eve := login(t, s.url, "eve@email.com:correct horse")
	good := video(t, "good.mp4", 2)
	id := upload(t, s.url, token, good)
	mp3 := await(t, s.url, token, id, "notified").MP3.FID

	silent := video(t, "silent.mp4", 2, "-an")
	text := write(t, "notes.txt", []byte("this is no video\n"))
	empty := write(t, "empty.mp4", nil)
	bearer := "Authorization: Bearer "
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"wrong password", []string{"-X", "POST", s.url + "/login", "-u", "georgio@email.com:nope"}, 401, "password"},
		{"no credentials", []string{"-X", "POST", s.url + "/login"}, 401, ""},
		{"no file", []string{"-F", "title=x", "-H", bearer + token, s.url + "/upload"}, 400, "file"},
		{"two files", []string{"-F", "a=@" + good, "-F", "b=@" + good, "-H", bearer + token, s.url + "/upload"}, 400,
			"one file"},
		{"text", []string{"-F", "file=@" + text, "-H", bearer + token, s.url + "/upload"}, 415, "media"},
		{"empty file", []string{"-F", "file=@" + empty, "-H", bearer + token, s.url + "/upload"}, 400, "empty"},
		{"bad option", []string{"-F", "bitrate=31", "-F", "file=@" + good, "-H", bearer + token, s.url + "/upload"}, 422,
			"320"},
		{"no token", []string{"-F", "file=@" + good, s.url + "/upload"}, 401, "log in"},
		{"wrong token", []string{"-F", "file=@" + good, "-H", bearer + token + "x", s.url + "/upload"}, 403, "log in"},
		{"malformed fid", []string{"-H", bearer + token, s.url + "/download?fid=zzz"}, 400, "fid"},
		{"no fid", []string{"-H", bearer + token, s.url + "/download"}, 400, "fid"},
		{"unknown fid", []string{"-H", bearer + token, s.url + "/download?fid=" + strings.Repeat("0", 24)}, 404, ""},
		{"someone else's fid", []string{"-H", bearer + eve, s.url + "/download?fid=" + mp3}, 404, ""},
		{"someone else's job", []string{"-H", bearer + eve, s.url + "/jobs/" + id}, 404, ""},
		{"no such page", []string{s.url + "/nothing"}, 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := curl(t, tt.args...)
			if status != tt.status || !strings.Contains(body, tt.says) {
				t.Errorf("curl %q = %d %q, want %d and %q in it", tt.args, status, body, tt.status, tt.says)
			}
			if strings.Count(strings.TrimSpace(body), "\n") != 0 {
				t.Errorf("curl %q answers %q, want one line", tt.args, body)
			}
		})
	}

	for _, tt := range []struct{ name, file, code string }{
		{"a cut mp4", cut(t, video(t, "whole.mp4", 5, "-movflags", "+faststart"), 40_000), "truncated"},
		{"a silent video", silent, "no_audio"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := upload(t, s.url, token, tt.file)
			if j := await(t, s.url, token, bad, "notified", "failed"); j.Error == nil || j.Error.Code != tt.code ||
				j.Error.Message == "" {
				t.Errorf("the job of %s ended %s %+v, want %s", tt.name, j.State, j.Error, tt.code)
			}
			if status, body := curl(t, "-X", "DELETE", "-H", bearer+token, s.url+"/jobs/"+bad); status != 204 {
				t.Errorf("DELETE of the job = %d %q, want 204", status, body)
			}
		})
	}

	after := upload(t, s.url, token, good)
	if j := await(t, s.url, token, after, "notified", "failed"); j.State != "notified" {
		t.Errorf("after the bad input a good video ended %s %+v", j.State, j.Error)
	}
	eventually(t, "the sweep to leave two videos and two MP3s", func() bool {
		return len(mediaFiles(t, data, "videos")) == 2 && len(mediaFiles(t, data, "mp3s")) == 2
	})
}

var printed = regexp.MustCompile(`(\S+@\S+):(\S+)`)

// TestFirstUser starts on an empty folder without a word about users: a password is made and printed once.
func TestFirstUser(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	data := t.TempDir()
	s := start(t, "soundstrip", map[string]string{"SOUNDSTRIP_DATA": data})
	m := printed.FindStringSubmatch(s.output())
	if m == nil {
		t.Fatalf("no credentials printed on the first start:\n%s", s.output())
	}
	login(t, s.url, m[0])
	s.signal(syscall.SIGTERM)

	s = start(t, "soundstrip", map[string]string{"SOUNDSTRIP_DATA": data})
	if strings.Contains(s.output(), m[2]) {
		t.Error("the password is printed on the second start, too")
	}
	login(t, s.url, m[0])

	users := run(t, "env", "SOUNDSTRIP_DATA="+data, filepath.Join(bin, "soundstrip"), "user", "list")
	if !strings.Contains(users, m[1]) {
		t.Errorf("soundstrip user list = %q, want %s in it", users, m[1])
	}
}

// TestOptions asks for a part of a video in mono at a constant bitrate.
func TestOptions(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	s := laptop(t, t.TempDir())
	token := login(t, s.url, georgio)
	id := upload(t, s.url, token, video(t, "talk.mkv", 6), "start=1.5", "end=4", "mono=true", "bitrate=96", "title=A talk")
	if j := await(t, s.url, token, id, "notified", "failed"); j.State != "notified" {
		t.Fatalf("the job ended %s %+v", j.State, j.Error)
	}
	out := filepath.Join(t.TempDir(), "out.mp3")
	run(t, "curl", "-sS", "--fail", "-o", out, "-H", "Authorization: Bearer "+token,
		s.url+"/jobs/"+url.PathEscape(id)+"/mp3")
	var p struct {
		Streams []struct {
			Channels int    `json:"channels"`
			BitRate  string `json:"bit_rate"`
		}
		Format struct {
			Duration string
			Tags     map[string]string
		}
	}
	if err := json.Unmarshal([]byte(run(t, "ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json",
		out)), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Streams) != 1 || p.Streams[0].Channels != 1 || p.Streams[0].BitRate != "96000" ||
		!strings.HasPrefix(p.Format.Duration, "2.5") || p.Format.Tags["title"] != "A talk" {
		t.Errorf("ffprobe = %+v, want one channel, 96000 bit/s, 2.5 s and the title", p)
	}
}
