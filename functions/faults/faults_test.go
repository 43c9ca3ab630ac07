//go:build faults

package faults

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/soundstrip/soundstrip/eventing"
)

// run is one seed's: a system, its clients, and what they were told.
type run struct {
	*client
	sys    *system
	t      *testing.T
	seed   int
	rand   *rand.Rand
	clips  []clip
	sounds map[string]string // the SHA-256 of the MP3 of each clip
	poison int               // messages that are to be dead letters
	ledger *ledger
}

// TestFaults breaks the system once by every fault, in an order that the seed says, and then counts. SEEDS is how many
// seeds there are to be, and SEED the first. FAULT is a regular expression for the names of some faults only.
func TestFaults(t *testing.T) {
	seeds, first := number("SEEDS", 1), number("SEED", 1)
	some := regexp.MustCompile(os.Getenv("FAULT"))
	made := clips(t)
	for seed := first; seed < first+seeds; seed++ {
		t.Run("seed "+strconv.Itoa(seed), func(t *testing.T) {
			began := time.Now()
			name := "faults_" + strings.ToLower(bson.NewObjectID().Hex())
			r := newRun(t, seed, made, deploy(t, name))
			r.before()
			table := slices.Clone(faults)
			r.rand.Shuffle(len(table), func(i, j int) { table[i], table[j] = table[j], table[i] })
			for _, f := range table {
				if !some.MatchString(f.name) || f.durable && !durable() {
					continue
				}
				r.ledger.allowed += f.mails
				r.timed(f.name, func() { f.run(r) })
			}
			r.timed("what is on its way comes to its end", r.quiet)
			r.timed("sweeps", func() {
				r.rest()
				r.sys.sweepOnce(t, map[string]string{"SWEEP_GRACE": "1ms", "SWEEP_UNSENT": "1ms", "SWEEP_STUCK": "1ms"})
				r.rest()
			})
			r.report()
			t.Logf("in %.0f s", time.Since(began).Seconds())
		})
	}
}

func newRun(t *testing.T, seed int, clips []clip, sys *system) *run {
	t.Helper()
	return &run{t: t, seed: seed, rand: rand.New(rand.NewPCG(uint64(seed), 0)), clips: clips,
		sounds: map[string]string{}, ledger: &ledger{}, sys: sys, client: newClient(t, sys.gateway.address())}
}

// report counts, and fails when what was promised does not hold.
func (r *run) report() {
	l := r.count()
	r.t.Logf("seed %d: %v", r.seed, l)
	for what, list := range map[string][]string{"lost": l.lost, "doubled": l.doubled, "unexpected": l.unexpected} {
		for _, text := range list {
			r.t.Errorf("%s: %s", what, text)
		}
	}
}

// timed is one fault, or what comes after them, and logs how long that took.
func (r *run) timed(what string, f func()) {
	at := time.Now()
	r.fault = what
	f()
	if d := time.Since(at); testing.Verbose() {
		r.t.Logf("%5.1f s %s", d.Seconds(), what)
	}
}

func number(variable string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(variable))
	if err != nil {
		return otherwise
	}
	return n
}

// before has each clip converted once with no fault, for its sound.
func (r *run) before() {
	for _, v := range r.clips {
		if a := r.upload(v, "POST"); !a.acknowledged() {
			r.t.Fatalf("an upload with no fault was answered %d", a.status)
		}
	}
	r.rest()
}

// some uploads a few videos at once, each in a way that the seed says, and waits for the answers.
func (r *run) some(n int, among ...string) (all []*attempt) {
	if len(among) == 0 {
		among = ways
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range n {
		v, way := r.anyClip(), among[r.rand.IntN(len(among))]
		wg.Go(func() {
			a := r.upload(v, way)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, a)
		})
	}
	wg.Wait()
	return all
}

