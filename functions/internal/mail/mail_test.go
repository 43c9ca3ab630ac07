package mail

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/mail"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	gomail "github.com/wneessen/go-mail"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}

func converted() Letter {
	return Letter{
		ID:   "65f0a1b2c3d4e5f601234567/dev.soundstrip.audio.converted.v1/1",
		To:   &mail.Address{Address: "anna@example.com"},
		Date: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Job: job.Job{
			ID: "65f0a1b2c3d4e5f601234567", Owner: "anna@example.com", Filename: "talk.mp4", State: job.Converted,
			MP3: &job.MP3{FID: "65f0a1b2c3d4e5f60123beef", Length: 44028000, Duration: 1834.5},
		},
		Links: Links{
			Home: "https://soundstrip.example.com/", Job: "https://soundstrip.example.com/jobs/65f0a1b2c3d4e5f601234567",
			MP3:      "https://soundstrip.example.com/jobs/65f0a1b2c3d4e5f601234567/mp3",
			Download: "https://soundstrip.example.com/download?fid=65f0a1b2c3d4e5f60123beef",
			Open:     "https://soundstrip.example.com/jobs/65f0a1b2c3d4e5f601234567/mp3?expires=1775192760&signature=c0ffee",
			Ends:     time.Date(2026, 4, 3, 5, 6, 0, 0, time.UTC),
		},
	}
}

func failed() Letter {
	l := converted()
	l.ID = "65f0a1b2c3d4e5f601234567/dev.soundstrip.conversion.failed.v1/1"
	l.Job.State, l.Job.MP3 = job.Failed, nil
	l.Job.Error = &eventing.Failure{Code: "no_audio", Message: "the video has no sound"}
	l.Links = Links{Home: l.Links.Home, Job: l.Links.Job}
	return l
}

// sink is an SMTP server that answers by a script.
type sink struct {
	sync.Mutex
	password string        // of anna; no login is asked for when empty
	rcpt     map[int]error // what RCPT TO is answered, by the number of the connection
	data     map[int]error // what the end of DATA is answered
	drop     map[int]bool  // the connection breaks after half of DATA
	quit     map[int]bool  // the connection breaks after the answer to DATA
	sessions int           // so far
	mails    []string      // taken
	to       []string      // their recipients
	conns    map[*smtp.Conn]int
}

func (s *sink) NewSession(c *smtp.Conn) (smtp.Session, error) {
	s.Lock()
	defer s.Unlock()
	if s.conns == nil {
		s.conns = map[*smtp.Conn]int{}
	}
	if _, again := s.conns[c]; !again { // a session begins anew after STARTTLS
		s.sessions++
		s.conns[c] = s.sessions
	}
	return &session{sink: s, conn: c, n: s.conns[c], authed: s.password == ""}, nil
}

type session struct {
	sink   *sink
	conn   *smtp.Conn
	n      int
	authed bool
	to     string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "anna" || password != s.sink.password {
			return smtp.ErrAuthFailed
		}
		s.authed = true
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	if !s.authed {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return s.sink.rcpt[s.n]
}

func (s *session) Data(r io.Reader) error {
	if s.sink.drop[s.n] {
		_, _ = io.ReadFull(r, make([]byte, 20))
		_ = s.conn.Conn().Close()
		return errors.New("dropped")
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.sink.data[s.n]; err != nil {
		return err
	}
	s.sink.Lock()
	defer s.sink.Unlock()
	s.sink.mails, s.sink.to = append(s.sink.mails, string(b)), append(s.sink.to, s.to)
	return nil
}

func (s *session) Reset() {
	if s.sink.quit[s.n] {
		_ = s.conn.Conn().Close()
	}
}

func (s *session) Logout() error { return nil }

// serve starts the server and makes the configuration of a client that trusts it.
func (s *sink) serve(t *testing.T, security string) (Config, gomail.Option) {
	t.Helper()
	cert, pool := certificate(t)
	server := smtp.NewServer(s)
	server.Domain = "mail.example.com"
	server.ErrorLog = discard{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	switch security {
	case "starttls":
		server.TLSConfig = config
	case "tls":
		l = tls.NewListener(l, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	return Config{Host: "127.0.0.1", Port: n, From: "Soundstrip <soundstrip@example.com>", TLS: security,
			Timeout: 20 * time.Second},
		gomail.WithTLSConfig(&tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
}

type discard struct{}

func (discard) Printf(string, ...any) {}
func (discard) Println(...any)        {}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
