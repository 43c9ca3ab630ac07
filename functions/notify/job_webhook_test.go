package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/notify"
)

// names is a server of DNS, which answers a question by a function of the name and how often it was asked for.
type names struct {
	conn   net.PacketConn
	answer func(name string, n int) []netip.Addr
	asked  map[dnsmessage.Question]int
}

// newResolver looks names up by the answers, and nowhere else.
func newResolver(t *testing.T, answer func(name string, n int) []netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &names{conn: conn, answer: answer, asked: map[dnsmessage.Question]int{}}
	var serving sync.WaitGroup
	serving.Go(func() { s.serve(t) })
	t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (s *names) serve(t *testing.T) {
	buf := make([]byte, 4096)
	for {
		n, client, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil {
			t.Error(err)
			return
		}
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		q := m.Questions[0]
		head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class} // to be forgotten at once
		for _, a := range s.answer(strings.TrimSuffix(q.Name.String(), "."), s.asked[q]) {
			switch {
			case a.Is4() && q.Type == dnsmessage.TypeA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
			case a.Is6() && q.Type == dnsmessage.TypeAAAA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		s.asked[q]++
		packed, err := m.Pack()
		if err == nil {
			_, err = s.conn.WriteTo(packed, client)
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// hooked is the outcome of a job with a webhook.
func hooked(address, secret string) notify.Outcome {
	o := outcome()
	o.Job.Created, o.Job.Updated = time.Now(), time.Now()
	o.Job.Webhook = &job.Webhook{URL: address, Secret: secret}
	return o
}

var within = notify.WebhookConfig{Timeout: 10 * time.Second}

// TestTricks tries ways to make notify post to this machine or its network. Each is refused by the form of the address
// when the job is made, or when a connection is to be made, and by that in any case.
func TestTricks(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", ":0") // whatever leads to this machine is to be seen
	if err != nil {
		t.Fatal(err)
	}
	var reached atomic.Int32
	var listening sync.WaitGroup
	listening.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = conn.Close()
		}
	})
	defer listening.Wait()
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// To a resolver as those of many systems are, every spelling of 127.0.0.1 is that.
	resolver := newResolver(t, func(name string, n int) []netip.Addr {
		switch {
		case strings.HasPrefix(name, "cloud."):
			return []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00:ec2::254")}
		case strings.HasPrefix(name, "six."):
			return []netip.Addr{netip.MustParseAddr("::1")}
		case strings.HasPrefix(name, "mapped."):
			return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}
		case strings.HasPrefix(name, "nat64."):
			return []netip.Addr{netip.MustParseAddr("64:ff9b::7f00:1")}
		case strings.HasPrefix(name, "many."):
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
		case strings.HasPrefix(name, "rebound.") && n%2 == 0:
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})
	const form, dial = "form", "dial"
	for _, tt := range []struct{ address, refused string }{
		{"http://127.0.0.1:PORT/", dial},
		{"http://127.8.9.10:PORT/", dial},
		{"http://0.0.0.0:PORT/", dial},
		{"http://10.0.0.1:PORT/", dial},
		{"http://172.16.0.1:PORT/", dial},
		{"http://192.168.0.1:PORT/", dial},
		{"http://100.64.0.1:PORT/", dial},
		{"http://169.254.169.254/latest/meta-data/", dial},
		{"http://100.100.100.200/latest/meta-data/", dial},
		{"http://168.63.129.16/machine", dial},
		{"http://224.0.0.1:PORT/", dial},
		{"http://255.255.255.255:PORT/", dial},
		{"http://[::]:PORT/", dial},
		{"http://[::1]:PORT/", dial},
		{"http://[0:0:0:0:0:0:0:1]:PORT/", dial},
		{"http://[::127.0.0.1]:PORT/", dial},
		{"http://[::ffff:127.0.0.1]:PORT/", dial},
		{"http://[::ffff:7f00:1]:PORT/", dial},
		{"http://[64:ff9b::127.0.0.1]:PORT/", dial},
		{"http://[64:ff9b:1::7f00:1]:PORT/", dial},
		{"http://[2002:7f00:1::]:PORT/", dial},
		{"http://[2001:0:7f00:1::]:PORT/", dial},
		{"http://[fd00:ec2::254]/latest/meta-data/", dial},
		{"http://[fe80::1]:PORT/", dial},
		{"http://[ff02::1]:PORT/", dial},
		{"http://localhost:PORT/", dial},
		{"http://LOCALHOST.:PORT/", dial},
		{"http://hook.example:PORT/", dial},
		{"http://hook.example.:PORT/", dial},
		{"http://127.0.0.1.hook.example:PORT/", dial},
		{"http://xn--hook-hra.example:PORT/", dial},
		{"http://metadata.internal/computeMetadata/v1/", dial},
		{"http://cloud.example/latest/meta-data/", dial},
		{"http://six.example:PORT/", dial},
		{"http://mapped.example:PORT/", dial},
		{"http://nat64.example:PORT/", dial},
		{"http://many.example:PORT/", dial},
		{"http://rebound.example:PORT/", dial}, // first elsewhere, and then here
		{"https://hook.example:PORT/", dial},
		{"http://127.0.0.1:0PORT/", dial},

		{"http://[fe80::1%25lo]:PORT/", form},
		{"http://[::1%25lo]:PORT/", form},
		{"http://127.1:PORT/", form},
		{"http://127.0.1:PORT/", form},
		{"http://2130706433:PORT/", form},
		{"http://0x7f000001:PORT/", form},
		{"http://0x7f.0.0.1:PORT/", form},
		{"http://0177.0.0.1:PORT/", form},
		{"http://017700000001:PORT/", form},
		{"http://0127.0.0.01:PORT/", form},
		{"http://0:PORT/", form},
		{"http://127.0.0.1.:PORT/", form},
		{"http://%31%32%37.0.0.1:PORT/", form},
		{"http://１２７.０.０.１:PORT/", form},
		{"http://127。0。0。1:PORT/", form},
		{"http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/", form},
		{"http://bücher.example:PORT/", form},
		{"http://example.com@127.0.0.1:PORT/", form},
		{"http://user:password@hook.example:PORT/", form},
		{"http://127.0.0.1:PORT\\@example.com/", form},
		{"http://127.0.0.1:PORT#@example.com:x/", dial},
		{"http://[127.0.0.1]:PORT/", form},
		{"http://hook.example:22/", form},
		{"http://hook.example:25/", form},
		{"http://hook.example:0/", form},
		{"http://hook.example:65616/", form}, // 80, to who counts in 16 bits
		{"http://hook.example:-PORT/", form},
		{"http://:PORT/", form},
		{"http:///hook", form},
		{"http:127.0.0.1:PORT/", form},
		{"//127.0.0.1:PORT/", form},
		{"127.0.0.1:PORT", form},
		{" http://127.0.0.1:PORT/", form},
		{"http://127.0.0.1:PORT/\r\nX: y", form},
		{"http://hook.example\x00.com:PORT/", form},
		{"gopher://127.0.0.1:PORT/", form},
		{"ftp://127.0.0.1:PORT/", form},
		{"file:///etc/passwd", form},
		{"unix:///var/run/docker.sock", form},
		{"javascript:alert(1)", form},
	} {
		address := strings.ReplaceAll(tt.address, "PORT", port)
		_, err := job.ParseWebhook(url.Values{"webhook": {address}, "webhook_secret": {secret}})
		if (err != nil) != (tt.refused == form) {
			t.Errorf("ParseWebhook of %q = %v, want it refused by %s", address, err, tt.refused)
		}
		for range 3 {
			err := notify.JobWebhook(within, resolver).Tell(t.Context(), hooked(address, secret))
			if err == nil || tt.refused == dial && !errors.As(err, new(*notify.RefusedError)) {
				t.Errorf("Tell(%q) = %v, want it refused", address, err)
			}
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections have come to this machine, want none", n)
	}
}

// TestJobWebhook posts to a name that leads to this machine, as it may here. TestMain's proxy is not asked.
func TestJobWebhook(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef01234567"
	whsec := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
	type post struct {
		header http.Header
		body   []byte
	}
	posts := make(chan post, 2)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posts <- post{r.Header, body}
	}))
	defer s.Close()
	resolver := newResolver(t, func(string, int) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
	allowed := within
	allowed.AllowPrivate = true
	c := notify.JobWebhook(allowed, resolver)
	address := strings.Replace(s.URL, "127.0.0.1", "hook.example", 1)
	for _, given := range []string{key, whsec} {
		if err := c.Tell(t.Context(), hooked(address, given)); err != nil {
			t.Fatal(err)
		}
		p := <-posts
		if err := notify.VerifyWebhook([]byte(given), p.header.Get(notify.SignatureHeader), p.body, time.Now(),
			5*time.Minute); err != nil {
			t.Errorf("VerifyWebhook = %v", err)
		}
		id, at := p.header.Get("webhook-id"), p.header.Get("webhook-timestamp")
		if id != "65f0/dev_soundstrip_conversion_failed_v1/1" {
			t.Errorf("webhook-id = %q, want that of the outcome, without a dot", id)
		}
		if unix, err := strconv.ParseInt(at, 10, 64); err != nil || time.Since(time.Unix(unix, 0)).Abs() > time.Minute {
			t.Errorf("webhook-timestamp = %q, %v, want now", at, err)
		}
		mac := hmac.New(sha256.New, []byte(key))
		fmt.Fprintf(mac, "%s.%s.%s", id, at, p.body)
		if got, want := p.header.Get("webhook-signature"),
			"v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("webhook-signature = %q, want %q", got, want)
		}
	}
}

