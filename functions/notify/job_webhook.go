package notify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// patience is for how long after the end of a job its webhook is tried, so that a receiver that has gone does not keep
// the job from being notified.
const patience = 24 * time.Hour

type jobWebhook struct{ webhook }

// JobWebhook posts an outcome to the webhook of its job, or else of the job's owner, signed by that one's secret. Users
// name the address, so that it must be a public one, unless cfg allows others: that is seen of each connection, which
// goes there directly, without a proxy. Names are looked up by the resolver, or the machine's when that is nil.
func JobWebhook(cfg WebhookConfig, resolver *net.Resolver) Channel {
	dialer := &net.Dialer{Timeout: cfg.Timeout, Resolver: resolver}
	if !cfg.AllowPrivate {
		dialer.Control = publicOnly
	}
	return jobWebhook{webhook{
		name:      "job_webhook",
		to:        func(j job.Job) *job.Webhook { return j.Webhook },
		permanent: isFinal,
		client: newClient(cfg, &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true, // it rarely is the same host again
			MaxResponseHeaderBytes: 64 << 10,
		}),
	}}
}

// isFinal tells the answers after which an outcome is not tried again. Unlike the operator's webhook, nobody watches a
// user's.
func isFinal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 3 || status/100 == 4
}

func (c jobWebhook) Tell(ctx context.Context, o Outcome) error {
	err := c.webhook.Tell(ctx, o)
	if err == nil || errors.As(err, new(*RefusedError)) || time.Since(ended(o.Job)) < patience {
		return err
	}
	return &RefusedError{Reason: "the webhook did not take it for a day", Err: err}
}

// ended is when the job ended. One that failed may have been given up long after the last try, if there was any, and
// has changed little since.
func ended(j job.Job) time.Time {
	if n := len(j.Attempts); n > 0 && j.Attempts[n-1].To != nil && j.State != job.Failed {
		return *j.Attempts[n-1].To
	}
	return j.Updated
}
