package account

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	email    = "georgio@email.com"
	password = "Admin123"
)

// cheap are for tests of all but the hash itself: its cost would be most of theirs.
var cheap = argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// backend is a database of its own for a test.
type backend struct {
	db   *sql.DB
	open func(context.Context, *sql.DB) (*Store, error)
}

// onBoth runs a test on SQLite and on MySQL.
func onBoth(t *testing.T, test func(*testing.T, backend)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		db, err := sqlite.Open(filepath.Join(t.TempDir(), "soundstrip.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		test(t, backend{db, NewSQLite})
	})
	t.Run("mysql", func(t *testing.T) {
		t.Parallel()
		test(t, backend{openMySQL(t, newDatabase(t)), NewMySQL})
	})
}

// newDatabase makes an empty database on the test server.
func newDatabase(t *testing.T) Config {
	t.Helper()
	dsn := os.Getenv("TEST_MYSQL")
	if dsn == "" {
		const hint = `TEST_MYSQL is not set: start the servers with .ci/servers start, then eval "$(.ci/servers env)"`
		if os.Getenv("CI") != "" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	m, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Host: host, User: m.User, Password: m.Passwd, TLS: "preferred"}
	if c.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	server := openMySQL(t, c)
	c.DB = "account_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	execute(t, server, "CREATE DATABASE "+c.DB)
	t.Cleanup(func() { execute(t, server, "DROP DATABASE "+c.DB) })
	return c
}

func openMySQL(t *testing.T, c Config) *sql.DB {
	t.Helper()
	db, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func newTestStore(t *testing.T, b backend) *Store {
	t.Helper()
	s, err := b.open(t.Context(), b.db)
	if err != nil {
		t.Fatal(err)
	}
	s.hasher = newHasher(cheap)
	s.hasher.slots.wait = time.Minute // on a slow machine many wait for their turn
	return s
}

func create(t *testing.T, s *Store, email, password string, admin bool) {
	t.Helper()
	if _, err := s.Create(t.Context(), email, password, admin); err != nil {
		t.Fatalf("Create(%q) = %v", email, err)
	}
}

func storedPassword(t *testing.T, db *sql.DB, email string) (stored string) {
	t.Helper()
	row := db.QueryRowContext(t.Context(), "SELECT password FROM `user` WHERE email = ?", email)
	if err := row.Scan(&stored); err != nil {
		t.Fatal(err)
	}
	return stored
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		create(t, s, email, password, true)
		create(t, s, "disabled@email.com", password, false)
		if err := s.SetDisabled(t.Context(), "disabled@email.com", true); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name, email, password string
			want                  error
		}{
			{"right", email, password, nil},
			{"another case of the address", " Georgio@Email.com ", password, nil},
			{"wrong password", email, "Admin124", ErrCredentials},
			{"another case of the password", email, "admin123", ErrCredentials},
			{"no password", email, "", ErrCredentials},
			{"the stored hash", email, storedPassword(t, b.db, email), ErrCredentials},
			{"a very long password", email, strings.Repeat("x", 1<<20), ErrCredentials},
			{"an accent more", "géorgio@email.com", password, ErrCredentials},
			{"a letter that is not seen", "georgio\u200b@email.com", password, ErrCredentials},
			{"a zero byte", "georgio@email.com\x00", password, ErrCredentials},
			{"not text", "\xff@email.com", "\xff", ErrCredentials},
			{"unknown", "nobody@email.com", password, ErrCredentials},
			{"a very long address", strings.Repeat("x", 1<<20), password, ErrCredentials},
			{"nothing", "", "", ErrCredentials},
			{"a pattern", "%", password, ErrCredentials},
			{"SQL", "' OR ''='", "' OR ''='", ErrCredentials},
			{"disabled", "disabled@email.com", password, ErrCredentials},
		} {
			u, err := s.Authenticate(t.Context(), tt.email, tt.password, "")
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%s: Authenticate() = %v, want %v", tt.name, err, tt.want)
			}
			if err == nil && (u.Email != email || !u.Admin || u.ID == "" || u.Owner != u.ID) {
				t.Errorf("%s: Authenticate() = %+v, want the admin %s", tt.name, u, email)
			}
		}
	})
}