// catch arms a trap on the taps and provokes it until it has sprung.
func (r *run) catch(taps []*tap, trap *trap, provoke func()) {
	for _, p := range taps {
		p.arm(trap)
	}
	defer func() {
		for _, p := range taps {
			p.disarm()
		}
	}()
	for range 10 {
		provoke() // which may be refused, while what an earlier fault has ended is not there again
		select {
		case <-trap.sprung:
			return
		case <-time.After(3 * time.Second):
		}
	}
	r.ledger.wonders("%s: nothing came by that matches %s", r.fault, trap.match)
	for _, p := range taps {
		p.mu.Lock()
		r.t.Logf("%s: there were %q", r.fault, slices.Compact(p.seen))
		p.mu.Unlock()
	}
}

// anyClip is a small video.
func (r *run) anyClip() clip {
	for {
		if c := r.clips[r.rand.IntN(len(r.clips))]; !c.long {
			return c
		}
	}
}

// soundClip is one that can be converted.
func (r *run) soundClip() clip {
	for {
		if c := r.anyClip(); !c.failing {
			return c
		}
	}
}

// one uploads a video with a sound in one of the ways.
func (r *run) one(among ...string) func() {
	return func() { r.upload(r.soundClip(), among[r.rand.IntN(len(among))]) }
}

// fault is a row of the table in README.md.
type fault struct {
	name    string
	run     func(r *run)
	mails   int  // that may be sent twice because of it
	durable bool // needs a MongoDB that survives it
}

func one(p *service) []*tap { return []*tap{p.mongo} }

func killed(p *service) { p.kill() }

// ended is SIGTERM while the message goes on.
func ended(p *service) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.end(syscall.SIGTERM)
		p.start()
	}()
	p.t.Cleanup(func() { <-done })
}

// passing has the message go on.
func passing(p *trap) *trap {
	p.pass = true
	return p
}

func term(pattern string) *trap { return passing(newTrap(pattern, ended)) }

var faults = slices.Concat(ofUpload, ofBroker, ofConvert, ofNotify, ofJobs, ofLogin, ofServers, ofEvents)

var whole = []string{"POST", "PUT"}

// dies is a fault that kills, at a message to MongoDB, the process that sends it.
func dies(name, pattern string, of func(*run) []*service, provoke func(*run)) fault {
	return fault{name: name, run: func(r *run) {
		r.catch(mongoTapsOf(of(r)), newTrap(pattern, killed), func() { provoke(r) })
	}}
}

func upload(r *run) []*service  { return []*service{r.sys.upload} }
func convert(r *run) []*service { return r.sys.converters }
func jobs(r *run) []*service    { return []*service{r.sys.jobs} }

func sendWhole(r *run) { r.one(whole...)() }
func sendTus(r *run)   { r.one("tus", "tus cut")() }
func sendAny(r *run)   { r.one(ways...)() }

var ofUpload = []fault{
	dies("upload dies within a video's bytes", "^insert fs.chunks", upload, sendWhole),
	dies("upload dies before the file's document", "^insert fs.files", upload, sendWhole),
	dies("upload dies before the job", "^findAndModify jobs", upload, sendWhole),
	{name: "upload dies before the event", run: func(r *run) {
		r.catch([]*tap{r.sys.upToBroker}, newTrap("^POST", killed), func() { sendWhole(r) })
	}},
	dies("upload dies before the job is queued", "^update jobs queued", upload, sendWhole),
	{name: "upload dies before the answer", run: func(r *run) {
		r.catch([]*tap{r.sys.upload.front}, newTrap("^202", killed), func() { sendWhole(r) })
	}},
	{name: "upload is told to end within a video", run: func(r *run) {
		r.catch(one(r.sys.upload), term("^insert fs.chunks"), func() { r.some(3) })
	}},
	dies("tus: upload dies within a PATCH", "^insert fs.chunks", upload, sendTus),
	dies("tus: upload dies before what it has is recorded", "^update uploads", upload, sendTus),
	dies("tus: upload dies at the last byte, before the job", "^findAndModify jobs", upload, sendTus),
	{name: "tus: upload dies before an answer", run: func(r *run) {
		r.catch([]*tap{r.sys.upload.front}, newTrap("^204", killed), func() { sendTus(r) })
	}},
	{name: "gateway dies within an upload", run: func(r *run) {
		trap := newTrap("^(POST|PUT|PATCH) ", func(*service) { r.sys.gateway.kill() })
		r.catch([]*tap{r.sys.upload.front}, trap, func() { sendAny(r) })
	}},
}

