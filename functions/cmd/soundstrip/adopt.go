package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"regexp"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

const adoptUsage = `usage: gives MP3s that the old system made to their owners, as jobs
  soundstrip adopt EMAIL FID…      by the ids that stand in the old system's mails
  soundstrip adopt --mails FILE…   by the mails themselves: one a file, an mbox, or - for stdin
what has a job already is left alone`

func runAdopt(ctx context.Context, env envconfig.Lookuper, args []string) error {
	return withUsers(ctx, env, func(f *folder, users *account.Store) (err error) {
		files, err := f.media(ctx, env)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, files.close(ctx)) }()
		return adoptCommand(ctx, adopter{users, files.jobs, files.mp3s}, args, os.Stdin, os.Stdout)
	})
}

// adopter makes jobs of MP3s that the old system left.
type adopter struct {
	users *account.Store
	jobs  job.Store
	mp3s  media.Store
}

// left says that an old mail told the address about the MP3.
type left struct{ email, fid string }

// adoptCommand does what an admin types after "adopt". One that cannot be given away does not keep it from the rest.
func adoptCommand(ctx context.Context, a adopter, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) < 2 {
		return errors.New(adoptUsage)
	}
	var all []left
	if args[0] == "--mails" {
		for _, name := range args[1:] {
			found, err := readMails(name, stdin)
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
		if len(all) == 0 {
			return errors.New("adopt: no mail says that an MP3 is ready")
		}
	} else {
		for _, fid := range args[1:] {
			all = append(all, left{args[0], strings.ToLower(fid)})
		}
	}
	adopted, failed := 0, 0
	for _, l := range all {
		done, err := a.adopt(ctx, l)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed++
			fmt.Fprintf(stdout, "%s of %s: %v\n", l.fid, l.email, err)
		} else if done {
			adopted++
		}
	}
	fmt.Fprintf(stdout, "%d MP3s are adopted, %d have jobs already\n", adopted, len(all)-adopted-failed)
	if failed > 0 {
		return fmt.Errorf("adopt: %d MP3s are not adopted", failed)
	}
	return nil
}

// adopt makes the job of one MP3. Nobody knows its video, so that the job has the id of the MP3 itself, and the name
// under which the old system gave it.
func (a adopter) adopt(ctx context.Context, l left) (done bool, err error) {
	if !media.ValidID(l.fid) {
		return false, errors.New("an id has 24 hex digits")
	}
	u, err := a.users.ByEmail(ctx, l.email)
	if err != nil {
		return false, err
	}
	j, err := a.jobs.FindMP3(ctx, l.fid)
	switch {
	case err == nil && j.Owner != u.Owner:
		return false, errors.New("it belongs to another")
	case err == nil:
		return false, nil
	case !errors.Is(err, job.ErrNotFound):
		return false, err
	}
	f, err := a.mp3s.Open(ctx, l.fid)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // it was only read
	if f.Info().Owner != "" {
		return false, errors.New("the old system did not make it: its job is deleted")
	}
	m, err := mp3.Measure(f)
	if err != nil {
		return false, err
	}
	_, err = a.jobs.Adopt(ctx, job.Job{
		ID: l.fid, Owner: u.Owner, Username: u.Email, Filename: cmp.Or(f.Info().Name, l.fid+".mp3"),
		State: job.Notified, Round: 1, Progress: 100, Video: job.Video{Deleted: true},
		MP3: &job.MP3{FID: l.fid, Length: m.Length, SHA256: m.SHA256, Duration: m.Duration.Seconds()},
	})
	return err == nil, err
}

func readMails(name string, stdin io.Reader) ([]left, error) {
	if name == "-" {
		return parseMails(stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	all, err := parseMails(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}

// ready is the text of the old system's mail.
var ready = regexp.MustCompile(`mp3 file_id: ([0-9a-f]{24}) is now ready`)

// maxMail is the most, in bytes, that is read of one mail: the old system's are short.
const maxMail = 1 << 20

// parseMails reads one mail, or those of an mbox, which begin with a line "From …" (RFC 4155).
func parseMails(r io.Reader) (all []left, err error) {
	lines := bufio.NewReader(r)
	var one strings.Builder
	flush := func() {
		m, err := mail.ReadMessage(strings.NewReader(one.String()))
		one.Reset()
		if err != nil {
			return // another's, or none
		}
		body, _ := io.ReadAll(m.Body)
		found := ready.FindSubmatch(body)
		to, err := m.Header.AddressList("To")
		if found != nil && err == nil && len(to) > 0 { // a group may be empty
			all = append(all, left{to[0].Address, string(found[1])})
		}
	}
	for {
		line, err := lines.ReadString('\n')
		if strings.HasPrefix(line, "From ") {
			flush()
			line = ""
		}
		if one.Len()+len(line) <= maxMail {
			one.WriteString(line)
		}
		if errors.Is(err, io.EOF) {
			flush()
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