func TestCreate(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		create(t, s, email, password, false)
		var rule RuleError
		for _, tt := range []struct{ name, email, password string }{
			{"no address", "", password},
			{"no at sign", "georgio", password},
			{"a name beside the address", "G <g@email.com>", password},
			{"two lines", "g@email.com\r\nBcc: x@y.z", password},
			{"address that is not text", "g\xff@email.com", password},
			{"long address", strings.Repeat("x", 250) + "@email.com", password},
			{"no password", "g@email.com", ""},
			{"short password", "g@email.com", "1234567"},
			{"few characters of many bytes", "g@email.com", "äöüäöü"},
			{"long password", "g@email.com", strings.Repeat("x", 257)},
			{"not text", "g@email.com", "\xff\xff\xff\xff\xff\xff\xff\xff"},
			{"the address itself", "g@email.com", "G@EMAIL.COM"},
		} {
			if _, err := s.Create(t.Context(), tt.email, tt.password, false); !errors.As(err, &rule) {
				t.Errorf("%s: Create(%q, %q) = %v, want a RuleError", tt.name, tt.email, tt.password, err)
			}
		}
		for _, taken := range []string{email, "GEORGIO@email.com"} {
			if _, err := s.Create(t.Context(), taken, password, false); !errors.Is(err, ErrExists) {
				t.Errorf("Create(%q) = %v, want %v", taken, err, ErrExists)
			}
		}
		create(t, s, "admin@localhost", strings.Repeat("x", 256), true)
		create(t, s, "Ä@email.com", "ääääääää", false)
		if n, err := s.Count(t.Context()); n != 3 || err != nil {
			t.Errorf("Count() = %d, %v, want 3", n, err)
		}
		if _, err := s.Authenticate(t.Context(), "ä@email.com", "ääääääää", ""); err != nil {
			t.Errorf("Authenticate(ä@email.com) = %v", err)
		}
	})
}

func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		errs := atOnce(8, func() error {
			_, err := s.Create(t.Context(), email, password, false)
			return err
		})
		made := 0
		for _, err := range errs {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, ErrExists):
				t.Errorf("Create() = %v, want %v", err, ErrExists)
			}
		}
		if made != 1 {
			t.Errorf("%d of 8 made the same user, want 1", made)
		}
	})
}

func atOnce(n int, f func() error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errs
}

func TestChanges(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		create(t, s, email, password, false)
		create(t, s, "second@email.com", password, true)
		for range 2 { // what is so already is no error
			if err := errors.Join(s.SetGroup(t.Context(), email, "admin"), s.SetDisabled(t.Context(), email, true),
				s.SetGroup(t.Context(), "second@email.com", "default")); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SetPassword(t.Context(), "second@email.com", "Another1"); err != nil {
			t.Fatal(err)
		}
		got, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []User{{Email: email, Group: "admin", Admin: true, Disabled: true},
			{Email: "second@email.com", Group: "default"}}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(User{}),
			cmpopts.IgnoreFields(User{}, "ID", "Owner", "Created", "TokensAfter")); diff != "" {
			t.Errorf("List() (-want +got):\n%s", diff)
		}
		for _, u := range got {
			if age := time.Since(u.Created); age < -time.Minute || age > time.Hour {
				t.Errorf("user %s was created %v ago", u.Email, age)
			}
			if one, err := s.ByEmail(t.Context(), strings.ToUpper(u.Email)); err != nil || one != u {
				t.Errorf("ByEmail(%q) = %+v, %v, want %+v", u.Email, one, err, u)
			}
			if one, err := s.ByID(t.Context(), u.ID); err != nil || one != u {
				t.Errorf("ByID(%q) = %+v, %v, want %+v", u.ID, one, err, u)
			}
		}
		if _, err := s.Authenticate(t.Context(), "second@email.com", password, ""); !errors.Is(err, ErrCredentials) {
			t.Errorf("Authenticate() with the old password = %v, want %v", err, ErrCredentials)
		}
		if _, err := s.Authenticate(t.Context(), "second@email.com", "Another1", ""); err != nil {
			t.Errorf("Authenticate() with the new password = %v", err)
		}
		var rule RuleError
		if err := s.SetPassword(t.Context(), email, "short"); !errors.As(err, &rule) {
			t.Errorf("SetPassword(short) = %v, want a RuleError", err)
		}
		for name, err := range map[string]error{
			"SetPassword": s.SetPassword(t.Context(), "nobody@email.com", password),
			"SetGroup":    s.SetGroup(t.Context(), "nobody@email.com", "admin"),
			"SetDisabled": s.SetDisabled(t.Context(), "nobody@email.com", true),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s(nobody) = %v, want %v", name, err, ErrNotFound)
			}
		}
	})
}

