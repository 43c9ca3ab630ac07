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
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// oldSecret is the one of the old system's manifests: 7 bytes.
const oldSecret = "sarcasm"

// mixture is a system of which each part is the old program or ours.
type mixture struct {
	t                                      *testing.T
	python                                 string // with the old programs' libraries
	auth, gateway, converter, notification string // old or new

	url        string
	amqp       string
	mails      *mailSink
	mongo      *mongo.Client
	broker     *process
	sink       string // leads to the broker, as a Service does
	sinks      front
	front      front    // to the converter
	converting *process // ours

	// Variables of the parts.
	env, stores, users, tokens, events, smtp, links map[string]string
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
	all := os.Getenv("TEST_MIXTURES") != ""
	videos := 2
	if all {
		videos = 20
	}
	clip, silent := video(t, "clip.mp4", 2), ""
	if all {
		silent = video(t, "silent.mp4", 1, "-an")
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
						m.begin(t)
						m.deploy(silent)
						m.convert(login(t, m.url, georgio), clip, videos, nil)
					})
				}
			}
		}
	}
}

// begin makes the stores and the mail server. What is ours runs with LEGACY, as long as one of the parts is old.
func (m *mixture) begin(t *testing.T) {
	t.Helper()
	needCommand(t, "ffmpeg")
	m.t, m.python = t, filepath.Join(need(t, "TEST_LEGACY"), "bin", "python")
	name := "mix_" + strings.ToLower(bson.NewObjectID().Hex())
	m.amqp = vhost(t, name)
	m.mongo, m.stores = databases(t, name)
	m.users = oldTable(t, name, false)
	var port string
	m.mails, port = mailServer(t)
	m.tokens = map[string]string{"JWT_SECRET": oldSecret, "LEGACY": "true", "LOGIN_REHASH": "false"}
	m.events = map[string]string{"EVENT_SECRET": strings.Repeat("event-", 8)}
	m.smtp = map[string]string{"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "SMTP_TLS": "none",
		"SMTP_FROM": "soundstrip@email.com", "PUBLIC_URL": "http://127.0.0.1:8080"}
	m.links = map[string]string{"LINK_SECRET": strings.Repeat("link-", 8)}
	s := httptest.NewServer(&m.sinks)
	t.Cleanup(s.Close)
	m.sink = s.URL
	m.env = with(m.stores, map[string]string{"AMQP_URL": m.amqp, "VIDEO_QUEUE": "video", "MP3_QUEUE": "mp3"})
}

// old starts one of the old programs.
func (m *mixture) old(name string, env map[string]string) *process {
	m.t.Helper()
	return startCommand(m.t, name, with(m.env, env), m.python, "-B", mustAbs(m.t, "legacy/"+name+".py"))
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// deploy starts the parts. An old converter gets the silent video first, if there is one and its owner can be told.
func (m *mixture) deploy(silent string) {
	t := m.t
	t.Helper()
	var converters, notify string
	if m.notification == "new" {
		notify = m.newNotify().url
	}
	if m.converter == "new" {
		converters = m.newConvert()
	}
	m.newBroker(mixedTriggers(t, converters, notify))
	auth := m.newAuth(m.auth)
	if m.gateway == "old" {
		m.url = m.old("gateway", map[string]string{"AUTH_SVC_ADDRESS": strings.TrimPrefix(auth, "http://")}).url
	} else {
		m.url = m.newGateway(auth)
	}
	if m.notification == "old" {
		m.old("notification", m.smtp)
	}
	if m.converter == "old" {
		converter := m.old("converter", nil)
		if silent != "" && m.notification == "new" {
			m.silent(converter, silent)
		}
	}
}

func (m *mixture) newNotify() *process {
	return start(m.t, "notify", with(m.stores, m.links, m.events, m.smtp))
}

// newConvert starts our converter, and gives the address that leads to it.
func (m *mixture) newConvert() string {
	s := httptest.NewServer(&m.front)
	m.t.Cleanup(s.Close)
	m.converting = start(m.t, "convert", with(m.stores, m.events))
	m.front.set(m.t, m.converting)
	return s.URL
}

func (m *mixture) newBroker(triggers string) {
	m.broker = start(m.t, "broker", with(m.events, map[string]string{"AMQP_URL": m.amqp, "BROKER_TRIGGERS": triggers}))
	eventually(m.t, "the broker to be ready", func() bool {
		status, _ := curl(m.t, m.broker.url+"/readyz")
		return status == 200
	})
	m.sinks.set(m.t, m.broker)
}

// newAuth starts the old auth or our login.
func (m *mixture) newAuth(side string) string {
	if side == "old" {
		return m.old("auth", with(m.users, m.tokens)).url
	}
	return start(m.t, "login", with(m.users, m.tokens)).url
}

func (m *mixture) newGateway(auth string) string {
	t, sink := m.t, map[string]string{"K_SINK": m.sink}
	upload := with(m.stores, m.tokens, m.events, sink, map[string]string{"UPLOAD_LEGACY": "true"})
	return start(t, "gateway", map[string]string{
		"LOGIN_URL":    auth,
		"VALIDATE_URL": auth,
		"UPLOAD_URL":   start(t, "upload", upload).url,
		"JOBS_URL":     start(t, "jobs", with(m.stores, m.tokens, m.links, m.events, sink)).url,
	}).url
}

// sweep sends what is owed, and waits for no old program.
func (m *mixture) sweep() {
	cmd := exec.Command(filepath.Join(bin, "sweep"))
	env := with(m.stores, m.events, map[string]string{"K_SINK": m.sink, "SWEEP_HANDED_OVER": "1ms",
		"SWEEP_UNSENT": "1ms"})
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Errorf("sweep: %v\n%s", err, out)
	}
}

