package job_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

const hookSecret = "hunter2-hunter2-hunter2-"

func TestParseWebhook(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2049)
	for _, tt := range []struct {
		name, address, secret string
		faults                []string // the fields in the error; none when empty
	}{
		{name: "https", address: "https://example.com/hook?key=1", secret: hookSecret},
		{name: "http with a port", address: "HTTP://hook.example.com:8080", secret: hookSecret},
		{name: "port 443", address: "http://example.com:443/", secret: hookSecret},
		{name: "whsec", address: "https://xn--bcher-kva.example./", secret: "whsec_" + base64of(24)},
		{name: "address of IPv4", address: "https://203.0.113.1/", secret: hookSecret},
		{name: "address of IPv6", address: "https://[2001:db8::1]:8443/", secret: hookSecret},

		{name: "no secret", address: "https://example.com", faults: []string{"webhook_secret"}},
		{name: "no address", secret: hookSecret, faults: []string{"webhook"}},
		{name: "both bad", address: "example.com", secret: "short", faults: []string{"webhook", "webhook_secret"}},
		{name: "23 bytes", address: "https://x.example", secret: hookSecret[:23], faults: []string{"webhook_secret"}},
		{name: "23 bytes of whsec", address: "https://x.example", secret: "whsec_" + base64of(23),
			faults: []string{"webhook_secret"}},
		{name: "whsec of no Base64", address: "https://x.example", secret: "whsec_" + strings.Repeat("_", 40),
			faults: []string{"webhook_secret"}},
		{name: "long secret", address: "https://x.example", secret: long, faults: []string{"webhook_secret"}},
		{name: "long address", address: "https://x.example/" + long, secret: hookSecret, faults: []string{"webhook"}},
		{name: "empty address", secret: hookSecret, faults: []string{"webhook"}},
	} {
		v := url.Values{}
		if tt.address != "" {
			v["webhook"] = []string{"overridden", tt.address}
		}
		if tt.secret != "" {
			v["webhook_secret"] = []string{"overridden", tt.secret}
		}
		w, err := job.ParseWebhook(v)
		if tt.faults == nil {
			if want := (job.Webhook{URL: tt.address, Secret: tt.secret}); err != nil || *w != want {
				t.Errorf("%s: ParseWebhook = %v, %v, want %v", tt.name, w, err, want)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: ParseWebhook = %v, want an error", tt.name, w)
			continue
		}
		var faults []string
		for line := range strings.SplitSeq(err.Error(), "\n") {
			name, _, _ := strings.Cut(line, ":")
			faults = append(faults, name)
			if tt.secret != "" && strings.Contains(line, tt.secret) {
				t.Errorf("%s: the error %q tells the secret", tt.name, line)
			}
		}
		if diff := cmp.Diff(tt.faults, faults); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s", tt.name, diff)
		}
	}
	if w, err := job.ParseWebhook(url.Values{"bitrate": {"64"}}); w != nil || err != nil {
		t.Errorf("ParseWebhook without one = %v, %v", w, err)
	}
}

// TestNewWebhook makes a webhook as one that is given with a job.
func TestNewWebhook(t *testing.T) {
	t.Parallel()
	const address = "https://example.com/hook?key=1"
	w, err := job.NewWebhook(address)
	again, _ := job.NewWebhook(address)
	if err != nil || w.URL != address || w.Secret == again.Secret {
		t.Errorf("NewWebhook = %#v, %v, then %#v, want the address, and another secret each time", w, err, again)
	}
	parsed, err := job.ParseWebhook(url.Values{"webhook": {w.URL}, "webhook_secret": {w.Secret}})
	if err != nil || *parsed != w || !strings.HasPrefix(w.Secret, "whsec_") {
		t.Errorf("ParseWebhook(%#v) = %v, %v, want it valid, and whsec_", w, parsed, err)
	}
	for _, bad := range []string{"", "example.com", "ftp://hunter2.example", "https://hunter2@example.com"} {
		if w, err := job.NewWebhook(bad); err == nil || w != (job.Webhook{}) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("NewWebhook(%q) = %#v, %v, want an error without the address", bad, w, err)
		}
	}
}

func base64of(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }

// TestWebhookIsNotShown: whatever makes text of a job has neither the secret nor what may be one in the address.
func TestWebhookIsNotShown(t *testing.T) {
	t.Parallel()
	w := &job.Webhook{URL: "https://a:hunter2@example.com:8443/a%2Fb?key=hunter2#hunter2", Secret: hookSecret}
	j := job.Job{ID: "v1", Owner: "ann", Filename: "a.mp4", State: job.Stored, Webhook: w}
	shown, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(shown), `"webhook":"https://example.com:8443/a%2Fb"`) {
		t.Errorf("Marshal = %s, want the address", shown)
	}
	e, err := j.Event("/soundstrip/upload")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(shown), e.String(), fmt.Sprintf("%v %+v %v", j, j, w)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the secret is in %s", text)
		}
	}
	if strings.Contains(e.String(), "example.com") {
		t.Errorf("the address is in %s", e)
	}
}
