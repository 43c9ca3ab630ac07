package notify

import (
	"context"
	"errors"
	netmail "net/mail"
	"time"

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