// TestTokensEnd has whatever takes something from a user end the user's tokens, in the second after it.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		insertUser(t, b, email)
		insertUser(t, b, "other@email.com")
		if after, now, err := s.TokensAfter(t.Context(), 0); len(after) > 0 || now == 0 || err != nil {
			t.Errorf("TokensAfter() of new users = %v, %d, %v, want none", after, now, err)
		}
		u, err := s.ByEmail(t.Context(), email)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			do   func() error
			ends bool
		}{
			{"promoted", func() error { return s.SetGroup(t.Context(), email, "admin") }, false},
			{"demoted", func() error { return s.SetGroup(t.Context(), email, "default") }, true},
			{"another group", func() error { return s.SetGroup(t.Context(), email, "students") }, true},
			{"disabled", func() error { return s.SetDisabled(t.Context(), email, true) }, true},
			{"enabled", func() error { return s.SetDisabled(t.Context(), email, false) }, false},
			{"password", func() error { return s.SetPassword(t.Context(), email, "Another1") }, true},
			{"logged out", func() error { return s.EndTokens(t.Context(), email) }, true},
		} {
			execute(t, b.db, "DELETE FROM tokens_after")
			if err := tt.do(); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			after, now, err := s.TokensAfter(t.Context(), 0)
			if err != nil || len(after) > 1 {
				t.Errorf("%s: TokensAfter() = %v, %v", tt.name, after, err)
			}
			from, ended := after[u.ID]
			if ended != tt.ends || ended && (from > now+1 || from < now-10) {
				t.Errorf("%s: tokens count from %d on, %v, want %v, the next second after %d", tt.name, from, ended, tt.ends, now)
			}
			if got, err := s.ByID(t.Context(), u.ID); err != nil || got.TokensAfter != from {
				t.Errorf("%s: ByID() = %+v, %v, want %d", tt.name, got, err, from)
			}
			if later, _, err := s.TokensAfter(t.Context(), now+2); err != nil || len(later) > 0 {
				t.Errorf("%s: TokensAfter(later) = %v, %v, want none", tt.name, later, err)
			}
		}
		// A token that is given within the second has the time of the next one: it ends as well.
		for range 3 {
			before, err := s.ByID(t.Context(), u.ID)
			if err == nil {
				err = s.EndTokens(t.Context(), email)
			}
			after, err2 := s.ByID(t.Context(), u.ID)
			if err := errors.Join(err, err2); err != nil || after.TokensAfter <= before.TokensAfter {
				t.Errorf("tokens count from %d on, %v, want later than %d", after.TokensAfter, err, before.TokensAfter)
			}
		}
		execute(t, b.db, "UPDATE tokens_after SET since = since - ?", keep+10)
		if err := s.EndTokens(t.Context(), "other@email.com"); err != nil {
			t.Fatal(err)
		}
		if after, _, err := s.TokensAfter(t.Context(), 0); err != nil || len(after) != 1 || after[u.ID] != 0 {
			t.Errorf("TokensAfter() = %v, %v, want what is older than any token forgotten", after, err)
		}
	})
}

