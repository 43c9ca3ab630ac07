package e2e

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// oldSecret is the one of the old system's manifests: 7 bytes.
const oldSecret = "sarcasm"

// mixture is a system of which each part is the old program or ours.
type mixture struct {
	t                                      *testing.T
	auth, gateway, converter, notification string // old or new

	url   string
	amqp  string
	env   map[string]string
	mails *mailSink
	front front // to the converters
	sweep func()
}

func (m *mixture) String() string {
	return fmt.Sprintf("%s auth, %s gateway, %s converter, %s notification", m.auth, m.gateway, m.converter,
		m.notification)
}

// TestMixtures swaps each of the old system's four parts for ours, alone and with each other, and converts videos with
// all of them: there is an MP3 and a mail for each, none twice, and rest afterwards. Without TEST_MIXTURES only the two
// are tried in which what is old stands in front of what is ours, and the reverse.
func TestMixtures(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	python := filepath.Join(need(t, "TEST_LEGACY"), "bin", "python")
	clip := video(t, "clip.mp4", 2)
	all := os.Getenv("TEST_MIXTURES") != ""
	videos := 4
	if all {
		videos = 20
	}
	sides := []string{"old", "new"}
	for _, a := range sides {
		for _, g := range sides {
			for _, c := range sides {
				for _, n := range sides {
					if !all && (a != g || c != n || g == c) {
						continue
					}
					m := &mixture{auth: a, gateway: g, converter: c, notification: n}
					t.Run(m.String(), func(t *testing.T) {
						t.Parallel()
						m.t = t
						m.deploy(python)
						m.convert(clip, videos)
					})
				}
			}
		}
	}
}

// old starts one of the old programs.
func (m *mixture) old(python, name string, env map[string]string) *process {
	m.t.Helper()
	return startCommand(m.t, name, with(m.env, env), python, "-B", mustAbs(m.t, "legacy/"+name+".py"))
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// deploy starts the parts. What is ours runs with LEGACY, as long as one of the parts is old.
func (m *mixture) deploy(python string) {
	t := m.t
	t.Helper()
	name := "mix_" + strings.ToLower(bson.NewObjectID().Hex())
	m.amqp = vhost(t, name)
	_, stores := databases(t, name)
	users := oldTable(t, name, false)
	var port string
	m.mails, port = mailServer(t)
	tokens := map[string]string{"JWT_SECRET": oldSecret, "LEGACY": "true", "LOGIN_REHASH": "false"}
	events := map[string]string{"EVENT_SECRET": strings.Repeat("event-", 8)}
	smtp := map[string]string{"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "SMTP_TLS": "none",
		"SMTP_FROM": "soundstrip@email.com", "PUBLIC_URL": "http://127.0.0.1:8080"}
	links := map[string]string{"LINK_SECRET": strings.Repeat("link-", 8)}
	m.env = with(stores, map[string]string{"AMQP_URL": m.amqp, "VIDEO_QUEUE": "video", "MP3_QUEUE": "mp3"})

	var broker *process
	var converters, notify string
	if m.notification == "new" {
		notify = start(t, "notify", with(stores, links, events, smtp)).url
	}
	if m.converter == "new" {
		s := httptest.NewServer(&m.front)
		t.Cleanup(s.Close)
		m.front.set(t, start(t, "convert", with(stores, events)))
		converters = s.URL
	}
	broker = start(t, "broker", with(events, map[string]string{"AMQP_URL": m.amqp,
		"BROKER_TRIGGERS": mixedTriggers(t, converters, notify)}))
	sink := map[string]string{"K_SINK": broker.url}
	eventually(t, "the broker to be ready", func() bool {
		status, _ := curl(t, broker.url+"/readyz")
		return status == 200
	})

	var auth string
	if m.auth == "old" {
		auth = m.old(python, "auth", with(users, tokens)).url
	} else {
		auth = start(t, "login", with(users, tokens)).url
	}
	if m.gateway == "old" {
		m.url = m.old(python, "gateway", map[string]string{"AUTH_SVC_ADDRESS": strings.TrimPrefix(auth, "http://")}).url
	} else {
		m.url = start(t, "gateway", map[string]string{
			"LOGIN_URL":    auth,
			"VALIDATE_URL": auth,
			"UPLOAD_URL":   start(t, "upload", with(stores, tokens, events, sink)).url,
			"JOBS_URL":     start(t, "jobs", with(stores, tokens, links, events, sink)).url,
		}).url
	}
	if m.converter == "old" {
		m.old(python, "converter", nil)
	}
	if m.notification == "old" {
		m.old(python, "notification", smtp)
	}
	m.sweep = func() {
		cmd := exec.Command(filepath.Join(bin, "sweep"))
		env := with(stores, events, sink, map[string]string{"SWEEP_HANDED_OVER": "1ms", "SWEEP_UNSENT": "1ms"})
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("sweep: %v\n%s", err, out)
		}
	}
}

