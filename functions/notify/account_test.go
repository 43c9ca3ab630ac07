package notify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mail"
	"github.com/soundstrip/soundstrip/functions/notify"
)

type letterBox struct {
	letters []mail.Letter
	err     error
}

func (p *letterBox) Send(_ context.Context, l mail.Letter) error {
	if p.err == nil {
		p.letters = append(p.letters, l)
	}
	return p.err
}

// TestAccountMail has a link sent, and none where login only wants to look as if.
func TestAccountMail(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, tt := range []struct {
		name   string
		mail   eventing.AccountMail
		err    error
		status int
		sent   int
	}{
		{name: "sent, each time with the same id", mail: eventing.AccountMail{Email: "a@email.com", Secret: "S", Ends: later},
			status: http.StatusNoContent, sent: 2},
		{name: "muted", mail: eventing.AccountMail{Email: "a@email.com", Secret: "S", Ends: later, Muted: true},
			status: http.StatusNoContent},
		{name: "too late", mail: eventing.AccountMail{Email: "a@email.com", Secret: "S", Ends: later.Add(-2 * time.Hour)},
			status: http.StatusNoContent},
		{name: "no address", mail: eventing.AccountMail{Email: "A <a@email.com>", Secret: "S", Ends: later},
			status: http.StatusNoContent},
		{name: "refused", mail: eventing.AccountMail{Email: "a@email.com", Secret: "S", Ends: later},
			err: fmt.Errorf("%w: no such mailbox", mail.ErrRefused), status: http.StatusNoContent},
		{name: "the mail server is away", mail: eventing.AccountMail{Email: "a@email.com", Secret: "S", Ends: later},
			err: errors.New("away"), status: http.StatusServiceUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			p := &letterBox{err: tt.err}
			h := notify.New(s, s.hooks, nil, nil, []notify.Channel{notify.Email(p)},
				notify.Config{PublicURL: "https://soundstrip.example.com/"})
			e, err := eventing.New("/soundstrip/login", "x", 1, tt.mail)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if status, _, body := post(t, h, e); status != tt.status {
					t.Fatalf("status %d %s, want %d", status, body, tt.status)
				}
			}
			if len(p.letters) != tt.sent {
				t.Fatalf("%d mails, want %d", len(p.letters), tt.sent)
			}
			if tt.sent > 0 {
				first, second := p.letters[0], p.letters[1]
				if first.Choose != "https://soundstrip.example.com/#password=S" || first.To.Address != "a@email.com" ||
					!first.Links.Ends.Equal(later) || first.ID != second.ID {
					t.Errorf("mails %+v and %+v", first, second)
				}
			}
		})
	}
}
