//go:build faults

package faults

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// tap is a TCP proxy that knows the protocol on it: it sees whole messages and tells what each is, so that something
// can happen exactly before one.
type tap struct {
	owner *service // whose connections these are: the client's of a server, the server's of a service
	names protocol
	to    func() string // an address

	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	traps []*trap
	how   state
	conns map[net.Conn]bool
	seen  []string // the names of messages, for who looks for the reason why a trap did not spring
}

// state is how a tap treats connections.
type state struct {
	away    bool          // refuses them
	silent  bool          // takes all and passes nothing on, as a half-open connection does
	latency time.Duration // of each message
}

// protocol reads one message from a client, or from a server, and tells what it is; "" is of no interest.
type protocol struct {
	fromClient, fromServer func(*bufio.Reader) (message []byte, name string, err error)
}

// trap waits for a message on one of several taps.
type trap struct {
	match  *regexp.Regexp
	do     func(*service)
	pass   bool // the message goes on
	once   sync.Once
	sprung chan struct{}
}

func newTrap(pattern string, do func(*service)) *trap {
	return &trap{match: regexp.MustCompile(pattern), do: do, sprung: make(chan struct{})}
}

// spring reports whether the message may go on.
func (p *trap) spring(owner *service) (pass bool) {
	pass = true
	p.once.Do(func() {
		p.do(owner)
		pass = p.pass
		close(p.sprung)
	})
	return pass
}

var errCut = errors.New("cut")

func newTap(t *testing.T, owner *service, names protocol, to func() string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{owner: owner, names: names, to: to, listener: l, conns: map[net.Conn]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.set(state{away: true})
		p.running.Wait()
	})
	return p
}

func (p *tap) address() string { return p.listener.Addr().String() }

// set changes how the tap treats connections. Those that there are end, unless they only get slower.
func (p *tap) set(s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cut := s.away || p.how.silent
	p.how = s
	if cut {
		p.resetLocked()
	}
}

// reset breaks all connections off.
func (p *tap) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked()
}

func (p *tap) resetLocked() {
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (p *tap) arm(t *trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps, p.seen = []*trap{t}, nil
}

func (p *tap) disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = nil
}

func (p *tap) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		away := p.how.away
		p.mu.Unlock()
		if away {
			_ = c.Close()
			continue
		}
		p.running.Go(func() { p.serve(c) })
	}
}

func (p *tap) serve(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", p.to())
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, client)
		delete(p.conns, server)
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.pump(server, client, p.names.fromClient)
		_ = client.Close() // so that the other direction ends
		_ = server.Close()
	}()
	_ = p.pump(client, server, p.names.fromServer)
	_ = client.Close()
	_ = server.Close()
	<-done
}

func (p *tap) pump(to io.Writer, from io.Reader, next func(*bufio.Reader) ([]byte, string, error)) error {
	if next == nil {
		next = anything
	}
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		m, name, err := next(r)
		if err != nil {
			return err
		}
		if err := p.pass(name); err != nil {
			return err
		}
		if _, err := to.Write(m); err != nil {
			return err
		}
	}
}

// pass returns when a message may go on, or errCut.
func (p *tap) pass(name string) error {
	p.mu.Lock()
	how := p.how
	var sprung *trap
	if name != "" {
		p.seen = append(p.seen, name)
		for i, t := range p.traps {
			if t.match.MatchString(name) {
				sprung = t
				p.traps = append(p.traps[:i:i], p.traps[i+1:]...)
				break
			}
		}
	}
	p.mu.Unlock()
	if sprung != nil && !sprung.spring(p.owner) {
		return errCut
	}
	if how.latency > 0 {
		<-time.After(how.latency)
	}
	for how.silent {
		<-time.After(20 * time.Millisecond)
		p.mu.Lock()
		how = p.how
		p.mu.Unlock()
	}
	return nil
}

// anything is of a direction that is not looked into.
func anything(r *bufio.Reader) ([]byte, string, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, "", err
	}
	b := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, b)
	return b, "", err
}

// httpProtocol knows requests ("POST /upload") and answers ("202") by how they begin, since each begins a packet.
var httpProtocol = protocol{fromClient: httpStart, fromServer: httpStart}

var startLine = regexp.MustCompile(`^(?:([A-Z]+ \S+) HTTP/1\.1|HTTP/1\.1 ([2-5]\d\d))`)

func httpStart(r *bufio.Reader) ([]byte, string, error) {
	b, _, err := anything(r)
	if err != nil {
		return b, "", err
	}
	if m := startLine.FindSubmatch(b[:min(len(b), 2000)]); m != nil {
		return b, string(m[1]) + string(m[2]), nil
	}
	return b, "", nil
}

