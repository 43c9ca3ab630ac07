package serve

import (
	"bytes"
	"net"
)

// finalListener is for processes behind Knative's queue-proxy. Its connections send final responses only, and hold
// little of them.
//
// To a client that expects it, net/http's server writes a 100 (Continue, RFC 9110, section 10.1.1) by itself when a
// handler begins to read. The queue-proxy takes that for the status of the answer, and drops the true one: the client
// gets a 200, whatever happened. Without it, the client sends its body after a second.
//
// What the connection holds when an answer is broken off still has to reach the client before Knative's own timeout
// (see [Config.AnswerTimeout]). By default that may be 4 MB (tcp_wmem), which a slow client takes minutes for.
type finalListener struct{ net.Listener }

func (l finalListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(64 << 10) // it is no error to have more
		return finalConn{tcp}, err
	}
	return c, err
}

// finalConn has all that a TCP connection has: the server closes its halves one by one, and sends files by it.
type finalConn struct{ *net.TCPConn }

// Write leaves the 100 out, which the server writes in one go.
func (c finalConn) Write(p []byte) (int, error) {
	if bytes.Equal(p, []byte("HTTP/1.1 100 Continue\r\n\r\n")) {
		return len(p), nil
	}
	return c.TCPConn.Write(p)
}
