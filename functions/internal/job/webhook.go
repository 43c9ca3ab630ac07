package job

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Webhook is an address that the owner wants to be told how a job ends, beside the mail. It is kept in the job only, or
// in [Webhooks]. As JSON it is the address without query and secret, so that no answer or log has them.
type Webhook struct {
	URL    string `bson:"url"`
	Secret string `bson:"secret"` // signs what is posted: see [Key]
}

// WebhookFields are the names that [ParseWebhook] knows.
var WebhookFields = []string{"webhook", "webhook_secret"}

const (
	maxAddress           = 2048 // bytes
	minSecret, maxSecret = 24, 512
	secretPrefix         = "whsec_"
)

// ParseWebhook reads a webhook from form fields or a query, and gives nil when they have none. Its error says what is
// valid instead of each bad value, and repeats none. Whether the address may be posted to is seen when it is called.
func ParseWebhook(v url.Values) (*Webhook, error) {
	addresses, secrets := v["webhook"], v["webhook_secret"]
	if addresses == nil && secrets == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	var w Webhook
	var errs []error
	if n := len(addresses); n > 0 {
		w.URL = addresses[n-1]
	}
	if n := len(secrets); n > 0 {
		w.Secret = secrets[n-1]
	}
	if !isAddress(w.URL) {
		errs = append(errs, fmt.Errorf("webhook: %w", errAddress))
	}
	if key, err := Key(w.Secret); err != nil || len(key) < minSecret || len(w.Secret) > maxSecret {
		errs = append(errs, fmt.Errorf("webhook_secret: want %d bytes or more, or whsec_ and as many in Base64, and at most "+
			"%d", minSecret, maxSecret))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &w, nil
}

// NewWebhook makes a secret for an address. Its error says what is valid instead of a bad one, as that of
// [ParseWebhook].
func NewWebhook(address string) (Webhook, error) {
	if !isAddress(address) {
		return Webhook{}, errAddress
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return Webhook{URL: address, Secret: secretPrefix + base64.StdEncoding.EncodeToString(key)}, nil
}

var errAddress = fmt.Errorf("want an http or https address such as https://example.com/hook, of at most %d bytes, "+
	"without user and password, its host in ASCII, its port 80, 443 or from 1024 on", maxAddress)

// name is a host's, whose last part is no number: to some resolvers 127.1, 0x7f.1 and 2130706433 are addresses, as to
// browsers (URL Living Standard, section 3.5).
var name = regexp.MustCompile(`^(?i:([\w-]+\.)*[a-z][\w-]*\.?)$`)

func isAddress(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxAddress || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil && !name.MatchString(u.Hostname()) || ip.Zone() != "" {
		return false
	}
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && (port == 80 || port == 443 || port >= 1024)
}

// Key gives the bytes that a webhook's secret stands for: those that follow whsec_ in Base64 (Standard Webhooks 1.0.0,
// "Signature scheme"), or the secret as it is.
func Key(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("what follows whsec_ is no Base64") // without the secret
	}
	return key, nil
}

// MarshalJSON is of [json.Marshaler].
func (w Webhook) MarshalJSON() ([]byte, error) { return json.Marshal(w.String()) }

// String is the address without what may be secret in it.
func (w Webhook) String() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
