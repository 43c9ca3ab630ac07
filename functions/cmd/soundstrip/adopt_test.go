package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// TestAdopt gives MP3s of the old system to whom its mails told about them.
func TestAdopt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f, err := openFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.db.Close() })
	var a adopter
	if a.users, _, err = f.accounts(ctx, account.Config{}); err != nil {
		t.Fatal(err)
	}
	if a.jobs, err = job.NewSQLite(ctx, f.db); err != nil {
		t.Fatal(err)
	}
	if a.mp3s, err = media.NewFolder(filepath.Join(f.path, "mp3s")); err != nil {
		t.Fatal(err)
	}
	keep := func(owner string) string {
		t.Helper()
		w, err := a.mp3s.Create(ctx, media.Info{ID: media.NewID(), Owner: owner})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("a sound")); err != nil {
			t.Fatal(err)
		}
		info, err := w.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return info.ID
	}
	for _, email := range []string{"georgio@email.com", "ada@email.com"} {
		if _, err := a.users.Create(ctx, email, "Admin123", false); err != nil {
			t.Fatal(err)
		}
	}
	one, two, three, ours := keep(""), keep(""), keep(""), keep("u_1")
	box := "From old@email.com Mon Mar  3 10:00:00 2025\nSubject: MP3 Download\nTo: Georgio@email.com\n\n" +
		"mp3 file_id: " + two + " is now ready!\n\n" +
		"From old@email.com Mon Mar  3 11:00:00 2025\nSubject: Lunch\nTo: georgio@email.com\n\nNoodles?\n\n" +
		"From old@email.com Mon Mar  3 12:00:00 2025\nSubject: MP3 Download\nTo: ada@email.com\n\n" +
		"mp3 file_id: " + three + " is now ready!\n"
	for _, tt := range []struct {
		name  string
		args  []string
		stdin string
		want  string
		fails bool
	}{
		{name: "one", args: []string{"georgio@email.com", strings.ToUpper(one)}, want: "1 MP3s are adopted, 0 have"},
		{name: "again", args: []string{"georgio@email.com", one}, want: "0 MP3s are adopted, 1 have"},
		{name: "another's", args: []string{"ada@email.com", one}, want: "belongs to another", fails: true},
		{name: "ours", args: []string{"ada@email.com", ours}, want: "did not make it", fails: true},
		{name: "gone", args: []string{"ada@email.com", media.NewID()}, want: media.ErrNotFound.Error(), fails: true},
		{name: "no id", args: []string{"ada@email.com", "../x"}, want: "24 hex digits", fails: true},
		{name: "nobody", args: []string{"eve@email.com", two}, want: account.ErrNotFound.Error(), fails: true},
		{name: "mails", args: []string{"--mails", "-"}, stdin: box, want: "2 MP3s are adopted, 0 have"},
		{name: "no mails", args: []string{"--mails", "-"}, want: "no mail", fails: true},
		{name: "nothing", want: "usage", fails: true},
	} {
		var out strings.Builder
		err := adoptCommand(ctx, a, tt.args, strings.NewReader(tt.stdin), &out)
		if tt.fails != (err != nil) {
			t.Errorf("%s: adoptCommand(%q) = %v", tt.name, tt.args, err)
		}
		if err != nil {
			out.WriteString(err.Error())
		}
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: adoptCommand(%q) says %q, want %q", tt.name, tt.args, &out, tt.want)
		}
	}
	u, err := a.users.ByEmail(ctx, "georgio@email.com")
	if err != nil {
		t.Fatal(err)
	}
	his, err := a.jobs.List(ctx, job.Query{Owner: u.Owner, Limit: 9})
	if err != nil || len(his) != 2 || his[0].MP3.FID != two || his[0].MP3.Length != 7 || his[0].MP3.SHA256 == "" ||
		his[0].State != job.Notified || his[0].Filename != two+".mp3" {
		t.Errorf("georgio's jobs are %+v, %v, want one for each of the two MP3s", his, err)
	}
}
