//go:build browser

package browser

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
)

// line is the way from the browser to the program. It can be cut, and counts what goes up.
type line struct {
	t        testing.TB
	url      string
	to       string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]bool
	up    int64         // bytes that the browser sent, in all
	every int64         // bytes after which a connection is cut; 0 means never
	cuts  int           // how many times more that happens
	hold  int64         // bytes in all after which what carries a file stands still; 0 means never
	held  chan struct{} // closed when that has come
	free  chan struct{} // closed when it goes on
}

// newLine leads to the service.
func newLine(t testing.TB, s *service) *line {
	t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{t: t, to: u.Host, open: map[net.Conn]bool{}, held: make(chan struct{}), free: make(chan struct{})}
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l.url = "http://" + l.listener.Addr().String() + "/"
	l.running.Go(l.accept)
	t.Cleanup(func() {
		l.listener.Close()
		l.release()
		l.cut()
		l.running.Wait()
	})
	return l
}

func (l *line) accept() {
	for {
		from, err := l.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", l.to)
		if err != nil {
			from.Close()
			continue
		}
		l.mu.Lock()
		l.open[from], l.open[to] = true, true
		l.mu.Unlock()
		l.running.Go(func() { l.carry(to, from, true) })
		l.running.Go(func() { l.carry(from, to, false) })
	}
}

// carry copies until one end has enough, and then ends both: no browser closes half of a connection.
func (l *line) carry(to, from net.Conn, up bool) {
	defer l.end(from)
	defer l.end(to)
	buf := make([]byte, 64<<10)
	var sent int64
	for {
		n, err := from.Read(buf)
		if up && !l.may(int64(n), &sent) {
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// may says whether n more bytes may go up a connection on which so many went before, and waits while none may.
func (l *line) may(n int64, sent *int64) bool {
	l.mu.Lock()
	*sent += n
	l.up += n
	cut := l.every > 0 && *sent > l.every && l.cuts > 0
	if cut {
		l.cuts--
	}
	wait := l.hold > 0 && l.up > l.hold && *sent > 1_000_000
	if wait {
		select {
		case <-l.held:
		default:
			close(l.held)
		}
	}
	free := l.free
	l.mu.Unlock()
	if wait {
		<-free
	}
	return !cut
}

// release lets go on what was held, for good.
func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = 0
	select {
	case <-l.free:
	default:
		close(l.free)
	}
}

func (l *line) end(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// cut breaks every connection that there is.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// set changes how the line behaves from now on.
func (l *line) set(f func(l *line)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// sent is what the browser has sent, in bytes.
func (l *line) sent() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// newFront serves a handler and gives its address.
func newFront(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
