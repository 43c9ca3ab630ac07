package notify

import (
	"context"
	"errors"
	netmail "net/mail"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/mail"
)

// Post brings mails on their way: [mail.SMTP] and [mail.Mailbox].
type Post interface {
	Send(ctx context.Context, l mail.Letter) error
}

type email struct{ post Post }

// Email tells owners whose username is an e-mail address.
func Email(post Post) Channel { return email{post} }

func (email) Name() string { return "email" }

func (email) For(job.Job) bool { return true }

// choose sends what [eventing.AccountMail] asks for.
func (c email) choose(ctx context.Context, id string, p eventing.AccountMail, home string) error {
	to, err := netmail.ParseAddress(p.Email)
	if err != nil || to.Address != p.Email {
		return &RefusedError{Reason: "it is no e-mail address"}
	}
	err = c.post.Send(ctx, mail.Letter{ID: id, To: to, Date: time.Now(), Links: mail.Links{Home: home, Ends: p.Ends},
		Choose: home + "#password=" + p.Secret})
	if errors.Is(err, mail.ErrRefused) {
		return &RefusedError{Reason: "the mail server does not take this mail", Err: err}
	}
	return err
}

func (c email) Tell(ctx context.Context, o Outcome) error {
	to, err := netmail.ParseAddress(o.Job.Addressee())
	if err != nil || to.Address != o.Job.Addressee() {
		return &RefusedError{Reason: "the username is no e-mail address"}
	}
	err = c.post.Send(ctx, mail.Letter{ID: o.ID, To: to, Date: time.Now(), Job: o.Job, Links: mail.Links(o.Links)})
	if errors.Is(err, mail.ErrRefused) {
		return &RefusedError{Reason: "the mail server does not take this mail", Err: err}
	}
	return err
}
