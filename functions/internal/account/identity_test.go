package account

import (
	"errors"
	"testing"
	"time"
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		want := Handshake{Nonce: "n", Verifier: "v"}
		state, err := s.BeginHandshake(t.Context(), want, time.Minute)
		if err != nil || state == "" {
			t.Fatalf("BeginHandshake() = %q, %v", state, err)
		}
		if got, err := s.EndHandshake(t.Context(), state); got != want || err != nil {
			t.Errorf("EndHandshake() = %+v, %v, want %+v", got, err, want)
		}
		late, err := s.BeginHandshake(t.Context(), want, -time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for name, state := range map[string]string{"used": state, "late": late, "unknown": "x"} {
			if _, err := s.EndHandshake(t.Context(), state); !errors.Is(err, ErrNotFound) {
				t.Errorf("EndHandshake() of one that is %s = %v, want %v", name, err, ErrNotFound)
			}
		}
	})
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		insertUser(t, b, email)
		u, err := s.ByEmail(t.Context(), email)
		if err != nil {
			t.Fatal(err)
		}
		sign := func(issuer, subject, email string, verified bool) (User, error) {
			return s.ByIdentity(t.Context(), Identity{issuer, subject, email, verified})
		}
		for _, tt := range []struct {
			name, issuer, subject, email string
			verified                     bool
			want                         error
			same                         bool // as the user who was there
		}{
			{name: "not verified", issuer: "a", subject: "1", email: email, want: ErrCredentials},
			{name: "no address", issuer: "a", subject: "1", verified: true, want: ErrCredentials},
			{name: "verified", issuer: "a", subject: "1", email: "Georgio@Email.com", verified: true, same: true},
			{name: "again, with another address", issuer: "a", subject: "1", email: "x@email.com", same: true},
			{name: "another of the provider", issuer: "a", subject: "2", email: email, verified: true, want: ErrCredentials},
			{name: "another provider", issuer: "b", subject: "1", email: email, verified: true, same: true},
			{name: "who has no account", issuer: "a", subject: "3", email: "new@email.com", verified: true},
		} {
			got, err := sign(tt.issuer, tt.subject, tt.email, tt.verified)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || err == nil && (got.ID == u.ID) != tt.same {
				t.Errorf("%s: ByIdentity() = %+v, %v, want %v, the user who was there: %v", tt.name, got, err, tt.want, tt.same)
			}
		}
		if err := s.Delete(t.Context(), email); err != nil {
			t.Fatal(err)
		}
		if got, err := sign("a", "1", email, true); err != nil || got.ID == u.ID {
			t.Errorf("after the account was deleted: ByIdentity() = %+v, %v, want another one", got, err)
		}
		execute(t, b.db, "DELETE FROM `user` WHERE email = ?", email)
		if got, err := sign("a", "1", email, true); err != nil || !got.Made {
			t.Errorf("after it was deleted and the identity made at once: ByIdentity() = %+v, %v, want another one", got, err)
		}
	})
}
