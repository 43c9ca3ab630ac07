package main

import (
	"io"
	"slices"
	"sync"

	"github.com/emersion/go-smtp"
)

// mailbox keeps every mail that its SMTP server gets.
type mailbox struct {
	mu    sync.Mutex
	mails []string
}

func (m *mailbox) server() *smtp.Server {
	s := smtp.NewServer(m)
	s.Addr = ":587" // the NetworkPolicy of notify lets it reach the ports of mail only
	return s
}

func (m *mailbox) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mails)
}

// NewSession implements [smtp.Backend].
func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return session{m}, nil }

type session struct{ mailbox *mailbox }

func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (session) Reset()                               {}
func (session) Logout() error                        { return nil }

func (s session) Data(r io.Reader) error {
	mail, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mailbox.mu.Lock()
	defer s.mailbox.mu.Unlock()
	s.mailbox.mails = append(s.mailbox.mails, string(mail))
	return nil
}
