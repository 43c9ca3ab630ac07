package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// WebhookConfig says who is told by HTTP.
type WebhookConfig struct {
	URL     string        `env:"WEBHOOK_URL"`
	Secret  string        `env:"WEBHOOK_SECRET"`
	Timeout time.Duration `env:"WEBHOOK_TIMEOUT, default=10s"` // of one post
	// AllowPrivate lets users name webhooks on this machine and its network.
	AllowPrivate bool `env:"WEBHOOK_ALLOW_PRIVATE, default=false"`
}

// maxTimeout bounds WEBHOOK_TIMEOUT, because a job is held while its owner is told.
const maxTimeout = 30 * time.Second

// Validate reports every fault by variable name. Without WEBHOOK_URL the secret does not count.
func (c WebhookConfig) Validate() error {
	var errs []error
	if c.URL != "" && !isURL(c.URL) {
		errs = append(errs, errors.New("WEBHOOK_URL: want an http or https address"))
	}
	if _, err := job.Key(c.Secret); c.URL != "" && (err != nil || len(c.Secret) < eventing.MinSecret) {
		errs = append(errs, fmt.Errorf("WEBHOOK_SECRET: want at least %d bytes, and Base64 after whsec_", eventing.MinSecret))
	}
	if c.Timeout <= 0 || c.Timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("WEBHOOK_TIMEOUT: want more than 0s and at most %v", maxTimeout))
	}
	return errors.Join(errs...)
}

// WebhookBody is what a webhook gets, as JSON.
type WebhookBody struct {
	ID       string            `json:"id"` // the same for a repeat
	Job      string            `json:"job_id"`
	Owner    string            `json:"username"`
	Filename string            `json:"filename"`
	State    job.State         `json:"state"` // converted or failed
	MP3      *job.MP3          `json:"mp3,omitempty"`
	Notice   string            `json:"notice,omitempty"` // what the job's owner is to know of the MP3
	Error    *eventing.Failure `json:"error,omitempty"`
	Links    Links             `json:"links"`
}

// SignatureHeader carries the signature of a webhook's post: see [VerifyWebhook].
const SignatureHeader = "Soundstrip-Signature"

type webhook struct {
	name      string
	to        func(job.Job) *job.Webhook // nil when it is nobody
	permanent func(status int) bool      // whether such an answer stays the same
	client    *http.Client
}

// Webhook posts outcomes to one address, signed. The transport is [http.DefaultTransport] when nil.
func Webhook(cfg WebhookConfig, transport http.RoundTripper) Channel {
	to := &job.Webhook{URL: cfg.URL, Secret: cfg.Secret}
	return webhook{
		name:      "webhook",
		to:        func(job.Job) *job.Webhook { return to },
		permanent: func(status int) bool { return slices.Contains(permanent, status) },
		client:    newClient(cfg, transport),
	}
}

func newClient(cfg WebhookConfig, transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: telemetry.Transport(transport),
		Timeout:   cfg.Timeout,
		// Only the address itself is told: a redirect could lead anywhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c webhook) Name() string { return c.name }

func (c webhook) For(j job.Job) bool { return c.to(j) != nil }

func (c webhook) Tell(ctx context.Context, o Outcome) error {
	to := c.to(o.Job)
	key, err := job.Key(to.Secret)
	if err != nil {
		return fmt.Errorf("secret of the webhook: %w", err)
	}
	b := WebhookBody{ID: o.ID, Job: o.Job.ID, Owner: o.Job.Addressee(), Filename: o.Job.Filename, State: o.Job.State,
		MP3: o.Job.MP3, Notice: o.Job.Notice, Error: o.Job.Error, Links: o.Links}
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode job %s: %w", o.Job.ID, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address of the webhook is none") // without it
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "soundstrip")
	r.Header.Set(SignatureHeader, "t="+now+",v1="+hex.EncodeToString(sign([]byte(to.Secret), now, body)))
	// Standard Webhooks 1.0.0. What is signed is read from its dots, so that the id has none.
	id := strings.ReplaceAll(o.ID, ".", "_")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", now)
	r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(sign(key, id+"."+now, body)))
	resp, err := c.client.Do(r)
	if err != nil {
		if inURL := (*url.Error)(nil); errors.As(err, &inURL) {
			err = inURL.Err // without the address, which may have a secret in it
		}
		return fmt.Errorf("post to webhook: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4096) // so that the connection can be used again
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case c.permanent(resp.StatusCode):
		return &RefusedError{Reason: "the webhook answered " + resp.Status}
	}
	return fmt.Errorf("post to webhook: it answered %s", resp.Status)
}

// permanent are the answers of WEBHOOK_URL that are about this very message, and stay the same. Any other (a redirect,
// 401, 404, 5xx) is about the way to the receiver. Somebody can mend that, and the message waits.
var permanent = []int{http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}

// sign is the HMAC-SHA256 of "head.body".
func sign(key []byte, head string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(head))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return mac.Sum(nil)
}

// VerifyWebhook is how a receiver checks a post. The value of [SignatureHeader] is t=UNIX,v1=HEX, where HEX is the
// HMAC-SHA256 of UNIX, a dot and the body, by WEBHOOK_SECRET. A post that is older than tolerance fails, so that nobody
// can repeat what they saw: five minutes are usual, and leave room for clocks that differ. The same post may come
// twice, with the same id.
func VerifyWebhook(secret []byte, header string, body []byte, now time.Time, tolerance time.Duration) error {
	t, signature, ok := strings.Cut(header, ",")
	t, isTime := strings.CutPrefix(t, "t=")
	signature, isV1 := strings.CutPrefix(signature, "v1=")
	if !ok || !isTime || !isV1 {
		return fmt.Errorf("signature %q has not the form t=UNIX,v1=HEX", header)
	}
	unix, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return fmt.Errorf("time of signature: %w", err)
	}
	given, err := hex.DecodeString(signature)
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	if !hmac.Equal(given, sign(secret, t, body)) {
		return errors.New("the signature does not match: another secret, or another body")
	}
	if age := now.Sub(time.Unix(unix, 0)); age.Abs() > tolerance {
		return fmt.Errorf("the signature is %v old", age)
	}
	return nil
}