// insertUser makes a user whom no password lets in, which costs no hash.
func insertUser(t *testing.T, b backend, email string) {
	t.Helper()
	id := newID()
	execute(t, b.db, "INSERT INTO `user` (uid, owner, email, password) VALUES (?, ?, ?, ?)", id, id, email, decoyOf(cheap))
}

// TestPlainPassword is about rows that the Python service inserted.
func TestPlainPassword(t *testing.T) {
	t.Parallel()
	insert := func(t *testing.T, b backend, password string) {
		t.Helper()
		execute(t, b.db, "INSERT INTO `user` (email, password) VALUES (?, ?)", email, password)
	}
	t.Run("is hashed at the first login", func(t *testing.T) {
		t.Parallel()
		onBoth(t, func(t *testing.T, b backend) {
			s := newTestStore(t, b)
			insert(t, b, "Sécret, 12 ")
			for _, wrong := range []string{"sécret, 12 ", "Sécret, 12", "Secret, 12 ", ""} {
				if _, err := s.Authenticate(t.Context(), email, wrong, ""); !errors.Is(err, ErrCredentials) {
					t.Errorf("Authenticate(%q) = %v, want %v", wrong, err, ErrCredentials)
				}
			}
			if got := storedPassword(t, b.db, email); got != "Sécret, 12 " {
				t.Fatalf("after wrong passwords %q is stored", got)
			}
			for n := range 2 {
				if _, err := s.Authenticate(t.Context(), email, "Sécret, 12 ", ""); err != nil {
					t.Fatalf("Authenticate() no. %d = %v", n+1, err)
				}
			}
			if got := storedPassword(t, b.db, email); !strings.HasPrefix(got, hashPrefix) {
				t.Errorf("after a login %q is stored, want a hash", got)
			}
		})
	})
	t.Run("an empty one lets nobody in", func(t *testing.T) {
		t.Parallel()
		onBoth(t, func(t *testing.T, b backend) {
			s := newTestStore(t, b)
			insert(t, b, "")
			if _, err := s.Authenticate(t.Context(), email, "", ""); !errors.Is(err, ErrCredentials) {
				t.Errorf(`Authenticate("") = %v, want %v`, err, ErrCredentials)
			}
		})
	})
	t.Run("a newer one is not overwritten", func(t *testing.T) {
		t.Parallel()
		onBoth(t, func(t *testing.T, b backend) {
			s := newTestStore(t, b)
			insert(t, b, "secret12") // what the login has read was "Secret12"
			if err := s.rehash(t.Context(), 1, "Secret12", "Secret12"); err != nil {
				t.Fatal(err)
			}
			if got := storedPassword(t, b.db, email); got != "secret12" {
				t.Errorf("%q is stored, want secret12", got)
			}
		})
	})
	t.Run("many logins at once", func(t *testing.T) {
		t.Parallel()
		onBoth(t, func(t *testing.T, b backend) {
			s := newTestStore(t, b)
			insert(t, b, password)
			for _, err := range atOnce(8, func() error {
				_, err := s.Authenticate(t.Context(), email, password, "")
				return err
			}) {
				if err != nil {
					t.Errorf("Authenticate() = %v", err)
				}
			}
		})
	})
}