// broker is a fault of a broker, at what it says to RabbitMQ.
func broker(name, pattern string) fault {
	return fault{name: name, run: func(r *run) {
		r.catch(r.sys.taps(func(p *service) *tap { return p.amqp }), newTrap(pattern, killed), func() { sendAny(r) })
	}}
}

func mongoTapsOf(ps []*service) (taps []*tap) {
	for _, p := range ps {
		taps = append(taps, p.mongo)
	}
	return taps
}

func fronts(ps []*service) (taps []*tap) {
	for _, p := range ps {
		taps = append(taps, p.front)
	}
	return taps
}

var ofBroker = []fault{
	broker("broker dies before it publishes", "^publish video"),
	broker("broker dies before a confirm comes", "^confirm"),
	{name: "broker dies before the 202", run: func(r *run) {
		r.catch(fronts(r.sys.brokers), newTrap("^202", killed), func() { sendAny(r) })
	}},
	broker("broker dies before the POST of an event", "^deliver"),
	{name: "both brokers die while a video is converted", run: func(r *run) {
		trap := newTrap("^update jobs converting", func(*service) { r.sys.brokers[0].kill(); r.sys.brokers[1].kill() })
		r.catch(mongoTapsOf(r.sys.converters), passing(trap), func() { sendAny(r) })
	}},
	broker("broker dies before it publishes the reply", "^publish (mp3|soundstrip.notify)"),
	broker("broker dies after the 2xx, before the ack", "^ack"),
	{name: "broker dies before it puts an event back", run: func(r *run) {
		r.catch(amqpTaps(r), newTrap("^publish soundstrip.retry", killed), func() {
			r.mail(func(net.Conn, bool) error { return &smtp.SMTPError{Code: 451, Message: "later"} })
		})
	}},
	{name: "broker is told to end while it delivers", run: func(r *run) {
		r.catch(r.sys.taps(func(p *service) *tap { return p.amqp }), term("^deliver"), func() { r.some(3) })
	}},
}

