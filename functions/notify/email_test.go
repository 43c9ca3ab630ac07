package notify_test

import (
	"errors"
	"io"
	"net"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/mail"
	"github.com/soundstrip/soundstrip/functions/notify"
)

// mails is an SMTP server that hands on what it gets.
type mails chan string

func (m mails) NewSession(*smtp.Conn) (smtp.Session, error) { return m, nil }
func (mails) Mail(string, *smtp.MailOptions) error          { return nil }
func (mails) Reset()                                        {}
func (mails) Logout() error                                 { return nil }
func (mails) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	return nil
}

func (m mails) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	m <- string(b)
	return err
}

func (m mails) serve(t *testing.T) *mail.SMTP {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, done := smtp.NewServer(m), make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	s, err := mail.NewSMTP(mail.Config{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port,
		From: "soundstrip@example.com", TLS: "none", Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCrash: who dies between the mail server's yes and our record of it leaves one more mail, with the same
// Message-ID.
func TestCrash(t *testing.T) {
	t.Parallel()
	s, sink := newStore(t), make(mails, 10)
	j := s.job0(t, job.Converted)
	h := notify.New(s, s.hooks, nil, nil, []notify.Channel{notify.Email(sink.serve(t))}, config)
	crashes := 1
	s.noticed = func(job.Notice) error {
		if crashes--; crashes >= 0 {
			return errors.New("killed")
		}
		return nil
	}
	if status, _, _ := post(t, h, event0(t, j)); status != 503 {
		t.Errorf("answer = %d, want 503", status)
	}
	for range 3 {
		if status, _, _ := post(t, h, event0(t, j)); status != 200 {
			t.Errorf("answer = %d, want 200", status)
		}
	}
	close(sink)
	var ids []string
	for raw := range sink {
		m, err := netmail.ReadMessage(strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.Header.Get("Message-Id"))
	}
	if len(ids) != 2 || ids[0] != ids[1] || ids[0] == "" {
		t.Errorf("Message-IDs %q, want the same twice", ids)
	}
}

func TestEmailRefuses(t *testing.T) {
	t.Parallel()
	sink := make(mails, 10)
	c := notify.Email(sink.serve(t))
	for owner, want := range map[string]bool{
		"anna@example.com": false, "admin@localhost": false, "Anna.O'Hara+x@example.com": false,
		"anna": true, "": true, "Anna <anna@example.com>": true, "anna@example.com, eve@example.com": true,
		"anna@example.com\r\nBcc: eve@example.com": true,
		"<anna@example.com>":                       true, "anna@": true, "nobody@example.com": true,
	} {
		err := c.Tell(t.Context(), notify.Outcome{ID: "1", Job: job.Job{Owner: owner, State: job.Converted, MP3: &job.MP3{}}})
		refused := (*notify.RefusedError)(nil)
		if errors.As(err, &refused) != want || err != nil && !want {
			t.Errorf("Tell(%q) = %v, want it refused: %v", owner, err, want)
		}
	}
	if n := len(sink); n != 3 {
		t.Errorf("%d mails, want 3", n)
	}
}