func TestJobWebhookAnswers(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		200: "taken", 204: "taken",
		301: "refused", 302: "refused", 303: "refused", 307: "refused", 308: "refused",
		400: "refused", 401: "refused", 403: "refused", 404: "refused", 405: "refused", 409: "refused", 410: "refused",
		413: "refused", 422: "refused",
		408: "passing", 429: "passing", 500: "passing", 502: "passing", 503: "passing", 504: "passing",
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				posts.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			}))
			defer s.Close()
			c := notify.JobWebhook(notify.WebhookConfig{Timeout: 10 * time.Second, AllowPrivate: true}, nil)
			if got := result(c.Tell(t.Context(), hooked(s.URL, secret))); got != want || posts.Load() != 1 {
				t.Errorf("Tell is %s after %d posts, want %s after one", got, posts.Load(), want)
			}
			if want == "passing" {
				want = "refused" // a day later
			}
			o, now := hooked(s.URL, secret), time.Now()
			yesterday := now.Add(-25 * time.Hour)
			o.Job.Created, o.Job.Updated = yesterday, yesterday
			if got := result(c.Tell(t.Context(), o)); got != want {
				t.Errorf("Tell a day later is %s, want %s", got, want)
			}
			again := result(c.Tell(t.Context(), hooked(s.URL, secret)))
			for _, tries := range [][]job.Attempt{nil, {{From: yesterday, To: &yesterday}}} {
				given := o
				given.Job.Updated, given.Job.Attempts = now, tries
				if got := result(c.Tell(t.Context(), given)); got != again {
					t.Errorf("Tell of an old job that was just given up after %d tries is %s, want %s", len(tries), got, again)
				}
			}
			o.Job.State = job.Converted
			o.Job.Attempts = []job.Attempt{{From: yesterday, To: &yesterday}, {From: yesterday, To: &now}}
			if got := result(c.Tell(t.Context(), o)); got != again {
				t.Errorf("Tell of an old job that has just ended is %s, want %s", got, again)
			}
		})
	}
}