var ofConvert = []fault{
	dies("convert dies before it claims", "^update jobs converting", convert, sendAny),
	dies("convert dies while it reads the video", "^find fs.chunks", convert, sendAny),
	dies("convert dies before the MP3's document", "^insert fs.files", convert, sendAny),
	dies("convert dies after the MP3, before the state", "^update jobs converted", convert, sendAny),
	{name: "convert dies after the state, before the reply", run: func(r *run) {
		r.catch(fronts(r.sys.converters), newTrap("^200", killed), func() { sendAny(r) })
	}},
	{name: "convert is told to end while it converts", run: func(r *run) {
		r.catch(mongoTapsOf(r.sys.converters), term("^find fs.chunks"), func() { r.some(3) })
	}},
	{name: "ffmpeg is killed", run: func(r *run) {
		for range 3 {
			a := r.upload(r.soundClip(), "POST")
			hit := false
			await(r.t, "ffmpeg to be killed, or the job to end", func() bool {
				hit = hit || r.killFFmpeg()
				return hit || r.ended(a)
			})
			if hit {
				return
			}
		}
		r.ledger.wonders("%s: it was too quick", r.fault)
	}},
	{name: "convert is frozen until another has its job", run: func(r *run) {
		var a *attempt
		frozen, on := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(on) })
		r.t.Cleanup(release)
		trap := newTrap("^update jobs converted", func(p *service) {
			p.signal(syscall.SIGSTOP)
			close(frozen)
			<-on
			p.signal(syscall.SIGCONT)
		})
		r.catch(mongoTapsOf(r.sys.converters), passing(trap), func() {
			if a != nil {
				return
			}
			if a = r.upload(r.soundClip(), "POST"); !a.acknowledged() {
				a = nil
				return
			}
			select {
			case <-frozen:
			case <-time.After(time.Minute):
				return
			}
			await(r.t, "another converter to have the job", func() bool {
				r.sys.sweepOnce(r.t, map[string]string{"SWEEP_STUCK": "1ms"})
				return r.stateOf(a) == "notified"
			})
			release()
		})
	}},
	// Without update pipelines, which the stand-in does not take, a heartbeat looks as a claim does.
	{name: "no heartbeat of convert is answered while ffmpeg works", durable: true, run: func(r *run) {
		long := r.clips[slices.IndexFunc(r.clips, func(c clip) bool { return c.long })]
		trap := passing(newTrap("^update jobs $", func(*service) { <-time.After(lease) }))
		r.catch(mongoTapsOf(r.sys.converters), trap, func() { r.upload(long, "POST") })
	}},
	{name: "a job is cancelled while it is converted", run: func(r *run) { r.whileConverting("cancel") }},
	{name: "a job is deleted while it is converted", run: func(r *run) { r.whileConverting("delete") }},
}

var ofNotify = []fault{
	{name: "notify dies before DATA", run: func(r *run) {
		r.mail(func(net.Conn, bool) error { r.sys.notify.kill(); r.forgetTelling(); return errors.New("died") })
	}},
	{name: "notify dies after the 250, before the record", mails: 1, run: func(r *run) {
		trap := newTrap("^update jobs notified|^update jobs failed told", func(p *service) { p.kill(); r.forgetTelling() })
		r.catch(one(r.sys.notify), trap, func() { sendAny(r) })
	}},
	{name: "notify dies after the record, before the answer", run: func(r *run) {
		trap := newTrap("^200", func(p *service) { p.kill(); r.forgetTelling() })
		r.catch([]*tap{r.sys.notify.front}, trap, func() { sendAny(r) })
	}},
	{name: "the mail server is slow", run: func(r *run) {
		r.mail(func(net.Conn, bool) error { <-time.After(2 * time.Second); return nil })
	}},
	{name: "the mail server says 451", run: func(r *run) {
		r.mail(func(net.Conn, bool) error { return &smtp.SMTPError{Code: 451, Message: "later"} })
	}},
	{name: "the mail server says 550", run: func(r *run) {
		r.mail(func(net.Conn, bool) error { return &smtp.SMTPError{Code: 550, Message: "never"} })
	}},
	{name: "the mail server dies after DATA", mails: 1, run: func(r *run) {
		r.mail(func(conn net.Conn, kept bool) error {
			if kept {
				_ = conn.Close()
			}
			return nil
		})
	}},
}

var ofJobs = []fault{
	dies("jobs dies within a delete, before the MP3", "^delete fs.files", jobs, func(r *run) { r.remove() }),
	dies("jobs dies within a delete, before the job", "^delete jobs", jobs, func(r *run) { r.remove() }),
	dies("jobs dies within a zip", "^find fs.chunks", jobs, func(r *run) {
		a := r.converted()
		r.call(http.MethodGet, "/jobs/mp3s.zip?id="+a.job, nil)
		await(r.t, "a whole zip", func() bool {
			status, body, _ := r.call(http.MethodGet, "/jobs/mp3s.zip?id="+a.job, nil)
			return status == http.StatusOK && len(body) > 1000
		})
	}),
	dies("jobs dies before a retry is kept", "^update jobs stored", jobs, func(r *run) { r.retry() }),
	dies("jobs dies within a retry, before it is queued", "^update jobs queued", jobs, func(r *run) { r.retry() }),
}

