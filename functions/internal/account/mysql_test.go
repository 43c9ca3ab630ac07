package account

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

// oldTable is the one of the Python service's init.sql.
const oldTable = "CREATE TABLE user (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, " +
	"email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL)"

func TestOldTable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, table string }{
		{"as it was", oldTable},
		{"in latin1", oldTable + " CHARSET latin1"},
		{"narrow and without an index",
			"CREATE TABLE user (id INT AUTO_INCREMENT PRIMARY KEY, email VARCHAR(100) NOT NULL, password VARCHAR(20) NOT NULL)"},
		{"half changed", strings.Replace(oldTable, "password", "disabled BOOLEAN NOT NULL DEFAULT FALSE, password", 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := openMySQL(t, newDatabase(t))
			execute(t, db, tt.table)
			execute(t, db, "INSERT INTO user (email, password) VALUES ('Georgio@Email.com', 'Ädmin123')")
			for _, err := range atOnce(6, func() error { // replicas that start together
				_, err := NewMySQL(t.Context(), db)
				return err
			}) {
				if err != nil {
					t.Fatalf("NewMySQL() = %v", err)
				}
			}
			s := newTestStore(t, backend{db, NewMySQL})
			u, err := s.Authenticate(t.Context(), email, "Ädmin123", "")
			if err != nil || u.Email != "Georgio@Email.com" || u.Admin || u.Disabled {
				t.Errorf("Authenticate() = %+v, %v, want Georgio@Email.com", u, err)
			}
			if again, err := s.ByID(t.Context(), u.ID); err != nil || again.ID == "" || again.Owner != "Georgio@Email.com" {
				t.Errorf("ByID() = %+v, %v, want who owns the files of Georgio@Email.com", again, err)
			}
			if got := storedPassword(t, db, email); !strings.HasPrefix(got, hashPrefix) {
				t.Errorf("after a login %q is stored, want a hash", got)
			}
			execute(t, db, "INSERT INTO user (email, password) VALUES ('new@email.com', 'Admin123')") // the old service goes on
			if _, err := s.Authenticate(t.Context(), "new@email.com", "Admin123", ""); err != nil {
				t.Errorf("Authenticate() of a user that the old service made = %v", err)
			}
			if _, err := s.Create(t.Context(), email, password, false); !errors.Is(err, ErrExists) {
				t.Errorf("Create() of an old user = %v, want %v", err, ErrExists)
			}
		})
	}
}

func TestNewTableAtOnce(t *testing.T) {
	t.Parallel()
	c := newDatabase(t)
	for _, err := range atOnce(6, func() error {
		_, err := NewMySQL(t.Context(), openMySQL(t, c))
		return err
	}) {
		if err != nil {
			t.Errorf("NewMySQL() = %v", err)
		}
	}
}

func TestOldTableWithDuplicates(t *testing.T) {
	t.Parallel()
	db := openMySQL(t, newDatabase(t))
	execute(t, db, "CREATE TABLE user (id INT AUTO_INCREMENT PRIMARY KEY, "+
		"email VARCHAR(100) NOT NULL, password VARCHAR(255) NOT NULL)")
	execute(t, db, "INSERT INTO user (email, password) VALUES (?, 'a'), (?, 'b')", email, email)
	if _, err := NewMySQL(t.Context(), db); !isMySQL(err, errDuplicateEntry) {
		t.Errorf("NewMySQL() = %v, want the server's error %d", err, errDuplicateEntry)
	}
}

// TestRightTable is a database user who may not change tables: the session is read-only, so that a change would fail.
func TestRightTable(t *testing.T) {
	t.Parallel()
	c := newDatabase(t)
	create(t, newTestStore(t, backend{openMySQL(t, c), NewMySQL}), email, password, false)
	db := openMySQL(t, c)
	db.SetMaxOpenConns(1)
	execute(t, db, "SET SESSION TRANSACTION READ ONLY")
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE user ADD COLUMN x INT"); err == nil {
		t.Fatal("the table can be changed in a read-only session")
	}
	s := newTestStore(t, backend{db, NewMySQL})
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v", err)
	}
}

func TestServerAwayAtStart(t *testing.T) {
	t.Parallel()
	c := newDatabase(t)
	p := newProxy(t, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	c.Host, c.Port = "127.0.0.1", p.port()
	p.set(false)
	s := newTestStore(t, backend{openMySQL(t, c), NewMySQL})
	if err := s.Ping(t.Context()); err == nil {
		t.Error("Ping() = nil while the server is away")
	}
	if _, err := s.Authenticate(t.Context(), email, password, ""); err == nil || errors.Is(err, ErrCredentials) {
		t.Errorf("Authenticate() = %v while the server is away", err)
	}
	p.set(true)
	create(t, s, email, password, false)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v when the server is back", err)
	}
	p.set(false)
	if err := s.Ping(t.Context()); err == nil {
		t.Error("Ping() = nil when the server is away again")
	}
	p.set(true)
	if _, err := s.Authenticate(t.Context(), email, password, ""); err != nil {
		t.Errorf("Authenticate() = %v when the server is back again", err)
	}
}

func TestWrongServerPassword(t *testing.T) {
	t.Parallel()
	c := newDatabase(t)
	c.Password = "wrong"
	var refused *mysql.MySQLError
	if _, err := NewMySQL(t.Context(), openMySQL(t, c)); !errors.As(err, &refused) {
		t.Errorf("NewMySQL() = %v, want the server's refusal", err)
	}
}

// proxy stands between a test and the server, so that the server can go away.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	up       bool
	conns    []net.Conn
	wg       sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, up: true}
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(client, target)
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.set(false); p.wg.Wait() })
	return p
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *proxy) serve(client net.Conn, target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", target)
	if !p.up || err != nil {
		_ = client.Close()
		if err == nil {
			_ = server.Close()
		}
		return
	}
	p.conns = append(p.conns, client, server)
	p.wg.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
	p.wg.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
}

// set lets connections through, or breaks them all.
func (p *proxy) set(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = up
	if !up {
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.conns = nil
	}
}

// TestTLS has another machine's certificate checked, unless something else is asked for.
func TestTLS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host, tls string
		plain     bool
		want      string
	}{
		{host: "mysql", want: "true"},
		{host: "192.0.2.1", want: "true"},
		{host: "mysql", plain: true, want: "preferred"},
		{host: "mysql", tls: "skip-verify", want: "skip-verify"},
		{host: "mysql", tls: "true", plain: true, want: "true"},
		{host: "localhost", want: "preferred"},
		{host: "127.0.0.1", want: "preferred"},
		{host: "::1", want: "preferred"},
	} {
		c := Config{Host: tt.host, TLS: tt.tls, Stores: serve.StoresConfig{Plain: tt.plain}}
		if got := c.tls(); got != tt.want {
			t.Errorf("TLS to %s with MYSQL_TLS=%s, STORES_PLAIN=%v is %s, want %s", tt.host, tt.tls, tt.plain, got, tt.want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{name: "not configured"},
		{name: "whole", cfg: Config{Host: "mysql", User: "u", DB: "auth", TLS: "true"}},
		{name: "bare host", cfg: Config{Host: "mysql", TLS: "maybe"}, want: []string{"MYSQL_USER", "MYSQL_DB", "MYSQL_TLS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.cfg.Validate()
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("Validate() = %v, want %v", err, tt.want)
			}
			for _, name := range tt.want {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("Validate() = %v, want %s in it", err, name)
				}
			}
		})
	}
}