func TestStoredHash(t *testing.T) {
	t.Parallel()
	hash := func(p argon2id.Params) string {
		h, err := argon2id.CreateHash(password, &p)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	weak := params
	weak.Memory = 8 << 10
	strong := params
	strong.Memory = 32 << 10
	good := hash(params)
	replaced := func(part, by string) string { return strings.Replace(good, part, by, 1) }
	for _, tt := range []struct {
		name, stored string
		ok, stale    bool
		wantErr      bool
	}{
		{name: "ours", stored: good, ok: true},
		{name: "weaker", stored: hash(weak), ok: true, stale: true},
		{name: "stronger", stored: hash(strong), ok: true},
		{name: "4 TiB of memory", stored: replaced("m=19456", "m=4294967295"), wantErr: true},
		{name: "a year of time", stored: replaced("t=2", "t=4294967295"), wantErr: true},
		{name: "no time", stored: replaced("t=2", "t=0"), wantErr: true},
		{name: "no thread", stored: replaced("p=1", "p=0"), wantErr: true},
		{name: "many threads", stored: replaced("p=1", "p=255"), wantErr: true},
		{name: "no key", stored: good[:strings.LastIndex(good, "$")+1], wantErr: true},
		{name: "a prefix only", stored: hashPrefix, wantErr: true},
		{name: "another variant is plain text", stored: replaced("argon2id", "argon2i")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ok, stale, err := newHasher(params).matches(password, tt.stored)
			if ok != tt.ok || stale != tt.stale || (err != nil) != tt.wantErr {
				t.Errorf("matches(%q) = %v, %v, %v, want %v, %v, error %v", tt.stored, ok, stale, err, tt.ok, tt.stale, tt.wantErr)
			}
			if tt.wantErr && !errors.Is(err, ErrCredentials) {
				t.Errorf("matches(%q) = %v, want %v: nobody can log in by it", tt.stored, err, ErrCredentials)
			}
		})
	}
}

func FuzzStoredHash(f *testing.F) {
	f.Add(decoyOf(params))
	f.Add("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$$")
	f.Fuzz(func(t *testing.T, stored string) {
		if ok, _, _ := newHasher(params).matches(password, hashPrefix+stored); ok {
			t.Errorf("matches(%q) = true", stored)
		}
	})
}

// TestCost looks at what is hashed, since times cannot be relied on: an unknown user and a plain password cost what a
// hash costs.
func TestCost(t *testing.T) {
	t.Parallel()
	h, hashed := newHasher(params), ""
	decoy := h.decoy
	p, _, _, err := argon2id.DecodeHash(decoy)
	if err != nil || *p != params {
		t.Errorf("DecodeHash(decoy) = %+v, %v, want %+v", p, err, params)
	}
	h.compare = func(_, hash string) (bool, error) {
		hashed = hash
		return false, nil
	}
	for _, tt := range []struct{ name, password, stored string }{
		{"a hash", password, decoy},
		{"a plain password", password, "Another1"},
		{"none stored", password, ""},
		{"none given", "", "Another1"},
		{"a very long one", strings.Repeat("x", maxGuess+1), "Another1"},
	} {
		hashed = ""
		if _, _, err := h.matches(tt.password, tt.stored); err != nil || hashed != decoy {
			t.Errorf("%s: matches() = %v and hashed %q, want one hash", tt.name, err, hashed)
		}
	}
}

// occupy takes all slots.
func occupy(t *testing.T, h hasher) {
	t.Helper()
	for n := range runtime.GOMAXPROCS(0) {
		if err := h.slots.acquire(t.Context(), "network "+strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		occupy(t, s.hasher)
		s.hasher.slots.wait = time.Millisecond
		if _, err := s.Authenticate(t.Context(), email, password, ""); !errors.Is(err, ErrBusy) {
			t.Errorf("Authenticate() without a free slot = %v, want %v", err, ErrBusy)
		}
		if _, err := s.Create(t.Context(), email, password, false); !errors.Is(err, ErrBusy) {
			t.Errorf("Create() without a free slot = %v, want %v", err, ErrBusy)
		}
	})
}

func TestOpenTwice(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		create(t, newTestStore(t, b), email, password, false)
		s := newTestStore(t, b)
		if _, err := s.Authenticate(t.Context(), email, password, ""); err != nil {
			t.Errorf("Authenticate() = %v", err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("Ping() = %v", err)
		}
	})
}

func FuzzCheckEmail(f *testing.F) {
	f.Add("georgio@email.com")
	f.Add("\"a b\"@email.com")
	f.Add("a@email.com\r\nBcc: b@email.com")
	f.Fuzz(func(t *testing.T, s string) {
		if checkEmail(s) == nil && (strings.ContainsAny(s, "\r\n\x00 <>") || !strings.Contains(s, "@")) {
			t.Errorf("checkEmail(%q) = nil", s)
		}
	})
}
