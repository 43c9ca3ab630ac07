//go:build faults

package faults

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// system is every function as a process, on the servers, with a tap on every way between them.
type system struct {
	*servers
	login, validate, upload, notify, jobs, gateway *service
	converters, brokers                            []*service
	sweep                                          map[string]string // the variables of sweep
	upToBroker                                     *tap              // upload's way to the brokers
}

const (
	events = "event-event-event-event-event-event-"
	user   = "georgio@email.com"
	lease  = 3 * time.Second
)

func deploy(t *testing.T, name string) *system {
	t.Helper()
	servers := newServers(t, name)
	servers.exec(t, "INSERT INTO "+name+".user (email, password) VALUES (?, 'Admin123')", user)
	return deployOn(t, servers)
}

func deployOn(t *testing.T, servers *servers) *system {
	t.Helper()
	s := &system{servers: servers}
	secret := map[string]string{"EVENT_SECRET": events}
	tokens := map[string]string{"JWT_SECRET": strings.Repeat("token-", 8)}
	links := map[string]string{"LINK_SECRET": strings.Repeat("link-", 8)}
	public := map[string]string{"PUBLIC_URL": "http://soundstrip.example"}

	for range 2 {
		s.brokers = append(s.brokers, newService(t, "broker"))
		s.converters = append(s.converters, newService(t, "convert"))
	}
	brokers := newTap(t, nil, protocol{}, oneOf(s.brokers))
	converters := newTap(t, nil, protocol{}, oneOf(s.converters))
	s.login, s.validate, s.upload = newService(t, "login"), newService(t, "validate"), newService(t, "upload")
	s.notify, s.jobs, s.gateway = newService(t, "notify"), newService(t, "jobs"), newService(t, "gateway")
	s.upToBroker = newTap(t, s.upload, httpProtocol, brokers.address)

	sink := map[string]string{"K_SINK": "http://" + brokers.address()}
	tokens["LOGIN_URL"] = s.login.address()
	triggers := filepath.Join(t.TempDir(), "triggers.yaml")
	text := fmt.Sprintf(triggersFile, "http://"+converters.address(), s.notify.address())
	if err := os.WriteFile(triggers, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, b := range s.brokers {
		b.amqp = newTap(t, b, amqpProtocol, func() string { return s.amqp.Host })
		u := *s.amqp
		u.Host = b.amqp.address()
		b.env = with(secret, map[string]string{"AMQP_URL": u.String(), "BROKER_TRIGGERS": triggers})
	}
	for _, c := range s.converters {
		c.env = with(s.stores(t, c), secret, map[string]string{"CONVERT_LEASE": lease.String()})
	}
	s.login.mysql = newTap(t, s.login, mysqlProtocol, func() string { return s.mysql.Addr })
	s.login.env = with(tokens, secret, sink, public, map[string]string{
		"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": port(s.login.mysql), "MYSQL_USER": s.mysql.User,
		"MYSQL_PASSWORD": s.mysql.Passwd, "MYSQL_DB": s.vhost,
	})
	delete(s.login.env, "LOGIN_URL")
	s.validate.env = tokens
	s.upload.env = with(s.stores(t, s.upload), tokens, secret,
		map[string]string{"K_SINK": "http://" + s.upToBroker.address()})
	s.jobs.env = with(s.stores(t, s.jobs), tokens, secret, sink, links, public)
	s.notify.env = with(s.stores(t, s.notify), secret, links, public, map[string]string{"SMTP_HOST": "127.0.0.1",
		"SMTP_PORT": s.mails.port, "SMTP_TLS": "none", "SMTP_FROM": "soundstrip@email.com"})
	s.gateway.env = with(public, map[string]string{"LOGIN_URL": s.login.address(), "VALIDATE_URL": s.validate.address(),
		"UPLOAD_URL": s.upload.address(), "JOBS_URL": s.jobs.address()})
	s.sweep = with(s.stores(t, newService(t, "sweep")), secret, sink, tokens,
		map[string]string{"SWEEP_UNSENT": "1s", "SWEEP_STUCK": "5s", "SWEEP_MAX_ATTEMPTS": "50"})

	for _, p := range s.all() {
		p.start()
	}
	for _, p := range s.all() {
		await(t, p.name+" to be ready", p.ready)
	}
	return s
}

const triggersFile = `triggers:
- name: convert
  filter: {attributes: {type: dev.soundstrip.video.uploaded.v1}}
  type: dev.soundstrip.video.uploaded.v1
  subscriber: %[1]s
  queue: video
  parallelism: 2
  delivery: {retry: 20, backoffPolicy: linear, backoffDelay: PT0.1S}
- name: notify
  filter: {attributes: {type: dev.soundstrip.audio.converted.v1}}
  subscriber: %[2]s
  queue: mp3
  parallelism: 2
  delivery: {retry: 20, backoffPolicy: linear, backoffDelay: PT0.1S}
- name: notify-failed
  filter: {attributes: {type: dev.soundstrip.conversion.failed.v1}}
  subscriber: %[2]s
  audience: notify
  delivery: {retry: 20, backoffPolicy: linear, backoffDelay: PT0.1S}
`

// queues are those of the triggers.
var queues = []string{"video", "mp3", "soundstrip.notify-failed"}

// stores gives a process its own way to MongoDB.
func (s *system) stores(t *testing.T, p *service) map[string]string {
	t.Helper()
	p.mongo = newTap(t, p, mongoProtocol, func() string { return s.uri.Host })
	u := *s.uri
	u.Host = p.mongo.address()
	u.RawQuery = "directConnection=true&serverSelectionTimeoutMS=2000"
	return map[string]string{"MONGODB_URI": u.String(), "MONGODB_DB": s.vhost, "MONGODB_VIDEOS_DB": s.vhost + "_videos",
		"MONGODB_MP3S_DB": s.vhost + "_mp3s"}
}

// all gives the processes in the order in which they can be started.
func (s *system) all() []*service {
	return slices.Concat([]*service{s.login, s.validate, s.notify}, s.converters, s.brokers,
		[]*service{s.upload, s.jobs, s.gateway})
}

// taps gives one kind of them.
func (s *system) taps(which func(*service) *tap) (taps []*tap) {
	for _, p := range s.all() {
		if p := which(p); p != nil {
			taps = append(taps, p)
		}
	}
	return taps
}

func (s *service) ready() bool {
	resp, err := http.Get(s.address() + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// oneOf shares connections out in turn, as Knative does requests. One that is frozen gets none, since Knative gives a
// converter no second request before the first is answered.
func oneOf(ps []*service) func() string {
	var n atomic.Int64
	return func() string {
		p := ps[int(n.Add(1))%len(ps)]
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if frozen {
			p = ps[int(n.Add(1))%len(ps)]
		}
		return p.front.address()
	}
}

func port(p *tap) string { return p.address()[strings.LastIndexByte(p.address(), ':')+1:] }

func with(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}

// sweepOnce runs a sweep as the CronJob does.
func (s *system) sweepOnce(t *testing.T, more map[string]string) {
	t.Helper()
	<-s.beginSweep(t, more)
}

// beginSweep gives a channel that is closed when the sweep has ended.
func (s *system) beginSweep(t *testing.T, more map[string]string) <-chan struct{} {
	t.Helper()
	cmd := command("sweep", with(s.sweep, more))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("sweep: %v\n%s", err, out)
		}
	}()
	return done
}

// roll ends some processes and starts those of a build, one after the other.
func (s *system) roll(some []*service, build string) {
	for _, p := range some {
		p.end(syscall.SIGTERM)
		p.mu.Lock()
		p.build = build
		p.mu.Unlock()
		p.start()
	}
}

// await polls until ok holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !holds(ok) {
		t.Fatalf("gave up waiting: %s", what)
	}
}

// holds polls until ok does, or for two minutes, which is a failure.
func holds(ok func() bool) bool {
	for deadline := time.Now().Add(2 * time.Minute); !ok(); {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(50 * time.Millisecond)
	}
	return true
}