var ofLogin = []fault{
	{name: "login dies within a rehash", run: func(r *run) {
		n := 0
		r.catch([]*tap{r.sys.login.mysql}, newTrap("^UPDATE .user. SET .*password", killed), func() {
			n++
			email := "rehash" + strconv.Itoa(n) + r.sys.vhost + "@email.com"
			r.sys.exec(r.t, "INSERT INTO "+r.sys.vhost+".user (email, password) VALUES (?, 'Old-password1')", email)
			_ = r.client.login(email, "Old-password1")
			await(r.t, "the password to be taken again", func() bool {
				return r.client.login(email, "Old-password1") != ""
			})
		})
	}},
	{name: "login dies within a logout", run: func(r *run) {
		r.catch([]*tap{r.sys.login.mysql}, newTrap("tokens_after|revoked|ended", killed), func() {
			token := r.client.login(user, "Admin123")
			await(r.t, "a logout", func() bool {
				status, _, _ := r.call(http.MethodPost, "/logout", nil, "Authorization", "Bearer "+token)
				return status/100 == 2 || status == http.StatusUnauthorized || status == http.StatusForbidden
			})
			await(r.t, "the token to end", func() bool {
				status, _, _ := r.call(http.MethodGet, "/jobs", nil, "Authorization", "Bearer "+token)
				return status == http.StatusUnauthorized || status == http.StatusForbidden
			})
		})
		r.client.token = ""
		await(r.t, "a token that counts", func() bool {
			r.client.token = r.client.login(user, "Admin123")
			status, _, _ := r.call(http.MethodGet, "/jobs", nil)
			return status == http.StatusOK
		})
	}},
	{name: "MariaDB is killed", run: func(r *run) {
		powerCut(r.t, "mariadb")
		await(r.t, "a login", func() bool { return r.client.login(user, "Admin123") != "" })
	}},
	{name: "MariaDB is away", run: func(r *run) {
		r.sys.login.mysql.set(state{away: true})
		r.some(2) // a token is enough
		if r.client.login(user, "Admin123") != "" {
			r.ledger.wonders("%s: there is a login", r.fault)
		}
		r.sys.login.mysql.set(state{})
		await(r.t, "a login", func() bool { return r.client.login(user, "Admin123") != "" })
	}},
}

func amqpTaps(r *run) []*tap  { return r.sys.taps(func(p *service) *tap { return p.amqp }) }
func mongoTaps(r *run) []*tap { return r.sys.taps(func(p *service) *tap { return p.mongo }) }

// line is a fault of all ways to a server, while videos are uploaded.
func line(name string, taps func(*run) []*tap, s state) fault {
	return fault{name: name, run: func(r *run) {
		r.some(2)
		for _, p := range taps(r) {
			p.set(s)
		}
		r.some(3, whole...)
		for _, p := range taps(r) {
			p.set(state{})
		}
		r.some(1)
	}}
}

func resets(name string, taps func(*run) []*tap) fault {
	return fault{name: name, run: func(r *run) {
		done := make(chan struct{})
		go func() { defer close(done); r.some(4) }()
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
				for _, p := range taps(r) {
					p.reset()
				}
			}
		}
	}}
}