func result(err error) string {
	switch {
	case err == nil:
		return "taken"
	case errors.As(err, new(*notify.RefusedError)):
		return "refused"
	}
	return "passing"
}

// TestJobWebhookBesideTheMail: neither waits for the other, nor is told again with it.
func TestJobWebhookBesideTheMail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		answers    []int // of the webhook; the last for all that follow
		mailAway   int   // posts of events at which the mail server is away
		statuses   []int // of the function
		posts      int
		wantRefuse bool
	}{
		{"both there", []int{204}, 0, []int{200, 200}, 1, false},
		{"webhook away", []int{503, 429, 204}, 0, []int{503, 503, 200, 200}, 3, false},
		{"mail away", []int{204}, 2, []int{503, 503, 200, 200}, 1, false},
		{"webhook gone", []int{410}, 0, []int{200, 200}, 1, true},
		{"webhook gone, mail away", []int{404}, 1, []int{503, 200, 200}, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int32
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n := int(posts.Add(1))
				w.WriteHeader(tt.answers[min(n, len(tt.answers))-1])
			}))
			defer receiver.Close()
			s, mail := newStore(t), &channel{name: "email"}
			mail.tell = func(n int, _ notify.Outcome) error {
				if n <= tt.mailAway {
					return errors.New("away")
				}
				return nil
			}
			h := notify.New(s, s.hooks, nil, nil, []notify.Channel{mail,
				notify.JobWebhook(notify.WebhookConfig{Timeout: 10 * time.Second, AllowPrivate: true}, nil)}, config)
			s.webhook = &job.Webhook{URL: receiver.URL, Secret: secret}
			j := s.job0(t, job.Converted)
			for i, want := range tt.statuses {
				if status, _, body := post(t, h, event0(t, j)); status != want {
					t.Errorf("answer %d = %d %q, want %d", i, status, body, want)
				}
			}
			if len(mail.told) != 1 || int(posts.Load()) != tt.posts {
				t.Errorf("%d mails and %d posts, want one and %d", len(mail.told), posts.Load(), tt.posts)
			}
			now, err := s.Get(t.Context(), j.ID)
			if err != nil || now.State != job.Notified || len(now.Notices) != 2 {
				t.Fatalf("job is %s with notices %v, %v, want notified with two", now.State, now.Notices, err)
			}
			for _, n := range now.Notices {
				if refused := n.Refused != ""; refused != (tt.wantRefuse && n.Channel == "job_webhook") {
					t.Errorf("notice %+v, want the webhook's refused: %v", n, tt.wantRefuse)
				}
			}
		})
	}
}

