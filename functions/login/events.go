package login

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// The types of the events that a login takes and replies with.
const (
	TypeRequested   = "dev.soundstrip.login.requested.v1"
	TypeTokenIssued = "dev.soundstrip.token.issued.v1"
	TypeRefused     = "dev.soundstrip.login.refused.v1"
)

const source = "/soundstrip/login"

// Requested asks for a token.
type Requested struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// Type is [TypeRequested].
func (Requested) Type() string { return TypeRequested }

// Validate reports what is missing.
func (p Requested) Validate() error {
	if p.Email == "" || p.Password == "" {
		return errors.New("email or password is missing")
	}
	return nil
}

// TokenIssued is the token, in the words of RFC 6749, section 5.1.
type TokenIssued struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"` // seconds
}

// Type is [TypeTokenIssued].
func (TokenIssued) Type() string { return TypeTokenIssued }

// Validate reports a missing token.
func (p TokenIssued) Validate() error {
	if p.AccessToken == "" {
		return errors.New("access_token is missing")
	}
	return nil
}

// Refused says that there is no token for these credentials.
type Refused struct {
	Error string `json:"error"`
}

// Type is [TypeRefused].
func (Refused) Type() string { return TypeRefused }

// Validate reports a missing reason.
func (p Refused) Validate() error {
	if p.Error == "" {
		return errors.New("error is missing")
	}
	return nil
}

// events takes Requested. Its answer means that the credentials were checked. A second delivery is checked again and
// gives another token, which harms nobody.
func (h *handler) events(r *http.Request, from string) eventing.Func {
	return func(ctx context.Context, e event.Event) (*event.Event, error) {
		p, err := eventing.Decode[Requested](e)
		if err != nil {
			return nil, err
		}
		issued, err := h.issue(r.WithContext(ctx), from, p.Email, p.Password)
		var wait *account.WaitError
		switch {
		case errors.Is(err, account.ErrCredentials):
			return eventing.NewReply(source, e, Refused{Error: account.ErrCredentials.Error()})
		case errors.As(err, &wait):
			return nil, eventing.RetryAfter(wait.For, err)
		case err != nil:
			return nil, eventing.RetryAfter(time.Second, err)
		}
		return eventing.NewReply(source, e, issued)
	}
}
