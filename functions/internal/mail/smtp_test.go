package mail

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	gomail "github.com/wneessen/go-mail"
)

func TestSMTP(t *testing.T) {
	t.Parallel()
	answer := func(code int, text string) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: text}
	}
	for _, tt := range []struct {
		name     string
		server   string // the security it offers
		client   func(*Config)
		sink     *sink
		untrusty bool     // the client does not know the certificate
		sends    []string // how each Send ends: taken, passing or refused
		mails    int
	}{
		{name: "STARTTLS and login", server: "starttls", sink: &sink{password: "open sesame"}, sends: []string{"taken"},
			mails: 1},
		{name: "TLS and login", server: "tls", sink: &sink{password: "open sesame"}, sends: []string{"taken"}, mails: 1},
		{name: "neither", server: "none", sink: &sink{}, sends: []string{"taken"}, mails: 1},
		{name: "wrong password", server: "starttls", sink: &sink{password: "another"}, sends: []string{"passing"}},
		{name: "login is asked for and not configured", server: "starttls",
			client: func(c *Config) { c.Username, c.Password = "", "" }, sink: &sink{password: "x"}, sends: []string{"passing"}},
		{name: "STARTTLS is taken away", server: "none", client: func(c *Config) { c.TLS = "starttls" }, sink: &sink{},
			sends: []string{"passing"}},
		{name: "unknown certificate", server: "starttls", untrusty: true, sink: &sink{}, sends: []string{"passing"}},
		{name: "greylisted, then taken", server: "none", sink: &sink{rcpt: map[int]error{1: answer(451, "come again")}},
			sends: []string{"passing", "taken"}, mails: 1},
		{name: "disk full, then taken", server: "none", sink: &sink{data: map[int]error{1: answer(452, "no space")}},
			sends: []string{"passing", "taken"}, mails: 1},
		{name: "no such recipient", server: "none",
			sink: &sink{rcpt: map[int]error{1: answer(550, "who is anna@example.com")}}, sends: []string{"refused"}},
		{name: "spam", server: "none", sink: &sink{data: map[int]error{1: answer(554, "we do not like it")}},
			sends: []string{"refused"}},
		{name: "connection breaks within DATA", server: "none", sink: &sink{drop: map[int]bool{1: true}},
			sends: []string{"passing", "taken"}, mails: 1},
		{name: "connection breaks after the 250", server: "none", sink: &sink{quit: map[int]bool{1: true}},
			sends: []string{"taken"}, mails: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, trust := tt.sink.serve(t, tt.server)
			if tt.sink.password != "" {
				c.Username, c.Password = "anna", "open sesame"
			}
			if tt.client != nil {
				tt.client(&c)
			}
			var opts []gomail.Option
			if !tt.untrusty {
				opts = append(opts, trust)
			}
			s, err := NewSMTP(c, opts...)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.sends {
				err := s.Send(t.Context(), converted())
				got := "passing"
				switch {
				case err == nil:
					got = "taken"
				case errors.Is(err, ErrRefused):
					got = "refused"
				}
				if got != want {
					t.Errorf("Send %d = %v, want %s", i, err, want)
				}
				if err != nil && (strings.Contains(err.Error(), "anna@") || strings.Contains(err.Error(), "sesame")) {
					t.Errorf("Send %d = %v tells an address or a password", i, err)
				}
			}
			if len(tt.sink.mails) != tt.mails {
				t.Errorf("%d mails, want %d", len(tt.sink.mails), tt.mails)
			}
			for _, to := range tt.sink.to {
				if to != "anna@example.com" {
					t.Errorf("recipient %q, want anna@example.com", to)
				}
			}
		})
	}
}

func TestSMTPServerAway(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	s, err := NewSMTP(Config{Host: "127.0.0.1", Port: port, From: "a@example.com", TLS: "none", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), converted()); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("Send = %v, want a passing error", err)
	}
}

// TestSMTPServerSilent: a server that says nothing does not hold us for longer than the time of one mail.
func TestSMTPServerSilent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := NewSMTP(Config{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, From: "a@example.com", TLS: "none",
		Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), converted()); err == nil {
		t.Error("Send = nil, want the time to run out")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Host: "mail.example.com", Port: 587, From: "a@example.com", TLS: "starttls", Timeout: time.Second}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		faults []string
	}{
		{name: "good", change: func(*Config) {}},
		{name: "no mail at all", change: func(c *Config) { *c = Config{} }},
		{name: "sender with a name", change: func(c *Config) { c.From = "Soundstrip <a@example.com>" }},
		{name: "login", change: func(c *Config) { c.Username, c.Password = "a", "b" }},
		{name: "login in clear", change: func(c *Config) { c.TLS, c.Username, c.Password = "none", "a", "b" },
			faults: []string{"SMTP_TLS: none would send"}},
		{name: "user without password", change: func(c *Config) { c.Username = "a" }, faults: []string{"SMTP_PASSWORD"}},
		{name: "all at once", change: func(c *Config) { *c = Config{Host: "x", Port: 70000, From: "nobody", TLS: "ssl"} },
			faults: []string{"SMTP_PORT: 70000", "SMTP_FROM:", `SMTP_TLS: "ssl"`, "SMTP_TIMEOUT:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := good
			tt.change(&c)
			err := c.Validate()
			if (err != nil) != (tt.faults != nil) {
				t.Fatalf("Validate = %v, want %q", err, tt.faults)
			}
			for _, want := range tt.faults {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Validate = %v, want %q in it", err, want)
				}
			}
		})
	}
}