// TestNoJobWebhook: without one there is nothing to tell or record beside the mail.
func TestNoJobWebhook(t *testing.T) {
	t.Parallel()
	s, mail := newStore(t), &channel{name: "email"}
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{mail, notify.JobWebhook(within, nil)}, config)
	j := s.job0(t, job.Failed)
	for range 2 {
		if status, _, _ := post(t, h, event0(t, j)); status != 200 {
			t.Errorf("answer = %d, want 200", status)
		}
	}
	if now, err := s.Get(t.Context(), j.ID); err != nil || len(now.Notices) != 1 || len(mail.told) != 1 {
		t.Errorf("notices %v, %v, told %d times, want one, once", now.Notices, err, len(mail.told))
	}
}

// TestUserWebhook: a user's webhook is told of the jobs that have none, once, for as long as there is one.
func TestUserWebhook(t *testing.T) {
	t.Parallel()
	const owner = "anna@example.com" // of what job0 makes
	var mu sync.Mutex
	var told []string // the path of each post
	var status atomic.Int32
	status.Store(http.StatusNoContent)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = notify.VerifyWebhook([]byte(secret+r.URL.Path), r.Header.Get(notify.SignatureHeader), body, time.Now(),
				5*time.Minute)
		}
		if err != nil {
			t.Errorf("post to %s: %v", r.URL.Path, err)
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r.URL.Path)
		w.WriteHeader(int(status.Load()))
	}))
	defer receiver.Close()
	hook := func(path string) job.Webhook { return job.Webhook{URL: receiver.URL + path, Secret: secret + path} }
	s, mail := newStore(t), &channel{name: "email"}
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{mail,
		notify.JobWebhook(notify.WebhookConfig{Timeout: 10 * time.Second, AllowPrivate: true}, nil)}, config)
	set := func(owner, path string) {
		t.Helper()
		if _, err := s.hooks.Set(t.Context(), owner, hook(path)); err != nil {
			t.Fatal(err)
		}
	}
	tell := func(j job.Job, want int) {
		t.Helper()
		if status, _, body := post(t, h, event0(t, j)); status != want {
			t.Errorf("answer = %d %q, want %d", status, body, want)
		}
	}
	check := func(j job.Job, notices, mails int, posts ...string) {
		t.Helper()
		now, err := s.Get(t.Context(), j.ID)
		if err != nil || now.State != j.State && now.State != job.Notified || len(now.Notices) != notices {
			t.Errorf("job is %s with notices %v, %v, want %d", now.State, now.Notices, err, notices)
		}
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(posts, told); diff != "" || len(mail.told) != mails {
			t.Errorf("%d mails, want %d; posts (-want +got):\n%s", len(mail.told), mails, diff)
		}
	}
	set("eve@example.com", "/eves")
	set(owner, "/annas")
	j := s.job0(t, job.Converted)
	tell(j, 200)
	tell(j, 200) // a repeat
	check(j, 2, 1, "/annas")
	if now, _ := s.Get(t.Context(), j.ID); now.Webhook != nil {
		t.Errorf("the job keeps %v, want no webhook", now.Webhook)
	}

	own := hook("/jobs")
	s.webhook = &own
	j = s.job0(t, job.Failed)
	tell(j, 200)
	check(j, 2, 2, "/annas", "/jobs")
	s.webhook = nil

	// Nobody is told while it is not known whether there is one.
	s.hooks.err = errors.New("away")
	j = s.job0(t, job.Converted)
	tell(j, 503)
	check(j, 0, 2, "/annas", "/jobs")
	s.hooks.err = nil

	// The one that does not take it is ended, and another made: that one is told.
	status.Store(http.StatusServiceUnavailable)
	tell(j, 503)
	check(j, 1, 3, "/annas", "/jobs", "/annas")
	status.Store(http.StatusNoContent)
	set(owner, "/new")
	tell(j, 200)
	check(j, 2, 3, "/annas", "/jobs", "/annas", "/new")

	// It ends between two tries.
	status.Store(http.StatusServiceUnavailable)
	j = s.job0(t, job.Converted)
	tell(j, 503)
	if err := s.hooks.End(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	tell(j, 200)
	check(j, 1, 4, "/annas", "/jobs", "/annas", "/new", "/new")
	if now, err := s.Get(t.Context(), j.ID); err != nil || now.State != job.Notified {
		t.Errorf("job is %s, %v, want notified", now.State, err)
	}
}
