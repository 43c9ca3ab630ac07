package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sethvargo/go-envconfig"
	"golang.org/x/term"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/account"
)

const userUsage = `usage:
  soundstrip user add EMAIL [--admin] [--password-stdin]
  soundstrip user passwd EMAIL [--password-stdin]
  soundstrip user list
  soundstrip user disable EMAIL    soundstrip user enable EMAIL
  soundstrip user promote EMAIL    soundstrip user demote EMAIL
  soundstrip user group EMAIL GROUP  default, admin, or another
  soundstrip user logout EMAIL     ends the tokens
  soundstrip user delete EMAIL     with all files
  soundstrip user rehash           makes hashes of the passwords that the old system stored as they are`

// userConfig says where the users are.
type userConfig struct {
	Data    string `env:"SOUNDSTRIP_DATA, default=.soundstrip"`
	Account account.Config
}

func runUser(ctx context.Context, env envconfig.Lookuper, args []string) error {
	return withUsers(ctx, env, func(_ *folder, users *account.Store) error {
		slog.SetDefault(serve.Log(os.Stderr, slog.LevelInfo))
		return userCommand(ctx, users, args, os.Stdin, os.Stdout, func(event, subject string, err error) {
			outcome := "ok"
			if err != nil {
				outcome = "failed"
			}
			eventing.Audit(ctx, event, subject, "uid:"+strconv.Itoa(os.Getuid()), "", outcome)
		})
	})
}

// withUsers lets a command use the data folder and the users, who may be in the MySQL that MYSQL_HOST names.
func withUsers(
	ctx context.Context, env envconfig.Lookuper, use func(f *folder, users *account.Store) error,
) (err error) {
	var c userConfig
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	f, err := openFolder(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.db.Close()) }()
	users, closeUsers, err := f.accounts(ctx, c.Account)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeUsers(ctx)) }()
	return use(f, users)
}

// audit has on record what was done to a user, by id.
type audit func(event, subject string, err error)

// audited are the events of the commands that change a user.
var audited = map[string]string{
	"add": "user.made", "passwd": "user.changed", "disable": "user.changed", "enable": "user.changed",
	"promote": "user.changed", "demote": "user.changed", "group": "user.changed", "logout": "token.revoked",
	"delete": "user.deleted",
}

// userCommand does what an admin types after "user". A password is read from a line of stdin with --password-stdin, or
// asked for at a terminal; otherwise one is made up and printed.
func userCommand(
	ctx context.Context, s *account.Store, args []string, stdin io.Reader, stdout io.Writer, record audit,
) error {
	if len(args) == 0 {
		return errors.New(userUsage)
	}
	cmd, args := args[0], args[1:]
	flags := flag.NewFlagSet("user", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	admin := flags.Bool("admin", false, "")
	fromStdin := flags.Bool("password-stdin", false, "")
	var emails []string
	for len(args) > 0 { // flags may stand before and after the address
		if err := flags.Parse(args); err != nil {
			return fmt.Errorf("%w\n%s", err, userUsage)
		}
		if args = flags.Args(); len(args) > 0 {
			emails, args = append(emails, args[0]), args[1:]
		}
	}
	want := 1
	switch cmd {
	case "list", "rehash":
		want = 0
	case "group":
		want = 2
	}
	if len(emails) != want {
		return errors.New(userUsage)
	}
	switch cmd {
	case "list":
		return listUsers(ctx, s, stdout)
	case "rehash":
		n, err := s.Rehash(ctx)
		fmt.Fprintf(stdout, "%d passwords are hashed now; the old service does not know them any more\n", n)
		return err
	}
	email := emails[0]
	u, err := s.ByEmail(ctx, email)
	if err != nil && !errors.Is(err, account.ErrNotFound) {
		return fmt.Errorf("user %s %s: %w", cmd, email, err)
	}
	subject := u.ID
	done := func(what string, err error) error {
		record(audited[cmd], subject, err)
		if err != nil {
			return fmt.Errorf("user %s %s: %w", cmd, email, err)
		}
		_, err = fmt.Fprintf(stdout, "%s %s\n", email, what)
		return err
	}
	switch cmd {
	case "add":
		return withPassword(*fromStdin, stdin, stdout, func(password string) error {
			id, err := s.Create(ctx, email, password, *admin)
			subject = cmp.Or(id, subject)
			return done("is added", err)
		})
	case "passwd":
		return withPassword(*fromStdin, stdin, stdout, func(password string) error {
			return done("has a new password; tokens given before end within 30 s", s.SetPassword(ctx, email, password))
		})
	case "disable":
		return done("may not log in any more; tokens given before end within 30 s", s.SetDisabled(ctx, email, true))
	case "enable":
		return done("may log in", s.SetDisabled(ctx, email, false))
	case "promote":
		return done("is an admin from the next login on", s.SetGroup(ctx, email, "admin"))
	case "demote":
		return done("is no admin any more; tokens given before end within 30 s", s.SetGroup(ctx, email, "default"))
	case "group":
		return done("is in group "+emails[1]+" from the next login on", s.SetGroup(ctx, email, emails[1]))
	case "logout":
		return done("has to log in again; tokens given before end within 30 s, API keys stay", s.EndTokens(ctx, email))
	case "delete":
		return done("is deleted; the files go with one of the next sweeps", s.Delete(ctx, email))
	}
	return errors.New(userUsage)
}

func listUsers(ctx context.Context, s *account.Store, stdout io.Writer) error {
	users, err := s.List(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EMAIL\tGROUP\tDISABLED\tCREATED")
	for _, u := range users {
		fmt.Fprintf(w, "%s\t%s\t%t\t%s\n", u.Email, u.Group, u.Disabled, u.Created.Format(time.DateTime))
	}
	return w.Flush()
}

// withPassword calls use with a password, and prints the password if nobody else knows it.
func withPassword(fromStdin bool, stdin io.Reader, stdout io.Writer, use func(password string) error) error {
	password, err := askPassword("Password (empty: one is made up): ", fromStdin, stdin, stdout)
	if err != nil {
		return fmt.Errorf("read password: %w", err)
	}
	made := password == "" && !fromStdin
	if made {
		password = rand.Text()
	}
	if err := use(password); err != nil || !made {
		return err
	}
	_, err = fmt.Fprintf(stdout, "the password, shown this once: %s\n", password)
	return err
}

// maxLine is the most, in bytes, that is read of a password: the store refuses a shorter one as too long.
const maxLine = 4 << 10

// askPassword gives a password: the first line of stdin, or what is typed at a terminal, or none.
func askPassword(prompt string, fromStdin bool, stdin io.Reader, stdout io.Writer) (string, error) {
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(stdin, maxLine)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil // the last line may lack its end
		}
		return strings.TrimRight(line, "\r\n"), err
	}
	terminal, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", nil
	}
	fmt.Fprint(stdout, prompt)
	password, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(stdout)
	return string(password), err
}

// firstUser makes the first user of an empty store: an admin, with the name and password given or made up. Only a
// password made up here is printed, and only now: nobody could know it otherwise.
func firstUser(ctx context.Context, users *account.Store, email, password string) error {
	n, err := users.Count(ctx)
	if err != nil || n > 0 {
		return err
	}
	if email == "" {
		email = "admin@localhost"
	}
	made := password == ""
	if made {
		password = rand.Text()
	}
	if _, err := users.Create(ctx, email, password, true); err != nil {
		return fmt.Errorf("first user %s: %w", email, err)
	}
	if made {
		fmt.Printf("\nThe first user, printed this once:  %s:%s\n\n", email, password)
	}
	return nil
}