var ofServers = []fault{
	{name: "RabbitMQ is killed", run: func(r *run) {
		r.some(3)
		powerCut(r.t, "rabbitmq")
		r.some(2)
		r.brokersReady()
	}},
	{name: "RabbitMQ's disk is full", run: func(r *run) {
		r.some(2)
		manage(r.t, "limit", "1000000000000000")
		r.some(3, whole...)
		manage(r.t, "limit", "200000000")
		r.some(1)
		r.brokersReady()
	}},
	{name: "MongoDB's disk is full", durable: true, mails: 2, run: func(r *run) {
		r.whileFull("mongo", func() {
			for range 10 { // into the room that it has set aside
				v := r.soundClip()
				v.bytes = slices.Concat(v.bytes, make([]byte, 8<<20))
				r.upload(v, whole[r.rand.IntN(2)])
			}
		})
	}},
	{name: "MariaDB's disk is full", run: func(r *run) {
		filler := r.sys.vhost + ".filler"
		r.sys.exec(r.t, "CREATE TABLE "+filler+" (b LONGBLOB)")
		r.whileFull("mariadb", func() {
			for n := 1 << 20; n > 0; n /= 16 { // until there is no room for a byte
				for err := error(nil); err == nil; {
					_, err = r.sys.sql.Exec("INSERT INTO "+filler+" VALUES (REPEAT('x', ?))", n)
				}
			}
			r.some(2)
			if r.client.login(user, "Admin123") == "" && r.sys.sql.Ping() == nil { // it may have ended for want of room
				r.ledger.wonders("%s: there is no login", r.fault)
			}
		})
		r.sys.exec(r.t, "DROP TABLE "+filler)
	}},
	line("RabbitMQ is away", amqpTaps, state{away: true}),
	{name: "RabbitMQ is away for a minute", run: func(r *run) {
		if r.seed%10 != 1 {
			return
		}
		for _, p := range amqpTaps(r) {
			p.set(state{away: true})
		}
		r.some(3, whole...)
		<-time.After(time.Minute)
		for _, p := range amqpTaps(r) {
			p.set(state{})
		}
		r.some(1)
	}},
	{name: "RabbitMQ takes an event back whose conversion takes long", run: func(r *run) {
		if os.Getenv("CONSUMER_TIMEOUT") == "" {
			return
		}
		trap := newTrap("^find fs.chunks", func(*service) {
			r.catch(amqpTaps(r), passing(newTrap("^take back", func(*service) {})), func() {})
		})
		r.catch(mongoTapsOf(r.sys.converters), passing(trap), func() { sendAny(r) })
	}},
	line("RabbitMQ is silent", amqpTaps, state{silent: true}),
	line("RabbitMQ is slow", amqpTaps, state{latency: 100 * time.Millisecond}),
	resets("connections to RabbitMQ are reset", amqpTaps),
	{name: "MongoDB is killed", durable: true, mails: 2, run: func(r *run) {
		r.some(3)
		powerCut(r.t, "mongo")
		r.some(2)
	}},
	withMails(line("MongoDB is away", mongoTaps, state{away: true}), 2),
	line("MongoDB takes 2 s", mongoTaps, state{latency: 400 * time.Millisecond}),
	withMails(resets("connections to MongoDB are reset", mongoTaps), 4),
}

// whileFull leaves a server no room to write meanwhile. It is started anew then, since either ends by that in the end.
func (r *run) whileFull(server string, meanwhile func()) {
	r.some(1)
	if out, err := exec.Command("../../.ci/servers", "full", server).CombinedOutput(); err != nil {
		r.t.Logf("%s: left out: %s", r.fault, out)
		return
	}
	meanwhile()
	manage(r.t, "room", server)
	_ = exec.Command("../../.ci/servers", "kill", server).Run() // it may have ended by itself
	manage(r.t, "start")
	await(r.t, "a login", func() bool { return r.client.login(user, "Admin123") != "" })
	await(r.t, "an upload", func() bool { return r.upload(r.soundClip(), "POST").acknowledged() })
}

func withMails(f fault, n int) fault { f.mails = n; return f }

