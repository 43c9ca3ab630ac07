package login

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// Sender sends events to the broker: those that ask for a mail.
type Sender interface {
	Send(ctx context.Context, e event.Event) error
}

const (
	// mailsPerHour is how many mails about the account an address gets, at most.
	mailsPerHour = 5
	// linkHolds is for how long a link in a mail is good.
	linkHolds = time.Hour
)

// The limits of what a stranger may have us do, by network: a mail, or a hash.
const (
	signUps     = 20
	everySignUp = time.Minute
)

// signUp makes an account, when an admin asks for it and gives the password. Anybody else gets a mail, by which the
// password is chosen: so the address is its owner's, and who has an account stays unknown.
func (h *handler) signUp(w http.ResponseWriter, r *http.Request) error {
	admin, err := h.maySignUp(r)
	if err != nil {
		return err
	}
	c, err := readCredentials(w, r)
	if err != nil {
		return err
	}
	if h.cfg.SignUp == "open" && h.cfg.Confirm && (admin == "" || c.Password == "") {
		if c.Password != "" {
			if err := account.CheckChoice(c.Email, c.Password); err != nil {
				return answer(err)
			}
		}
		return h.mailLink(w, r, c.Email, true)
	}
	id, err := h.users.Create(r.Context(), c.Email, c.Password, false)
	h.audit(r, "user.made", id, cmp.Or(admin, id), err)
	if err != nil {
		return answer(err)
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, "the account is made: log in at POST /login\n")
	return nil
}

// allow tells by its header whether everyone may make an account, so that a page does not offer what is refused.
func (h *handler) allow(w http.ResponseWriter, _ *http.Request) {
	allowed := http.MethodOptions
	if h.cfg.SignUp == "open" {
		allowed += ", " + http.MethodPost
	}
	w.Header().Set("Allow", allowed)
	w.WriteHeader(http.StatusNoContent)
}

// maySignUp lets everyone through when sign-up is open, and admins otherwise. It gives the ID of the admin who asks.
func (h *handler) maySignUp(r *http.Request) (admin string, err error) {
	known := r.Header.Get("Authorization") != ""
	if h.cfg.SignUp != "open" && !known {
		return "", problem.New(problem.Forbidden, "sign-up is closed here: ask an admin for an account")
	}
	if known {
		u, err := h.isAdmin(r)
		if h.cfg.SignUp != "open" || err == nil {
			return u.ID, err
		}
	}
	return "", h.takeSignUp(r)
}

func (h *handler) takeSignUp(r *http.Request) error {
	if err := h.users.Take(r.Context(), account.LimitOf("sign-up", signUps, everySignUp, h.network(r))); err != nil {
		return answer(err)
	}
	return nil
}

// reset sends a link for another password. It does the same for an address that has no account, but for the mail.
func (h *handler) reset(w http.ResponseWriter, r *http.Request) error {
	if err := h.takeSignUp(r); err != nil {
		return err
	}
	c, err := readCredentials(w, r)
	if err != nil {
		return err
	}
	u, err := h.users.ByEmail(r.Context(), c.Email)
	if err != nil && !errors.Is(err, account.ErrNotFound) {
		return answer(err)
	}
	return h.mailLink(w, r, c.Email, err == nil && !u.Disabled)
}

// mailLink has a mail sent that has a link for choosing the password, or none sent and the same said.
func (h *handler) mailLink(w http.ResponseWriter, r *http.Request, email string, send bool) error {
	if h.sender == nil {
		return problem.New(problem.Forbidden, "no mails are sent here: ask an admin for an account, or for a new password")
	}
	if err := account.CheckEmail(email); err != nil {
		return answer(err)
	}
	err := h.users.Take(r.Context(), account.LimitOf("mail", mailsPerHour, time.Hour/mailsPerHour,
		strings.ToLower(strings.TrimSpace(email))))
	if errors.As(err, new(*account.WaitError)) {
		return mailed(w) // it has enough of them
	}
	if err != nil {
		return answer(err)
	}
	secret, ends, err := h.users.CreateLink(r.Context(), email, linkHolds)
	if err != nil {
		return answer(err)
	}
	e, err := eventing.New(source, strings.ToLower(rand.Text()), 1,
		eventing.AccountMail{Email: strings.TrimSpace(email), Secret: secret, Ends: ends, Muted: !send})
	if err != nil {
		return err
	}
	if err := h.sender.Send(r.Context(), e); err != nil {
		return problem.Wrap(err, problem.Unavailable,
			"no mail can be sent at the moment: try again").RetryAfter(5 * time.Second)
	}
	return mailed(w)
}

func mailed(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w,
		"if the address may have an account here, a mail with a link for choosing the password comes\n")
	return nil
}

// choose sets the password by the secret of a mail's link, and makes the account when there is none.
func (h *handler) choose(w http.ResponseWriter, r *http.Request) error {
	if err := h.takeSignUp(r); err != nil {
		return err
	}
	var in struct {
		Token    string `json:"token"`
		Password string `json:"password"`
	}
	if err := readBody(w, r, &in); err != nil {
		return err
	}
	u, err := h.users.UseLink(r.Context(), in.Token, in.Password)
	h.audit(r, madeOr("user.changed", u), u.ID, u.ID, err)
	switch {
	case errors.Is(err, account.ErrLink), errors.Is(err, account.ErrCredentials):
		return problem.Wrap(err, problem.Forbidden, "%v: ask for another at POST /users/reset", account.ErrLink)
	case err != nil:
		return answer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// madeOr names the event of a user who was made, or else another.
func madeOr(event string, u account.User) string {
	if u.Made {
		return "user.made"
	}
	return event
}
