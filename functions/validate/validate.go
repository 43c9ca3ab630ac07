// Package validate is the function that tells what a token says, for those who cannot check it themselves.
//
// It takes dev.soundstrip.token.presented.v1 as well, from anyone, and replies dev.soundstrip.token.validated.v1 or
// dev.soundstrip.token.refused.v1.
package validate

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// The types of the events that the function takes and replies with.
const (
	TypeTokenPresented = "dev.soundstrip.token.presented.v1"
	TypeTokenValidated = "dev.soundstrip.token.validated.v1"
	TypeTokenRefused   = "dev.soundstrip.token.refused.v1"
)

const source = "/soundstrip/validate"

// New makes the function's handler: a Bearer token, or an event with one, is answered with its claims.
func New(v token.Verifier) http.Handler {
	mux := serve.NewMux()
	for _, path := range []string{"/{$}", "/validate"} { // a Knative route of its own has no path
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if eventing.IsEvent(r) {
				events(v).ServeHTTP(w, r)
				return
			}
			token.Tell(v).ServeHTTP(w, r)
		})
		mux.Handle(path, problem.NotAllowed(http.MethodPost))
	}
	mux.HandleFunc("/", problem.NoSuchRoute)
	return mux
}

// TokenPresented asks what a token says.
type TokenPresented struct {
	Token string `json:"token"`
}

// Type is [TypeTokenPresented].
func (TokenPresented) Type() string { return TypeTokenPresented }

// Validate reports a missing token.
func (p TokenPresented) Validate() error {
	if p.Token == "" {
		return errors.New("token is missing")
	}
	return nil
}

// TokenValidated is what the token says.
type TokenValidated struct{ token.Claims }

// Type is [TypeTokenValidated].
func (TokenValidated) Type() string { return TypeTokenValidated }

// Validate accepts what was verified.
func (TokenValidated) Validate() error { return nil }

// TokenRefused says that the token is not to be trusted.
type TokenRefused struct {
	Error string `json:"error"`
}

// Type is [TypeTokenRefused].
func (TokenRefused) Type() string { return TypeTokenRefused }

// Validate reports a missing reason.
func (p TokenRefused) Validate() error {
	if p.Error == "" {
		return errors.New("error is missing")
	}
	return nil
}

// events takes TokenPresented. Its answer means that the token was checked; nothing is kept of it.
func events(v token.Verifier) eventing.Func {
	return func(ctx context.Context, e event.Event) (*event.Event, error) {
		p, err := eventing.Decode[TokenPresented](e)
		if err != nil {
			return nil, err
		}
		claims, err := v.Verify(ctx, p.Token)
		switch {
		case errors.Is(err, token.ErrUnavailable):
			return nil, eventing.RetryAfter(time.Second, err)
		case err != nil:
			return eventing.NewReply(source, e, TokenRefused{Error: "the token is not valid"})
		}
		return eventing.NewReply(source, e, TokenValidated{claims})
	}
}
