package broker

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
)

// kind is what a try came to.
type kind int

const (
	done     kind = iota
	busy          // another worker has the job
	down          // nobody has begun to work
	failed        // it may succeed another time
	rejected      // it never will
)

func (k kind) String() string { return [...]string{"done", "busy", "down", "failed", "rejected"}[k] }

// verdict is what a subscriber's answer means for the event.
type verdict struct {
	kind   kind
	status int           // 0 when there was no answer
	reply  *event.Event  // of a try that is done; may be nil
	after  time.Duration // what Retry-After asks for
	reason string        // unless done
}

// prompt is how soon a gateway answers 502 or 504 when it finds nobody to ask. When the subscriber dies of the event,
// or works on it for too long, the gateway takes longer.
const prompt = time.Second

// post tries the subscriber once.
func (d *Dispatcher) post(ctx context.Context, t Trigger, e event.Event) verdict {
	ctx, cancel := context.WithTimeout(ctx, t.Delivery.timeout())
	defer cancel()
	// Whether the last connection was made: the client tries another when one that it kept turns out to be closed.
	reached := false
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { reached = false },
		GotConn: func(httptrace.GotConnInfo) { reached = true },
	})
	r, err := d.request(traced, t.Subscriber, t.audience(), e)
	if err != nil {
		return verdict{kind: rejected, reason: err.Error()}
	}
	begun := time.Now()
	resp, err := d.client.Do(r)
	if err != nil {
		v := verdict{kind: failed, reason: err.Error()}
		if !reached {
			v.kind = down
		}
		return v
	}
	defer resp.Body.Close()
	return judge(resp, time.Since(begun))
}

// request makes a signed post of the event, which takes the event's trace along.
func (d *Dispatcher) request(ctx context.Context, target, audience string, e event.Event) (*http.Request, error) {
	r, err := eventing.NewRequest(ctx, target, e)
	if err != nil {
		return nil, err
	}
	return r, eventing.Authorize(r, d.secret, audience)
}

func judge(resp *http.Response, took time.Duration) verdict {
	v := verdict{kind: kindOf(resp.StatusCode, took), status: resp.StatusCode}
	v.after = eventing.RetryAfterOf(resp.Header, time.Now())
	if v.kind != done {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		v.reason = strings.TrimSpace(resp.Status + " " + string(text))
		return v
	}
	var err error
	if v.reply, err = eventing.Reply(resp); err != nil {
		return verdict{kind: failed, status: v.status, reason: err.Error()}
	}
	return v
}

func kindOf(status int, took time.Duration) kind {
	switch status {
	case http.StatusConflict:
		return busy
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return down
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		if took < prompt {
			return down
		}
		return failed
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout,
		http.StatusTooEarly:
		return failed // an operator may put it right
	}
	switch status / 100 {
	case 2:
		return done
	case 4:
		return rejected
	}
	return failed
}
