//go:build faults

package faults

import (
	"context"
	"database/sql"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/go-sql-driver/mysql"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// need gives the value of a variable that .ci/servers sets.
func need(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Fatal(variable + " is not set: run make faults")
	}
	return v
}

// servers are what all processes use.
type servers struct {
	vhost string // its name, and that of the databases
	amqp  *url.URL
	mongo *mongo.Client
	uri   *url.URL // of MongoDB
	mysql *mysql.Config
	sql   *sql.DB
	mails *mailServer
}

func newServers(t *testing.T, name string) *servers {
	t.Helper()
	s := &servers{vhost: name}
	var err error
	if s.amqp, err = url.Parse(need(t, "TEST_AMQP_URL")); err != nil {
		t.Fatal(err)
	}
	s.amqp.Path = "/" + name
	s.management(t, http.MethodPut, "/vhosts/"+name)
	t.Cleanup(func() { s.management(t, http.MethodDelete, "/vhosts/"+name) })

	uri := need(t, "TEST_MONGODB_URI")
	if s.uri, err = url.Parse(uri); err != nil {
		t.Fatal(err)
	}
	if s.mongo, err = mongo.Connect(options.Client().ApplyURI(uri)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, db := range []string{"", "_videos", "_mp3s"} {
			if err := s.mongo.Database(name + db).Drop(context.Background()); err != nil {
				t.Error(err)
			}
		}
		_ = s.mongo.Disconnect(context.Background())
	})

	if s.mysql, err = mysql.ParseDSN(need(t, "TEST_MYSQL")); err != nil {
		t.Fatal(err)
	}
	if s.sql, err = sql.Open("mysql", s.mysql.FormatDSN()); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "CREATE DATABASE "+name)
	s.exec(t, "CREATE TABLE "+name+".user (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, "+
		"email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL)")
	t.Cleanup(func() {
		s.exec(t, "DROP DATABASE "+name)
		s.sql.Close()
	})
	s.mails = newMailServer(t)
	return s
}

func (s *servers) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := s.sql.Exec(query, args...); err != nil {
		t.Errorf("%s: %v", query, err)
	}
}

// management asks RabbitMQ's management.
func (s *servers) management(t *testing.T, method, path string) []byte {
	t.Helper()
	r, err := http.NewRequest(method, need(t, "TEST_RABBITMQ_API")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := s.amqp.User.Password()
	r.SetBasicAuth(s.amqp.User.Username(), password)
	r.Close = true // RabbitMQ may be killed before the next
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 || err != nil {
		t.Errorf("%s %s: %s, %v", method, path, resp.Status, err)
	}
	return text
}

// powerCut kills a server and starts it again on its files.
func powerCut(t *testing.T, name string) {
	t.Helper()
	manage(t, "kill", name)
	manage(t, "start")
}

// manage has .ci/servers do something.
func manage(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("../../.ci/servers", args...).CombinedOutput(); err != nil {
		t.Fatalf(".ci/servers %v: %v\n%s", args, err, out)
	}
}

// durable reports whether MongoDB keeps what it has when it is killed.
func durable() bool {
	_, err := exec.LookPath("mongod")
	return err == nil || os.Getenv("MONGO") == "durable"
}

// mail is what the mail server took, whether or not it could say so.
type mail struct{ to, id, text string }

// mailServer is an SMTP server that keeps what it gets, and can be told what to do with the next mail.
type mailServer struct {
	port string

	mu    sync.Mutex
	mails []mail
	next  func(conn net.Conn, kept bool) error // what happens to the next mail
	turn  int                                  // of next
}

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	m := &mailServer{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(m)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	_, m.port, _ = net.SplitHostPort(l.Addr().String())
	return m
}

// once has f called for the next mail: when it begins, and once more when it is kept, unless f failed. It gives a
// channel that is closed after that.
func (m *mailServer) once(f func(conn net.Conn, kept bool) error) <-chan struct{} {
	done := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn++
	mine := m.turn
	m.next = func(conn net.Conn, kept bool) error {
		err := f(conn, kept)
		if kept || err != nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.next != nil && m.turn == mine { // or the mail began in the fault before
				m.next = nil
				close(done)
			}
		}
		return err
	}
	return done
}

func (m *mailServer) now(conn net.Conn, kept bool) error {
	m.mu.Lock()
	f := m.next
	m.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(conn, kept)
}

func (m *mailServer) all() []mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]mail(nil), m.mails...)
}

func (m *mailServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &mailSession{server: m, conn: c.Conn()}, nil
}

type mailSession struct {
	server *mailServer
	conn   net.Conn
	to     string
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error      { return s.server.now(s.conn, false) }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = to; return nil }
func (*mailSession) Reset()                                      {}
func (*mailSession) Logout() error                               { return nil }
func (s *mailSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	got := mail{to: s.to, text: string(b)}
	for line := range strings.Lines(got.text) {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Message-ID") {
			got.id = strings.TrimSpace(value)
			break
		}
	}
	s.server.mu.Lock()
	s.server.mails = append(s.server.mails, got)
	s.server.mu.Unlock()
	return s.server.now(s.conn, true)
}
