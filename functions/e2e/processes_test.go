package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// mailSink is an SMTP server that keeps what it gets.
type mailSink struct {
	mu    sync.Mutex
	mails []string
}

func (m *mailSink) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailSession{sink: m}, nil }

func (m *mailSink) find(part string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mail := range m.mails {
		if strings.Contains(mail, part) {
			return mail
		}
	}
	return ""
}

type mailSession struct {
	sink *mailSink
	to   string
}

func (*mailSession) Mail(string, *smtp.MailOptions) error        { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = to; return nil }
func (*mailSession) Reset()                                      {}
func (*mailSession) Logout() error                               { return nil }
func (s *mailSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	s.sink.mails = append(s.sink.mails, "RCPT "+s.to+"\n"+string(b))
	return err
}

func mailServer(t *testing.T) (sink *mailSink, port string) {
	t.Helper()
	sink = &mailSink{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(sink)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return sink, port
}

// oldTable makes a database as the old system left it, with one plaintext row, and gives the variables that name it. At
// the end the password is to be kept as a hash, or as it was.
func oldTable(t *testing.T, name string, hashed bool) map[string]string {
	t.Helper()
	c, err := mysql.ParseDSN(need(t, "TEST_MYSQL"))
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(c.Addr)
	db, err := sql.Open("mysql", c.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE IF EXISTS " + name); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	for _, q := range []string{
		"CREATE DATABASE " + name,
		"CREATE TABLE " + name +
			".user (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) " +
			"NOT NULL)",
		"INSERT INTO " + name + ".user (email, password) VALUES ('georgio@email.com', 'Admin123')",
	} {
		if _, err := db.ExecContext(ctx(t), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	t.Cleanup(func() {
		var password string
		if err := db.QueryRow("SELECT password FROM " + name +
			".user WHERE email = 'georgio@email.com'").Scan(&password); err != nil ||
			strings.HasPrefix(password, "$argon2id$") != hashed {
			t.Errorf("the password is kept as %.12q… (%v), want an argon2id hash: %v", password, err, hashed)
		}
	})
	return map[string]string{"MYSQL_HOST": host, "MYSQL_PORT": port, "MYSQL_USER": c.User, "MYSQL_PASSWORD": c.Passwd,
		"MYSQL_DB": name}
}

// vhost makes a virtual host on the RabbitMQ node through its management API, and gives its AMQP URL.
func vhost(t *testing.T, name string) string {
	t.Helper()
	u, err := url.Parse(need(t, "TEST_AMQP_URL"))
	if err != nil {
		t.Fatal(err)
	}
	api := need(t, "TEST_RABBITMQ_API") + "/vhosts/" + name
	call := func(ctx context.Context, method string) error {
		r, err := http.NewRequestWithContext(ctx, method, api, nil)
		if err != nil {
			return err
		}
		password, _ := u.User.Password()
		r.SetBasicAuth(u.User.Username(), password)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("%s %s: %s", method, api, resp.Status)
		}
		return nil
	}
	if err := call(ctx(t), http.MethodPut); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := call(context.Background(), http.MethodDelete); err != nil {
			t.Error(err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

// databases gives a client of the MongoDB server and the variables that name databases of our own on it.
func databases(t *testing.T, name string) (*mongo.Client, map[string]string) {
	t.Helper()
	uri := need(t, "TEST_MONGODB_URI")
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"MONGODB_URI": uri, "MONGODB_DB": name, "MONGODB_VIDEOS_DB": name + "_videos",
		"MONGODB_MP3S_DB": name + "_mp3s"}
	t.Cleanup(func() {
		for _, db := range []string{name, name + "_videos", name + "_mp3s"} {
			if err := client.Database(db).Drop(context.Background()); err != nil {
				t.Error(err)
			}
		}
		_ = client.Disconnect(context.Background())
	})
	return client, env
}

func with(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, s := range sets {
		for k, v := range s {
			all[k] = v
		}
	}
	return all
}

// system is every function as a process of its own, on real servers.
type system struct {
	url       string
	amqp      string
	mongo     *mongo.Client
	env       map[string]string
	mails     *mailSink
	sweep     map[string]string // the variables of sweep
	users     map[string]string // where the users are
	processes []*process

	front      front // to the converters
	converters []*process
	collector  *collector
}

// front shares posts out to several processes in turn, as Knative does.
type front struct {
	mu   sync.Mutex
	to   []*httputil.ReverseProxy
	next int
	fail bool // the next post, with a 500
}

func (f *front) set(t *testing.T, ps ...*process) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = nil
	for _, p := range ps {
		u, err := url.Parse(p.url)
		if err != nil {
			t.Fatal(err)
		}
		f.to = append(f.to, httputil.NewSingleHostReverseProxy(u))
	}
}

// failOnce has the next post fail.
func (f *front) failOnce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = true
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.next++
	p, fail := f.to[f.next%len(f.to)], f.fail
	f.fail = false
	f.mu.Unlock()
	if fail && r.Method == http.MethodPost {
		http.Error(w, "not this time", http.StatusInternalServerError)
		return
	}
	p.ServeHTTP(w, r)
}

// deploy starts the system, with two converters that share long sounds. Queue mp3 has a second reader, as the old
// system would have one: trigger "old-consumer" writes the old JSON to queue "old".
func deploy(t *testing.T) *system {
	t.Helper()
	name := "e2e_" + strings.ToLower(bson.NewObjectID().Hex())
	s := &system{amqp: vhost(t, name)}
	var stores map[string]string
	s.mongo, stores = databases(t, name)
	s.env = stores
	r := rights{used: map[string]map[string]bool{}, names: map[string]string{stores["MONGODB_DB"]: "soundstrip",
		stores["MONGODB_VIDEOS_DB"]: "videos", stores["MONGODB_MP3S_DB"]: "mp3s"}}
	t.Cleanup(func() { r.check(t) })
	storesOf := func(function string) map[string]string {
		if os.Getenv("SOUNDSTRIP_LOAD")+os.Getenv("SOUNDSTRIP_BIG") != "" { // what watches takes time as well
			return stores
		}
		return with(stores, map[string]string{"MONGODB_URI": r.watch(t, function, stores["MONGODB_URI"])})
	}
	s.users = oldTable(t, name, true)
	var port string
	s.mails, port = mailServer(t)
	tokens := map[string]string{"JWT_SECRET": strings.Repeat("token-", 8)}
	links := map[string]string{"LINK_SECRET": strings.Repeat("link-", 8)}
	events := map[string]string{"EVENT_SECRET": strings.Repeat("event-", 8)}
	smtp := map[string]string{"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "SMTP_TLS": "none",
		"SMTP_FROM": "soundstrip@email.com", "PUBLIC_URL": "http://127.0.0.1:8080", "WEBHOOK_ALLOW_PRIVATE": "true"}

	var telemetry map[string]string
	if os.Getenv("SOUNDSTRIP_LOAD") == "" { // as above
		s.collector, telemetry = newCollector(t)
	}
	run := func(name string, env map[string]string) *process {
		p := start(t, name, with(env, telemetry))
		s.processes = append(s.processes, p)
		return p
	}
	converters := httptest.NewServer(&s.front)
	t.Cleanup(converters.Close)
	notify := run("notify", with(storesOf("notify"), links, events, smtp))
	triggers := triggersFile(t, converters.URL, notify.url)
	broker := run("broker", with(events, map[string]string{"AMQP_URL": s.amqp, "BROKER_TRIGGERS": triggers}))
	sink := map[string]string{"K_SINK": broker.url}
	quotas := map[string]string{"QUOTAS": "default; students bytes=1M"}
	if floor := os.Getenv("STORE_MIN_FREE"); floor != "" {
		quotas["STORE_MIN_FREE"] = floor
	}
	lease := map[string]string{"CONVERT_LEASE": "3s"}
	for range 2 {
		s.converters = append(s.converters, run("convert", with(storesOf("convert"), events, lease)))
	}
	s.front.set(t, s.converters...)
	signUp := map[string]string{"LOGIN_SIGNUP": "open"}
	tokens["LOGIN_URL"] = run("login", with(s.users, tokens, events, sink, signUp)).url
	s.sweep = with(storesOf("sweep"), events, sink, tokens)
	routes := map[string]string{
		"LOGIN_URL":    tokens["LOGIN_URL"],
		"VALIDATE_URL": run("validate", tokens).url,
		"UPLOAD_URL":   run("upload", with(storesOf("upload"), tokens, events, sink, quotas)).url,
		"JOBS_URL":     run("jobs", with(storesOf("jobs"), tokens, links, events, sink)).url,
	}
	s.url = described(t, run("gateway", routes).url)
	for _, p := range s.processes {
		eventually(t, p.name+" to be ready", func() bool { status, _ := curl(t, p.url+"/readyz"); return status == 200 })
	}
	return s
}

// triggersFile writes the broker's triggers.
func triggersFile(t testing.TB, convert, notify string) string {
	t.Helper()
	return write(t, "triggers.yaml", fmt.Appendf(nil, `triggers:
- name: convert
  filter: {attributes: {type: dev.soundstrip.video.uploaded.v1}}
  type: dev.soundstrip.video.uploaded.v1
  subscriber: %[1]s
  queue: video
  parallelism: 2
- name: notify
  filter: {attributes: {type: dev.soundstrip.audio.converted.v1}}
  subscriber: %[2]s
  queue: mp3
- name: notify-failed
  filter: {attributes: {type: dev.soundstrip.conversion.failed.v1}}
  subscriber: %[2]s
  audience: notify
- name: notify-account
  filter: {attributes: {type: dev.soundstrip.account.mail.v1}}
  subscriber: %[2]s
  audience: notify
- name: old-consumer
  filter: {attributes: {type: dev.soundstrip.audio.converted.v1}}
  queue: old
  legacy: true
`, convert, notify))
}

// TestProcesses walks the whole path with every function as a process and the broker between them.
func TestProcesses(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	s := deploy(t)
	token := login(t, s.url, georgio)
	if status, body := curl(t, "-X", "POST", "-H", "Authorization: Bearer "+token, s.url+"/validate"); status != 200 ||
		!strings.Contains(body, "georgio@email.com") {
		t.Errorf("POST /validate = %d %q, want 200 and the claims", status, body)
	}
	s.front.failOnce()
	id := upload(t, s.url, token, video(t, "test.mp4", 3))
	j := await(t, s.url, token, id, "notified", "failed")
	if j.MP3 == nil {
		t.Fatalf("the job ended %s %+v, want an MP3", j.State, j.Error)
	}
	mail := s.mails.find(j.MP3.FID)
	if !strings.Contains(mail, "RCPT georgio@email.com") {
		t.Errorf("no mail with the file's id to georgio: %q", mail)
	}
	out := filepath.Join(t.TempDir(), "out.mp3")
	run(t, "curl", "-sS", "--fail", "--output", out, "-X", "GET", "-H", "Authorization: Bearer "+token,
		s.url+"/download?fid="+j.MP3.FID)
	if codec, seconds := probe(t, out); codec != "mp3" || seconds < 2.9 || seconds > 3.1 {
		t.Errorf("the download is %s of %v s, want mp3 of 3 s", codec, seconds)
	}

	t.Run("a trace", func(t *testing.T) { testTrace(t, s.collector, mail) })

	t.Run("an old producer and an old consumer", func(t *testing.T) { testLegacy(t, s) })

	t.Run("a converter dies", func(t *testing.T) { testKilled(t, s, token) })

	t.Run("several at once", func(t *testing.T) { testBatch(t, s, token, mail) })

	t.Run("webhooks", func(t *testing.T) { testWebhook(t, s.url, token) })

	t.Run("one behind a crowd", func(t *testing.T) { testCrowd(t, s, token) })

	t.Run("a user's whole life", func(t *testing.T) { testLife(t, s) })

	bad := upload(t, s.url, token, video(t, "silent.mp4", 2, "-an"))
	await(t, s.url, token, bad, "failed")
	eventually(t, "the mail about the failure", func() bool { return s.mails.find("silent.mp4") != "" })
}

// testCrowd has one owner's only video begin before those of another, which were in RabbitMQ's queue before it.
func testCrowd(t *testing.T, s *system, token string) {
	said := ours(t, s.users, "soundstrip", "user", "add", "one@email.com")
	_, password, _ := strings.Cut(said, "shown this once: ")
	one := login(t, s.url, "one@email.com:"+strings.TrimSpace(password))
	file := video(t, "crowd.mp4", 1)
	s.front.mu.Lock() // no event reaches a converter
	release := sync.OnceFunc(s.front.mu.Unlock)
	defer release()
	var crowd []string
	for range 8 {
		crowd = append(crowd, upload(t, s.url, token, file))
	}
	last := upload(t, s.url, one, file)
	release()
	began := await(t, s.url, one, last, "notified", "failed").Attempts[0].From
	before := 0
	for _, id := range crowd {
		if await(t, s.url, token, id, "notified", "failed").Attempts[0].From.Before(began) {
			before++
		}
	}
	if before > 2 {
		t.Errorf("%d of 8 videos of another began before the only one of its owner, want 2 at most", before)
	}
}

// testKilled kills a converter at its work: another one begins anew when the lease is over.
func testKilled(t *testing.T, s *system, token string) {
	const seconds = 1800
	s.front.set(t, s.converters[0])
	id := upload(t, s.url, token, video(t, "lecture.mp4", seconds, "-c:a", "aac", "-b:a", "64k", "-ar", "22050"))
	eventually(t, "the work to go on", func() bool { return getJob(t, s.url, token, id).Progress > 0 })
	s.converters[0].kill()
	s.front.set(t, s.converters[1])
	j := await(t, s.url, token, id, "notified", "failed")
	if j.MP3 == nil || len(j.Attempts) != 2 || j.MP3.Duration < seconds-1 || j.MP3.Duration > seconds+1 {
		t.Fatalf("the job ended %s %+v %+v after %d attempts, want an MP3 of half an hour after 2", j.State, j.Error, j.MP3,
			len(j.Attempts))
	}
	mp3s := s.mongo.Database(s.env["MONGODB_MP3S_DB"]).Collection("fs.files")
	n, err := mp3s.CountDocuments(ctx(t), bson.M{"filename": "lecture.mp3"})
	if err != nil || n != 1 {
		t.Errorf("%d MP3s are there, %v, want one", n, err)
	}
}

// testLegacy puts a video into GridFS and the old message on queue video, as the old gateway did, and reads queue old
// as an old consumer would.
func testLegacy(t *testing.T, s *system) {
	f, err := os.Open(video(t, "old.mp4", 2))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fid, err := s.mongo.Database(s.env["MONGODB_VIDEOS_DB"]).GridFSBucket().UploadFromStream(ctx(t), "", f)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := amqp.Dial(s.amqp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"video_fid": %q, "mp3_fid": null, "username": "old@email.com"}`, fid.Hex())
	if err := ch.PublishWithContext(ctx(t), "", "video", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent,
		Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
	var old struct {
		VideoFID string  `json:"video_fid"`
		MP3FID   *string `json:"mp3_fid"`
		Username string  `json:"username"`
	}
	eventually(t, "the message on queue old", func() bool {
		d, ok, err := ch.Get("old", true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return false
		}
		if err := json.Unmarshal(d.Body, &old); err != nil {
			t.Fatalf("message %q: %v", d.Body, err)
		}
		return old.VideoFID == fid.Hex() // the first test's message is on the queue, too
	})
	if old.MP3FID == nil || old.Username != "old@email.com" {
		t.Fatalf("the old consumer got %+v, want an mp3_fid and the username", old)
	}
	oid, err := bson.ObjectIDFromHex(*old.MP3FID)
	if err != nil {
		t.Fatal(err)
	}
	var mp3 bytes.Buffer
	if _, err := s.mongo.Database(s.env["MONGODB_MP3S_DB"]).GridFSBucket().DownloadToStream(ctx(t), oid,
		&mp3); err != nil {
		t.Fatal(err)
	}
	if codec, seconds := probe(t, write(t, "old.mp3", mp3.Bytes())); codec != "mp3" || seconds < 1.9 || seconds > 2.1 {
		t.Errorf("the MP3 is %s of %v s, want mp3 of 2 s", codec, seconds)
	}
	eventually(t, "the mail to the old producer's user", func() bool { return s.mails.find("RCPT old@email.com") != "" })
}