var ofEvents = []fault{
	{name: "the same event ten times at once, and again when all is done", run: func(r *run) {
		var a *attempt
		await(r.t, "an upload", func() bool { // after what an earlier fault has ended
			a = r.upload(r.soundClip(), "POST")
			return a.acknowledged()
		})
		repeat := func() {
			r.brokersReady() // after what an earlier fault did to RabbitMQ
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() { r.post(a) })
			}
			wg.Wait()
		}
		repeat()
		await(r.t, "the job to end", func() bool { return r.stateOf(a) == "notified" })
		repeat()
		for _, j := range r.records() {
			if j.Filename == a.name && len(j.Attempts) != 1 {
				r.ledger.wonders("%s: it was converted %d times", r.fault, len(j.Attempts))
			}
		}
	}},
	{name: "poison", run: func(r *run) {
		conn, err := amqp.Dial(r.sys.amqp.String())
		if err != nil {
			r.t.Fatal(err)
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			r.t.Fatal(err)
		}
		for _, body := range []string{"no JSON", `{"video_fid": 7}`, `{"video_fid": "../../etc", "username": "x"}`} {
			for _, queue := range queues[:2] {
				if err := ch.PublishWithContext(r.t.Context(), "", queue, false, false, amqp.Publishing{
					DeliveryMode: amqp.Persistent, Body: []byte(body)}); err != nil {
					r.t.Fatal(err)
				}
				r.poison++
			}
		}
		r.some(1)
	}},
	{name: "two sweeps at once", run: func(r *run) {
		r.some(3)
		at := map[string]string{"SWEEP_UNSENT": "1ms", "SWEEP_STUCK": "1ms"}
		first, second := r.sys.beginSweep(r.t, at), r.sys.beginSweep(r.t, at)
		<-first
		<-second
	}},
	{name: "a rolling restart of everything", run: func(r *run) {
		done := make(chan struct{})
		go func() { defer close(done); r.some(4) }()
		r.sys.roll(r.sys.all(), thisRelease)
		<-done
	}},
	{name: "clocks are 5 minutes apart", run: func(r *run) {
		s := r.sys
		// Login's clock is behind in the one case, and neither ahead of the verifiers': see README.md.
		for _, ahead := range [][]*service{{s.upload, s.converters[0], s.brokers[0]},
			{s.validate, s.notify, s.jobs, s.gateway, s.converters[1], s.brokers[1]}} {
			r.sys.roll(ahead, clockAhead)
			r.clocksApart()
			r.sys.roll(ahead, thisRelease)
		}
	}},
	{name: "a rolling update from another release and back", run: func(r *run) {
		if formerRef() == "" {
			return
		}
		for _, build := range []string{otherRelease, thisRelease} {
			done := make(chan struct{})
			go func() { defer close(done); r.some(4) }()
			r.sys.roll(r.sys.all(), build)
			<-done
			r.some(2)
		}
	}},
}

// clocksApart sees that all goes on, and not after five minutes only.
func (r *run) clocksApart() {
	r.brokersReady()
	token := r.client.login(user, "Admin123")
	if status, text, _ := r.call(http.MethodGet, "/jobs", nil, "Authorization", "Bearer "+token); status != http.StatusOK {
		r.ledger.wonders("%s: a new token was answered %d %s", r.fault, status, text)
	}
	for _, a := range r.some(3) {
		if !a.acknowledged() {
			r.ledger.wonders("%s: %s was answered %d", r.fault, a.way, a.status)
		} else if !holds(func() bool { return r.ended(a) }) {
			r.ledger.wonders("%s: job %s is %s", r.fault, a.job, r.stateOf(a))
		}
	}
}

func (r *run) brokersReady() {
	await(r.t, "brokers to be ready", func() bool { return r.sys.brokers[0].ready() && r.sys.brokers[1].ready() })
}

// killFFmpeg kills what converters have started, and reports whether there was something.
func (r *run) killFFmpeg() (hit bool) {
	for _, c := range r.sys.converters {
		c.mu.Lock()
		pid := c.cmd.Process.Pid
		c.mu.Unlock()
		for _, child := range children(pid) {
			hit = syscall.Kill(child, syscall.SIGKILL) == nil || hit
		}
	}
	return hit
}

// stateOf is the state of an upload's job; empty when there is none.
func (r *run) stateOf(a *attempt) string {
	for _, j := range r.records() {
		if j.Filename == a.name {
			return j.State
		}
	}
	return ""
}