// mixedTriggers writes the triggers of config/legacy: those of an old program have no subscriber.
func mixedTriggers(t *testing.T, convert, notify string) string {
	t.Helper()
	trigger := func(name, queue, typ, subscriber string) string {
		to := "legacy: true"
		if subscriber != "" {
			to = "subscriber: " + subscriber
		}
		return fmt.Sprintf("- {name: %s, queue: %s, queueType: classic, filter: {attributes: {type: %s}}, %s}\n",
			name, queue, typ, to)
	}
	text := "triggers:\n" + trigger("convert", "video", "dev.soundstrip.video.uploaded.v1", convert) +
		trigger("notify", "mp3", "dev.soundstrip.audio.converted.v1", notify)
	if notify != "" {
		text += "- {name: notify-failed, filter: {attributes: {type: dev.soundstrip.conversion.failed.v1}}, " +
			"audience: notify, subscriber: " + notify + "}\n"
	}
	return write(t, "triggers.yaml", []byte(text))
}

// convert uploads so many videos, and waits for their mails.
func (m *mixture) convert(clip string, n int) {
	t := m.t
	t.Helper()
	token := login(t, m.url, georgio)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n / 4 {
				status, body := curl(t, "-X", "POST", "-F", "file=@"+clip, "-H", "Authorization: Bearer "+token, m.url+"/upload")
				if status != map[string]int{"old": 200, "new": 202}[m.gateway] {
					t.Errorf("POST /upload = %d %q", status, body)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "a mail for each video", func() bool { return len(m.told()) >= n })
	m.sweep()
	m.rest()
	told := m.told()
	slices.Sort(told)
	if got := len(slices.Compact(slices.Clone(told))); got != n || len(told) != n {
		t.Errorf("%d mails about %d MP3s, want %d about as many", len(told), got, n)
	}
	for _, fid := range told[:1] {
		out := filepath.Join(t.TempDir(), "out.mp3")
		run(t, "curl", "-sS", "--fail", "-o", out, "-H", "Authorization: Bearer "+token, m.url+"/download?fid="+fid)
		if codec, seconds := probe(t, out); codec != "mp3" || seconds < 1.9 || seconds > 2.1 {
			t.Errorf("the download is %s of %v s, want mp3 of 2 s", codec, seconds)
		}
	}
}

var told = regexp.MustCompile(`(?:file_id: |fid=(?:3D)?)([0-9a-f]{24})`)

// told gives the ids of the MP3s that mails are about.
func (m *mixture) told() (fids []string) {
	m.mails.mu.Lock()
	defer m.mails.mu.Unlock()
	for _, mail := range m.mails.mails {
		if found := told.FindStringSubmatch(strings.ReplaceAll(mail, "=\r\n", "")); found != nil {
			fids = append(fids, found[1])
		}
	}
	return fids
}

// rest waits until the queues are empty.
func (m *mixture) rest() {
	t := m.t
	t.Helper()
	conn, err := amqp.Dial(m.amqp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"video", "mp3"} {
		eventually(t, "queue "+name+" to be empty", func() bool {
			q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
			return err == nil && q.Messages == 0
		})
	}
}
