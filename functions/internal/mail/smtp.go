package mail

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// Config says how mail goes out.
type Config struct {
	Host     string `env:"SMTP_HOST"`
	Port     int    `env:"SMTP_PORT, default=587"`
	Username string `env:"SMTP_USERNAME"` // none: the server takes mail without a login
	Password string `env:"SMTP_PASSWORD"`
	// From is soundstrip@example.com, or Soundstrip <soundstrip@example.com>.
	From    string        `env:"SMTP_FROM"`
	TLS     string        `env:"SMTP_TLS, default=starttls"` // starttls, tls (from the first byte) or none
	Timeout time.Duration `env:"SMTP_TIMEOUT, default=30s"`  // of each: connection, login, mail
}

// MaxTimeout bounds SMTP_TIMEOUT, because a job is held while its owner is told.
const MaxTimeout = 30 * time.Second

// Validate reports every fault by variable name. Without SMTP_HOST nothing else counts.
func (c Config) Validate() error {
	if c.Host == "" {
		return nil
	}
	var errs []error
	if c.Port < 1 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("SMTP_PORT: %d is no port", c.Port))
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		errs = append(errs, errors.New(
			"SMTP_FROM: want an address that mails come from, such as Soundstrip <soundstrip@example.com>"))
	}
	if _, ok := security[c.TLS]; !ok {
		errs = append(errs, fmt.Errorf("SMTP_TLS: %q is not known, want starttls, tls or none", c.TLS))
	}
	if (c.Username == "") != (c.Password == "") {
		errs = append(errs, errors.New("SMTP_PASSWORD: want it together with SMTP_USERNAME, or neither"))
	}
	if c.TLS == "none" && c.Password != "" {
		errs = append(errs, errors.New("SMTP_TLS: none would send SMTP_PASSWORD for everyone to read, want starttls or tls"))
	}
	if c.Timeout <= 0 || c.Timeout > MaxTimeout {
		errs = append(errs, fmt.Errorf("SMTP_TIMEOUT: want more than 0s and at most %v", MaxTimeout))
	}
	return errors.Join(errs...)
}

// security is what SMTP_TLS may be. None of them is opportunistic: somebody on the way could take STARTTLS out of the
// server's greeting (RFC 3207, section 6).
var security = map[string]gomail.Option{
	"starttls": gomail.WithTLSPolicy(gomail.TLSMandatory),
	"tls":      gomail.WithSSL(),
	"none":     gomail.WithTLSPolicy(gomail.NoTLS),
}

// ErrRefused says that the server will not take the mail, now or later.
var ErrRefused = errors.New("the mail server refuses the mail for good")

// SMTP gives mails to a server, each over a connection of its own: they are few.
type SMTP struct {
	host   string
	from   *mail.Address
	client *gomail.Client
}

// NewSMTP does not connect. The options come after those of the configuration.
func NewSMTP(c Config, opts ...gomail.Option) (*SMTP, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("SMTP_FROM: %w", err)
	}
	base := []gomail.Option{
		gomail.WithPort(c.Port), gomail.WithTimeout(c.Timeout), gomail.WithHELO(domain(from)), security[c.TLS],
	}
	if c.Username != "" {
		base = append(base, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(c.Username),
			gomail.WithPassword(c.Password))
	}
	client, err := gomail.NewClient(c.Host, append(base, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("mail server %s: %w", c.Host, err)
	}
	return &SMTP{host: c.Host, from: from, client: client}, nil
}

// Send returns when the server has taken the mail. An error is passing, unless it is [ErrRefused]; it has no address in
// it.
func (s *SMTP) Send(ctx context.Context, l Letter) (err error) {
	ctx, span := telemetry.Child(ctx, "send mail", trace.SpanKindClient, attribute.String("server.address", s.host))
	defer func() { telemetry.End(span, err) }()
	m, err := l.message(ctx, s.from)
	if err != nil {
		return err
	}
	err = s.client.DialAndSendWithContext(ctx, m)
	if err == nil || m.IsDelivered() {
		return nil // what goes wrong after the 250 is no reason to send it twice
	}
	told := errors.New(strings.ReplaceAll(err.Error(), l.To.Address, "the recipient"))
	if refused(err) {
		return fmt.Errorf("%w: %w", ErrRefused, told)
	}
	return fmt.Errorf("send mail about job %s: %w", l.Job.ID, told)
}

// refused reports whether an answer is about the recipient or the mail (RFC 5321, section 4.2.1): a 5xx to RCPT TO, or
// to the end of DATA. A 5xx before that is about us (login, sender). Somebody has to mend our configuration then, and
// the mail waits.
func refused(err error) bool {
	var e *gomail.SendError
	if !errors.As(err, &e) || e.ErrorCode() < 500 {
		return false
	}
	return e.Reason == gomail.ErrSMTPRcptTo || e.Reason == gomail.ErrSMTPData || e.Reason == gomail.ErrSMTPDataClose
}