// silent uploads a video without sound, at which the old converter ends. It is started again until the owner is told.
func (m *mixture) silent(converter *process, clip string) {
	t := m.t
	t.Helper()
	m.upload(login(t, m.url, georgio), clip)
	ends := 0
	eventually(t, "the mail about the silent video", func() bool {
		select {
		case <-converter.done:
			ends++
			converter = m.old("converter", nil)
		default:
		}
		return m.mails.find("No MP3 could be made") != ""
	})
	if ends < 2 { // one more may come before the mail is seen, or before the broker looks
		t.Errorf("the converter ended %d times before the mail, want 3", ends)
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

// upload uploads as ever, and gets the answer of ever: with UPLOAD_LEGACY ours gives it, too.
func (m *mixture) upload(token, file string) {
	status, body := curl(m.t, "-X", "POST", "-F", "file=@"+file, "-H", "Authorization: Bearer "+token, m.url+"/upload")
	if status != 200 || body != "success!" {
		m.t.Errorf("POST /upload = %d %q, want 200 and success!", status, body)
	}
}

// convert uploads so many videos, and waits for their mails. What is given happens when a third of them is uploaded,
// while the second third is, and before the last.
func (m *mixture) convert(token, clip string, n int, meanwhile func()) {
	t := m.t
	t.Helper()
	before := len(m.told())
	todo := make(chan int, n)
	for i := range n {
		todo <- i
	}
	close(todo)
	var wg sync.WaitGroup
	var answered atomic.Int64
	changed := make(chan struct{})
	for range min(4, n) {
		wg.Go(func() {
			for i := range todo {
				if i >= n-n/3 {
					<-changed
				}
				m.upload(token, clip)
				answered.Add(1)
			}
		})
	}
	if meanwhile != nil {
		eventually(t, "a third of the uploads", func() bool { return answered.Load() >= int64(n/3) })
		meanwhile()
	}
	close(changed)
	wg.Wait()
	n += before
	eventually(t, "a mail for each video", func() bool { return len(m.told()) >= n })
	if m.broker != nil {
		m.sweep()
	}
	m.rest()
	told := m.told()
	last := told[len(told)-1]
	slices.Sort(told)
	if got := len(slices.Compact(slices.Clone(told))); got != n || len(told) != n {
		t.Errorf("%d mails about %d MP3s, want %d about as many", len(told), got, n)
	}
	files := m.mongo.Database(m.stores["MONGODB_MP3S_DB"]).Collection("fs.files")
	if made, err := files.CountDocuments(ctx(t), bson.M{}); err != nil || made != int64(n) {
		t.Errorf("%d MP3s are kept, %v, want %d", made, err, n)
	}
	out := filepath.Join(t.TempDir(), "out.mp3")
	run(t, "curl", "-sS", "--fail", "-o", out, "-H", "Authorization: Bearer "+token, m.url+"/download?fid="+last)
	if codec, seconds := probe(t, out); codec != "mp3" || seconds < 1.9 || seconds > 2.1 {
		t.Errorf("the download is %s of %v s, want mp3 of 2 s", codec, seconds)
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
