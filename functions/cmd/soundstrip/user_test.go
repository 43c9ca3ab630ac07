package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

func TestUserCommand(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "soundstrip.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := account.NewSQLite(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	var events []string // what is on record: whose is known, and whether it was done
	run := func(stdin string, args ...string) (string, error) {
		var out strings.Builder
		err := userCommand(t.Context(), s, args, strings.NewReader(stdin), &out,
			func(event, subject string, err error) {
				events = append(events, fmt.Sprint(event, " ", subject != "", " ", err == nil))
			})
		return out.String(), err
	}
	for _, tt := range []struct {
		name  string
		args  string
		stdin string
		want  string // of the output, or of the error
		fails bool

		record string
	}{
		{name: "add", args: "add georgio@email.com --password-stdin", stdin: "Admin123\n", want: "is added",
			record: "user.made true true"},
		{name: "add without line end", args: "add --password-stdin --admin b@email.com", stdin: "Admin123", want: "is added",
			record: "user.made true true"},
		{name: "add again", args: "add georgio@email.com", want: account.ErrExists.Error(), fails: true,
			record: "user.made true false"},
		{name: "no password at all", args: "add c@email.com --password-stdin", want: "too short", fails: true,
			record: "user.made false false"},
		{
			name: "an endless password", args: "add c@email.com --password-stdin", stdin: strings.Repeat("x", 1<<20),
			want: "longer than", fails: true,
			record: "user.made false false",
		},
		{name: "make up a password", args: "add c@email.com", want: "shown this once",
			record: "user.made true true"},
		{name: "passwd", args: "passwd b@email.com --password-stdin", stdin: "Admin124\r\n", want: "new password",
			record: "user.changed true true"},
		{name: "disable", args: "disable c@email.com", want: "may not log in",
			record: "user.changed true true"},
		{name: "promote", args: "promote c@email.com", want: "admin",
			record: "user.changed true true"},
		{name: "demote", args: "demote b@email.com", want: "no admin",
			record: "user.changed true true"},
		{name: "group", args: "group georgio@email.com students", want: "students",
			record: "user.changed true true"},
		{name: "no group", args: "group georgio@email.com Students!", want: "lower case", fails: true,
			record: "user.changed true false"},
		{name: "logout", args: "logout georgio@email.com", want: "log in again",
			record: "token.revoked true true"},
		{name: "add one to delete", args: "add e@email.com --password-stdin", stdin: "Violet-Harbour-7", want: "is added",
			record: "user.made true true"},
		{name: "delete", args: "delete e@email.com", want: "is deleted",
			record: "user.deleted true true"},
		{name: "delete again", args: "delete e@email.com", want: account.ErrNotFound.Error(), fails: true,
			record: "user.deleted false false"},
		{name: "rehash", args: "rehash", want: "0 passwords"},
		{name: "unknown user", args: "enable d@email.com", want: account.ErrNotFound.Error(), fails: true,
			record: "user.changed false false"},
		{name: "nothing", want: "usage", fails: true},
		{name: "unknown command", args: "kick b@email.com", want: "usage", fails: true},
		{name: "no address", args: "add", want: "usage", fails: true},
		{name: "two addresses", args: "disable b@email.com c@email.com", want: "usage", fails: true},
		{name: "unknown flag", args: "add d@email.com --root", want: "usage", fails: true},
	} {
		events = nil
		got, err := run(tt.stdin, strings.Fields(tt.args)...)
		if diff := cmp.Diff(tt.record, strings.Join(events, ", ")); diff != "" {
			t.Errorf("%s: userCommand(%s) has on record (-want +got):\n%s", tt.name, tt.args, diff)
		}
		if tt.fails != (err != nil) {
			t.Errorf("%s: userCommand(%s) = %v", tt.name, tt.args, err)
		}
		if !strings.Contains(got+fmt.Sprint(err), tt.want) {
			t.Errorf("%s: userCommand(%s) says %q, %v, want %q", tt.name, tt.args, got, err, tt.want)
		}
	}
	got, err := run("", "list")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(got) {
		rows = append(rows, strings.Join(strings.Fields(line)[:3], " "))
	}
	want := []string{
		"EMAIL GROUP DISABLED",
		"georgio@email.com students false", "b@email.com default false", "c@email.com admin true",
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if _, err := s.Authenticate(t.Context(), "b@email.com", "Admin124", ""); err != nil {
		t.Errorf("Authenticate() after passwd = %v", err)
	}
}
