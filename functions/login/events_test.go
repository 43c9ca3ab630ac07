package login

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/eventingtest"
	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// send posts an event in binary or structured mode.
func (s *setup) send(t *testing.T, structured bool, typ, data string) *http.Response {
	t.Helper()
	if structured {
		return s.do(t, "POST", "/",
			`{"specversion":"1.0","id":"1","source":"/app","subject":"s","type":"`+typ+`","data":`+data+`}`,
			"Content-Type: application/cloudevents+json")
	}
	return s.do(t, "POST", "/login", data, "Content-Type: application/json", "Ce-Specversion: 1.0", "Ce-Id: 1",
		"Ce-Source: /app",
		"Ce-Subject: s", "Ce-Type: "+typ)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, typ, data string
		status          int
		reply           string
	}{
		{"right", TypeRequested, `{"email":"georgio@email.com","password":"Admin123"}`, 200, TypeTokenIssued},
		{"wrong password", TypeRequested, `{"email":"georgio@email.com","password":"wrong"}`, 200, TypeRefused},
		{"no password", TypeRequested, `{"email":"georgio@email.com"}`, 400, ""},
		{"no object", TypeRequested, `[]`, 400, ""},
		{"another type", "dev.soundstrip.video.uploaded.v1", `{"email":"georgio@email.com","password":"Admin123"}`, 400, ""},
	} {
		for mode, structured := range map[string]bool{"binary": false, "structured": true} {
			t.Run(tt.name+" "+mode, func(t *testing.T) {
				t.Parallel()
				s := newSetup(t, Config{SignUp: "closed"})
				var ids []string
				for range 2 { // an event may come twice
					resp := s.send(t, structured, tt.typ, tt.data)
					if resp.StatusCode != tt.status {
						t.Fatalf("status %d, %s, want %d", resp.StatusCode, bodyOf(t, resp), tt.status)
					}
					if tt.reply == "" {
						return
					}
					if got := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/cloudevents+json"); got != structured {
						t.Errorf("Content-Type = %q, want the mode of the request", resp.Header.Get("Content-Type"))
					}
					e, err := eventing.Reply(resp)
					if err != nil || e == nil {
						t.Fatalf("Reply() = %v, %v", e, err)
					}
					s.checkReply(t, *e, tt.reply)
					ids = append(ids, e.ID())
				}
				if ids[0] != ids[1] {
					t.Errorf("replies to one event have the ids %q", ids)
				}
			})
		}
	}
}

func (s *setup) checkReply(t *testing.T, e event.Event, want string) {
	t.Helper()
	if e.Type() != want || e.Source() != "/soundstrip/login" || e.Subject() != "s" {
		t.Errorf("reply is %s from %s about %s, want %s", e.Type(), e.Source(), e.Subject(), want)
	}
	if want == TypeRefused {
		if p, err := eventing.Decode[Refused](e); err != nil || p.Error != account.ErrCredentials.Error() {
			t.Errorf("reply = %+v, %v", p, err)
		}
		return
	}
	p, err := eventing.Decode[TokenIssued](e)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.signer.Verifier().Verify(t.Context(), p.AccessToken); err != nil || c.Username != "georgio@email.com" ||
		p.ExpiresIn != 3600 {
		t.Errorf("Verify() = %+v, %v", c, err)
	}
}

func TestEventsLater(t *testing.T) {
	t.Parallel()
	s := newSetup(t, Config{SignUp: "closed"})
	s.users.authenticate = func(string, string) (account.User, error) {
		return account.User{}, &account.WaitError{For: time.Second}
	}
	throttled := s.send(t, false, TypeRequested, `{"email":"georgio@email.com","password":"Admin123"}`)
	s.users.authenticate = func(string, string) (account.User, error) { return account.User{}, errors.New("away") }
	away := s.send(t, false, TypeRequested, `{"email":"admin@email.com","password":"Admin123"}`)
	for name, resp := range map[string]*http.Response{"throttled": throttled, "store away": away} {
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q, want 503", name, resp.StatusCode, resp.Header.Get("Retry-After"))
		}
	}
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	for _, p := range []eventing.Payload{
		Requested{Email: "georgio@email.com", Password: "Admin123"},
		TokenIssued{AccessToken: "e30.e30.e30", TokenType: "Bearer", ExpiresIn: 86400},
		Refused{Error: "the e-mail address or the password is wrong"},
	} {
		t.Run(p.Type(), func(t *testing.T) {
			t.Parallel()
			eventingtest.Payload(t, p)
		})
	}
}