// ended reports whether nothing is left to do for an upload.
func (r *run) ended(a *attempt) bool {
	return !a.acknowledged() || slices.Contains([]string{"", "notified", "failed", "cancelled"}, r.stateOf(a))
}

// whileConverting does something to a job that a converter has just read the video of.
func (r *run) whileConverting(what string) {
	here, on := make(chan struct{}), make(chan struct{})
	trap := newTrap("^find fs.chunks", func(*service) { close(here); <-on })
	caught := make(chan struct{})
	go func() {
		defer close(caught)
		r.catch(mongoTapsOf(r.sys.converters), passing(trap), func() {})
	}()
	a := r.upload(r.soundClip(), "POST")
	select {
	case <-here:
		r.act(a, what)
	case <-time.After(time.Minute):
		r.ledger.wonders("%s: the video was not converted", r.fault)
	}
	close(on)
	<-caught // or it would disarm the trap of the next fault
}

// mail has something happen to the next mail, and waits for that.
func (r *run) mail(f func(conn net.Conn, kept bool) error) {
	done := r.sys.mails.once(f)
	r.some(1)
	select {
	case <-done:
	case <-time.After(time.Minute):
		r.ledger.wonders("%s: no mail came", r.fault)
	}
}

// forgetTelling ends what notify, which has just been killed, kept others from for minutes: those go by.
func (r *run) forgetTelling() {
	_, err := r.sys.mongo.Database(r.sys.vhost).Collection("jobs").UpdateMany(r.t.Context(),
		bson.M{"telling": bson.M{"$gt": time.Now()}}, bson.M{"$set": bson.M{"telling": time.Now()}, "$inc": bson.M{"rev": 1}})
	if err != nil {
		r.t.Error(err)
	}
}

// converted uploads a video and waits for its end. A sweep sends its event, where brokers had no way to RabbitMQ yet.
func (r *run) converted() *attempt {
	var a *attempt
	await(r.t, "an upload to be taken", func() bool { a = r.upload(r.soundClip(), "POST"); return a.acknowledged() })
	state := ""
	if !holds(func() bool {
		if state = r.stateOf(a); state == "stored" {
			r.sys.sweepOnce(r.t, nil)
		}
		return state == "notified"
	}) {
		r.t.Fatalf("gave up waiting: the job of %s is %s", a.name, state)
	}
	return a
}

// remove deletes a job again and again until that is answered.
func (r *run) remove() {
	a := r.converted()
	await(r.t, "the job to be deleted", func() bool {
		status := r.act(a, "delete")
		if status == http.StatusNotFound {
			a.deleted = true
		}
		return a.deleted
	})
}

// retry has a video without sound tried again.
func (r *run) retry() {
	var a *attempt
	silent := r.clips[slices.IndexFunc(r.clips, func(c clip) bool { return c.failing })]
	await(r.t, "an upload to be taken", func() bool { a = r.upload(silent, "POST"); return a.acknowledged() })
	await(r.t, "the job to end", func() bool { return r.stateOf(a) == "failed" })
	await(r.t, "the job to be begun anew", func() bool {
		status := r.act(a, "retry")
		return status/100 == 2 || status == http.StatusConflict
	})
}

// post sends the event of an upload once more.
func (r *run) post(a *attempt) {
	e, err := eventing.New("/soundstrip/upload", a.job, 1, eventing.VideoUploaded{
		Reference: eventing.Reference{VideoFID: a.job, Username: user}, Filename: a.name})
	if err != nil {
		r.t.Fatal(err)
	}
	q, err := eventing.NewRequest(r.t.Context(), "http://"+r.sys.upToBroker.address(), e)
	if err == nil {
		err = eventing.Authorize(q, []byte(events), "broker")
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if status, text, _ := r.send(q); status != http.StatusAccepted {
		r.ledger.wonders("%s: it was answered %d %s", r.fault, status, text)
	}
}