// mongoProtocol knows commands: the command, the collection, and the states of jobs that are written.
var mongoProtocol = protocol{fromClient: func(r *bufio.Reader) ([]byte, string, error) {
	size, err := r.Peek(4)
	if err != nil {
		return nil, "", err
	}
	m := make([]byte, binary.LittleEndian.Uint32(size))
	if _, err := io.ReadFull(r, m); err != nil {
		return nil, "", err
	}
	const opMsg = 2013
	if len(m) < 26 || binary.LittleEndian.Uint32(m[12:]) != opMsg || m[20] != 0 {
		return m, "", nil
	}
	n := binary.LittleEndian.Uint32(m[21:])
	elements, err := bson.Raw(m[21 : 21+n]).Elements()
	if err != nil || len(elements) == 0 {
		return m, "", err
	}
	command := elements[0].Key()
	collection, ok := elements[0].Value().StringValueOK()
	if !ok {
		return m, "", nil
	}
	name := command + " " + collection
	if command == "update" && collection == "jobs" {
		name += written(m[21+n:])
	}
	if set, err := bson.Raw(m[21:21+n]).LookupErr("update", "0", "$set"); err == nil && command == "findAndModify" {
		name = "update " + collection + changed(set.Document())
	}
	return m, name, nil
}}

// written tells the state of the job that an update has, and whether a notice is there: " converted", " notified told".
func written(sections []byte) string {
	// A section of kind 1: its size, the name "updates", and the documents {q, u}.
	i := strings.Index(string(sections), "updates\x00")
	if i < 0 {
		return ""
	}
	var update struct {
		U struct {
			State   string   `bson:"state"`
			Notices []bson.M `bson:"notices"`
		} `bson:"u"`
	}
	if bson.Unmarshal(sections[i+len("updates\x00"):], &update) != nil {
		return ""
	}
	name := " " + update.U.State
	if len(update.U.Notices) > 0 {
		name += " told"
	}
	return name
}

// changed is written for a pipeline.
func changed(set bson.Raw) string {
	state, _ := set.Lookup("state").StringValueOK()
	name := " " + state
	if _, err := set.LookupErr("notices"); err == nil {
		name += " told"
	}
	return name
}

// amqpProtocol knows the methods of a channel that matter: "publish KEY", "ack", and from the server "deliver",
// "confirm", and "take back" when it ends a channel or a consumer.
var amqpProtocol = protocol{fromClient: frame("ack", ""), fromServer: frame("confirm", "take back")}

func frame(ack, end string) func(*bufio.Reader) ([]byte, string, error) {
	return func(r *bufio.Reader) ([]byte, string, error) {
		head, err := r.Peek(7)
		if err != nil {
			return nil, "", err
		}
		size := 8 // of the greeting
		if string(head[:4]) != "AMQP" {
			size += int(binary.BigEndian.Uint32(head[3:]))
		}
		m := make([]byte, size)
		if _, err := io.ReadFull(r, m); err != nil {
			return nil, "", err
		}
		if m[0] != 1 || size < 13 { // a frame of a method
			return m, "", nil
		}
		const channel, closed = 20, 40
		const basic, cancel, publish, deliver, settled = 60, 30, 40, 60, 80
		switch class, method := binary.BigEndian.Uint16(m[7:]), binary.BigEndian.Uint16(m[9:]); {
		case class == channel && method == closed, class == basic && method == cancel:
			return m, end, nil
		case class != basic:
			return m, "", nil
		}
		switch binary.BigEndian.Uint16(m[9:]) {
		case publish:
			exchange, rest := short(m[13:])
			key, _ := short(rest)
			return m, fmt.Sprintf("publish %s", strings.Trim(exchange+" "+key, " ")), nil
		case deliver:
			return m, "deliver", nil
		case settled:
			return m, ack, nil
		}
		return m, "", nil
	}
}

func short(b []byte) (string, []byte) { return string(b[1 : 1+b[0]]), b[1+b[0]:] }

// mysqlProtocol knows statements.
var mysqlProtocol = protocol{fromClient: func(r *bufio.Reader) ([]byte, string, error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, "", err
	}
	m := make([]byte, 4+(int(head[0])|int(head[1])<<8|int(head[2])<<16))
	if _, err := io.ReadFull(r, m); err != nil {
		return nil, "", err
	}
	const query, prepare = 3, 22
	if head[3] == 0 && len(m) > 5 && (m[4] == query || m[4] == prepare) {
		return m, string(m[5:]), nil
	}
	return m, "", nil
}}
