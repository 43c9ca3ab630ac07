package login

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
)

// letter gives what was asked for with the last event.
func (s *setup) letter(t *testing.T) eventing.AccountMail {
	t.Helper()
	if len(s.sent) == 0 {
		t.Fatal("no mail was asked for")
	}
	p, err := eventing.Decode[eventing.AccountMail](s.sent[len(s.sent)-1])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSignUpByMail has a stranger prove an address, and nobody else get in by it.
func TestSignUpByMail(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	// Who signs up with another's address chooses no password for it.
	s.want(t, 202, "POST", "/users", `{"email": "new@email.com", "password": "Chosen-By-Eve-7"}`)
	p := s.letter(t)
	if p.Email != "new@email.com" || p.Muted || p.Secret == "" {
		t.Fatalf("asked for %+v", p)
	}
	s.want(t, 401, "POST", "/login", "", basic("new@email.com", "Chosen-By-Eve-7"))
	s.want(t, 422, "POST", "/users/password", `{"token": "`+p.Secret+`", "password": "password123"}`)
	s.want(t, 403, "POST", "/users/password", `{"token": "x`+p.Secret+`", "password": "Violet-Harbour-7"}`)
	s.want(t, 204, "POST", "/users/password", `{"token": "`+p.Secret+`", "password": "Violet-Harbour-7"}`)
	s.want(t, 403, "POST", "/users/password", `{"token": "`+p.Secret+`", "password": "Violet-Harbour-8"}`)
	s.want(t, 200, "POST", "/login", "", basic("new@email.com", "Violet-Harbour-7"))
	s.want(t, 422, "POST", "/users", `{"email": "no address"}`)
	s.want(t, 422, "POST", "/users", `{"email": "a@email.com", "password": "Password1"}`)
}

// TestNobodyLearnsWhoHasAnAccount signs up, and asks for another password, with addresses that have an account and that
// have none. Who asks sees the same, and the same is done.
func TestNobodyLearnsWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	for _, path := range []string{"/users", "/users/reset"} {
		known := s.want(t, 202, "POST", path, "email=georgio@email.com")
		if p := s.letter(t); p.Muted || p.Email != "georgio@email.com" {
			t.Errorf("POST %s asks for %+v, want a mail to who has an account", path, p)
		}
		sent := len(s.sent)
		if unknown := s.want(t, 202, "POST", path, "email=nobody@email.com"); unknown != known {
			t.Errorf("POST %s says %q to who has an account, and else %q", path, known, unknown)
		}
		if len(s.sent) != sent+1 {
			t.Errorf("POST %s sends %d events about an address without account, want one", path, len(s.sent)-sent)
		}
	}
	if p := s.letter(t); !p.Muted {
		t.Errorf("a reset asks for %+v, want no mail to who has no account", p)
	}
}

// TestResetByMail lets back in who forgot the password, and throws out who had the tokens.
func TestResetByMail(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	s.want(t, 202, "POST", "/users/reset", "email=Georgio@email.com")
	first := s.letter(t).Secret
	s.want(t, 202, "POST", "/users/reset", "email=georgio@email.com")
	second := s.letter(t).Secret
	s.want(t, 200, "POST", "/token", "", s.token) // whoever asks ends nothing
	s.want(t, 204, "POST", "/users/password", "token="+second+"&password=Violet-Harbour-7")
	s.want(t, 403, "POST", "/users/password", "token="+first+"&password=Violet-Harbour-8")
	s.want(t, 403, "POST", "/token", "", s.token)
	s.want(t, 401, "POST", "/login", "", basic("georgio@email.com", "Admin123"))
	s.want(t, 200, "POST", "/login", "", basic("georgio@email.com", "Violet-Harbour-7"))
}

// TestMailsAreLimited has no address flooded, and nobody learn that it has enough.
func TestMailsAreLimited(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	for range mailsPerHour + 3 {
		s.want(t, 202, "POST", "/users", "email=georgio@email.com")
	}
	if len(s.sent) != mailsPerHour {
		t.Errorf("%d mails were asked for, want %d", len(s.sent), mailsPerHour)
	}
	for n := range signUps {
		s.do(t, "POST", "/users", "email=user"+strings.Repeat("x", n)+"@email.com")
	}
	s.want(t, 429, "POST", "/users", "email=another@email.com")
	s.want(t, 429, "POST", "/users/reset", "email=another@email.com")
	s.want(t, 429, "POST", "/users/password", "token=x&password=y")
}

func TestMailCannotBeSent(t *testing.T) {
	t.Parallel()
	s := newHome(t)
	s.sendErr = errors.New("the broker is away")
	if got := s.want(t, 503, "POST", "/users", "email=georgio@email.com"); strings.Contains(got, "broker") {
		t.Errorf("POST /users says %q", got)
	}
	none := newHandler(s.store, s.signer, nil, Config{SignUp: "closed"}, time.Now).routes()
	s.h = none
	s.want(t, 403, "POST", "/users/reset", "email=georgio@email.com")
}
