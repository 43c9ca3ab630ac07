package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// wire is the lower half of the driver, which finds the primary, logs in and keeps connections, without the upper,
// which copies what it sends. The driver promises nothing of these packages from release to release, so no other file
// needs them but that of a chunk's message. The connections are not the client's, and begin with the first message.
type wire struct {
	options *options.ClientOptions

	mu      sync.Mutex
	servers *topology.Topology
}

var _ media.Wire = (*wire)(nil)

// RoundTrip is of [media.Wire].
func (w *wire) RoundTrip(ctx context.Context, message []byte) error {
	servers, err := w.connect()
	if err != nil {
		return err
	}
	if *w.options.Timeout > 0 { // 0 is forever
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *w.options.Timeout)
		defer cancel()
	}
	selecting, cancel := context.WithTimeout(ctx, *w.options.ServerSelectionTimeout)
	defer cancel()
	server, err := servers.SelectServer(selecting, primary{})
	if err != nil {
		return err
	}
	conn, err := server.Connection(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	err = conn.Write(ctx, message)
	var reply []byte
	if err == nil {
		reply, err = conn.Read(ctx)
	}
	if err == nil {
		err = replied(reply)
	}
	if err != nil {
		if p, ok := server.(driver.ErrorProcessor); ok { // it may be the primary no more
			p.ProcessError(err, conn)
		}
		return fmt.Errorf("%w: %w", media.ErrSent, err)
	}
	return nil
}

// replied gives the error of an OP_MSG that answers a command.
func replied(message []byte) error {
	_, _, _, code, rest, ok := wiremessage.ReadHeader(message)
	if ok && code == wiremessage.OpMsg {
		if _, rest, ok = wiremessage.ReadMsgFlags(rest); ok {
			_, rest, ok = wiremessage.ReadMsgSectionType(rest)
		}
		if doc, _, found := wiremessage.ReadMsgSectionSingleDocument(rest); ok && found {
			return driver.ExtractErrorFromServerResponse(doc)
		}
	}
	return errors.New("the answer is no document")
}

func (w *wire) connect() (*topology.Topology, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers != nil {
		return w.servers, nil
	}
	c, err := topology.NewConfig(w.options, nil)
	if err != nil {
		return nil, err
	}
	servers, err := topology.New(c)
	if err != nil {
		return nil, err
	}
	if err := servers.Connect(); err != nil {
		return nil, err
	}
	w.servers = servers
	return servers, nil
}

// close ends the connections. No message may follow.
func (w *wire) close(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers == nil {
		return nil
	}
	return w.servers.Disconnect(ctx)
}

// primary selects the servers that take writes.
type primary struct{}

func (primary) SelectServer(t description.Topology, known []description.Server) ([]description.Server, error) {
	if t.Kind == description.TopologyKindSingle {
		return known, nil
	}
	return slices.DeleteFunc(slices.Clone(known), func(s description.Server) bool {
		switch s.Kind {
		case description.ServerKindRSPrimary, description.ServerKindStandalone, description.ServerKindMongos,
			description.ServerKindLoadBalancer:
			return false
		}
		return true
	}), nil
}
